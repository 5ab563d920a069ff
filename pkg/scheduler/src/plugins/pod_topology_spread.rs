//! PodTopologySpread: pods that belong together are spread over domains. Upstream: pkg/scheduler/framework/plugins/podtopologyspread.

use std::collections::HashMap;
use std::sync::Arc;

use api::core::v1::{Pod, TopologySpreadConstraint};
use apimachinery::Map;
use apimachinery::labels::{Operator, Selector};
use component_helpers::{node_affinity, owners, taints};

use crate::events::ClusterEvent;
use crate::framework::{Filter, MAX_SCORE, Plugin, PreFilter, PreFilterOutcome, PreScore, Score, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::{PodInfo, selector_of, with_label_keys};
use crate::snapshot::{Objects, Snapshot};

pub const NAME: &str = "PodTopologySpread";
pub const REASON: &str = "node(s) didn't match pod topology spread constraints";
pub const REASON_LABEL: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The raw score of a node that lacks a label which all constraints ask for.
const IGNORED: i64 = -1;

#[derive(Debug)]
pub struct PodTopologySpread {
    /// For pods that have no constraints of their own but belong to a Service or controller.
    defaults: Vec<TopologySpreadConstraint>,
    /// The defaults are the built-in ones: nodes without a zone are then no worse.
    built_in: bool,
}

impl Default for PodTopologySpread {
    /// With the built-in defaults: a little over zones, more over nodes.
    fn default() -> PodTopologySpread {
        let soft = |key: &str, max_skew| TopologySpreadConstraint {
            topology_key: key.to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            max_skew,
            ..TopologySpreadConstraint::default()
        };
        PodTopologySpread { defaults: vec![soft(HOSTNAME, 3), soft(ZONE, 5)], built_in: true }
    }
}

/// A constraint with its selector parsed.
#[derive(Clone, Debug)]
struct Constraint {
    max_skew: i64,
    topology_key: String,
    selector: Selector,
    min_domains: i64,
    honour_affinity: bool,
    honour_taints: bool,
}

impl Constraint {
    /// True if the node's pods count, and the node is a place to go, as far as the constraint is concerned.
    fn includes(&self, pod: &Pod, node: &NodeInfo) -> bool {
        (!self.honour_affinity || node_affinity::pod_fits(pod, &node.node))
            && (!self.honour_taints
                || taints::first_untolerated(&node.node.spec.taints, &pod.spec.tolerations, &["NoSchedule", "NoExecute"]).is_none())
    }

    fn count(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        node.pods().iter().filter(|other| self.counts(pod, other)).count() as i64
    }

    fn counts(&self, pod: &PodInfo, other: &PodInfo) -> bool {
        !self.selector.is_everything()
            && other.namespace() == pod.namespace()
            && !other.is_being_deleted()
            && self.selector.matches(other.labels())
    }
}

impl PodTopologySpread {
    /// With an administrator's own defaults, which may be none.
    pub fn with_defaults(defaults: Vec<TopologySpreadConstraint>) -> PodTopologySpread {
        PodTopologySpread { defaults, built_in: false }
    }

    /// The constraints of one kind that hold for the pod: its own, or the defaults.
    fn constraints(&self, pod: &PodInfo, when_unsatisfiable: &str, objects: &Objects) -> Vec<Constraint> {
        let own = &pod.pod.spec.topology_spread_constraints;
        let of_kind = |constraints: &[TopologySpreadConstraint], default: Option<&Selector>| -> Vec<Constraint> {
            let chosen = constraints.iter().filter(|constraint| constraint.when_unsatisfiable == when_unsatisfiable);
            let parse = |constraint: &TopologySpreadConstraint| {
                let selector = default.cloned().unwrap_or_else(|| selector_of(constraint.label_selector.as_deref()));
                Constraint {
                    max_skew: i64::from(constraint.max_skew),
                    topology_key: constraint.topology_key.clone(),
                    selector: with_label_keys(selector, &constraint.match_label_keys, pod.labels(), Operator::In),
                    min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
                    honour_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
                    honour_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
                }
            };
            chosen.map(parse).collect()
        };
        if !own.is_empty() {
            return of_kind(own, None);
        }
        if !self.defaults.iter().any(|constraint| constraint.when_unsatisfiable == when_unsatisfiable) {
            return Vec::new();
        }
        let selector = default_selector(&pod.pod, objects);
        match selector.is_everything() {
            true => Vec::new(),
            false => of_kind(&self.defaults, Some(&selector)),
        }
    }
}

/// What the pod's Services and its controller select; everything if it belongs to none.
fn default_selector(pod: &Pod, objects: &Objects) -> Selector {
    let (namespace, labels) = (&pod.metadata.namespace, &pod.metadata.labels);
    let mut set: Map<String> = Map::empty();
    let mut merge = |selector: &Map<String>| {
        for (key, value) in selector {
            set.insert(key, value.clone());
        }
    };
    for service in objects.services.in_namespace(namespace) {
        let selector = &service.spec.selector;
        if !selector.is_empty() && selector.iter().all(|(key, value)| labels.get(key) == Some(value)) {
            merge(selector);
        }
    }
    let mut requirements = Vec::new();
    if let Some(owner) = owners::controller_of(&pod.metadata) {
        match (owner.kind.as_str(), owner.api_version.as_str()) {
            ("ReplicationController", "v1") => {
                if let Some(controller) = objects.replication_controllers.get(namespace, &owner.name) {
                    merge(&controller.spec.selector);
                }
            }
            ("ReplicaSet", "apps/v1") => {
                if let Some(set) = objects.replica_sets.get(namespace, &owner.name) {
                    requirements.extend_from_slice(selector_of(set.spec.selector.as_deref()).requirements());
                }
            }
            ("StatefulSet", "apps/v1") => {
                if let Some(set) = objects.stateful_sets.get(namespace, &owner.name) {
                    requirements.extend_from_slice(selector_of(set.spec.selector.as_deref()).requirements());
                }
            }
            _ => {}
        }
    }
    let from_set = Selector::from_set(set.iter().map(|(key, value)| (key, value.as_str())));
    requirements.extend_from_slice(from_set.requirements());
    Selector::new(requirements)
}

fn has_all_labels(node: &NodeInfo, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|constraint| node.label(&constraint.topology_key).is_some())
}

/// The hard constraints, and how many matching pods each domain has.
#[derive(Clone, Debug)]
pub struct Hard {
    pod: Arc<PodInfo>,
    constraints: Vec<Constraint>,
    /// Per constraint: matching pods by domain.
    domains: Vec<HashMap<String, i64>>,
}

impl Hard {
    fn change(&mut self, other: &PodInfo, node: &NodeInfo, amount: i64) {
        if !has_all_labels(node, &self.constraints) {
            return;
        }
        for (constraint, domains) in self.constraints.iter().zip(&mut self.domains) {
            if constraint.counts(&self.pod, other) && constraint.includes(&self.pod.pod, node) {
                let value = node.label(&constraint.topology_key).unwrap_or_default();
                *domains.entry(value.to_owned()).or_default() += amount;
            }
        }
    }
}

impl PreFilter for PodTopologySpread {
    type State = Hard;

    fn pre_filter(&self, pod: &Arc<PodInfo>, nodes: &Snapshot) -> PreFilterOutcome<Hard> {
        let constraints = self.constraints(pod, "DoNotSchedule", &nodes.objects);
        if constraints.is_empty() {
            return PreFilterOutcome::Skip;
        }
        let mut domains = vec![HashMap::new(); constraints.len()];
        for node in nodes.nodes().iter().filter(|node| has_all_labels(node, &constraints)) {
            for (constraint, domains) in constraints.iter().zip(&mut domains) {
                if constraint.includes(&pod.pod, node) {
                    let value = node.label(&constraint.topology_key).unwrap_or_default();
                    *domains.entry(value.to_owned()).or_default() += constraint.count(pod, node);
                }
            }
        }
        PreFilterOutcome::Check(Hard { pod: pod.clone(), constraints, domains })
    }

    fn add_pod(&self, state: &mut Hard, added: &PodInfo, node: &NodeInfo) {
        state.change(added, node, 1);
    }

    fn remove_pod(&self, state: &mut Hard, removed: &PodInfo, node: &NodeInfo) {
        state.change(removed, node, -1);
    }
}

impl Filter for PodTopologySpread {
    fn filter(&self, state: &Hard, node: &NodeInfo) -> Verdict {
        for (constraint, domains) in state.constraints.iter().zip(&state.domains) {
            let Some(value) = node.label(&constraint.topology_key) else { return Verdict::unresolvable(REASON_LABEL) };
            // With fewer domains than asked for, the missing ones count as empty.
            let emptiest = match (domains.len() as i64) < constraint.min_domains {
                true => Some(0),
                false => domains.values().copied().min(),
            };
            let itself = i64::from(constraint.selector.matches(state.pod.labels()));
            let here = domains.get(value).copied().unwrap_or(0);
            if emptiest.is_some_and(|emptiest| here + itself - emptiest > constraint.max_skew) {
                return Verdict::unschedulable(REASON);
            }
        }
        Verdict::Fits
    }
}

/// The soft constraints, with the weight of each, and how many matching pods each domain with a feasible node has.
#[derive(Debug)]
pub struct Soft {
    pod: Arc<PodInfo>,
    constraints: Vec<Constraint>,
    weights: Vec<f64>,
    domains: Vec<HashMap<String, i64>>,
    /// A node without all the labels gets the worst score.
    all_labels: bool,
}

impl PreScore for PodTopologySpread {
    type State = Soft;

    fn pre_score(&self, pod: &Arc<PodInfo>, feasible: &[Arc<NodeInfo>], nodes: &Snapshot) -> Option<Soft> {
        let constraints = self.constraints(pod, "ScheduleAnyway", &nodes.objects);
        if constraints.is_empty() {
            return None;
        }
        let all_labels = !pod.pod.spec.topology_spread_constraints.is_empty() || !self.built_in;
        let mut domains: Vec<HashMap<String, i64>> = vec![HashMap::new(); constraints.len()];
        let mut counted = 0;
        for node in feasible.iter().filter(|node| !all_labels || has_all_labels(node, &constraints)) {
            counted += 1;
            for (constraint, domains) in constraints.iter().zip(&mut domains) {
                // Each node is its own domain there: counted when it is scored.
                if constraint.topology_key != HOSTNAME {
                    domains.entry(node.label(&constraint.topology_key).unwrap_or_default().to_owned()).or_insert(0);
                }
            }
        }
        // The more domains, the smaller the differences between them, and the more they should count.
        let size = |(constraint, domains): (&Constraint, &HashMap<String, i64>)| match constraint.topology_key.as_str() {
            HOSTNAME => counted,
            _ => domains.len(),
        };
        let weights = constraints.iter().zip(&domains).map(size).map(|size| ((size + 2) as f64).ln()).collect();
        for node in nodes.nodes().iter().filter(|node| !all_labels || has_all_labels(node, &constraints)) {
            for (constraint, domains) in constraints.iter().zip(&mut domains) {
                if let Some(count) = domains.get_mut(node.label(&constraint.topology_key).unwrap_or_default())
                    && constraint.includes(&pod.pod, node)
                {
                    *count += constraint.count(pod, node);
                }
            }
        }
        Some(Soft { pod: pod.clone(), constraints, weights, domains, all_labels })
    }
}

impl Score for PodTopologySpread {
    /// The weighted number of matching pods around: the lower the better.
    fn score(&self, state: &Soft, node: &NodeInfo) -> i64 {
        if state.all_labels && !has_all_labels(node, &state.constraints) {
            return IGNORED;
        }
        let mut sum = 0.0;
        for ((constraint, weight), domains) in state.constraints.iter().zip(&state.weights).zip(&state.domains) {
            let Some(value) = node.label(&constraint.topology_key) else { continue };
            let count = match constraint.topology_key.as_str() {
                HOSTNAME => constraint.count(&state.pod, node),
                _ => domains.get(value).copied().unwrap_or(0),
            };
            // A large allowed skew makes small differences between domains matter less.
            sum += count as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        sum.round() as i64
    }

    fn normalize(&self, _state: &Soft, scores: &mut [i64]) {
        let counted = || scores.iter().copied().filter(|score| *score != IGNORED);
        let lowest = counted().min().unwrap_or(0);
        let highest = counted().max().unwrap_or(0);
        for score in scores.iter_mut() {
            *score = match *score {
                IGNORED => 0,
                _ if highest == 0 => MAX_SCORE,
                raw => MAX_SCORE * (highest + lowest - raw) / highest,
            };
        }
    }
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::PodUpdated { .. } => event.is_update_of(pod),
            ClusterEvent::NodeDeleted(_) => true,
            ClusterEvent::AssignedPodAdded(other) | ClusterEvent::AssignedPodDeleted(other) => other.namespace() == pod.namespace(),
            ClusterEvent::AssignedPodUpdated { old, new } => {
                new.namespace() == pod.namespace() && (old.labels() != new.labels() || old.is_being_deleted() != new.is_being_deleted())
            }
            _ => event.node_changed(|node| (node.metadata.labels.clone(), node.spec.taints.clone())),
        }
    }
}
