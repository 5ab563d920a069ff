//! The I/O around the plan.

use std::sync::Arc;
use std::time::Duration;

use api::batch::v1::{CronJob, Job};
use apimachinery::Time;
use client::{Api, Client, DeleteParams};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use component_helpers::owners::{controller_of, is_controlled_by};
use informer::{ObjectKey, Reconcile, Recorder, Requeue, Store, WorkQueue};

use super::{Observed, Plan, plan, reference};
use crate::context::{ControllerContext, StartError, Started};
use crate::owned;
use crate::shell::{WriteError, unless_stale};

const NAME: &str = "cronjob-controller";

pub(super) fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let (crons, jobs) = (sources.of::<CronJob>(), sources.of::<Job>());
    owned::index(&jobs.store());
    let queue = WorkQueue::new(NAME);
    crons.enqueue(&queue);
    jobs.on_event({
        let queue = queue.clone();
        move |event| {
            let metadata = &event.object().metadata;
            if let Some(owner) = controller_of(metadata).filter(|owner| owner.kind == "CronJob") {
                queue.add(ObjectKey::new(&metadata.namespace, &owner.name));
            }
        }
    });
    let reconciler = CronJobController {
        crons: crons.store(),
        jobs: jobs.store(),
        client: context.client(NAME)?,
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.cronjob);
    Ok(Started::Running)
}

struct CronJobController {
    crons: Arc<Store<CronJob>>,
    jobs: Arc<Store<Job>>,
    client: Client,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
}

impl Reconcile for CronJobController {
    const NAME: &'static str = NAME;
    type Error = WriteError;
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        unless_stale(key, &["update status of"], self.look(key).await)
    }
}

impl CronJobController {
    /// Look, plan, carry out. An error puts the key back with backoff; nothing is retried here.
    async fn look(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(cron) = self.crons.get(key) else { return Ok(Requeue::OnChange) };
        let jobs = owned::owned_by(&self.jobs, &cron.metadata.uid);
        let plan = plan(&Observed { cron: &cron, jobs: &jobs, now: Time::from(self.clock.now()) });
        let look_again = plan.look_again;
        self.carry_out(&cron, plan).await?;
        Ok(look_again.map_or(Requeue::OnChange, |seconds| Requeue::After(Duration::from_secs(seconds.unsigned_abs()))))
    }

    async fn carry_out(&self, cron: &CronJob, plan: Plan) -> Result<(), WriteError> {
        let jobs = Api::<Job>::namespaced(&self.client, &cron.metadata.namespace);
        for deletion in plan.delete {
            let mut params = DeleteParams::background();
            params.uid = Some(deletion.uid);
            match jobs.delete(&deletion.name, &params).await {
                Ok(_) => self.recorder.about(cron, "Normal", "SuccessfulDelete", &format!("Deleted job {}", deletion.name)),
                Err(err) if err.is_not_found() => {}
                Err(err) => {
                    self.recorder.about(cron, "Warning", "FailedDelete", &format!("Deleted job: {err}"));
                    return Err(WriteError::new("delete", format!("Job {:?}", deletion.name), err));
                }
            }
        }
        for event in plan.events {
            self.recorder.about(cron, event.kind, event.reason, &event.message);
        }
        let mut status = plan.status.map_or_else(|| cron.status.clone(), |status| *status);
        if let Some(job) = plan.create {
            let made = self.create(cron, &jobs, &job).await?;
            status.active.push(reference(&made));
        }
        if status == cron.status {
            return Ok(());
        }
        let changed = CronJob { status, ..cron.clone() };
        let written = Api::<CronJob>::namespaced(&self.client, &cron.metadata.namespace).update_status(&changed).await;
        written.map(drop).map_err(|err| WriteError::new("update status of", owned::describe(cron), err))
    }

    async fn create(&self, cron: &CronJob, jobs: &Api<Job>, job: &Job) -> Result<Job, WriteError> {
        let failed = |verb, err| WriteError::new(verb, owned::describe(job), err);
        match jobs.create(job).await {
            Ok(made) => {
                self.recorder.about(cron, "Normal", "SuccessfulCreate", &format!("Created job {}", made.metadata.name));
                Ok(made)
            }
            Err(err) if err.is_already_exists() => {
                // Ours, if the status write after it was lost.
                let found = jobs.get(&job.metadata.name).await.map_err(|err| failed("read", err))?;
                if is_controlled_by(&found.metadata, &cron.metadata.uid) { Ok(found) } else { Err(failed("create", err)) }
            }
            Err(err) => {
                if !err.is_namespace_terminating() {
                    self.recorder.about(cron, "Warning", "FailedCreate", &format!("Error creating job: {err}"));
                }
                Err(failed("create", err))
            }
        }
    }
}
