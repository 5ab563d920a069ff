//! NodeUnschedulable: no new pods on a cordoned node.

use std::sync::Arc;

use api::core::v1::Taint;
use component_helpers::taints;

use crate::events::ClusterEvent;
use crate::framework::{Filter, Plugin, PreFilter, PreFilterOutcome, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const NAME: &str = "NodeUnschedulable";
pub const REASON: &str = "node(s) were unschedulable";

#[derive(Debug)]
pub struct NodeUnschedulable;

impl PreFilter for NodeUnschedulable {
    type State = ();

    fn pre_filter(&self, pod: &Arc<PodInfo>, _nodes: &Snapshot) -> PreFilterOutcome<()> {
        // Who tolerates the taint that a cordoned node gets need not wait for the field either.
        let cordon = Taint { key: "node.kubernetes.io/unschedulable".to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
        match taints::tolerated(&pod.pod.spec.tolerations, &cordon) {
            true => PreFilterOutcome::Skip,
            false => PreFilterOutcome::Check(()),
        }
    }
}

impl Filter for NodeUnschedulable {
    fn filter(&self, _state: &(), node: &NodeInfo) -> Verdict {
        if node.node.spec.unschedulable { Verdict::unresolvable(REASON) } else { Verdict::Fits }
    }
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        event.is_update_of(pod)
            || (event.node_changed(|node| node.spec.unschedulable) && event.node().is_some_and(|node| !node.spec.unschedulable))
    }
}
