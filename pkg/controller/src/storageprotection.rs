//! persistentvolumeclaim-protection-controller and persistentvolume-protection-controller: keep claims that pods use, and
//! volumes that are bound, from vanishing when they are deleted.
//!
//! Read Pods, PersistentVolumeClaims and PersistentVolumes; add and remove their finalizers. Upstream:
//! pkg/controller/volume/pvcprotection, pkg/controller/volume/pvprotection.

use std::sync::Arc;

use api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use apimachinery::Resource;
use apimachinery::meta::v1::ObjectMeta;
use client::{Api, ListParams};
use component_base::tasks::Tasks;
use component_helpers::pod;
use informer::{Event, ObjectKey, Reconcile, Requeue, Store, WorkQueue};

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const CLAIMS: Registration = Registration {
    name: "persistentvolumeclaim-protection-controller",
    alias: Some("pvc-protection"),
    default_on: true,
    start: start_claims,
};
pub const VOLUMES: Registration =
    Registration { name: "persistentvolume-protection-controller", alias: Some("pv-protection"), default_on: true, start: start_volumes };

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// What becomes of the finalizer.
#[derive(Debug, PartialEq)]
pub enum Action {
    Nothing,
    Add,
    /// The object was deleted and nobody uses it.
    Remove,
}

/// Decides about one object.
pub fn plan(metadata: &ObjectMeta, finalizer: &str, in_use: bool) -> Action {
    let has = metadata.finalizers.iter().any(|name| name == finalizer);
    match (metadata.deletion_timestamp.is_some(), has) {
        (true, true) if !in_use => Action::Remove,
        (false, false) => Action::Add,
        _ => Action::Nothing,
    }
}

/// The names of the claims that a pod mounts, those made for its ephemeral volumes included.
fn claims_of(pod: &Pod) -> Vec<String> {
    let claim = |volume: &api::core::v1::Volume| {
        let source = &volume.volume_source;
        let named = source.persistent_volume_claim.as_ref().map(|claim| claim.claim_name.clone());
        named.or_else(|| source.ephemeral.as_ref().map(|_| format!("{}-{}", pod.metadata.name, volume.name)))
    };
    pod.spec.volumes.iter().filter_map(claim).collect()
}

/// Whether the pod may have the claim mounted: it has a node and has not come to its end.
fn uses(pod: &Pod, claim: &str) -> bool {
    !pod.spec.node_name.is_empty() && !pod::is_terminal(pod) && claims_of(pod).iter().any(|name| name == claim)
}

fn start_claims(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let claims = sources.of::<PersistentVolumeClaim>();
    let pods = sources.of::<Pod>();
    let queue = WorkQueue::new("pvcprotection");
    claims.enqueue(&queue);
    let released = queue.clone();
    pods.on_event(move |event| {
        if matches!(event, Event::Deleted(_)) || pod::is_terminal(event.object()) {
            let pod = event.object();
            for claim in claims_of(pod) {
                released.add(ObjectKey::new(&pod.metadata.namespace, &claim));
            }
        }
    });
    let client = context.client("pvc-protection-controller")?;
    let reconciler = Claims { claims: claims.store(), pods: pods.store(), api: Api::all(&client), pod_api: Api::all(&client) };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 1);
    Ok(Started::Running)
}

fn start_volumes(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let volumes = sources.of::<PersistentVolume>();
    let queue = WorkQueue::new("pvprotection");
    volumes.enqueue(&queue);
    let client = context.client("pv-protection-controller")?;
    let reconciler = Volumes { volumes: volumes.store(), api: Api::all(&client) };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 1);
    Ok(Started::Running)
}

async fn carry_out<K: Resource>(api: &Api<K>, object: &K, finalizer: &str, action: Action) -> Result<Requeue, WriteError> {
    let mut next = object.clone();
    let finalizers = &mut next.metadata_mut().finalizers;
    match action {
        Action::Nothing => return Ok(Requeue::OnChange),
        Action::Add => finalizers.push(finalizer.to_string()),
        Action::Remove => finalizers.retain(|name| name != finalizer),
    }
    let metadata = object.metadata();
    match api.within(&metadata.namespace).update(&next).await {
        Err(err) if !err.is_not_found() => Err(WriteError::new("update", format!("{} {:?}", K::PLURAL, metadata.name), err)),
        _ => Ok(Requeue::OnChange),
    }
}

struct Claims {
    claims: Arc<Store<PersistentVolumeClaim>>,
    pods: Arc<Store<Pod>>,
    api: Api<PersistentVolumeClaim>,
    pod_api: Api<Pod>,
}

impl Reconcile for Claims {
    const NAME: &'static str = "persistentvolumeclaim-protection-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(claim) = self.claims.get(key) else { return Ok(Requeue::OnChange) };
        let in_use = |pods: &[Arc<Pod>]| pods.iter().any(|pod| uses(pod, key.name()));
        let mut action = plan(&claim.metadata, CLAIM_FINALIZER, in_use(&self.pods.in_namespace(key.namespace())));
        if action == Action::Remove {
            // A pod that the cache does not show yet may have been bound to a node already.
            let fresh = self.pod_api.within(key.namespace()).list_all(&ListParams::default()).await;
            let fresh = fresh.map_err(|err| WriteError::new("list", format!("pods of {:?}", key.namespace()), err))?;
            if fresh.iter().any(|pod| uses(pod, key.name())) {
                action = Action::Nothing;
            }
        }
        carry_out(&self.api, claim.as_ref(), CLAIM_FINALIZER, action).await
    }
}

struct Volumes {
    volumes: Arc<Store<PersistentVolume>>,
    api: Api<PersistentVolume>,
}

impl Reconcile for Volumes {
    const NAME: &'static str = "persistentvolume-protection-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(volume) = self.volumes.get(key) else { return Ok(Requeue::OnChange) };
        let action = plan(&volume.metadata, VOLUME_FINALIZER, volume.status.phase == "Bound");
        carry_out(&self.api, volume.as_ref(), VOLUME_FINALIZER, action).await
    }
}

#[cfg(test)]
mod tests {
    use api::core::v1::{PersistentVolumeClaimVolumeSource, Volume};
    use apimachinery::Time;

    use super::*;

    #[test]
    fn a_finalizer_goes_with_the_last_user() {
        for (deleted, has, in_use, expected) in [
            (false, false, false, Action::Add),
            (false, true, false, Action::Nothing),
            (true, true, true, Action::Nothing),
            (true, true, false, Action::Remove),
            (true, false, false, Action::Nothing),
        ] {
            let mut metadata = ObjectMeta { deletion_timestamp: deleted.then_some(Time::from_unix(1)), ..ObjectMeta::default() };
            if has {
                metadata.finalizers.push(CLAIM_FINALIZER.to_string());
            }
            assert_eq!(plan(&metadata, CLAIM_FINALIZER, in_use), expected);
        }
    }

    #[test]
    fn only_running_pods_use_claims() {
        let mut pod = Pod::default();
        let mut volume = Volume::default();
        volume.volume_source.persistent_volume_claim =
            Some(Box::new(PersistentVolumeClaimVolumeSource { claim_name: "data".into(), ..Default::default() }));
        pod.spec.volumes.push(volume);
        assert!(!uses(&pod, "data"), "it has no node");
        pod.spec.node_name = "n".into();
        assert!(uses(&pod, "data") && !uses(&pod, "other"));
        pod.status.phase = "Succeeded".into();
        assert!(!uses(&pod, "data"));
    }
}
