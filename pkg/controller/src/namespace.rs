//! namespace-controller: empties a namespace that is being deleted and then lets it go.
//!
//! Reads Namespaces and what discovery lists; deletes everything inside a terminating namespace, Pods first; writes the
//! namespace's conditions and, once nothing is left, takes its finalizer `kubernetes` away. Upstream: pkg/controller/namespace.

mod content;
mod status;

use std::sync::Arc;
use std::time::Duration;

use api::core::v1::{Namespace, Pod};
use apimachinery::Time;
use client::{Api, Client, Discovery};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use informer::{Event, ObjectKey, Reconcile, Requeue, Store, WorkQueue};

pub use content::{Remaining, Sweep};
pub use status::next_conditions;

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration = Registration { name: "namespace-controller", alias: Some("namespace"), default_on: true, start };

/// The finalizer that this controller answers for.
const FINALIZER: &str = "kubernetes";
/// The sweep that finds a namespace empty must begin this long after the deletion: until then an API server whose cache
/// lags may still admit new objects, which nobody would ever delete.
const SETTLE_SECONDS: i64 = 2;
/// How soon to look again where a controller has to take a finalizer away; upstream's number.
const FINALIZER_WAIT_SECONDS: i64 = 15;

/// What to do next about a namespace on its way out.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// It is not being deleted, or somebody else's finalizers are all that is left.
    Nothing,
    /// Say first that it is terminating, so that nothing new is admitted.
    MarkTerminating,
    /// Delete what is inside.
    Sweep,
}

/// Decides by the namespace alone.
pub fn next_step(namespace: &Namespace) -> Step {
    if namespace.metadata.deletion_timestamp.is_none() || !namespace.spec.finalizers.iter().any(|name| name == FINALIZER) {
        return Step::Nothing;
    }
    if namespace.status.phase != "Terminating" { Step::MarkTerminating } else { Step::Sweep }
}

/// After how long to look again at a namespace that is not empty yet; `None` if it is and may go.
pub fn wait(namespace: &Namespace, sweep: &Sweep, began: Time) -> Option<Duration> {
    let estimate = sweep.estimate_seconds();
    if estimate > 0 {
        // Half of what is expected, as upstream: some objects will be done earlier.
        return Some(Duration::from_secs(u64::try_from(estimate / 2 + 1).unwrap_or(1)));
    }
    let age = namespace.metadata.deletion_timestamp.map_or(0, |at| began.seconds_since(at));
    (age < SETTLE_SECONDS).then(|| Duration::from_secs(u64::try_from(SETTLE_SECONDS - age).unwrap_or(1)))
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let namespaces = sources.of::<Namespace>();
    let pods = sources.of::<Pod>();
    let queue = WorkQueue::new("namespace");
    let for_namespaces = queue.clone();
    namespaces.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) && event.object().metadata.deletion_timestamp.is_some() {
            for_namespaces.add(event.key());
        }
    });
    // Pods take longest. With the last one gone there is no need to wait for the next look.
    let (for_pods, known, left) = (queue.clone(), namespaces.store(), pods.store());
    pods.on_event(move |event| {
        let Event::Deleted(pod) = event else { return };
        let key = ObjectKey::new("", &pod.metadata.namespace);
        let terminating = known.get(&key).is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some());
        if terminating && left.in_namespace(key.name()).is_empty() {
            for_pods.add(key);
        }
    });
    // One namespace alone takes a request for each kind there is; upstream raises the limits by these factors too.
    let client = context.client_with_rate("namespace-controller", 20.0, 100)?;
    let reconciler = Namespaces { namespaces: namespaces.store(), api: Api::all(&client), client, clock: context.clock.clone() };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.namespace);
    Ok(Started::Running)
}

struct Namespaces {
    namespaces: Arc<Store<Namespace>>,
    api: Api<Namespace>,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl Reconcile for Namespaces {
    const NAME: &'static str = "namespace-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(cached) = self.namespaces.get(key) else { return Ok(Requeue::OnChange) };
        if next_step(&cached) == Step::Nothing {
            return Ok(Requeue::OnChange);
        }
        // Afresh, for all that follows destroys.
        let name = key.name();
        let refused = |verb, err| WriteError::new(verb, format!("namespace {name:?}"), err);
        let Some(mut namespace) = self.api.get_opt(name).await.map_err(|err| refused("get", err))? else { return Ok(Requeue::OnChange) };
        if namespace.metadata.uid != cached.metadata.uid {
            return Ok(Requeue::OnChange);
        }
        match next_step(&namespace) {
            Step::Nothing => return Ok(Requeue::OnChange),
            Step::MarkTerminating => {
                namespace.status.phase = "Terminating".into();
                namespace = self.api.update_status(&namespace).await.map_err(|err| refused("update the status of", err))?;
            }
            Step::Sweep => {}
        }

        let began = Time::from(self.clock.now());
        let sweep = match Discovery::fetch(&self.client).await {
            Ok(discovery) => content::sweep(&self.client, &discovery, name).await,
            Err(err) => Sweep { discovery: vec![err.to_string()], ..Sweep::default() },
        };
        let conditions = next_conditions(&namespace.status.conditions, &sweep, Time::from(self.clock.now()));
        if conditions != namespace.status.conditions {
            namespace.status.conditions = conditions;
            namespace = self.api.update_status(&namespace).await.map_err(|err| refused("update the status of", err))?;
        }
        if let Some(problem) = sweep.discovery.first().or(sweep.failures.first()) {
            return Err(WriteError::Invalid(format!("namespace {name:?} cannot be emptied: {problem}")));
        }
        if let Some(wait) = wait(&namespace, &sweep, began) {
            return Ok(Requeue::After(wait));
        }
        namespace.spec.finalizers.retain(|name| name != FINALIZER);
        match self.api.update_subresource::<_, Namespace>(name, "finalize", &namespace).await {
            Err(err) if !err.is_not_found() => Err(refused("finalize", err)),
            _ => Ok(Requeue::OnChange),
        }
    }
}

#[cfg(test)]
mod tests;
