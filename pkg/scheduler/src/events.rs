//! What happens in the cluster that may make room for a pod. Upstream: `ClusterEvent` and the queueing hints.

use std::sync::Arc;

use api::core::v1::Node;

use crate::pod_info::PodInfo;

/// A change that pods may be waiting for. Cheap to clone.
#[derive(Clone, Debug)]
pub enum ClusterEvent {
    NodeAdded(Arc<Node>),
    NodeUpdated {
        old: Arc<Node>,
        new: Arc<Node>,
    },
    /// With the node may have gone a domain that pods were to be spread over.
    NodeDeleted(Arc<Node>),
    /// A pod came to a node.
    AssignedPodAdded(Arc<PodInfo>),
    AssignedPodUpdated {
        old: Arc<PodInfo>,
        new: Arc<PodInfo>,
    },
    /// A pod left its node, or what was set aside for one is free again.
    AssignedPodDeleted(Arc<PodInfo>),
    /// The waiting pod itself changed.
    PodUpdated {
        old: Arc<PodInfo>,
        new: Arc<PodInfo>,
    },
    NamespaceChanged(String),
    /// A claim was added or changed: namespace and name.
    ClaimChanged(String, String),
    VolumeChanged,
    /// A Service or a controller whose selector default spreading reads.
    SelectorChanged(String),
    /// Pods that waited too long are tried again whatever happened.
    TimedOut,
}

impl ClusterEvent {
    /// As upstream's metric labels name it.
    pub fn label(&self) -> &'static str {
        match self {
            ClusterEvent::NodeAdded(_) => "NodeAdd",
            ClusterEvent::NodeUpdated { .. } => "NodeUpdate",
            ClusterEvent::NodeDeleted(_) => "NodeDelete",
            ClusterEvent::AssignedPodAdded(_) => "AssignedPodAdd",
            ClusterEvent::AssignedPodUpdated { .. } => "AssignedPodUpdate",
            ClusterEvent::AssignedPodDeleted(_) => "AssignedPodDelete",
            ClusterEvent::PodUpdated { .. } => "PodUpdate",
            ClusterEvent::NamespaceChanged(_) => "NamespaceUpdate",
            ClusterEvent::ClaimChanged(..) => "PersistentVolumeClaimUpdate",
            ClusterEvent::VolumeChanged => "PersistentVolumeUpdate",
            ClusterEvent::SelectorChanged(_) => "ServiceUpdate",
            ClusterEvent::TimedOut => "UnschedulableTimeout",
        }
    }

    /// The node that is new or changed.
    pub fn node(&self) -> Option<&Node> {
        match self {
            ClusterEvent::NodeAdded(node) | ClusterEvent::NodeUpdated { new: node, .. } => Some(node),
            _ => None,
        }
    }

    /// True if a node came, or one changed in what `part` shows of it.
    pub fn node_changed<T: PartialEq>(&self, part: impl Fn(&Node) -> T) -> bool {
        match self {
            ClusterEvent::NodeAdded(_) => true,
            ClusterEvent::NodeUpdated { old, new } => part(old) != part(new),
            _ => false,
        }
    }

    /// True if the pod that waits is the one that changed.
    pub fn is_update_of(&self, pod: &PodInfo) -> bool {
        matches!(self, ClusterEvent::PodUpdated { new, .. } if new.uid() == pod.uid())
    }
}
