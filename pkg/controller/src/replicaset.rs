//! ReplicaSet and ReplicationController controllers: keep as many live, owned Pods as `.spec.replicas` asks for.
//!
//! Both are one controller over [`Replicated`]. Reads sets and Pods; writes Pods (create, delete, adopt, release) and the
//! sets' status. Upstream: pkg/controller/replicaset, pkg/controller/replication.

mod kinds;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use api::core::v1::{Pod, PodTemplateSpec};
use apimachinery::labels::{Selector, SelectorError};
use apimachinery::{Resource, Time};
use component_helpers::pod;

use crate::pods::{cheapest_first, seconds_to_available};

pub use kinds::{REPLICA_SET, REPLICATION_CONTROLLER};

/// What ReplicaSet and ReplicationController have in common.
pub trait Replicated: Resource {
    /// Upstream's name of its controller, in logs and metrics.
    const CONTROLLER: &'static str;
    /// The service account its controller writes as, and the component its events name.
    const ACCOUNT: &'static str;

    fn replicas(&self) -> i32;
    fn selector(&self) -> Result<Selector, SelectorError>;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn min_ready_seconds(&self) -> i32;
    fn status(&self) -> Status;
    fn set_status(&mut self, status: Status);
}

/// The status of either kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub replicas: i32,
    pub fully_labeled_replicas: i32,
    pub ready_replicas: i32,
    pub available_replicas: i32,
    /// Only ReplicaSets tell it.
    pub terminating_replicas: Option<i32>,
    pub observed_generation: i64,
    pub conditions: Vec<Condition>,
}

/// A condition of either kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Condition {
    pub type_: String,
    pub status: String,
    pub last_transition_time: Time,
    pub reason: String,
    pub message: String,
}

/// One look at the world, taken from caches: built by the shell, or by hand in a test.
pub struct Observed<'a, K> {
    pub set: &'a K,
    /// Owned and matching, whatever their state.
    pub pods: &'a [Arc<Pod>],
    /// Live pods per node of all sets that share this one's owner: where they crowd, they are cheapest to lose.
    pub crowds: HashMap<String, usize>,
    pub now: Time,
}

/// What to write. A create is not safe to repeat, which is why the shell keeps expectations.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub create: usize,
    /// Names and UIDs, cheapest first: only these incarnations are deleted.
    pub delete: Vec<(String, String)>,
}

/// Most Pods created or deleted in one pass, so that one huge set cannot starve the others.
const BURST: usize = 500;

/// Decides what to write. No client, clock, lock, log or `async` in here.
pub fn plan<K: Replicated>(seen: &Observed<'_, K>) -> Plan {
    // The garbage collector takes the Pods; only the status is kept truthful.
    if seen.set.metadata().deletion_timestamp.is_some() {
        return Plan::default();
    }
    let mut live: Vec<Arc<Pod>> = seen.pods.iter().filter(|pod| pod::is_active(pod)).cloned().collect();
    let wanted = usize::try_from(seen.set.replicas()).unwrap_or(0);
    if live.len() <= wanted {
        return Plan { create: (wanted - live.len()).min(BURST), delete: Vec::new() };
    }
    let surplus = (live.len() - wanted).min(BURST);
    if surplus < live.len() {
        cheapest_first(&mut live, &seen.crowds, seen.now);
    }
    let delete = live[..surplus].iter().map(|pod| (pod.metadata.name.clone(), pod.metadata.uid.clone())).collect();
    Plan { create: 0, delete }
}

/// The status as it should read; `None` if it does already. `refused` says why the plan could not be carried out.
pub fn next_status<K: Replicated>(seen: &Observed<'_, K>, plan: &Plan, refused: Option<&str>) -> Option<Status> {
    let old = seen.set.status();
    let mut status = Status {
        terminating_replicas: old.terminating_replicas,
        observed_generation: seen.set.metadata().generation,
        conditions: old.conditions.clone(),
        ..Status::default()
    };
    let labels = seen.set.template().map(|template| &template.metadata.labels);
    for pod in seen.pods.iter().filter(|pod| pod::is_active(pod)) {
        status.replicas += 1;
        let has_all = labels.is_some_and(|labels| labels.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value)));
        status.fully_labeled_replicas += i32::from(has_all);
        status.ready_replicas += i32::from(pod::is_ready(pod));
        status.available_replicas += i32::from(pod::is_available(pod, seen.set.min_ready_seconds(), seen.now));
    }
    if K::KIND == "ReplicaSet" {
        let leaving = seen.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some() && !pod::is_terminal(pod)).count();
        status.terminating_replicas = Some(i32::try_from(leaving).unwrap_or(i32::MAX));
    }
    let told = status.conditions.iter().any(|condition| condition.type_ == "ReplicaFailure");
    match refused {
        Some(message) if !told => status.conditions.push(Condition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            last_transition_time: seen.now,
            reason: if plan.create > 0 { "FailedCreate".into() } else { "FailedDelete".into() },
            message: message.to_string(),
        }),
        Some(_) => {}
        None => status.conditions.retain(|condition| condition.type_ != "ReplicaFailure"),
    }
    (status != old).then_some(status)
}

/// Seconds until the next ready Pod becomes available only by waiting.
pub fn next_availability_change<K: Replicated>(seen: &Observed<'_, K>) -> Option<i64> {
    let min_ready_seconds = seen.set.min_ready_seconds();
    let live = seen.pods.iter().filter(|pod| pod::is_active(pod));
    live.filter_map(|pod| seconds_to_available(pod, min_ready_seconds, seen.now)).min()
}
