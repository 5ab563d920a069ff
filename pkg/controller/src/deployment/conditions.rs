//! The status: counts, and how the rollout is doing.
//!
//! Upstream: pkg/controller/deployment/{progress,sync}.go, util/deployment_util.go.

use api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use apimachinery::Time;

use super::{Draft, Rollout};

pub(super) const AVAILABLE: &str = "Available";
pub(super) const PROGRESSING: &str = "Progressing";
pub(super) const REPLICA_FAILURE: &str = "ReplicaFailure";

const DONE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// How the rollout is doing, as the Progressing condition tells it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Progress {
    Found { set: String },
    Created { set: String },
    Paused,
    Resumed,
    Updated { what: String },
    Done { what: String },
    TimedOut { what: String },
}

impl Progress {
    pub fn condition(&self, now: Time) -> DeploymentCondition {
        let (status, reason, message) = match self {
            Progress::Found { set } => ("True", "FoundNewReplicaSet", format!("Found new replica set {set:?}")),
            Progress::Created { set } => ("True", "NewReplicaSetCreated", format!("Created new replica set {set:?}")),
            Progress::Paused => ("Unknown", PAUSED, "Deployment is paused".to_string()),
            Progress::Resumed => ("Unknown", "DeploymentResumed", "Deployment is resumed".to_string()),
            Progress::Updated { what } => ("True", "ReplicaSetUpdated", format!("{what} is progressing.")),
            Progress::Done { what } => ("True", DONE, format!("{what} has successfully progressed.")),
            Progress::TimedOut { what } => ("False", TIMED_OUT, format!("{what} has timed out progressing.")),
        };
        condition(PROGRESSING, status, reason, message, now)
    }
}

pub(super) fn condition(kind: &str, status: &str, reason: &str, message: String, now: Time) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        last_update_time: now,
        last_transition_time: now,
        reason: reason.into(),
        message,
    }
}

pub(super) fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

/// Puts a condition in, at the end as upstream does. One of the same status and reason stays as it is.
pub(super) fn set_condition(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = find(status, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time;
        }
    }
    remove_condition(status, &new.type_);
    status.conditions.push(new);
}

fn remove_condition(status: &mut DeploymentStatus, kind: &str) {
    status.conditions.retain(|condition| condition.type_ != kind);
}

pub(super) fn has_deadline(deployment: &Deployment) -> bool {
    deployment.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
}

pub(super) fn has_progress_condition(status: &DeploymentStatus) -> bool {
    find(status, PROGRESSING).is_some()
}

/// A pause stops the clock of the deadline: it is told, and so is its end.
pub(super) fn note_pause(deployment: &mut Deployment, now: Time) {
    if !has_deadline(deployment) {
        return;
    }
    let reason = find(&deployment.status, PROGRESSING).map_or("", |condition| condition.reason.as_str());
    if reason == TIMED_OUT {
        return;
    }
    match (deployment.spec.paused, reason == PAUSED) {
        (true, false) => set_condition(&mut deployment.status, Progress::Paused.condition(now)),
        (false, true) => set_condition(&mut deployment.status, Progress::Resumed.condition(now)),
        _ => {}
    }
}

/// Whether everything runs on the new template and nothing of the old is left.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    status.updated_replicas == wanted
        && status.replicas == wanted
        && status.available_replicas == wanted
        && status.observed_generation >= deployment.metadata.generation
}

/// Whether the new status is nearer to the end than the old.
fn is_progressing(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let left = |status: &DeploymentStatus| status.replicas - status.updated_replicas;
    new.updated_replicas > old.updated_replicas
        || left(new) < left(old)
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

/// Counts, and whether enough Pods are available. Progress stays as it was.
pub(super) fn status(rollout: &Rollout<'_>) -> DeploymentStatus {
    let all: Vec<&Draft> = rollout.sets.iter().filter(|draft| !draft.deleted).collect();
    let sum = |count: fn(&Draft) -> i32| all.iter().map(|draft| count(draft)).sum::<i32>();
    let available = sum(|draft| draft.set.status.available_replicas);
    let told = all.iter().map(|draft| draft.set.status.terminating_replicas).collect::<Option<Vec<i32>>>();
    let mut status = DeploymentStatus {
        observed_generation: rollout.seen.deployment.metadata.generation,
        replicas: sum(|draft| draft.set.status.replicas),
        updated_replicas: rollout.new.map_or(0, |new| rollout.sets[new].set.status.replicas),
        ready_replicas: sum(|draft| draft.set.status.ready_replicas),
        available_replicas: available,
        unavailable_replicas: (sum(Draft::replicas) - available).max(0),
        terminating_replicas: told.map(|counts| counts.iter().sum()),
        conditions: rollout.deployment.status.conditions.clone(),
        collision_count: rollout.seen.deployment.status.collision_count,
    };
    let enough = available >= rollout.wanted() - rollout.limits.unavailable;
    let (value, reason, message) = match enough {
        true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    };
    set_condition(&mut status, condition(AVAILABLE, value, reason, message.to_string(), rollout.seen.now));
    status
}

/// Adds to the status how the rollout is doing, and failures of its sets.
pub(super) fn tell_progress(rollout: &Rollout<'_>, status: &mut DeploymentStatus) {
    let deployment = rollout.seen.deployment;
    let now = rollout.seen.now;
    let current = find(status, PROGRESSING).cloned();
    if !has_deadline(deployment) {
        remove_condition(status, PROGRESSING);
    } else {
        let done_before = status.replicas == status.updated_replicas && current.as_ref().is_some_and(|condition| condition.reason == DONE);
        let what = match rollout.new {
            Some(new) => format!("ReplicaSet {:?}", rollout.sets[new].set.metadata.name),
            None => format!("Deployment {:?}", deployment.metadata.name),
        };
        if done_before {
            // Pods that come and go after the rollout are no progress of it.
        } else if is_complete(deployment, status) {
            set_condition(status, Progress::Done { what }.condition(now));
        } else if is_progressing(&deployment.status, status) {
            let mut new = Progress::Updated { what }.condition(now);
            if let Some(old) = current.filter(|old| old.status == "True") {
                new.last_transition_time = old.last_transition_time;
            }
            // Its time of update is what the deadline counts from: it must be the present.
            remove_condition(status, PROGRESSING);
            set_condition(status, new);
        } else if has_timed_out(deployment, current.as_ref(), now) {
            set_condition(status, Progress::TimedOut { what }.condition(now));
        }
    }
    let failure = |draft: &Draft| draft.set.status.conditions.iter().find(|condition| condition.type_ == REPLICA_FAILURE).cloned();
    let of_new = rollout.new.and_then(|new| failure(&rollout.sets[new]));
    match of_new.or_else(|| rollout.sets.iter().find_map(failure)) {
        Some(failed) => set_condition(status, condition(REPLICA_FAILURE, &failed.status, &failed.reason, failed.message, now)),
        None => remove_condition(status, REPLICA_FAILURE),
    }
}

fn has_timed_out(deployment: &Deployment, current: Option<&DeploymentCondition>, now: Time) -> bool {
    let Some(current) = current.filter(|condition| condition.reason != DONE) else { return false };
    current.reason == TIMED_OUT || seconds_left(deployment, current, now) < 0
}

fn seconds_left(deployment: &Deployment, current: &DeploymentCondition, now: Time) -> i64 {
    i64::from(deployment.spec.progress_deadline_seconds.unwrap_or(i32::MAX)) - now.seconds_since(current.last_update_time)
}

/// When the deadline of a rollout that makes no progress is to be looked at, in seconds.
pub(super) fn seconds_to_deadline(rollout: &Rollout<'_>, status: &DeploymentStatus) -> Option<i64> {
    let deployment = rollout.seen.deployment;
    let current = find(status, PROGRESSING).filter(|_| has_deadline(deployment))?;
    if is_complete(deployment, status) || current.reason == TIMED_OUT || current.reason == DONE {
        return None;
    }
    // A second more, so that the deadline has passed by then, whatever fractions were cut.
    Some(seconds_left(deployment, current, rollout.seen.now).max(0) + 1)
}
