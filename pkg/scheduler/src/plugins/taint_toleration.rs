//! TaintToleration: nodes whose taints the pod does not tolerate are out; those with fewer `PreferNoSchedule` taints are better.

use std::sync::Arc;

use api::core::v1::Toleration;
use component_helpers::taints;

use crate::events::ClusterEvent;
use crate::framework::{Filter, Plugin, PreFilter, PreFilterOutcome, PreScore, Score, Verdict, normalize_by_maximum};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const NAME: &str = "TaintToleration";
pub const REASON: &str = "node(s) had untolerated taint(s)";

const HARD: &[&str] = &["NoSchedule", "NoExecute"];
const SOFT: &str = "PreferNoSchedule";

#[derive(Debug)]
pub struct TaintToleration;

impl PreFilter for TaintToleration {
    type State = Vec<Toleration>;

    fn pre_filter(&self, pod: &Arc<PodInfo>, _nodes: &Snapshot) -> PreFilterOutcome<Vec<Toleration>> {
        PreFilterOutcome::Check(pod.pod.spec.tolerations.to_vec())
    }
}

impl Filter for TaintToleration {
    fn filter(&self, tolerations: &Vec<Toleration>, node: &NodeInfo) -> Verdict {
        match taints::first_untolerated(&node.node.spec.taints, tolerations, HARD) {
            None => Verdict::Fits,
            Some(_) => Verdict::unresolvable(REASON),
        }
    }
}

impl PreScore for TaintToleration {
    /// The tolerations that speak of soft taints.
    type State = Vec<Toleration>;

    fn pre_score(&self, pod: &Arc<PodInfo>, _feasible: &[Arc<NodeInfo>], _nodes: &Snapshot) -> Option<Vec<Toleration>> {
        let soft = |toleration: &&Toleration| toleration.effect.is_empty() || toleration.effect == SOFT;
        Some(pod.pod.spec.tolerations.iter().filter(soft).cloned().collect())
    }
}

impl Score for TaintToleration {
    /// The number of soft taints that the pod does not tolerate.
    fn score(&self, tolerations: &Vec<Toleration>, node: &NodeInfo) -> i64 {
        let soft = node.node.spec.taints.iter().filter(|taint| taint.effect == SOFT);
        soft.filter(|taint| !taints::tolerated(tolerations, taint)).count() as i64
    }

    fn normalize(&self, _state: &Vec<Toleration>, scores: &mut [i64]) {
        normalize_by_maximum(scores, true);
    }
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        if event.is_update_of(pod) {
            return true;
        }
        event.node_changed(|node| node.spec.taints.clone())
            && event.node().is_some_and(|node| taints::first_untolerated(&node.spec.taints, &pod.pod.spec.tolerations, HARD).is_none())
    }
}
