//! CronJob controller: makes a Job each time the schedule comes round.
//!
//! Reads CronJobs and Jobs; writes Jobs and the CronJobs' status. Upstream: pkg/controller/cronjob. Start reading at [`plan`].

mod schedule;
mod shell;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::batch::v1::{CronJob, CronJobStatus, Job};
use api::core::v1::ObjectReference;
use apimachinery::{Object, Time};
use component_helpers::owners::controller_reference;

use crate::context::Registration;
use crate::job::is_finished;
pub use schedule::{Schedule, ScheduleError};

pub const CRON_JOB: Registration =
    Registration { name: "cronjob-controller", alias: Some("cronjob"), default_on: true, start: shell::start };

/// Annotation of a Job with the time it was due.
const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed times than this are worth a warning: a clock may be wrong.
const MANY_MISSED: usize = 100;

/// One look at the world, taken from caches.
pub struct Observed<'a> {
    pub cron: &'a CronJob,
    /// Jobs that name the CronJob as their controller.
    pub jobs: &'a [Arc<Job>],
    pub now: Time,
}

/// What to write, in this order.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Finished Jobs beyond the history limits, and active ones that are replaced.
    pub delete: Vec<Deletion>,
    pub create: Option<Box<Job>>,
    pub status: Option<Box<CronJobStatus>>,
    pub events: Vec<Event>,
    /// When the schedule comes round, in seconds.
    pub look_again: Option<i64>,
}

#[derive(Debug, PartialEq)]
pub struct Deletion {
    pub name: String,
    pub uid: String,
}

#[derive(Debug, PartialEq)]
pub struct Event {
    pub kind: &'static str,
    pub reason: &'static str,
    pub message: String,
}

/// When a CronJob is due.
#[derive(Debug, Default, PartialEq)]
struct Due {
    /// The latest time that has come and was not acted on.
    now: Option<Time>,
    next: Option<Time>,
    missed: usize,
}

/// Decides what to write. No client, clock, lock, log or `async` in here.
pub fn plan(seen: &Observed<'_>) -> Plan {
    let cron = seen.cron;
    let mut plan = Plan { delete: beyond_history(seen), ..Plan::default() };
    let mut status = cron.status.clone();
    keep_active(seen, &mut status, &mut plan);
    if cron.metadata.deletion_timestamp.is_none() && cron.spec.suspend != Some(true) {
        match Schedule::parse(&cron.spec.schedule, cron.spec.time_zone.as_deref()) {
            Ok(schedule) => follow(seen, &schedule, &mut status, &mut plan),
            Err(ScheduleError::Zone(zone)) => {
                let message = format!("invalid timeZone: {zone:?}: unknown time zone {zone}");
                plan.events.push(Event { kind: "Warning", reason: "UnknownTimeZone", message });
            }
            Err(err) => {
                let message = format!("unparseable schedule: {:?} : {err}", cron.spec.schedule);
                plan.events.push(Event { kind: "Warning", reason: "UnparseableSchedule", message });
            }
        }
    }
    plan.status = (status != cron.status).then(|| Box::new(status));
    plan
}

fn has_condition(job: &Job, kind: &str) -> bool {
    job.status.conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// Finished Jobs beyond the limits, oldest first.
fn beyond_history(seen: &Observed<'_>) -> Vec<Deletion> {
    let spec = &seen.cron.spec;
    let surplus = |kind: &str, limit: Option<i32>| {
        let Some(limit) = limit else { return Vec::new() };
        let mut finished: Vec<&Arc<Job>> =
            seen.jobs.iter().filter(|job| has_condition(job, kind) && job.metadata.deletion_timestamp.is_none()).collect();
        finished.sort_by_key(|job| (job.status.start_time, job.metadata.name.clone()));
        let count = finished.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        finished.into_iter().take(count).map(|job| deletion(job)).collect()
    };
    let mut all = surplus("Complete", spec.successful_jobs_history_limit);
    all.extend(surplus("Failed", spec.failed_jobs_history_limit));
    all
}

fn deletion(job: &Job) -> Deletion {
    Deletion { name: job.metadata.name.clone(), uid: job.metadata.uid.clone() }
}

/// Makes the list of active Jobs true again.
fn keep_active(seen: &Observed<'_>, status: &mut CronJobStatus, plan: &mut Plan) {
    for job in seen.jobs {
        let name = &job.metadata.name;
        let listed = status.active.iter().any(|active| active.uid == job.metadata.uid);
        if listed && is_finished(job) {
            let outcome = if has_condition(job, "Complete") { "Complete" } else { "Failed" };
            status.active.retain(|active| active.uid != job.metadata.uid);
            let message = format!("Saw completed job: {name}, condition: {outcome}");
            plan.events.push(Event { kind: "Normal", reason: "SawCompletedJob", message });
        } else if !listed && !is_finished(job) {
            // Made by us, and the status write that was to tell of it was lost; or made by somebody else in our name.
            let due = job.metadata.annotations.contains_key(SCHEDULED_AT);
            match due {
                true => status.active.push(reference(&**job)),
                false => {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    plan.events.push(Event { kind: "Warning", reason: "UnexpectedJob", message });
                }
            }
        }
        if has_condition(job, "Complete") && job.status.completion_time > status.last_successful_time {
            status.last_successful_time = job.status.completion_time;
        }
    }
    let gone: Vec<String> = status
        .active
        .iter()
        .filter(|active| !seen.jobs.iter().any(|job| job.metadata.uid == active.uid))
        .map(|active| active.name.clone())
        .collect();
    for name in &gone {
        let message = format!("Active job went missing: {name}");
        plan.events.push(Event { kind: "Normal", reason: "MissingJob", message });
    }
    status.active.retain(|active| !gone.contains(&active.name));
    status.active.normalize_empty();
}

fn due(seen: &Observed<'_>, schedule: &Schedule) -> Due {
    let cron = seen.cron;
    let mut from = cron.status.last_schedule_time.unwrap_or(cron.metadata.creation_timestamp);
    if let Some(deadline) = cron.spec.starting_deadline_seconds {
        from = from.max(seen.now.add_seconds(-deadline));
    }
    let mut due = Due::default();
    let mut at = from;
    loop {
        let Some(next) = schedule.next(at) else { return due };
        if next > seen.now {
            due.next = Some(next);
            return due;
        }
        due.now = Some(next);
        due.missed += 1;
        at = next;
        if due.missed > MANY_MISSED {
            // Too many to look at each: go on near the present, at the distance of two times.
            let step = schedule.next(next).map_or(1, |after| after.seconds_since(next)).max(1);
            let skipped = (seen.now.seconds_since(next) / step - 2).max(0) * step;
            at = next.add_seconds(skipped);
        }
    }
}

/// Makes the Job that is due, unless it is too late or another one stands in its way.
fn follow(seen: &Observed<'_>, schedule: &Schedule, status: &mut CronJobStatus, plan: &mut Plan) {
    let cron = seen.cron;
    let due = due(seen, schedule);
    plan.look_again = due.next.map(|next| next.seconds_since(seen.now).max(1));
    if due.missed > MANY_MISSED {
        let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew".to_string();
        plan.events.push(Event { kind: "Warning", reason: "TooManyMissedTimes", message });
    }
    let Some(at) = due.now else { return };
    if cron.spec.starting_deadline_seconds.is_some_and(|deadline| at.add_seconds(deadline) < seen.now) {
        let message = format!("Missed scheduled time to start a job: {at}");
        plan.events.push(Event { kind: "Warning", reason: "MissSchedule", message });
        return;
    }
    let job = job_at(cron, at);
    // Made already, and only the status does not say so yet.
    if seen.jobs.iter().any(|known| known.metadata.name == job.metadata.name) {
        status.last_schedule_time = Some(at);
        return;
    }
    match cron.spec.concurrency_policy.as_str() {
        "Forbid" if !status.active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency policy is Forbid".to_string();
            plan.events.push(Event { kind: "Normal", reason: "JobAlreadyActive", message });
            return;
        }
        "Replace" => {
            let active = seen.jobs.iter().filter(|job| status.active.iter().any(|active| active.uid == job.metadata.uid));
            plan.delete.extend(active.map(|job| deletion(job)));
            status.active.clear();
        }
        _ => {}
    }
    status.last_schedule_time = Some(at);
    plan.create = Some(Box::new(job));
}

/// The Job for one time: its name tells the time, so that it cannot be made twice.
fn job_at(cron: &CronJob, at: Time) -> Job {
    let mut job = Job::default();
    let template = &cron.spec.job_template;
    job.metadata.name = format!("{}-{}", cron.metadata.name, at.unix() / 60);
    job.metadata.namespace = cron.metadata.namespace.clone();
    job.metadata.labels = template.metadata.labels.clone();
    job.metadata.annotations = template.metadata.annotations.clone();
    job.metadata.annotations.insert(SCHEDULED_AT, at.to_string());
    job.metadata.owner_references.push(controller_reference(cron));
    job.spec = template.spec.clone();
    job
}

fn reference(object: &dyn Object) -> ObjectReference {
    informer::events::reference(object)
}
