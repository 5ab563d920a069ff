//! endpointslice-controller: tells proxies and DNS which pods stand behind each service, in slices of bounded size.
//!
//! Reads Services, Pods and Nodes; writes EndpointSlices. Upstream: pkg/controller/endpointslice and the reconciler in
//! staging/src/k8s.io/endpointslice. [`plan`] is where to read.

mod overlay;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use api::core::v1::{Node, Pod, Service};
use api::discovery::v1::EndpointSlice;
use client::{Api, DeleteParams};
use component_base::tasks::Tasks;
use informer::{Event, ObjectKey, Reconcile, Recorder, Requeue, Store, WorkQueue};

use crate::service_pods::{self, TriggerTimes, enqueue_services, pods_of};
use crate::{ControllerContext, Registration, StartError, Started, WriteError};
use overlay::Overlay;
pub use plan::{MANAGER, Observed, Plan, plan};

pub const REGISTRATION: Registration =
    Registration { name: "endpointslice-controller", alias: Some("endpointslice"), default_on: true, start };

/// Which service a slice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The index of slices by `namespace/service`.
const BY_SERVICE: &str = "service";

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let services = sources.of::<Service>();
    let pods = sources.of::<Pod>();
    let nodes = sources.of::<Node>();
    let slices = sources.of::<EndpointSlice>();
    slices.store().add_index(BY_SERVICE, |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());

    let queue = WorkQueue::new("endpoint_slice");
    services.enqueue(&queue);
    enqueue_services(&pods, services.store(), queue.clone(), context.settings.endpointslice_updates_batch_period);
    let overlay = Arc::new(Overlay::default());
    let (written, foreign) = (overlay.clone(), queue.clone());
    slices.on_event(move |event| {
        let slice = event.object();
        let Some(key) = service_of(slice).filter(|_| is_ours(slice)) else { return };
        // What we wrote ourselves needs no second look.
        if !written.observe(&key, slice, matches!(event, Event::Deleted(_))) {
            foreign.add(key);
        }
    });
    // A zone, or a node that pods named before it was there.
    let (zones, known, bound) = (queue.clone(), services.store(), pods.store());
    nodes.on_event(move |event| {
        if let Event::Updated { old, new } = event
            && plan::zone(old) == plan::zone(new)
        {
            return;
        }
        let name = &event.object().metadata.name;
        for pod in bound.list().iter().filter(|pod| pod.spec.node_name == *name) {
            for service in known.in_namespace(&pod.metadata.namespace) {
                if service_pods::selects(&service, pod) {
                    zones.add(ObjectKey::of_metadata(&service.metadata));
                }
            }
        }
    });

    let client = context.client("endpointslice-controller")?;
    let reconciler = EndpointSlices {
        services: services.store(),
        pods: pods.store(),
        nodes: nodes.store(),
        slices: slices.store(),
        overlay,
        triggers: TriggerTimes::default(),
        api: Api::all(&client),
        recorder: context.recorder("endpoint-slice-controller"),
        max: context.settings.max_endpoints_per_slice,
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.service_endpoint);
    Ok(Started::Running)
}

fn is_ours(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.get_str(MANAGED_BY) == MANAGER
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.get(SERVICE_NAME)?;
    Some(ObjectKey::new(&slice.metadata.namespace, name))
}

struct EndpointSlices {
    services: Arc<Store<Service>>,
    pods: Arc<Store<Pod>>,
    nodes: Arc<Store<Node>>,
    slices: Arc<Store<EndpointSlice>>,
    overlay: Arc<Overlay>,
    triggers: TriggerTimes,
    api: Api<EndpointSlice>,
    recorder: Recorder,
    max: usize,
}

impl Reconcile for EndpointSlices {
    const NAME: &'static str = "endpointslice-controller";
    const MAX_RETRIES: Option<u32> = Some(15);
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(service) = self.services.get(key) else {
            // The garbage collector takes its slices.
            self.triggers.forget(key);
            self.overlay.forget(key);
            return Ok(Requeue::OnChange);
        };
        if !service_pods::is_managed(&service) || service.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::OnChange);
        }
        let pods = pods_of(&service, &self.pods);
        let mut cached = self.slices.by_index(BY_SERVICE, key.as_str());
        cached.retain(|slice| is_ours(slice) && slice.metadata.deletion_timestamp.is_none());
        let slices = self.overlay.merge(key, cached);
        let node = |name: &str| self.nodes.get_named("", name);
        let trigger = self.triggers.next(key, &service, &pods);
        let seen = Observed { service: &service, pods: &pods, node: &node, slices: &slices, max: self.max, trigger };
        let plan = plan(&seen);
        let wrote = plan.writes() > 0;
        if let Err(err) = self.carry_out(key, &plan).await {
            // The times were not published: the next pass must tell them again.
            self.triggers.forget(key);
            let gone = err.client_error().is_some_and(|err| err.is_namespace_terminating());
            if gone {
                return Ok(Requeue::OnChange);
            }
            let message = format!("Error updating Endpoint Slices for Service {key}: {}", display(&err));
            self.recorder.about(service.as_ref(), "Warning", "FailedToUpdateEndpointSlices", &message);
            return Err(err);
        }
        if let Some(skipped) = plan.unknown_nodes.first() {
            return Err(WriteError::Invalid(format!("a pod of service \"{key}\" is on node {skipped:?}, which is not known")));
        }
        // A last look once what was written has surely been seen.
        Ok(if wrote { Requeue::After(overlay::LIFE + Duration::from_secs(1)) } else { Requeue::OnChange })
    }
}

fn display(err: &WriteError) -> String {
    err.client_error().map_or_else(|| err.to_string(), ToString::to_string)
}

impl EndpointSlices {
    async fn carry_out(&self, key: &ObjectKey, plan: &Plan) -> Result<(), WriteError> {
        let api = self.api.within(key.namespace());
        for slice in &plan.create {
            let written = api.create(slice).await.map_err(|err| WriteError::new("create", format!("endpoint slice for \"{key}\""), err))?;
            self.overlay.wrote(key, written);
        }
        for slice in &plan.update {
            let name = &slice.metadata.name;
            match api.update(slice).await {
                Ok(written) => self.overlay.wrote(key, written),
                Err(err) => {
                    // Whatever was known of it is not so: the cache has the last word again.
                    self.overlay.drop_entry(key, name);
                    return Err(WriteError::new("update", format!("endpoint slice \"{}/{name}\"", key.namespace()), err));
                }
            }
        }
        for slice in &plan.delete {
            let name = &slice.metadata.name;
            match api.delete(name, &DeleteParams::of_uid(slice.metadata.uid.clone())).await {
                Err(err) if !err.is_not_found() => {
                    return Err(WriteError::new("delete", format!("endpoint slice \"{}/{name}\"", key.namespace()), err));
                }
                _ => self.overlay.deleted(key, slice),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
