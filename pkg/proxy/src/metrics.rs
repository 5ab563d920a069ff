//! The proxy's metrics, under upstream's names.

use component_base::metrics::{CounterFamily, GaugeFamily, HistogramFamily, Registry, Stability, exponential_buckets, linear_buckets};

use crate::service::Family;

/// All families. They show up once they have a value.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub sync_duration: HistogramFamily,
    pub full_sync_duration: HistogramFamily,
    pub partial_sync_duration: HistogramFamily,
    pub network_programming_duration: HistogramFamily,
    pub last_timestamp: GaugeFamily,
    pub last_queued_timestamp: GaugeFamily,
    pub service_changes: CounterFamily,
    pub service_changes_pending: GaugeFamily,
    pub endpoint_changes: CounterFamily,
    pub endpoint_changes_pending: GaugeFamily,
    pub sync_failures: CounterFamily,
    pub cleanup_failures: CounterFamily,
    pub no_local_endpoints: GaugeFamily,
    pub conntrack_duration: HistogramFamily,
    pub conntrack_deleted: CounterFamily,
    pub healthz: CounterFamily,
    pub livez: CounterFamily,
}

impl Metrics {
    /// Declares the families in `registry`.
    pub fn new(registry: &Registry) -> Self {
        let seconds = exponential_buckets(0.001, 2.0, 15);
        // 0.25 and 0.5 s, each second of the first minute, each five of the second, each thirty up to five minutes.
        let programming =
            [linear_buckets(0.25, 0.25, 2), linear_buckets(1.0, 1.0, 59), linear_buckets(60.0, 5.0, 12), linear_buckets(120.0, 30.0, 7)]
                .concat();
        let counter = |name: &str, help: &str, labels| registry.counter(name, help, Stability::Alpha, labels);
        let gauge = |name: &str, help: &str, labels| registry.gauge(name, help, Stability::Alpha, labels);
        let histogram = |name: &str, help: &str, bounds: &[f64]| registry.histogram(name, help, Stability::Alpha, &["ip_family"], bounds);
        const FAMILY: &[&str] = &["ip_family"];
        Self {
            sync_duration: histogram(
                "kubeproxy_sync_proxy_rules_duration_seconds",
                "Time to bring the rules of one family up to date",
                &seconds,
            ),
            full_sync_duration: histogram(
                "kubeproxy_sync_full_proxy_rules_duration_seconds",
                "Time to build the rules of one family anew",
                &seconds,
            ),
            partial_sync_duration: histogram(
                "kubeproxy_sync_partial_proxy_rules_duration_seconds",
                "Time to apply changes to the rules of one family",
                &seconds,
            ),
            network_programming_duration: histogram(
                "kubeproxy_network_programming_duration_seconds",
                "Time from the cause of a changed endpoint to its rules",
                &programming,
            ),
            last_timestamp: gauge(
                "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                "When the rules were last brought up to date",
                FAMILY,
            ),
            last_queued_timestamp: gauge(
                "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
                "When a change was last queued",
                FAMILY,
            ),
            service_changes: counter("kubeproxy_sync_proxy_rules_service_changes_total", "Changes of Services seen", &[]),
            service_changes_pending: gauge(
                "kubeproxy_sync_proxy_rules_service_changes_pending",
                "Changes of Services not applied yet",
                &[],
            ),
            endpoint_changes: counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Changes of endpoints seen", &[]),
            endpoint_changes_pending: gauge(
                "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
                "Changes of endpoints not applied yet",
                &[],
            ),
            sync_failures: counter("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "Transactions that nft has refused", FAMILY),
            cleanup_failures: counter(
                "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",
                "Removals of unused chains and sets that nft has refused",
                FAMILY,
            ),
            no_local_endpoints: registry.gauge(
                "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
                "Service ports with a Local traffic policy and no local endpoints",
                Stability::Alpha,
                &["ip_family", "traffic_policy"],
            ),
            conntrack_duration: histogram("kubeproxy_conntrack_reconciler_sync_duration_seconds", "Time to look for stale flows", &seconds),
            conntrack_deleted: counter("kubeproxy_conntrack_reconciler_deleted_entries_total", "Stale flows deleted", FAMILY),
            healthz: counter("kubeproxy_proxy_healthz_total", "Answers of /healthz by code", &["code"]),
            livez: counter("kubeproxy_proxy_livez_total", "Answers of /livez by code", &["code"]),
        }
    }
}

/// The value of the label `ip_family`.
pub fn label(family: Family) -> [&'static str; 1] {
    [family.as_str()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_upstreams() {
        let registry = Registry::new();
        Metrics::new(&registry).network_programming_duration.with(&label(Family::V4)).observe(1.0);
        let text = registry.text();
        for bound in ["0.25", "0.5", "1", "59", "60", "65", "115", "120", "150", "300", "+Inf"] {
            let line = format!("kubeproxy_network_programming_duration_seconds_bucket{{ip_family=\"IPv4\",le=\"{bound}\"}}");
            assert!(text.contains(&line), "{line}");
        }
    }
}
