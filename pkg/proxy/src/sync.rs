//! The loop that keeps the kernel up to date.
//!
//! It alone owns the state: it takes what the [`Collector`] has gathered, applies it to the tables of both families and
//! then tells the health checks and conntrack. Changes after a quiet time are applied at once; under a stream of
//! changes each transaction is followed by a rest at least as long as itself, during which further changes gather.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnetwork::IpNetwork;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::changes::{Changes, Collector, SliceName};
use crate::config::{LocalTraffic, NodePortAddresses};
use crate::conntrack::{Expected, delete_flows};
use crate::convert::merge;
use crate::health::{Binding, ProxyHealth, ServiceHealth};
use crate::metrics::{Metrics, label};
use crate::nftables::exec::Nft;
use crate::nftables::proxier::Proxier;
use crate::nftables::rules::View;
use crate::service::{Family, NodeInfo, PortEndpoints, Service, ServiceName};
use crate::topology::{categorize, local_ready_addresses};

/// Least rest between transactions if the configuration sets none.
const LEAST_REST: Duration = Duration::from_millis(5);
/// Rest before unused chains are deleted, so that a rollout does not pay for it.
const CLEANUP_DELAY: Duration = Duration::from_secs(1);
/// First and longest wait after a refused transaction.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// All rules are written anew this often, should anything have gone astray unnoticed. Upstream does the same.
const FULL_SYNC_PERIOD: Duration = Duration::from_secs(3600);

/// Settings of the loop.
#[derive(Clone, Debug)]
pub struct SyncConfig {
    pub families: Vec<Family>,
    pub masquerade_all: bool,
    pub masquerade_bit: u32,
    /// Without the node's own pod CIDRs; see `local_is_node_cidr`.
    pub local_traffic: LocalTraffic,
    /// Traffic from the node's pod CIDRs is local (`--detect-local-mode=NodeCIDR`).
    pub local_is_node_cidr: bool,
    pub node_ports: NodePortAddresses,
    /// Least time between transactions; `None` for as little as makes sense.
    pub min_sync_period: Option<Duration>,
    /// How often to look whether the tables are still there.
    pub sync_period: Duration,
    pub nft: Nft,
}

/// The loop and all that it knows.
#[derive(Debug)]
pub struct Syncer {
    config: SyncConfig,
    collector: Collector,
    metrics: Metrics,
    health: Arc<ProxyHealth>,
    service_health: ServiceHealth,
    node: NodeInfo,
    service_cidrs: Vec<IpNetwork>,
    services: HashMap<ServiceName, Service>,
    /// Slices by their own name, with the Service that they belong to.
    slices: HashMap<SliceName, (ServiceName, PortEndpoints)>,
    slices_of: HashMap<ServiceName, HashSet<SliceName>>,
    proxiers: Vec<Proxier>,
    /// Causes of endpoint changes that are not in the kernel yet.
    triggered: Vec<SystemTime>,
    conntrack: Expected,
    no_local: BTreeMap<ServiceName, Vec<(Family, &'static str)>>,
}

impl Syncer {
    pub fn new(
        config: SyncConfig,
        node: NodeInfo,
        collector: Collector,
        metrics: Metrics,
        health: Arc<ProxyHealth>,
        service_health: ServiceHealth,
    ) -> Self {
        let mut syncer = Self {
            conntrack: Expected::new(&node),
            config,
            collector,
            metrics,
            health,
            service_health,
            node,
            service_cidrs: Vec::new(),
            services: HashMap::new(),
            slices: HashMap::new(),
            slices_of: HashMap::new(),
            proxiers: Vec::new(),
            triggered: Vec::new(),
            no_local: BTreeMap::new(),
        };
        syncer.set_listening();
        syncer.proxiers = (syncer.config.families.iter())
            .map(|family| {
                let (node_ports, nft) = (syncer.config.node_ports.clone(), syncer.config.nft.clone());
                Proxier::new(syncer.view(*family), node_ports, syncer.config.masquerade_bit, nft)
            })
            .collect();
        syncer
    }

    /// Runs until `stop` fires. Call it once the collector has everything that exists: what is missing in the first
    /// transaction would be taken out of the kernel.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pace = Pace::new(self.config.min_sync_period);
        let mut next_check = Instant::now() + self.config.sync_period;
        let mut next_full = Instant::now() + FULL_SYNC_PERIOD;
        let mut is_due = true;
        loop {
            if !is_due {
                let cleanup = self.proxiers.iter().any(Proxier::has_stale).then(|| pace.last_end + CLEANUP_DELAY);
                let wake = [Some(next_check), pace.retry_at, cleanup].into_iter().flatten().min().unwrap_or(next_check);
                // All arms are cancel-safe.
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = self.collector.arrived() => self.note_queued(),
                    () = tokio::time::sleep_until(wake) => {
                        let now = Instant::now();
                        if cleanup.is_some_and(|at| at <= now) {
                            self.cleanup().await;
                        }
                        if next_check <= now {
                            next_check = now + self.config.sync_period;
                            self.verify(next_full <= now).await;
                            if next_full <= now {
                                next_full = now + FULL_SYNC_PERIOD;
                            }
                        } else if pace.retry_at.is_none_or(|at| at > now) {
                            continue;
                        }
                    }
                }
            }
            is_due = false;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep_until(pace.next_start()) => {}
            }
            let changes = self.collector.take();
            self.apply(changes);
            let started = Instant::now();
            let is_done = self.sync().await;
            pace.ended(started, is_done);
            if is_done {
                self.clean_conntrack();
            }
        }
        self.service_health.drain().await;
    }

    fn note_queued(&self) {
        let now = SystemTime::now();
        for family in &self.config.families {
            self.health.queued(*family, now);
            self.metrics.last_queued_timestamp.with(&label(*family)).set(unix(now));
        }
    }

    /// Takes changes into the state and the tables, without touching the kernel.
    fn apply(&mut self, changes: Changes) {
        self.metrics.service_changes.with(&[]).add(changes.service_events);
        self.metrics.endpoint_changes.with(&[]).add(changes.endpoint_events);
        self.triggered.extend(changes.triggered);
        let mut touched: HashSet<ServiceName> = HashSet::new();
        for (name, slice) in changes.slices {
            if let Some((service, _)) = self.slices.remove(&name) {
                if let Some(slices) = self.slices_of.get_mut(&service) {
                    slices.remove(&name);
                    if slices.is_empty() {
                        self.slices_of.remove(&service);
                    }
                }
                touched.insert(service);
            }
            if let Some((service, endpoints)) = slice {
                self.slices_of.entry(service.clone()).or_default().insert(name.clone());
                touched.insert(service.clone());
                self.slices.insert(name, (service, endpoints));
            }
        }
        for (name, service) in changes.services {
            let old = match service {
                Some(service) => self.services.insert(name.clone(), service),
                None => self.services.remove(&name),
            };
            // Flows to addresses that the Service no longer has lead nowhere.
            if let Some(old) = old {
                self.conntrack.add(&old, &PortEndpoints::new(), &self.node);
            }
            touched.insert(name);
        }
        if let Some(cidrs) = changes.service_cidrs
            && cidrs != self.service_cidrs
        {
            self.service_cidrs = cidrs;
            self.set_views();
        }
        if let Some(node) = changes.node
            && node != self.node
        {
            self.set_node(node);
            touched.extend(self.services.keys().cloned());
        }
        for name in touched {
            self.refresh(&name);
        }
    }

    fn set_node(&mut self, node: NodeInfo) {
        self.health.set_node_eligible(!node.is_leaving);
        let is_view_same = NodeInfo { is_leaving: self.node.is_leaving, ..node.clone() } == self.node;
        self.node = node;
        if is_view_same {
            return;
        }
        self.set_listening();
        self.set_views();
    }

    fn set_views(&mut self) {
        for index in 0..self.proxiers.len() {
            let view = self.view(self.proxiers[index].view().family);
            self.proxiers[index].set_view(view);
        }
    }

    fn set_listening(&mut self) {
        let addresses = self.config.node_ports.listening(&self.config.families, &self.node);
        self.service_health.set_addresses(addresses);
    }

    /// Computes one Service's rules, its health check and its flows anew.
    fn refresh(&mut self, name: &ServiceName) {
        let Some(service) = self.services.get(name) else {
            self.proxiers.iter_mut().for_each(|proxier| proxier.set(name, None));
            self.service_health.set(name, None);
            self.no_local.remove(name);
            return;
        };
        let slices = self.slices_of.get(name).into_iter().flatten().filter_map(|slice| self.slices.get(slice));
        let endpoints = merge(slices.map(|(_, endpoints)| endpoints));
        for proxier in &mut self.proxiers {
            proxier.set(name, Some((service, &endpoints)));
        }
        let binding = (service.health_check_node_port != 0).then(|| Binding {
            port: service.health_check_node_port,
            local_endpoints: local_ready_addresses(endpoints.values().flatten()),
        });
        self.service_health.set(name, binding);
        self.conntrack.add(service, &endpoints, &self.node);
        let without = without_local_endpoints(service, &endpoints, &self.node, &self.config.families);
        if without.is_empty() {
            self.no_local.remove(name);
        } else {
            self.no_local.insert(name.clone(), without);
        }
    }

    /// Hands the tables' changes to the kernel, both families side by side. False if one was refused.
    async fn sync(&mut self) -> bool {
        let mut runs = Vec::new();
        for mut proxier in std::mem::take(&mut self.proxiers) {
            runs.push(tokio::spawn(async move {
                let outcome = proxier.sync().await;
                (proxier, outcome)
            }));
        }
        let (mut all_done, mut any_changed) = (true, false);
        for run in runs {
            let (proxier, outcome) = run.await.expect("a proxier does not panic, and nobody aborts it");
            let family = proxier.view().family;
            self.proxiers.push(proxier);
            let labels = label(family);
            match outcome {
                Ok(synced) => {
                    let now = SystemTime::now();
                    self.health.updated(family, now);
                    self.metrics.last_timestamp.with(&labels).set(unix(now));
                    if synced.is_changed {
                        any_changed = true;
                        let kind = if synced.is_full { &self.metrics.full_sync_duration } else { &self.metrics.partial_sync_duration };
                        kind.with(&labels).observe_duration(synced.elapsed);
                        self.metrics.sync_duration.with(&labels).observe_duration(synced.elapsed);
                        for triggered in &self.triggered {
                            let since = now.duration_since(*triggered).unwrap_or_default();
                            self.metrics.network_programming_duration.with(&labels).observe_duration(since);
                        }
                        tracing::debug!(
                            family = family.as_str(),
                            elapsed_us = synced.elapsed.as_micros() as u64,
                            full = synced.is_full,
                            "Synced proxy rules"
                        );
                    }
                }
                Err(error) => {
                    all_done = false;
                    self.metrics.sync_failures.with(&labels).inc();
                    tracing::error!(family = family.as_str(), err = %chain(&error), "Failed to sync proxy rules; writing all of them anew");
                }
            }
        }
        if all_done {
            self.triggered.clear();
        }
        if any_changed {
            self.count_services_without_local_endpoints();
        }
        all_done
    }

    fn count_services_without_local_endpoints(&self) {
        for family in &self.config.families {
            for policy in ["internal", "external"] {
                let all = self.no_local.values().flatten();
                let count = all.filter(|(of, kind)| of == family && *kind == policy).count();
                self.metrics.no_local_endpoints.with(&[family.as_str(), policy]).set(count as f64);
            }
        }
    }

    /// Ends the flows that changed UDP services leave behind. Runs beside the loop: listing flows may take long.
    fn clean_conntrack(&mut self) {
        let expected = std::mem::replace(&mut self.conntrack, Expected::new(&self.node));
        if expected.is_empty() {
            return;
        }
        let (families, metrics) = (self.config.families.clone(), self.metrics.clone());
        tokio::task::spawn_blocking(move || {
            for family in families {
                let started = Instant::now();
                match delete_flows(family, |flow| expected.is_stale(flow)) {
                    Ok(count) => {
                        metrics.conntrack_deleted.with(&label(family)).add(count as u64);
                        metrics.conntrack_duration.with(&label(family)).observe_duration(started.elapsed());
                    }
                    Err(error) => {
                        tracing::warn!(family = family.as_str(), err = %chain(&error), "Failed to clean up stale UDP flows");
                    }
                }
            }
        });
    }

    async fn cleanup(&mut self) {
        for proxier in &mut self.proxiers {
            if let Err(error) = proxier.cleanup().await {
                let family = proxier.view().family;
                self.metrics.cleanup_failures.with(&label(family)).inc();
                tracing::warn!(family = family.as_str(), err = %chain(&error), "Failed to delete unused chains");
            }
        }
    }

    async fn verify(&mut self, anew: bool) {
        for proxier in &mut self.proxiers {
            if anew {
                proxier.forget();
            } else if let Err(error) = proxier.verify().await {
                tracing::warn!(family = proxier.view().family.as_str(), err = %chain(&error), "Failed to list tables");
            }
        }
    }

    fn view(&self, family: Family) -> View {
        let local_traffic = match self.config.local_is_node_cidr {
            true => LocalTraffic::Cidrs(self.node.pod_cidrs.clone()),
            false => self.config.local_traffic.clone(),
        };
        let node = self.node.clone();
        let service_cidrs = self.service_cidrs.clone();
        View { family, node, masquerade_all: self.config.masquerade_all, local_traffic, service_cidrs }
    }
}

/// The policies by which a port of the Service would use local endpoints but has none, while there are others.
fn without_local_endpoints(
    service: &Service,
    endpoints: &PortEndpoints,
    node: &NodeInfo,
    families: &[Family],
) -> Vec<(Family, &'static str)> {
    let mut without = Vec::new();
    for port in service.ports.iter().filter(|port| service.uses_local_endpoints(port)) {
        let endpoints = endpoints.get(&port.key()).map_or(&[][..], Vec::as_slice);
        for family in families.iter().filter(|family| service.cluster_ip(**family).is_some()) {
            let usable = categorize(service, port, endpoints, node, *family);
            if !usable.any || !usable.local.is_empty() {
                continue;
            }
            if service.internal_local {
                without.push((*family, "internal"));
            }
            if service.external_local && service.is_externally_accessible(port) {
                without.push((*family, "external"));
            }
        }
    }
    without
}

/// When the next transaction may start.
#[derive(Debug)]
struct Pace {
    min_period: Option<Duration>,
    last_start: Option<Instant>,
    last_end: Instant,
    failures: u32,
    retry_at: Option<Instant>,
}

impl Pace {
    fn new(min_period: Option<Duration>) -> Self {
        Self { min_period, last_start: None, last_end: Instant::now(), failures: 0, retry_at: None }
    }

    fn next_start(&self) -> Instant {
        let Some(last_start) = self.last_start else {
            return self.last_end;
        };
        let usual = match self.min_period {
            Some(period) => last_start + period,
            None => self.last_end + (self.last_end - last_start).max(LEAST_REST),
        };
        self.retry_at.unwrap_or(usual).max(usual)
    }

    fn ended(&mut self, started: Instant, is_done: bool) {
        let now = Instant::now();
        (self.last_start, self.last_end) = (Some(started), now);
        if is_done {
            (self.failures, self.retry_at) = (0, None);
        } else {
            let wait = RETRY.0.saturating_mul(1 << self.failures.min(10)).min(RETRY.1);
            self.failures += 1;
            self.retry_at = Some(now + wait);
        }
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    component_base::logs::chain(error)
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_applied_at_once_and_the_next_after_a_rest() {
        let mut pace = Pace::new(None);
        assert!(pace.next_start() <= Instant::now());
        let started = Instant::now();
        tokio::time::advance(Duration::from_millis(40)).await;
        pace.ended(started, true);
        assert_eq!(pace.next_start() - Instant::now(), Duration::from_millis(40));
        let started = Instant::now();
        pace.ended(started, true);
        assert_eq!(pace.next_start() - Instant::now(), LEAST_REST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_configured_period_counts_from_start_to_start() {
        let mut pace = Pace::new(Some(Duration::from_secs(1)));
        let started = Instant::now();
        tokio::time::advance(Duration::from_millis(300)).await;
        pace.ended(started, true);
        assert_eq!(pace.next_start() - Instant::now(), Duration::from_millis(700));
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_tried_again_ever_more_slowly() {
        let mut pace = Pace::new(None);
        let mut waits = Vec::new();
        for _ in 0..9 {
            pace.ended(Instant::now(), false);
            waits.push((pace.next_start() - Instant::now()).as_millis());
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
        pace.ended(Instant::now(), true);
        assert_eq!(pace.retry_at, None);
    }
}
