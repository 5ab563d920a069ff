//! StatefulSet controller: Pods with names, claims and an order of their own.
//!
//! Reads StatefulSets, Pods, PersistentVolumeClaims and ControllerRevisions; writes Pods, claims, ControllerRevisions and the
//! sets' status. Upstream: pkg/controller/statefulset. Start reading at [`plan`].
//!
//! It keeps no expectations: names are fixed, so a create that repeats one is refused by the server.

mod identity;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::apps::v1::{StatefulSet, StatefulSetStatus};
use api::core::v1::{PersistentVolumeClaim, Pod};
use apimachinery::Time;
use component_helpers::pod;

use crate::context::Registration;
use crate::history::HASH_LABEL;
use crate::pods::seconds_to_available;
use identity::{ordinal_of, with_identity};

pub const STATEFUL_SET: Registration =
    Registration { name: "statefulset-controller", alias: Some("statefulset"), default_on: true, start: shell::start };

/// One look at the world, taken from caches.
pub struct Observed<'a> {
    pub set: &'a StatefulSet,
    /// Owned and matching.
    pub pods: &'a [Arc<Pod>],
    /// The set as its current and as its update revision have it, and the names of those.
    pub current: Version<'a>,
    pub update: Version<'a>,
    /// Finds a claim by name.
    pub claim: &'a (dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>> + Sync),
    pub now: Time,
}

/// A template the set has, or is moving to.
#[derive(Clone, Copy)]
pub struct Version<'a> {
    pub name: &'a str,
    pub set: &'a StatefulSet,
}

/// A write to make. Ordered: a claim comes before the Pod that mounts it.
#[derive(Debug, PartialEq)]
pub enum Action {
    CreateClaim {
        claim: Box<PersistentVolumeClaim>,
        pod: String,
    },
    /// With other owners, by which the claim goes when they do.
    UpdateClaim(Box<PersistentVolumeClaim>),
    CreatePod(Box<Pod>),
    /// A Pod that lost a label or volume of its identity.
    UpdatePod(Box<Pod>),
    DeletePod {
        name: String,
        uid: String,
        why: Why,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// Beyond the number of replicas.
    Surplus,
    /// To be made again from the new template.
    Outdated,
    /// It ended by itself and is to be made again.
    Ended,
}

fn start(set: &StatefulSet) -> i32 {
    set.spec.ordinals.as_ref().map_or(0, |ordinals| ordinals.start)
}

fn replicas(set: &StatefulSet) -> i32 {
    set.spec.replicas.unwrap_or(1)
}

fn is_rolling(set: &StatefulSet) -> bool {
    set.spec.update_strategy.type_ != "OnDelete"
}

fn partition(set: &StatefulSet) -> Option<i32> {
    set.spec.update_strategy.rolling_update.as_ref().and_then(|rolling| rolling.partition)
}

fn is_created(pod: &Pod) -> bool {
    !pod.status.phase.is_empty()
}

fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

fn is_running_and_ready(pod: &Pod) -> bool {
    pod.status.phase == "Running" && pod::is_ready(pod)
}

fn is_running_and_available(seen: &Observed<'_>, pod: &Pod) -> bool {
    is_running_and_ready(pod) && pod::is_available(pod, seen.set.spec.min_ready_seconds, seen.now)
}

fn revision_of(pod: &Pod) -> &str {
    pod.metadata.labels.get(HASH_LABEL).map_or("", String::as_str)
}

/// Pods by ordinal: those that should be, and those beyond.
struct Places<'a> {
    wanted: BTreeMap<i32, Option<&'a Pod>>,
    surplus: BTreeMap<i32, &'a Pod>,
}

fn places<'a>(seen: &Observed<'a>) -> Places<'a> {
    let first = start(seen.set);
    let mut places =
        Places { wanted: (first..first + replicas(seen.set)).map(|ordinal| (ordinal, None)).collect(), surplus: BTreeMap::new() };
    for pod in seen.pods {
        let Some(ordinal) = ordinal_of(&seen.set.metadata.name, &pod.metadata.name) else { continue };
        match places.wanted.get_mut(&ordinal) {
            Some(place) => *place = Some(pod),
            None => drop(places.surplus.insert(ordinal, pod)),
        }
    }
    places
}

/// Whether a missing Pod is made from the current revision rather than from the one being rolled out.
fn wants_current(seen: &Observed<'_>, ordinal: i32) -> bool {
    let first = start(seen.set);
    is_rolling(seen.set)
        && match partition(seen.set) {
            Some(partition) => ordinal < first + partition,
            None => ordinal < first + seen.set.status.current_replicas,
        }
}

/// Decides what to write. No client, clock, lock, log or `async` in here.
pub fn plan(seen: &Observed<'_>) -> Vec<Action> {
    let set = seen.set;
    if set.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let Places { wanted, surplus } = places(seen);
    let in_order = set.spec.pod_management_policy != "Parallel";
    let mut actions = Vec::new();
    // The claims' owners first: a claim must not outlive, or die with, the wrong Pod.
    for pod in wanted.values().flatten() {
        keep_claims(seen, pod, false, &mut actions);
    }
    for pod in surplus.values() {
        keep_claims(seen, pod, true, &mut actions);
    }
    for (ordinal, pod) in &wanted {
        let Some(pod) = pod else {
            let version = if wants_current(seen, *ordinal) { seen.current } else { seen.update };
            make(seen, version, *ordinal, &mut actions);
            if in_order {
                return actions;
            }
            continue;
        };
        if pod::is_terminal(pod) {
            // It is made again once it is gone.
            if !is_leaving(pod) {
                actions.push(lose(pod, Why::Ended));
            }
            if in_order {
                return actions;
            }
            continue;
        }
        if in_order && (is_leaving(pod) || !is_running_and_available(seen, pod)) {
            repair(seen, pod, &mut actions);
            return actions;
        }
        repair(seen, pod, &mut actions);
    }
    let unhealthy = |pod: &Pod| is_leaving(pod) || !is_running_and_available(seen, pod);
    let first_unhealthy = surplus.values().find(|pod| unhealthy(pod)).map(|pod| &pod.metadata.name);
    for pod in surplus.values().rev() {
        if is_leaving(pod) {
            if in_order {
                return actions;
            }
            continue;
        }
        // In order means: not while another one is in trouble.
        if in_order && unhealthy(pod) && first_unhealthy != Some(&pod.metadata.name) {
            return actions;
        }
        actions.push(lose(pod, Why::Surplus));
        if in_order {
            return actions;
        }
    }
    if is_rolling(set) {
        actions.extend(next_to_update(seen, &wanted));
    }
    actions
}

/// The highest Pod that is not of the update revision, unless one above it is not available yet.
fn next_to_update(seen: &Observed<'_>, wanted: &BTreeMap<i32, Option<&Pod>>) -> Option<Action> {
    let least = start(seen.set) + partition(seen.set).unwrap_or(0);
    for (_, pod) in wanted.range(least..).rev() {
        let pod = (*pod)?;
        if revision_of(pod) != seen.update.name && !is_leaving(pod) {
            return (!pod::is_terminal(pod)).then(|| lose(pod, Why::Outdated));
        }
        if is_leaving(pod) || !is_running_and_available(seen, pod) {
            return None;
        }
    }
    None
}

fn lose(pod: &Pod, why: Why) -> Action {
    Action::DeletePod { name: pod.metadata.name.clone(), uid: pod.metadata.uid.clone(), why }
}

/// A Pod and the claims it lacks.
fn make(seen: &Observed<'_>, version: Version<'_>, ordinal: i32, actions: &mut Vec<Action>) {
    let pod = identity::new_pod(version.set, version.name, ordinal);
    make_claims(seen, &pod, ordinal, actions);
    actions.push(Action::CreatePod(Box::new(pod)));
}

fn make_claims(seen: &Observed<'_>, pod: &Pod, ordinal: i32, actions: &mut Vec<Action>) {
    for mut claim in identity::claims(seen.set, ordinal) {
        if (seen.claim)(&claim.metadata.name).is_none() {
            identity::set_claim_owners(seen.set, &mut claim, pod, false);
            actions.push(Action::CreateClaim { claim: Box::new(claim), pod: pod.metadata.name.clone() });
        }
    }
}

fn repair(seen: &Observed<'_>, pod: &Pod, actions: &mut Vec<Action>) {
    if is_leaving(pod) {
        return;
    }
    let Some(ordinal) = ordinal_of(&seen.set.metadata.name, &pod.metadata.name) else { return };
    if pod.status.phase == "Pending" {
        make_claims(seen, pod, ordinal, actions);
    }
    let right = with_identity(seen.set, pod, ordinal);
    if right != *pod {
        actions.push(Action::UpdatePod(Box::new(right)));
    }
}

fn keep_claims(seen: &Observed<'_>, pod: &Pod, surplus: bool, actions: &mut Vec<Action>) {
    let Some(ordinal) = ordinal_of(&seen.set.metadata.name, &pod.metadata.name) else { return };
    for claim in identity::claims(seen.set, ordinal) {
        if let Some(known) = (seen.claim)(&claim.metadata.name) {
            let mut right = (*known).clone();
            if identity::set_claim_owners(seen.set, &mut right, pod, surplus) {
                actions.push(Action::UpdateClaim(Box::new(right)));
            }
        }
    }
}

/// The status as it should read; `None` if it does already.
pub fn next_status(seen: &Observed<'_>) -> Option<StatefulSetStatus> {
    let old = &seen.set.status;
    let mut status = StatefulSetStatus {
        observed_generation: seen.set.metadata.generation,
        current_revision: seen.current.name.into(),
        update_revision: seen.update.name.into(),
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
        ..StatefulSetStatus::default()
    };
    for pod in seen.pods.iter().filter(|pod| is_created(pod)) {
        status.replicas += 1;
        status.ready_replicas += i32::from(is_running_and_ready(pod));
        status.available_replicas += i32::from(is_running_and_available(seen, pod));
        if !is_leaving(pod) {
            status.current_replicas += i32::from(revision_of(pod) == seen.current.name);
            status.updated_replicas += i32::from(revision_of(pod) == seen.update.name);
        }
    }
    let done = status.updated_replicas == status.replicas && status.ready_replicas == status.replicas;
    if is_rolling(seen.set) && done && status.replicas == replicas(seen.set) {
        status.current_replicas = status.updated_replicas;
        status.current_revision = status.update_revision.clone();
    }
    (status != *old).then_some(status)
}

/// Seconds until the next ready Pod becomes available only by waiting.
pub fn next_availability_change(seen: &Observed<'_>) -> Option<i64> {
    seen.pods.iter().filter_map(|pod| seconds_to_available(pod, seen.set.spec.min_ready_seconds, seen.now)).min()
}
