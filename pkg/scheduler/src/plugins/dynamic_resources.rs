//! DynamicResources: devices by claim. Allocation is not there yet; pods with claims are told so and wait.

use std::sync::Arc;

use crate::cycle::Failed;
use crate::events::ClusterEvent;
use crate::framework::{Filter, Plugin, PostFilter, PostFilterOutcome, PreFilter, PreFilterOutcome, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const NAME: &str = "DynamicResources";
pub const REASON: &str = "pod has resource claims, which this scheduler cannot allocate yet";
/// What upstream says when there is nothing for this plugin to do. It is part of the usual message.
pub const NOTHING_TO_DEALLOCATE: &str = "no new claims to deallocate";

#[derive(Debug)]
pub struct DynamicResources;

impl PreFilter for DynamicResources {
    type State = ();

    fn pre_filter(&self, pod: &Arc<PodInfo>, _nodes: &Snapshot) -> PreFilterOutcome<()> {
        match pod.pod.spec.resource_claims.is_empty() {
            true => PreFilterOutcome::Skip,
            false => PreFilterOutcome::Reject(REASON.to_owned()),
        }
    }
}

impl Filter for DynamicResources {
    fn filter(&self, _state: &(), _node: &NodeInfo) -> Verdict {
        Verdict::Fits
    }
}

impl PostFilter for DynamicResources {
    fn post_filter(&self, _failed: &Failed<'_>) -> PostFilterOutcome {
        PostFilterOutcome::Unschedulable(NOTHING_TO_DEALLOCATE.to_owned())
    }
}

impl Plugin for DynamicResources {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        event.is_update_of(pod)
    }
}
