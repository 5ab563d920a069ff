//! NodePorts: two pods cannot have the same port of a node.

use std::sync::Arc;

use component_helpers::node_ports::HostPort;

use crate::events::ClusterEvent;
use crate::framework::{Filter, Plugin, PreFilter, PreFilterOutcome, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const NAME: &str = "NodePorts";
pub const REASON: &str = "node(s) didn't have free ports for the requested pod ports";

#[derive(Debug)]
pub struct NodePorts;

fn clash(wanted: &[HostPort], taken: &[HostPort]) -> bool {
    wanted.iter().any(|port| taken.iter().any(|other| port.clashes_with(other)))
}

impl PreFilter for NodePorts {
    type State = Vec<HostPort>;

    fn pre_filter(&self, pod: &Arc<PodInfo>, _nodes: &Snapshot) -> PreFilterOutcome<Self::State> {
        match pod.host_ports.is_empty() {
            true => PreFilterOutcome::Skip,
            false => PreFilterOutcome::Check(pod.host_ports.clone()),
        }
    }
}

impl Filter for NodePorts {
    fn filter(&self, wanted: &Self::State, node: &NodeInfo) -> Verdict {
        if clash(wanted, node.ports_in_use()) { Verdict::unschedulable(REASON) } else { Verdict::Fits }
    }
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::AssignedPodDeleted(gone) => clash(&pod.host_ports, &gone.host_ports),
            _ => false,
        }
    }
}
