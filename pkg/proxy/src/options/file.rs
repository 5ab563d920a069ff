//! Reads a `KubeProxyConfiguration`. What is not known is an error, and so is a field that has no effect in this build,
//! unless it says what holds anyway.

use std::path::Path;
use std::time::Duration;

use api_config::kube_proxy::v1alpha1::KubeProxyConfiguration;
use component_base::config_file::ConfigFile;
use component_base::features::FeatureGates;
use component_base::problems::Problems;

use super::{ConntrackSettings, Settings};

const FILE: ConfigFile<'_> = ConfigFile {
    api_version: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    honoured: &[
        "bindAddress",
        "bindAddressHardFail",
        "clientConnection.burst",
        "clientConnection.contentType",
        "clientConnection.kubeconfig",
        "clientConnection.qps",
        "clusterCIDR",
        "conntrack",
        "detectLocal",
        "detectLocalMode",
        "featureGates",
        "healthzBindAddress",
        "hostnameOverride",
        "metricsBindAddress",
        "mode",
        "nftables",
        "nodePortAddresses",
        "oomScoreAdj",
    ],
    more_defaults: &[
        ("healthzBindAddress", "\"0.0.0.0:10256\""),
        ("metricsBindAddress", "\"127.0.0.1:10249\""),
        ("logging.format", "\"text\""),
    ],
};

/// Upstream's least time between syncs. In a decoded file it cannot be told from a field that was left out, and our own
/// pace is as gentle, so it counts as left out.
const UPSTREAM_MIN_SYNC_PERIOD: Duration = Duration::from_secs(1);

/// Reads the file. Problems are entered with its name.
pub(super) fn read(path: &Path, problems: &mut Problems) -> Option<Settings> {
    match FILE.load(path) {
        Ok(document) => settings(document, problems),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

#[cfg(test)]
pub(super) fn parse(text: &str, problems: &mut Problems) -> Option<Settings> {
    match FILE.read(text.as_bytes()) {
        Ok(document) => settings(document, problems),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

fn settings(document: KubeProxyConfiguration, problems: &mut Problems) -> Option<Settings> {
    let gates = document.feature_gates.iter().map(|(name, on)| (name, if *on { "true" } else { "false" }));
    if let Err(found) = FeatureGates::default().set(gates, &[]) {
        problems.extend(found);
        return None;
    }
    let defaults = Settings::default();
    let min_sync_period = document.nftables.min_sync_period.to_std();
    let optional = |value: Option<i32>, default: i64| value.map_or(default, i64::from);
    let conntrack = document.conntrack;
    Some(Settings {
        kubeconfig: document.client_connection.kubeconfig,
        qps: document.client_connection.qps,
        burst: i64::from(document.client_connection.burst),
        content_type: document.client_connection.content_type,
        hostname_override: document.hostname_override,
        bind_address: document.bind_address,
        bind_address_hard_fail: document.bind_address_hard_fail,
        healthz_bind_address: document.healthz_bind_address,
        metrics_bind_address: document.metrics_bind_address,
        mode: document.mode,
        masquerade_all: document.nftables.masquerade_all,
        masquerade_bit: optional(document.nftables.masquerade_bit, defaults.masquerade_bit),
        sync_period: document.nftables.sync_period.to_std(),
        min_sync_period: if min_sync_period == UPSTREAM_MIN_SYNC_PERIOD { Duration::ZERO } else { min_sync_period },
        detect_local_mode: document.detect_local_mode,
        bridge_interface: document.detect_local.bridge_interface,
        interface_name_prefix: document.detect_local.interface_name_prefix,
        cluster_cidr: document.cluster_cidr,
        node_port_addresses: document.node_port_addresses.into_vec(),
        oom_score_adj: optional(document.oom_score_adj, defaults.oom_score_adj),
        conntrack: ConntrackSettings {
            max_per_core: optional(conntrack.max_per_core, defaults.conntrack.max_per_core),
            min: optional(conntrack.min, defaults.conntrack.min),
            tcp_established_timeout: conntrack.tcp_established_timeout.unwrap_or_default().to_std(),
            tcp_close_wait_timeout: conntrack.tcp_close_wait_timeout.unwrap_or_default().to_std(),
            tcp_be_liberal: conntrack.tcp_be_liberal,
            udp_timeout: conntrack.udp_timeout.to_std(),
            udp_stream_timeout: conntrack.udp_stream_timeout.to_std(),
        },
    })
}
