//! Making and deleting pods for a controlling object, and which of them to lose first.
//!
//! Upstream: `RealPodControl` and `ActivePodsWithRanks` of pkg/controller/controller_utils.go.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use api::core::v1::{Pod, PodTemplateSpec};
use apimachinery::meta::v1::OwnerReference;
use apimachinery::{Object, Time};
use client::{Api, Client, DeleteParams};
use component_helpers::pod;
use informer::Recorder;
use tokio::task::JoinSet;

/// Lowers or raises a pod's chance to be deleted first when its set shrinks.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Writes pods and tells of it in events.
#[derive(Clone, Debug)]
pub struct PodControl {
    pub client: Client,
    pub recorder: Recorder,
}

impl PodControl {
    /// Creates `pod`; the outcome is told as an event about `owner`.
    pub async fn create(&self, pod: &Pod, owner: &dyn Object) -> Result<Pod, client::Error> {
        match Api::<Pod>::namespaced(&self.client, &pod.metadata.namespace).create(pod).await {
            Ok(made) => {
                self.recorder.about(owner, "Normal", "SuccessfulCreate", &format!("Created pod: {}", made.metadata.name));
                Ok(made)
            }
            Err(err) => {
                // A namespace that is going away needs no word about each pod that is not made in it.
                if !err.is_namespace_terminating() {
                    self.recorder.about(owner, "Warning", "FailedCreate", &format!("Error creating: {err}"));
                }
                Err(err)
            }
        }
    }

    /// Deletes this incarnation of a pod. One that is gone already is no error.
    pub async fn delete(&self, namespace: &str, name: &str, uid: &str, owner: &dyn Object) -> Result<(), client::Error> {
        match Api::<Pod>::namespaced(&self.client, namespace).delete(name, &DeleteParams::of_uid(uid)).await {
            Ok(_) => {
                self.recorder.about(owner, "Normal", "SuccessfulDelete", &format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(err) if err.is_not_found() => Ok(()),
            Err(err) => {
                self.recorder.about(owner, "Warning", "FailedDelete", &format!("Error deleting: {err}"));
                Err(err)
            }
        }
    }
}

/// A pod as the template says, controlled by `owner`, its name left to the server.
pub fn from_template(template: &PodTemplateSpec, namespace: &str, owner: OwnerReference) -> Pod {
    let mut pod = Pod::default();
    pod.metadata.namespace = namespace.to_string();
    pod.metadata.generate_name = format!("{}-", owner.name);
    pod.metadata.labels = template.metadata.labels.clone();
    pod.metadata.annotations = template.metadata.annotations.clone();
    pod.metadata.finalizers = template.metadata.finalizers.clone();
    pod.metadata.owner_references.push(owner);
    pod.spec = template.spec.clone();
    pod
}

/// Calls `one` for `0..count` in growing batches (1, 2, 4, ...) and stops after a batch with a failure, so that a quota or a
/// bad template costs a few refusals and not hundreds. Returns how many went well and the first error.
pub async fn slow_start<F, T, E>(count: usize, one: impl Fn(usize) -> F) -> (usize, Option<E>)
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let (mut done, mut batch, mut succeeded) = (0, 1, 0);
    while done < count {
        let size = batch.min(count - done);
        let (ok, err) = all_at_once((done..done + size).map(&one)).await;
        succeeded += ok;
        if err.is_some() {
            return (succeeded, err);
        }
        done += size;
        batch *= 2;
    }
    (succeeded, None)
}

/// Runs all side by side; how many went well and the first error.
pub async fn all_at_once<F, T, E>(futures: impl Iterator<Item = F>) -> (usize, Option<E>)
where
    F: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let mut running = JoinSet::new();
    for future in futures {
        running.spawn(future);
    }
    let (mut succeeded, mut first) = (0, None);
    while let Some(joined) = running.join_next().await {
        match joined {
            Ok(Ok(_)) => succeeded += 1,
            Ok(Err(err)) => first = first.or(Some(err)),
            // Only a panic: the runtime has logged it, and nobody aborts these tasks.
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    (succeeded, first)
}

/// How many of `related` run on each node.
pub fn crowds<'a>(related: impl Iterator<Item = &'a Arc<Pod>>) -> HashMap<String, usize> {
    let mut crowds = HashMap::new();
    for other in related.filter(|other| pod::is_active(other)) {
        *crowds.entry(other.spec.node_name.clone()).or_default() += 1;
    }
    crowds
}

/// Sorts by what is lost when a pod goes: the cheapest first.
pub fn cheapest_first(pods: &mut [Arc<Pod>], crowds: &HashMap<String, usize>, now: Time) {
    pods.sort_by(|left, right| cheaper(left, right, crowds, now));
}

fn cheaper(left: &Pod, right: &Pod, crowds: &HashMap<String, usize>, now: Time) -> Ordering {
    let assigned = |pod: &Pod| !pod.spec.node_name.is_empty();
    let phase = |pod: &Pod| match pod.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    };
    let crowd = |pod: &Pod| crowds.get(&pod.spec.node_name).copied().unwrap_or_default();
    let ready = (pod::is_ready(left), pod::is_ready(right));
    assigned(left)
        .cmp(&assigned(right))
        .then_with(|| phase(left).cmp(&phase(right)))
        .then_with(|| ready.0.cmp(&ready.1))
        .then_with(|| deletion_cost(left).cmp(&deletion_cost(right)))
        .then_with(|| crowd(right).cmp(&crowd(left)))
        .then_with(|| {
            if ready == (true, true) { younger_first(ready_since(left), ready_since(right), left, right, now) } else { Ordering::Equal }
        })
        .then_with(|| restarts(right).cmp(&restarts(left)))
        .then_with(|| younger_first(left.metadata.creation_timestamp, right.metadata.creation_timestamp, left, right, now))
}

/// Younger before older, but ages are told apart only by their order of magnitude; within one, the UID decides, which is as
/// good as chance: else an update would always take the newest pods of a fast scale-up.
fn younger_first(left: Time, right: Time, left_pod: &Pod, right_pod: &Pod, now: Time) -> Ordering {
    if left == right {
        return Ordering::Equal;
    }
    if left.is_zero() || right.is_zero() {
        return left.is_zero().cmp(&right.is_zero()).reverse();
    }
    magnitude(left, now).cmp(&magnitude(right, now)).then_with(|| left_pod.metadata.uid.cmp(&right_pod.metadata.uid))
}

/// The logarithm of an age, to the base of two; -1 for none.
fn magnitude(since: Time, now: Time) -> i64 {
    let seconds = now.seconds_since(since);
    if seconds <= 0 { -1 } else { ((seconds as f64) * 1e9).log2() as i64 }
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.metadata.annotations.get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn ready_since(pod: &Pod) -> Time {
    pod::condition(&pod.status, "Ready").map(|ready| ready.last_transition_time).unwrap_or_default()
}

fn restarts(pod: &Pod) -> i32 {
    pod.status.container_statuses.iter().map(|status| status.restart_count).max().unwrap_or(0)
}

/// Seconds until a ready pod counts as available; `None` if it is not ready, or available already.
pub fn seconds_to_available(pod: &Pod, min_ready_seconds: i32, now: Time) -> Option<i64> {
    if min_ready_seconds == 0 || !pod::is_ready(pod) {
        return None;
    }
    let left = i64::from(min_ready_seconds) - now.seconds_since(ready_since(pod));
    (left > 0).then_some(left)
}
