//! NodeName: a pod that names its node goes nowhere else.

use std::sync::Arc;

use crate::events::ClusterEvent;
use crate::framework::{Filter, Plugin, PreFilter, PreFilterOutcome, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const NAME: &str = "NodeName";
pub const REASON: &str = "node(s) didn't match the requested node name";

#[derive(Debug)]
pub struct NodeName;

impl PreFilter for NodeName {
    /// The name asked for.
    type State = String;

    fn pre_filter(&self, pod: &Arc<PodInfo>, _nodes: &Snapshot) -> PreFilterOutcome<String> {
        match pod.pod.spec.node_name.as_str() {
            "" => PreFilterOutcome::Skip,
            name => PreFilterOutcome::Check(name.to_owned()),
        }
    }
}

impl Filter for NodeName {
    fn filter(&self, wanted: &String, node: &NodeInfo) -> Verdict {
        if node.name() == wanted { Verdict::Fits } else { Verdict::unresolvable(REASON) }
    }
}

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, _pod: &PodInfo, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::NodeAdded(_))
    }
}
