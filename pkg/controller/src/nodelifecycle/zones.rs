//! How fast nodes of a zone may lose their pods: slowly, and not at all where it looks as if we were cut off ourselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use api::core::v1::Node;

use super::health::ready;
use crate::Settings;

/// Nodes per second, and when which of them applies.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    pub normal: f64,
    pub secondary: f64,
    /// Up to so many nodes a zone is too small to be partly disrupted: nothing is evicted then.
    pub large: usize,
    /// The share of nodes not ready at which a zone is partly disrupted.
    pub unhealthy: f64,
}

impl Rates {
    pub fn of(settings: &Settings) -> Rates {
        Rates {
            normal: settings.node_eviction_rate,
            secondary: settings.secondary_node_eviction_rate,
            large: settings.large_cluster_size_threshold,
            unhealthy: settings.unhealthy_zone_threshold,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Zone {
    /// Nodes per second.
    rate: f64,
    last: Option<Instant>,
}

/// The state of all zones.
#[derive(Debug)]
pub struct Zones {
    rates: Rates,
    zones: HashMap<String, Zone>,
}

fn zone_of(node: &Node) -> String {
    let label = |name: &str| node.metadata.labels.get_str(name);
    format!("{}/{}", label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
}

impl Zones {
    pub fn new(rates: Rates) -> Zones {
        Zones { rates, zones: HashMap::new() }
    }

    /// Counts the nodes of each zone and sets its rate.
    pub fn survey(&mut self, nodes: &[Arc<Node>]) {
        let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
        for node in nodes {
            let (all, unready) = counts.entry(zone_of(node)).or_default();
            *all += 1;
            *unready += usize::from(ready(node) != Some("True"));
        }
        self.zones.retain(|name, _| counts.contains_key(name));
        // With every node of every zone gone it is more likely that we cannot see them.
        let blind = counts.values().all(|(all, unready)| all == unready);
        for (name, (all, unready)) in counts {
            let rate = match (blind, all == unready) {
                (true, _) => 0.0,
                (false, true) => self.rates.normal,
                (false, false) => self.partial(all, unready),
            };
            self.zones.entry(name).or_default().rate = rate;
        }
    }

    fn partial(&self, all: usize, unready: usize) -> f64 {
        let disrupted = unready > 2 && unready as f64 / all as f64 >= self.rates.unhealthy;
        match (disrupted, all > self.rates.large) {
            (false, _) => self.rates.normal,
            (true, true) => self.rates.secondary,
            (true, false) => 0.0,
        }
    }

    /// Takes one eviction out of the zone's share, if there is one left.
    pub fn may_evict(&mut self, node: &Node, now: Instant) -> bool {
        let Some(zone) = self.zones.get_mut(&zone_of(node)) else { return false };
        let rested = zone.last.is_none_or(|last| now.saturating_duration_since(last).as_secs_f64() * zone.rate >= 1.0);
        let may = zone.rate > 0.0 && rested;
        if may {
            zone.last = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use api::core::v1::NodeCondition;

    use super::*;

    fn nodes(zone: &str, ready: usize, unready: usize) -> Vec<Arc<Node>> {
        let node = |status: &str| {
            let mut node = Node::default();
            node.metadata.labels.insert("topology.kubernetes.io/zone", zone.to_string());
            node.status.conditions.push(NodeCondition { type_: "Ready".into(), status: status.into(), ..NodeCondition::default() });
            Arc::new(node)
        };
        (0..ready).map(|_| node("True")).chain((0..unready).map(|_| node("Unknown"))).collect()
    }

    #[track_caller]
    fn check(nodes: &[Arc<Node>], expected: f64) {
        let mut zones = Zones::new(Rates { normal: 0.1, secondary: 0.01, large: 50, unhealthy: 0.55 });
        zones.survey(nodes);
        assert_eq!(zones.zones["/a"].rate, expected);
    }

    #[test]
    fn rates_depend_on_what_is_left() {
        check(&nodes("a", 3, 1), 0.1);
        check(&nodes("a", 1, 3), 0.0);
        check(&nodes("a", 20, 40), 0.01);
        check(&nodes("a", 0, 1), 0.0);
        check(&[nodes("a", 0, 3), nodes("b", 1, 0)].concat(), 0.1);
    }

    #[test]
    fn one_node_at_a_time() {
        let mut zones = Zones::new(Rates { normal: 0.1, secondary: 0.01, large: 50, unhealthy: 0.55 });
        let nodes = nodes("a", 5, 2);
        zones.survey(&nodes);
        let start = Instant::now();
        let asked: Vec<bool> = [0, 5, 10, 12].iter().map(|at| zones.may_evict(&nodes[0], start + Duration::from_secs(*at))).collect();
        assert_eq!(asked, [true, false, true, false]);
    }
}
