//! VolumeRestrictions, VolumeBinding and VolumeZone, as far as they concern claims that are bound already.
//!
//! A pod with a claim that is not bound waits: binding claims together with pods is not there yet.
//! Upstream: pkg/scheduler/framework/plugins/volumerestrictions, volumebinding, volumezone.

use std::sync::Arc;

use api::core::v1::{NodeSelector, PersistentVolumeClaim};
use component_helpers::{node_affinity, owners};

use crate::events::ClusterEvent;
use crate::framework::{Filter, Plugin, PreFilter, PreFilterOutcome, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::{ClaimName, PodInfo};
use crate::snapshot::{Objects, Snapshot};

pub const RESTRICTIONS: &str = "VolumeRestrictions";
pub const BINDING: &str = "VolumeBinding";
pub const ZONE: &str = "VolumeZone";

pub const REASON_ONE_POD: &str = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
pub const REASON_AFFINITY: &str = "node(s) didn't match PersistentVolume's node affinity";
pub const REASON_UNBOUND: &str = "pod has unbound immediate PersistentVolumeClaims";
pub const REASON_ZONE: &str = "node(s) had no available volume zone";

const ZONE_LABELS: &[&str] = &[
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];

/// The claim of one of the pod's volumes; what is wrong with it, if it cannot be used.
fn claim_of<'a>(pod: &PodInfo, name: &ClaimName, objects: &'a Objects) -> Result<&'a Arc<PersistentVolumeClaim>, String> {
    let Some(claim) = objects.claims.get(pod.namespace(), &name.name) else {
        return Err(match name.ephemeral {
            true => format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {:?}", name.name),
            false => format!("persistentvolumeclaim {:?} not found", name.name),
        });
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(format!("persistentvolumeclaim {:?} is being deleted", name.name));
    }
    if name.ephemeral && !owners::is_controlled_by(&claim.metadata, pod.uid()) {
        return Err(format!(
            "PVC {}/{} was not created for pod {}/{} (pod is not owner)",
            pod.namespace(),
            name.name,
            pod.namespace(),
            pod.pod.metadata.name
        ));
    }
    Ok(claim)
}

/// VolumeRestrictions: a ReadWriteOncePod claim is for one pod at a time.
#[derive(Debug)]
pub struct VolumeRestrictions;

/// Whether pods that use the same exclusive claims are anywhere, and what to do about it.
#[derive(Clone, Debug)]
pub struct Exclusive {
    namespace: String,
    claims: Vec<String>,
    /// Uses of the claims by other pods.
    uses: i64,
}

impl Exclusive {
    fn uses_by(&self, other: &PodInfo) -> i64 {
        if other.namespace() != self.namespace {
            return 0;
        }
        other.claim_names().filter(|claim| self.claims.contains(&claim.name)).count() as i64
    }
}

impl PreFilter for VolumeRestrictions {
    type State = Exclusive;

    fn pre_filter(&self, pod: &Arc<PodInfo>, nodes: &Snapshot) -> PreFilterOutcome<Exclusive> {
        let exclusive = |claim: &PersistentVolumeClaim| claim.spec.access_modes.iter().any(|mode| mode == "ReadWriteOncePod");
        let mut claims = Vec::new();
        for name in pod.claim_names() {
            match nodes.objects.claims.get(pod.namespace(), &name.name) {
                Some(claim) if exclusive(claim) => claims.push(name.name),
                _ => {}
            }
        }
        if claims.is_empty() {
            return PreFilterOutcome::Skip;
        }
        let mut state = Exclusive { namespace: pod.namespace().to_owned(), claims, uses: 0 };
        state.uses = nodes.nodes().iter().flat_map(|node| node.pods()).map(|other| state.uses_by(other)).sum();
        PreFilterOutcome::Check(state)
    }

    fn add_pod(&self, state: &mut Exclusive, added: &PodInfo, _node: &NodeInfo) {
        state.uses += state.uses_by(added);
    }

    fn remove_pod(&self, state: &mut Exclusive, removed: &PodInfo, _node: &NodeInfo) {
        state.uses -= state.uses_by(removed);
    }
}

impl Filter for VolumeRestrictions {
    fn filter(&self, state: &Exclusive, _node: &NodeInfo) -> Verdict {
        if state.uses > 0 { Verdict::unschedulable(REASON_ONE_POD) } else { Verdict::Fits }
    }
}

impl Plugin for VolumeRestrictions {
    fn name(&self) -> &'static str {
        RESTRICTIONS
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::AssignedPodDeleted(other) => {
                other.namespace() == pod.namespace()
                    && other.claim_names().any(|theirs| pod.claim_names().any(|ours| ours.name == theirs.name))
            }
            ClusterEvent::ClaimChanged(namespace, _) => namespace == pod.namespace(),
            _ => event.is_update_of(pod),
        }
    }
}

/// VolumeBinding: the nodes from which the pod's bound volumes can be reached.
#[derive(Debug)]
pub struct VolumeBinding;

impl PreFilter for VolumeBinding {
    /// What the volumes ask of the node.
    type State = Arc<Vec<NodeSelector>>;

    fn pre_filter(&self, pod: &Arc<PodInfo>, nodes: &Snapshot) -> PreFilterOutcome<Self::State> {
        let mut selectors = Vec::new();
        let mut any = false;
        for name in pod.claim_names() {
            any = true;
            let claim = match claim_of(pod, &name, &nodes.objects) {
                Ok(claim) => claim,
                Err(reason) => return PreFilterOutcome::Reject(reason),
            };
            if claim.spec.volume_name.is_empty() || !claim.metadata.annotations.contains_key("pv.kubernetes.io/bind-completed") {
                return PreFilterOutcome::Reject(REASON_UNBOUND.to_owned());
            }
            let Some(volume) = nodes.objects.volumes.get("", &claim.spec.volume_name) else {
                return PreFilterOutcome::Reject(format!("persistentvolume {:?} not found", claim.spec.volume_name));
            };
            selectors.extend(volume.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_deref().cloned()));
        }
        if any { PreFilterOutcome::Check(Arc::new(selectors)) } else { PreFilterOutcome::Skip }
    }
}

impl Filter for VolumeBinding {
    fn filter(&self, selectors: &Self::State, node: &NodeInfo) -> Verdict {
        match selectors.iter().all(|selector| node_affinity::selector_matches(selector, &node.node)) {
            true => Verdict::Fits,
            false => Verdict::unresolvable(REASON_AFFINITY),
        }
    }
}

impl Plugin for VolumeBinding {
    fn name(&self) -> &'static str {
        BINDING
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::ClaimChanged(namespace, name) => {
                namespace == pod.namespace() && pod.claim_names().any(|claim| claim.name == *name)
            }
            ClusterEvent::VolumeChanged => true,
            _ => event.node_changed(|node| node.metadata.labels.clone()),
        }
    }
}

/// VolumeZone: volumes that carry zone labels want a node of that zone.
#[derive(Debug)]
pub struct VolumeZone;

impl PreFilter for VolumeZone {
    /// A label and the values of it that will do.
    type State = Arc<Vec<(String, Vec<String>)>>;

    fn pre_filter(&self, pod: &Arc<PodInfo>, nodes: &Snapshot) -> PreFilterOutcome<Self::State> {
        let mut wanted = Vec::new();
        for name in pod.claim_names() {
            // What is wrong with a claim is VolumeBinding's to say.
            let claim = nodes.objects.claims.get(pod.namespace(), &name.name);
            let Some(volume) = claim.and_then(|claim| nodes.objects.volumes.get("", &claim.spec.volume_name)) else { continue };
            for key in ZONE_LABELS {
                if let Some(values) = volume.metadata.labels.get(key) {
                    wanted.push(((*key).to_owned(), values.split("__").map(str::to_owned).collect()));
                }
            }
        }
        if wanted.is_empty() { PreFilterOutcome::Skip } else { PreFilterOutcome::Check(Arc::new(wanted)) }
    }
}

impl Filter for VolumeZone {
    fn filter(&self, wanted: &Self::State, node: &NodeInfo) -> Verdict {
        // A cluster without zones has single nodes without these labels: any volume can be reached there.
        if !ZONE_LABELS.iter().any(|key| node.label(key).is_some()) {
            return Verdict::Fits;
        }
        let in_zone = |(key, values): &(String, Vec<String>)| {
            let beta = key.replace("topology.kubernetes.io", "failure-domain.beta.kubernetes.io");
            let value = node.label(key).or_else(|| node.label(&beta));
            value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
        };
        if wanted.iter().all(in_zone) { Verdict::Fits } else { Verdict::unresolvable(REASON_ZONE) }
    }
}

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        ZONE
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            ClusterEvent::ClaimChanged(namespace, _) => namespace == pod.namespace(),
            ClusterEvent::VolumeChanged => true,
            _ => event.node_changed(|node| node.metadata.labels.clone()),
        }
    }
}
