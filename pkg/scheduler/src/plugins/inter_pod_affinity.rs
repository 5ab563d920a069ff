//! InterPodAffinity: near some pods, away from others. Upstream: pkg/scheduler/framework/plugins/interpodaffinity.

use std::collections::HashMap;
use std::sync::Arc;

use apimachinery::Map;

use crate::events::ClusterEvent;
use crate::framework::{Filter, MAX_SCORE, Plugin, PreFilter, PreFilterOutcome, PreScore, Score, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::{AffinityTerm, PodInfo, WeightedTerm};
use crate::snapshot::{Objects, Snapshot};

pub const NAME: &str = "InterPodAffinity";
pub const REASON_AFFINITY: &str = "node(s) didn't match pod affinity rules";
pub const REASON_ANTI_AFFINITY: &str = "node(s) didn't match pod anti-affinity rules";
pub const REASON_EXISTING: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

#[derive(Debug)]
pub struct InterPodAffinity {
    /// What a required affinity term of a pod that is already there adds to the score of being near it.
    pub hard_weight: i64,
    /// Do not look for preferences of pods already there when the new pod has none itself.
    pub ignore_preferred_of_existing: bool,
}

impl Default for InterPodAffinity {
    fn default() -> InterPodAffinity {
        InterPodAffinity { hard_weight: 1, ignore_preferred_of_existing: false }
    }
}

/// Counts per topology domain: label key, then value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Domains {
    counts: HashMap<String, HashMap<String, i64>>,
}

impl Domains {
    fn add(&mut self, node: &NodeInfo, key: &str, amount: i64) {
        if let Some(value) = node.label(key) {
            let values = match self.counts.get_mut(key) {
                Some(values) => values,
                None => self.counts.entry(key.to_owned()).or_default(),
            };
            let count = match values.get_mut(value) {
                Some(count) => count,
                None => values.entry(value.to_owned()).or_default(),
            };
            *count += amount;
            if *count == 0 {
                values.remove(value);
            }
        }
    }

    /// Adds the weights, positive or negative, of the terms that match.
    fn weigh(&mut self, node: &NodeInfo, terms: &[WeightedTerm], sign: i64, matches: impl Fn(&AffinityTerm) -> bool) {
        for WeightedTerm { term, weight } in terms {
            if matches(term) {
                self.add(node, &term.topology_key, sign * weight);
            }
        }
    }

    fn get(&self, key: &str, value: &str) -> i64 {
        self.counts.get(key).and_then(|values| values.get(value)).copied().unwrap_or(0)
    }

    fn is_empty(&self) -> bool {
        self.counts.values().all(HashMap::is_empty)
    }

    /// The sum over all domains that the node is in.
    fn sum(&self, node: &NodeInfo) -> i64 {
        self.counts.iter().filter_map(|(key, values)| values.get(node.label(key)?)).sum()
    }
}

/// Who is where, as far as the pod's required terms and those of others about it go.
#[derive(Clone, Debug)]
pub struct State {
    pod: Arc<PodInfo>,
    /// The labels of the pod's namespace.
    namespace_labels: Map<String>,
    /// For the namespaces that namespace selectors speak of.
    objects: Objects,
    /// Pods whose anti-affinity forbids the new pod.
    existing_anti: Domains,
    /// Pods that match all affinity terms.
    affinity: Domains,
    /// Pods that match some anti-affinity term.
    anti: Domains,
}

impl State {
    fn count(&mut self, other: &PodInfo, node: &NodeInfo, amount: i64) {
        for term in &other.required_anti_affinity {
            if term.matches(&self.pod, &self.namespace_labels) {
                self.existing_anti.add(node, &term.topology_key, amount);
            }
        }
        self.count_own(other, node, amount);
    }

    fn count_own(&mut self, other: &PodInfo, node: &NodeInfo, amount: i64) {
        let pod = self.pod.clone();
        if pod.required_affinity.is_empty() && pod.required_anti_affinity.is_empty() {
            return;
        }
        if matches_all(&pod.required_affinity, other, &self.objects) {
            for term in &pod.required_affinity {
                self.affinity.add(node, &term.topology_key, amount);
            }
        }
        for term in &pod.required_anti_affinity {
            if matches(term, other, &self.objects) {
                self.anti.add(node, &term.topology_key, amount);
            }
        }
    }
}

fn matches(term: &AffinityTerm, other: &PodInfo, objects: &Objects) -> bool {
    // The labels of a namespace matter only where a selector asks for them.
    match term.namespace_selector.is_nothing() {
        true => term.matches(other, &Map::nil()),
        false => term.matches(other, &objects.namespace_labels(other.namespace())),
    }
}

fn matches_all(terms: &[AffinityTerm], other: &PodInfo, objects: &Objects) -> bool {
    !terms.is_empty() && terms.iter().all(|term| matches(term, other, objects))
}

impl PreFilter for InterPodAffinity {
    type State = State;

    fn pre_filter(&self, pod: &Arc<PodInfo>, nodes: &Snapshot) -> PreFilterOutcome<State> {
        let mut state = State {
            pod: pod.clone(),
            namespace_labels: nodes.objects.namespace_labels(pod.namespace()),
            objects: nodes.objects.clone(),
            existing_anti: Domains::default(),
            affinity: Domains::default(),
            anti: Domains::default(),
        };
        let own_terms = !pod.required_affinity.is_empty() || !pod.required_anti_affinity.is_empty();
        for node in nodes.nodes() {
            for other in node.pods_with_required_anti_affinity() {
                for term in &other.required_anti_affinity {
                    if term.matches(pod, &state.namespace_labels) {
                        state.existing_anti.add(node, &term.topology_key, 1);
                    }
                }
            }
            if own_terms {
                for other in node.pods() {
                    state.count_own(other, node, 1);
                }
            }
        }
        match !own_terms && state.existing_anti.is_empty() {
            true => PreFilterOutcome::Skip,
            false => PreFilterOutcome::Check(state),
        }
    }

    fn add_pod(&self, state: &mut State, added: &PodInfo, node: &NodeInfo) {
        state.count(added, node, 1);
    }

    fn remove_pod(&self, state: &mut State, removed: &PodInfo, node: &NodeInfo) {
        state.count(removed, node, -1);
    }
}

impl Filter for InterPodAffinity {
    fn filter(&self, state: &State, node: &NodeInfo) -> Verdict {
        if !affinity_holds(state, node) {
            return Verdict::unresolvable(REASON_AFFINITY);
        }
        let in_domain = |domains: &Domains, key: &str| node.label(key).is_some_and(|value| domains.get(key, value) > 0);
        if state.pod.required_anti_affinity.iter().any(|term| in_domain(&state.anti, &term.topology_key)) {
            return Verdict::unschedulable(REASON_ANTI_AFFINITY);
        }
        if state.existing_anti.counts.keys().any(|key| in_domain(&state.existing_anti, key)) {
            return Verdict::unschedulable(REASON_EXISTING);
        }
        Verdict::Fits
    }
}

fn affinity_holds(state: &State, node: &NodeInfo) -> bool {
    let mut found = true;
    for term in &state.pod.required_affinity {
        let Some(value) = node.label(&term.topology_key) else { return false };
        found &= state.affinity.get(&term.topology_key, value) > 0;
    }
    // The first of a group that wants to be together has nobody to be near yet: it must match its own terms.
    found || (state.affinity.is_empty() && matches_all(&state.pod.required_affinity, &state.pod, &state.objects))
}

impl PreScore for InterPodAffinity {
    /// The sum of weights per domain.
    type State = Domains;

    fn pre_score(&self, pod: &Arc<PodInfo>, _feasible: &[Arc<NodeInfo>], nodes: &Snapshot) -> Option<Domains> {
        let own = !pod.preferred_affinity.is_empty() || !pod.preferred_anti_affinity.is_empty();
        if !own && self.ignore_preferred_of_existing {
            return None;
        }
        let labels = nodes.objects.namespace_labels(pod.namespace());
        let mut domains = Domains::default();
        // Whatever it is that one of the two wants of the other counts where the other is.
        for node in nodes.nodes() {
            for other in node.pods_with_affinity() {
                let speaks_of_pod = |term: &AffinityTerm| term.matches(pod, &labels);
                domains.weigh(node, &other.preferred_affinity, 1, speaks_of_pod);
                domains.weigh(node, &other.preferred_anti_affinity, -1, speaks_of_pod);
                if self.hard_weight > 0 {
                    for term in other.required_affinity.iter().filter(|term| speaks_of_pod(term)) {
                        domains.add(node, &term.topology_key, self.hard_weight);
                    }
                }
            }
            if own {
                for other in node.pods() {
                    let speaks_of_other = |term: &AffinityTerm| matches(term, other, &nodes.objects);
                    domains.weigh(node, &pod.preferred_affinity, 1, speaks_of_other);
                    domains.weigh(node, &pod.preferred_anti_affinity, -1, speaks_of_other);
                }
            }
        }
        (!domains.is_empty()).then_some(domains)
    }
}

impl Score for InterPodAffinity {
    fn score(&self, domains: &Domains, node: &NodeInfo) -> i64 {
        domains.sum(node)
    }

    /// Weights may be negative, so the range found is stretched to the range allowed.
    fn normalize(&self, _state: &Domains, scores: &mut [i64]) {
        let lowest = scores.iter().copied().min().unwrap_or(0);
        let highest = scores.iter().copied().max().unwrap_or(0);
        let range = (highest - lowest) as f64;
        for score in scores {
            *score = if range > 0.0 { (MAX_SCORE as f64 * ((*score - lowest) as f64 / range)) as i64 } else { 0 };
        }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::PodUpdated { .. } => event.is_update_of(pod),
            // Who comes may be who the pod wants to be near; who goes may be who is in its way. Namespace selectors are not
            // looked at here: with them any pod may be meant.
            ClusterEvent::AssignedPodAdded(other) => pod.required_affinity.iter().any(|term| may_match(term, other)),
            ClusterEvent::AssignedPodDeleted(other) => {
                pod.required_anti_affinity.iter().any(|term| may_match(term, other))
                    || other.required_anti_affinity.iter().any(|term| may_match(term, pod))
                    || pod.required_affinity.iter().any(|term| may_match(term, other))
            }
            ClusterEvent::AssignedPodUpdated { old, new } => old.labels() != new.labels(),
            ClusterEvent::NamespaceChanged(_) => true,
            _ => event.node_changed(|node| node.metadata.labels.clone()),
        }
    }
}

fn may_match(term: &AffinityTerm, other: &PodInfo) -> bool {
    let namespace = !term.namespace_selector.is_nothing() || term.namespaces.iter().any(|namespace| namespace == other.namespace());
    namespace && term.selector.matches(other.labels())
}
