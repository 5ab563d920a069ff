//! ttl-after-finished-controller: deletes Jobs so many seconds after they finished as `.spec.ttlSecondsAfterFinished` says.
//!
//! Reads Jobs; deletes Jobs. Upstream: pkg/controller/ttlafterfinished.

use std::sync::Arc;
use std::time::Duration;

use api::batch::v1::Job;
use apimachinery::Time;
use client::{Api, DeleteParams};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use informer::{Event, ObjectKey, Reconcile, Requeue, Store, WorkQueue};

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration =
    Registration { name: "ttl-after-finished-controller", alias: Some("ttl-after-finished"), default_on: true, start };

/// In how many seconds the Job expires; `None` if it never does, as it is now.
pub fn expires_in(job: &Job, now: Time) -> Option<i64> {
    let ttl = i64::from(job.spec.ttl_seconds_after_finished?);
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let is_end = |type_: &str| matches!(type_, "Complete" | "Failed");
    let end = job.status.conditions.iter().find(|condition| is_end(&condition.type_) && condition.status == "True")?;
    Some(ttl - now.seconds_since(end.last_transition_time))
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let jobs = sources.of::<Job>();
    let queue = WorkQueue::new("ttl_jobs_to_delete");
    let (for_jobs, clock) = (queue.clone(), context.clock.clone());
    jobs.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) && expires_in(event.object(), Time::from(clock.now())).is_some() {
            for_jobs.add(event.key());
        }
    });
    let client = context.client("ttl-after-finished-controller")?;
    let reconciler = TtlAfterFinished { jobs: jobs.store(), api: Api::all(&client), clock: context.clock.clone() };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.ttl_after_finished);
    Ok(Started::Running)
}

struct TtlAfterFinished {
    jobs: Arc<Store<Job>>,
    api: Api<Job>,
    clock: Arc<dyn Clock>,
}

impl Reconcile for TtlAfterFinished {
    const NAME: &'static str = "ttl-after-finished-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(job) = self.jobs.get(key) else { return Ok(Requeue::OnChange) };
        match expires_in(&job, Time::from(self.clock.now())) {
            None => return Ok(Requeue::OnChange),
            Some(left) if left > 0 => return Ok(Requeue::After(Duration::from_secs(u64::try_from(left).unwrap_or(1)))),
            Some(_) => {}
        }
        // The limit may have been raised at the last moment.
        let api = self.api.within(key.namespace());
        let refused = |verb, err| WriteError::new(verb, format!("job \"{key}\""), err);
        let Some(fresh) = api.get_opt(key.name()).await.map_err(|err| refused("get", err))? else { return Ok(Requeue::OnChange) };
        if fresh.metadata.uid != job.metadata.uid || expires_in(&fresh, Time::from(self.clock.now())).is_none_or(|left| left > 0) {
            return Ok(Requeue::OnChange);
        }
        let params = DeleteParams {
            uid: Some(fresh.metadata.uid.clone()),
            resource_version: Some(fresh.metadata.resource_version.clone()),
            ..DeleteParams::foreground()
        };
        match api.delete(key.name(), &params).await {
            Err(err) if !err.is_not_found() => Err(refused("delete", err)),
            _ => Ok(Requeue::OnChange),
        }
    }
}

#[cfg(test)]
mod tests {
    use api::batch::v1::JobCondition;

    use super::*;

    #[track_caller]
    fn check(ttl: Option<i32>, finished: Option<(&str, i64)>, expected: Option<i64>) {
        let mut job = Job::default();
        job.spec.ttl_seconds_after_finished = ttl;
        if let Some((type_, at)) = finished {
            job.status.conditions.push(JobCondition {
                type_: type_.into(),
                status: "True".into(),
                last_transition_time: Time::from_unix(at),
                ..JobCondition::default()
            });
        }
        assert_eq!(expires_in(&job, Time::from_unix(1000)), expected);
    }

    #[test]
    fn only_finished_jobs_with_a_limit_expire() {
        check(None, Some(("Complete", 900)), None);
        check(Some(60), None, None);
        check(Some(60), Some(("Suspended", 900)), None);
        check(Some(60), Some(("Complete", 990)), Some(50));
        check(Some(60), Some(("Failed", 900)), Some(-40));
        check(Some(0), Some(("Failed", 1000)), Some(0));
    }
}
