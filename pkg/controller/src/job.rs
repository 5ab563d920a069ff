//! Job controller: Pods that run to their end, counted exactly once each.
//!
//! Reads Jobs and Pods; writes Pods (create, delete, finalizer) and the Jobs' status. Upstream: pkg/controller/job.
//! Start reading at [`plan`].
//!
//! A Pod carries a finalizer until it is counted. Counting takes three steps, each of which may be repeated after a crash:
//!
//! ```text
//!   Pod ends --> its UID enters status.uncountedTerminatedPods --> its finalizer goes --> the UID becomes part of a number
//! ```

mod failures;
mod indexes;
mod outcome;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::batch::v1::{Job, JobStatus, UncountedTerminatedPods};
use api::core::v1::Pod;
use apimachinery::Time;
use component_helpers::pod;

use crate::context::Registration;
use failures::Verdict;
use outcome::Outcome;
pub(crate) use outcome::is_finished;

pub const JOB: Registration = Registration { name: "job-controller", alias: Some("job"), default_on: true, start: shell::start };

/// What keeps a Pod from going before it was counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Most Pods created or deleted in one pass.
const BURST: usize = 500;
/// Rest after a first failure, and the longest one, in seconds.
const BACKOFF: (i64, i64) = (10, 600);

/// One look at the world, taken from caches.
pub struct Observed<'a> {
    pub job: &'a Job,
    /// Owned and matching.
    pub pods: &'a [Arc<Pod>],
    pub now: Time,
    /// Whether all our own writes have been seen; without it no Pod is made or deleted.
    pub settled: bool,
}

/// What to write, in this order.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub delete: Vec<Deletion>,
    pub create: Vec<Slot>,
    pub status: Option<Box<JobStatus>>,
    /// Pods that are counted, or need not be: their finalizer goes.
    pub strip: Vec<String>,
    pub events: Vec<Event>,
    /// When time alone will change something, in seconds.
    pub look_again: Option<i64>,
}

#[derive(Debug, PartialEq)]
pub struct Deletion {
    pub name: String,
    pub uid: String,
    /// It did nothing wrong: its finalizer goes first, so that it counts as nothing.
    pub uncounted: bool,
}

/// A Pod to make.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slot {
    pub index: Option<i32>,
    /// How often this index has failed; told only under a limit per index.
    pub failures: Option<i32>,
}

#[derive(Debug, PartialEq)]
pub struct Event {
    pub kind: &'static str,
    pub reason: String,
    pub message: String,
}

/// The numbers a decision is made from: what is in the status already and what is to be added.
struct Tally<'a> {
    active: Vec<&'a Arc<Pod>>,
    terminating: i32,
    ready: i32,
    succeeded: i32,
    failed: i32,
    /// Only for indexed Jobs.
    done: BTreeSet<i32>,
    lost: BTreeSet<i32>,
    /// Why a failure policy ends the Job.
    fatal: Option<String>,
    uncounted: UncountedTerminatedPods,
    counted: (i32, i32),
    strip: Vec<String>,
}

fn is_indexed(job: &Job) -> bool {
    job.spec.completion_mode.as_deref() == Some("Indexed")
}

fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

/// Whether a Pod is replaced only once it has failed, and not as soon as it is on its way out.
fn replaces_only_failed(job: &Job) -> bool {
    job.spec.pod_replacement_policy.as_deref() == Some("Failed") || job.spec.pod_failure_policy.is_some()
}

fn has_failed(job: &Job, pod: &Pod) -> bool {
    let leaving = pod.metadata.deletion_timestamp.is_some() && pod.status.phase != "Succeeded";
    pod.status.phase == "Failed" || (leaving && !replaces_only_failed(job))
}

/// Counts, carrying each Pod one step further on its way into the numbers.
fn tally<'a>(seen: &Observed<'a>) -> Tally<'a> {
    let (job, status) = (seen.job, &seen.job.status);
    let old = status.uncounted_terminated_pods.as_deref().cloned().unwrap_or_default();
    let waiting = |uid: &String| seen.pods.iter().any(|pod| pod.metadata.uid == *uid && has_finalizer(pod));
    let (succeeded_waiting, succeeded_counted): (Vec<_>, Vec<_>) = old.succeeded.iter().cloned().partition(waiting);
    let (failed_waiting, failed_counted): (Vec<_>, Vec<_>) = old.failed.iter().cloned().partition(waiting);
    let mut tally = Tally {
        active: Vec::new(),
        terminating: 0,
        ready: 0,
        succeeded: 0,
        failed: 0,
        done: indexes::parse(&status.completed_indexes),
        lost: indexes::parse(status.failed_indexes.as_deref().unwrap_or_default()),
        fatal: None,
        uncounted: UncountedTerminatedPods { succeeded: succeeded_waiting.into(), failed: failed_waiting.into() },
        counted: (status.succeeded + succeeded_counted.len() as i32, status.failed + failed_counted.len() as i32),
        strip: Vec::new(),
    };
    for pod in seen.pods {
        let (uid, index) = (&pod.metadata.uid, indexes::of_pod(job, pod));
        // An index beyond the completions, or one that is done already, counts for nothing.
        let counts = index.is_none_or(|index| index < job.spec.completions.unwrap_or(0)) && (index.is_some() || !is_indexed(job));
        if pod.status.phase == "Succeeded" {
            if !has_finalizer(pod) {
                continue;
            }
            tally.strip.push(pod.metadata.name.clone());
            match index {
                Some(index) if counts => drop(tally.done.insert(index)),
                None if counts && !tally.uncounted.succeeded.contains(uid) => tally.uncounted.succeeded.push(uid.clone()),
                _ => {}
            }
        } else if has_failed(job, pod) {
            if !pod::is_terminal(pod) {
                tally.terminating += 1;
            }
            if !has_finalizer(pod) {
                continue;
            }
            tally.strip.push(pod.metadata.name.clone());
            let verdict = failures::verdict(job, pod);
            if let Verdict::FailJob(message) = &verdict {
                tally.fatal.get_or_insert_with(|| message.clone());
            }
            if let Some(index) = index
                && (verdict == Verdict::FailIndex || indexes::is_out_of_tries(job, pod))
            {
                tally.lost.insert(index);
            }
            if counts && verdict != Verdict::Ignore && !tally.uncounted.failed.contains(uid) {
                tally.uncounted.failed.push(uid.clone());
            }
        } else if pod.metadata.deletion_timestamp.is_some() {
            tally.terminating += 1;
        } else {
            tally.ready += i32::from(pod::is_ready(pod));
            tally.active.push(pod);
        }
    }
    let done_indexes: Vec<i32> = tally.done.iter().copied().collect();
    tally.lost.retain(|index| !done_indexes.contains(index));
    tally.failed = tally.counted.1 + tally.uncounted.failed.len() as i32;
    tally.succeeded = if is_indexed(job) { tally.done.len() as i32 } else { tally.counted.0 + tally.uncounted.succeeded.len() as i32 };
    tally
}

/// Decides what to write. No client, clock, lock, log or `async` in here.
pub fn plan(seen: &Observed<'_>) -> Plan {
    let job = seen.job;
    let mut plan = Plan::default();
    if outcome::is_finished(job) {
        // Whatever still has a finalizer was made after the last look, or is a leftover.
        plan.strip = seen.pods.iter().filter(|pod| has_finalizer(pod)).map(|pod| pod.metadata.name.clone()).collect();
        return plan;
    }
    let tally = tally(seen);
    let suspended = job.spec.suspend == Some(true);
    let mut status = job.status.clone();
    let outcome = outcome::decide(seen, &tally);
    outcome::note_suspension(seen, &mut status, &mut plan.events);
    if status.start_time.is_none() && !suspended {
        status.start_time = Some(seen.now);
    }
    if seen.settled && job.metadata.deletion_timestamp.is_none() {
        match &outcome {
            Some(outcome) => end(&tally, outcome, &mut plan),
            None if suspended => lose(tally.active.iter().copied(), true, &mut plan),
            None => keep_up(seen, &tally, &mut plan),
        }
    }
    let ours = |pod: &&&Arc<Pod>| !plan.delete.iter().any(|deletion| deletion.uid == pod.metadata.uid);
    status.active = tally.active.iter().filter(ours).count() as i32;
    status.ready = Some(tally.ready);
    status.terminating = Some(tally.terminating);
    status.failed = tally.counted.1;
    if is_indexed(job) {
        status.succeeded = tally.succeeded;
        status.completed_indexes = indexes::format(&tally.done);
        if job.spec.backoff_limit_per_index.is_some() {
            status.failed_indexes = Some(indexes::format(&tally.lost));
        }
    } else {
        status.succeeded = tally.counted.0;
    }
    let all_counted = tally.uncounted.succeeded.is_empty() && tally.uncounted.failed.is_empty();
    status.uncounted_terminated_pods = Some(Box::new(tally.uncounted));
    if let Some(outcome) = &outcome {
        let all_ended = tally.active.is_empty() && tally.terminating == 0 && all_counted && tally.strip.is_empty();
        outcome::note(seen, outcome, all_ended, &mut status, &mut plan.events);
    }
    let wait = |at: Option<Time>| at.map(|at| at.seconds_since(seen.now).max(0) + 1);
    let deadline = wait(outcome::deadline(job, status.start_time).filter(|_| outcome.is_none() && !suspended));
    plan.look_again = plan.look_again.into_iter().chain(deadline).min();
    plan.strip = tally.strip;
    plan.strip.truncate(BURST);
    plan.status = (status != job.status).then(|| Box::new(status));
    plan
}

/// The Job is decided: what still runs goes. It counts as failed if the Job failed.
fn end(tally: &Tally<'_>, outcome: &Outcome, plan: &mut Plan) {
    lose(tally.active.iter().copied(), !outcome.failed, plan);
}

fn lose<'a>(pods: impl Iterator<Item = &'a Arc<Pod>>, uncounted: bool, plan: &mut Plan) {
    plan.delete.extend(pods.take(BURST).map(|pod| Deletion { name: pod.metadata.name.clone(), uid: pod.metadata.uid.clone(), uncounted }));
}

/// As many Pods as parallelism and what is left to do ask for.
fn keep_up(seen: &Observed<'_>, tally: &Tally<'_>, plan: &mut Plan) {
    let job = seen.job;
    let parallelism = job.spec.parallelism.unwrap_or(1);
    let active = tally.active.len() as i32;
    let wanted = match job.spec.completions {
        // A work queue: once one has succeeded, no new ones are begun.
        None if tally.succeeded > 0 => active.min(parallelism),
        None => parallelism,
        Some(completions) => (completions - tally.succeeded - tally.lost.len() as i32).min(parallelism),
    }
    .max(0);
    let mut active_pods: Vec<Arc<Pod>> = tally.active.iter().map(|pod| (*pod).clone()).collect();
    if is_indexed(job) {
        // Two Pods of one index, or one of an index that needs none.
        let needless = indexes::needless(job, &active_pods, &tally.done);
        lose(needless.iter(), true, plan);
        active_pods.retain(|pod| !needless.iter().any(|other| other.metadata.uid == pod.metadata.uid));
    }
    let active = active_pods.len() as i32;
    if active > wanted {
        let crowds = crate::pods::crowds(active_pods.iter());
        crate::pods::cheapest_first(&mut active_pods, &crowds, seen.now);
        lose(active_pods.iter().take((active - wanted) as usize), true, plan);
        return;
    }
    let leaving = if replaces_only_failed(job) { tally.terminating } else { 0 };
    let missing = usize::try_from(wanted - active - leaving).unwrap_or(0).min(BURST);
    if missing == 0 {
        return;
    }
    if job.spec.backoff_limit_per_index.is_none()
        && let Some(rest) = failures::rest(seen)
    {
        plan.look_again = Some(rest);
        return;
    }
    if !is_indexed(job) {
        plan.create = vec![Slot::default(); missing];
        return;
    }
    for slot in indexes::free(seen, &active_pods, tally).take(missing) {
        match failures::rest_of_index(seen, slot) {
            Some(rest) => plan.look_again = Some(plan.look_again.map_or(rest, |other| other.min(rest))),
            None => plan.create.push(slot),
        }
    }
}
