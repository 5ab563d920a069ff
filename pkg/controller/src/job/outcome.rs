//! How a Job ends, and the conditions that tell it.
//!
//! Upstream: pkg/controller/job/{job_controller,success_policy}.go.

use api::batch::v1::{Job, JobCondition, JobStatus};
use apimachinery::Time;

use super::{Event, Observed, Tally, indexes, is_indexed};

/// The Job is decided, though its Pods may still be ending.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outcome {
    pub failed: bool,
    pub reason: String,
    pub message: String,
}

impl Outcome {
    fn failure(reason: &str, message: impl Into<String>) -> Option<Outcome> {
        Some(Outcome { failed: true, reason: reason.into(), message: message.into() })
    }

    fn success(reason: &str, message: impl Into<String>) -> Option<Outcome> {
        Some(Outcome { failed: false, reason: reason.into(), message: message.into() })
    }
}

fn holds<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

pub(crate) fn is_finished(job: &Job) -> bool {
    holds(&job.status, "Complete").is_some() || holds(&job.status, "Failed").is_some()
}

/// When an active Job runs out of time.
pub(super) fn deadline(job: &Job, started: Option<Time>) -> Option<Time> {
    Some(started?.add_seconds(job.spec.active_deadline_seconds?))
}

/// Whether the Job is decided. What was told once stays so.
pub(super) fn decide(seen: &Observed<'_>, tally: &Tally<'_>) -> Option<Outcome> {
    let (job, spec) = (seen.job, &seen.job.spec);
    if let Some(told) = holds(&job.status, "FailureTarget") {
        return Outcome::failure(&told.reason, told.message.clone());
    }
    if let Some(told) = holds(&job.status, "SuccessCriteriaMet") {
        return Outcome::success(&told.reason, told.message.clone());
    }
    if let Some(message) = &tally.fatal {
        return Outcome::failure("PodFailurePolicy", message.clone());
    }
    if tally.failed > spec.backoff_limit.unwrap_or(i32::MAX) || restarted_too_often(job, tally) {
        return Outcome::failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    let suspended = spec.suspend == Some(true);
    if !suspended && deadline(job, job.status.start_time).is_some_and(|at| seen.now >= at) {
        return Outcome::failure("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    if is_indexed(job) && spec.backoff_limit_per_index.is_some() && !tally.lost.is_empty() {
        if spec.max_failed_indexes.is_some_and(|most| tally.lost.len() > usize::try_from(most).unwrap_or(0)) {
            return Outcome::failure("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes");
        }
        if spec.completions.is_some_and(|all| tally.done.len() + tally.lost.len() >= usize::try_from(all).unwrap_or(0)) {
            return Outcome::failure("FailedIndexes", "Job has failed indexes");
        }
    }
    if let Some(number) = fulfilled_rule(job, tally) {
        return Outcome::success("SuccessPolicy", format!("Matched rules at index {number}"));
    }
    let complete = match spec.completions {
        None => tally.succeeded > 0 && tally.active.is_empty() && tally.terminating == 0,
        Some(completions) => tally.succeeded >= completions,
    };
    // A Job that asks for nothing is done; one that is suspended before it began is not.
    if complete && !(suspended && spec.completions == Some(0)) {
        return Outcome::success("CompletionsReached", "Reached expected number of succeeded pods");
    }
    None
}

/// Containers that restart in place count against the limit as well.
fn restarted_too_often(job: &Job, tally: &Tally<'_>) -> bool {
    if job.spec.template.spec.restart_policy != "OnFailure" {
        return false;
    }
    let restarts = |pod: &api::core::v1::Pod| {
        let status = &pod.status;
        status.init_container_statuses.iter().chain(status.container_statuses.iter()).map(|container| container.restart_count).sum::<i32>()
    };
    let total: i32 = tally.active.iter().map(|pod| restarts(pod)).sum();
    match job.spec.backoff_limit.unwrap_or(i32::MAX) {
        0 => total > 0,
        limit => total >= limit,
    }
}

fn fulfilled_rule(job: &Job, tally: &Tally<'_>) -> Option<usize> {
    let policy = job.spec.success_policy.as_ref().filter(|_| is_indexed(job))?;
    policy.rules.iter().position(|rule| {
        let wanted = rule.succeeded_indexes.as_deref().map(indexes::parse);
        let among = tally.done.iter().filter(|index| wanted.as_ref().is_none_or(|wanted| wanted.contains(index))).count();
        match (rule.succeeded_count, &wanted) {
            (Some(count), _) => among >= usize::try_from(count).unwrap_or(0),
            (None, Some(wanted)) => among >= wanted.len(),
            (None, None) => false,
        }
    })
}

fn set(status: &mut JobStatus, kind: &str, value: &str, reason: &str, message: &str, now: Time) -> bool {
    let old = status.conditions.iter_mut().find(|condition| condition.type_ == kind);
    if old.as_ref().is_some_and(|old| old.status == value && old.reason == reason) {
        return false;
    }
    let new = JobCondition {
        type_: kind.into(),
        status: value.into(),
        last_probe_time: now,
        last_transition_time: now,
        reason: reason.into(),
        message: message.into(),
    };
    match old {
        Some(old) => *old = new,
        None => status.conditions.push(new),
    }
    true
}

/// Tells the outcome: first that it is decided, and once all Pods have ended, that it is over.
pub(super) fn note(seen: &Observed<'_>, outcome: &Outcome, all_ended: bool, status: &mut JobStatus, events: &mut Vec<Event>) {
    let Outcome { failed, reason, message } = outcome;
    let target = if *failed { "FailureTarget" } else { "SuccessCriteriaMet" };
    set(status, target, "True", reason, message, seen.now);
    if !all_ended {
        return;
    }
    if *failed {
        set(status, "Failed", "True", reason, message, seen.now);
        events.push(Event { kind: "Warning", reason: reason.clone(), message: message.clone() });
    } else {
        set(status, "Complete", "True", reason, message, seen.now);
        status.completion_time = Some(seen.now);
        events.push(Event { kind: "Normal", reason: "Completed".into(), message: "Job completed".into() });
    }
}

/// Tells that the Job was suspended or resumed; its clock stands still in between.
pub(super) fn note_suspension(seen: &Observed<'_>, status: &mut JobStatus, events: &mut Vec<Event>) {
    let suspended = seen.job.spec.suspend == Some(true);
    if suspended {
        if set(status, "Suspended", "True", "JobSuspended", "Job suspended", seen.now) {
            events.push(Event { kind: "Normal", reason: "Suspended".into(), message: "Job suspended".into() });
        }
        status.start_time = None;
    } else if holds(status, "Suspended").is_some() {
        set(status, "Suspended", "False", "JobResumed", "Job resumed", seen.now);
        status.start_time = Some(seen.now);
        events.push(Event { kind: "Normal", reason: "Resumed".into(), message: "Job resumed".into() });
    }
}
