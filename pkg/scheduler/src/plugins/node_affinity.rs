//! NodeAffinity: the pod's node selector and node affinity, and what the administrator adds to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::core::v1::{NodeAffinity as Affinity, NodeSelectorTerm, Pod, PreferredSchedulingTerm};
use component_helpers::node_affinity;

use crate::events::ClusterEvent;
use crate::framework::{Filter, Plugin, PreFilter, PreFilterOutcome, PreScore, Score, Verdict, normalize_by_maximum};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const NAME: &str = "NodeAffinity";
pub const REASON: &str = "node(s) didn't match Pod's node affinity/selector";
pub const REASON_ENFORCED: &str = "node(s) didn't match scheduler-enforced node affinity";
pub const REASON_CONFLICT: &str = "pod affinity terms conflict";

#[derive(Debug, Default)]
pub struct NodeAffinity {
    /// Demanded of, and preferred for, every pod of the profile (`addedAffinity`).
    pub added: Option<Affinity>,
}

impl NodeAffinity {
    fn enforced_matches(&self, node: &api::core::v1::Node) -> bool {
        let required = self.added.as_ref().and_then(|added| added.required_during_scheduling_ignored_during_execution.as_ref());
        required.is_none_or(|required| node_affinity::selector_matches(required, node))
    }
}

fn of_pod(pod: &Pod) -> Option<&Affinity> {
    pod.spec.affinity.as_ref()?.node_affinity.as_deref()
}

/// The names of the only nodes that the terms allow, if every term names some.
fn named_nodes(terms: &[NodeSelectorTerm]) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for term in terms {
        let mut named: Option<BTreeSet<String>> = None;
        for field in term.match_fields.iter().filter(|field| field.key == "metadata.name" && field.operator == "In") {
            let values: BTreeSet<String> = field.values.iter().cloned().collect();
            named = Some(match named {
                Some(before) => before.intersection(&values).cloned().collect(),
                None => values,
            });
        }
        all.extend(named?);
    }
    Some(all)
}

impl PreFilter for NodeAffinity {
    type State = Arc<PodInfo>;

    fn pre_filter(&self, pod: &Arc<PodInfo>, _nodes: &Snapshot) -> PreFilterOutcome<Arc<PodInfo>> {
        let required = of_pod(&pod.pod).and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
        if pod.pod.spec.node_selector.is_empty() && required.is_none() && self.added.is_none() {
            return PreFilterOutcome::Skip;
        }
        let terms = required.map(|required| &*required.node_selector_terms).unwrap_or_default();
        match named_nodes(terms).filter(|_| !terms.is_empty()) {
            Some(names) if names.is_empty() => PreFilterOutcome::Reject(REASON_CONFLICT.to_owned()),
            Some(names) => PreFilterOutcome::CheckOnly(pod.clone(), names),
            None => PreFilterOutcome::Check(pod.clone()),
        }
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, pod: &Arc<PodInfo>, node: &NodeInfo) -> Verdict {
        if !self.enforced_matches(&node.node) {
            Verdict::unresolvable(REASON_ENFORCED)
        } else if !node_affinity::pod_fits(&pod.pod, &node.node) {
            Verdict::unresolvable(REASON)
        } else {
            Verdict::Fits
        }
    }
}

impl PreScore for NodeAffinity {
    /// Everything preferred, the administrator's terms first.
    type State = Vec<PreferredSchedulingTerm>;

    fn pre_score(&self, pod: &Arc<PodInfo>, _feasible: &[Arc<NodeInfo>], _nodes: &Snapshot) -> Option<Self::State> {
        let affinities = self.added.iter().chain(of_pod(&pod.pod));
        let preferred: Vec<PreferredSchedulingTerm> =
            affinities.flat_map(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.iter().cloned()).collect();
        (!preferred.is_empty()).then_some(preferred)
    }
}

impl Score for NodeAffinity {
    /// The sum of the weights of the terms that match. A preferred term without requirements matches nothing.
    fn score(&self, preferred: &Self::State, node: &NodeInfo) -> i64 {
        let matching = preferred.iter().filter(|term| term.weight != 0 && node_affinity::term_matches(&term.preference, &node.node));
        matching.map(|term| i64::from(term.weight)).sum()
    }

    fn normalize(&self, _state: &Self::State, scores: &mut [i64]) {
        normalize_by_maximum(scores, false);
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        if event.is_update_of(pod) {
            return true;
        }
        event.node_changed(|node| node.metadata.labels.clone())
            && event.node().is_some_and(|node| self.enforced_matches(node) && node_affinity::pod_fits(&pod.pod, node))
    }
}
