//! The I/O around the plan.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use api::batch::v1::Job;
use api::core::v1::Pod;
use apimachinery::labels::Selector;
use apimachinery::{Time, Value};
use client::{Api, Client, Patch, PatchParams};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use component_helpers::owners::{controller_of, controller_reference};
use informer::{Event, Expectations, ObjectKey, Reconcile, Requeue, Store, WorkQueue};

use super::{Deletion, FINALIZER, Observed, Plan, Slot, has_finalizer, indexes, plan};
use crate::context::{ControllerContext, StartError, Started};
use crate::pods::{self, PodControl};
use crate::shell::{WriteError, unless_stale};
use crate::{owned, wake};

const NAME: &str = "job-controller";
/// Index of Pods that wait to be counted, by the key of their Job: found even when that is gone.
const TRACKED: &str = "tracked-by-job";

pub(super) fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let (jobs, pods) = (sources.of::<Job>(), sources.of::<Pod>());
    owned::index(&pods.store());
    pods.store().add_index(TRACKED, |pod| tracker(pod).map(|key| key.to_string()).into_iter().collect());
    let queue = WorkQueue::new(NAME);
    let expectations = Arc::new(Expectations::new());
    jobs.enqueue(&queue);
    let selector = |job: &Job| Selector::of_option(job.spec.selector.as_deref()).ok();
    wake::by_pods(&pods, jobs.store(), selector, &queue, &expectations);
    pods.on_event({
        let (queue, jobs) = (queue.clone(), jobs.store());
        move |event| {
            // Nobody will count it any more: it must not be kept.
            if let Event::Added(pod) | Event::Updated { new: pod, .. } = event
                && let Some(key) = tracker(pod)
                && !jobs.get(&key).is_some_and(|job| is_of(pod, &job.metadata.uid))
            {
                queue.add(key);
            }
        }
    });
    let reconciler = JobController {
        jobs: jobs.store(),
        pods: pods.store(),
        control: PodControl { client: context.client(NAME)?, recorder: context.recorder(NAME) },
        statuses: context.client(NAME)?,
        expectations,
        clock: context.clock.clone(),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.job);
    Ok(Started::Running)
}

/// The key of the Job that a Pod with our finalizer names.
fn tracker(pod: &Pod) -> Option<ObjectKey> {
    let owner = controller_of(&pod.metadata).filter(|owner| owner.kind == "Job" && has_finalizer(pod))?;
    Some(ObjectKey::new(&pod.metadata.namespace, &owner.name))
}

fn is_of(pod: &Pod, uid: &str) -> bool {
    controller_of(&pod.metadata).is_some_and(|owner| owner.uid == uid)
}

struct JobController {
    jobs: Arc<Store<Job>>,
    pods: Arc<Store<Pod>>,
    control: PodControl,
    /// Statuses and finalizers: not held up by a burst of pods.
    statuses: Client,
    expectations: Arc<Expectations>,
    clock: Arc<dyn Clock>,
}

impl Reconcile for JobController {
    const NAME: &'static str = NAME;
    type Error = WriteError;
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        unless_stale(key, &["update status of"], self.look(key).await)
    }
}

impl JobController {
    /// Look, plan, carry out. An error puts the key back with backoff; nothing is retried here.
    async fn look(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let job = self.jobs.get(key);
        self.let_go_of_strangers(key, job.as_ref().map(|job| job.metadata.uid.as_str())).await?;
        let Some(job) = job else {
            self.expectations.forget(key);
            return Ok(Requeue::OnChange);
        };
        if job.spec.managed_by.as_deref().is_some_and(|manager| manager != "kubernetes.io/job-controller") {
            return Ok(Requeue::OnChange);
        }
        let settled = self.expectations.met(key);
        let selector = Selector::of_option(job.spec.selector.as_deref())
            .map_err(|err| WriteError::Invalid(format!("{} has an invalid selector: {err}", owned::describe(&*job))))?;
        let mut candidates = owned::owned_by(&self.pods, &job.metadata.uid);
        candidates.extend(owned::orphans(&self.pods, key.namespace()));
        let claims = owned::claims(&job.metadata, &selector, candidates, |_| true);
        let pods = owned::settle(&self.control.client, &*job, claims).await?;
        let seen = Observed { job: &job, pods: &pods, now: Time::from(self.clock.now()), settled };
        let plan = plan(&seen);
        let look_again = plan.look_again;
        self.carry_out(key, &job, plan).await?;
        Ok(look_again.map_or(Requeue::OnChange, |seconds| Requeue::After(Duration::from_secs(seconds.unsigned_abs()))))
    }

    /// Takes the finalizer off Pods whose Job is gone, or is a namesake made since.
    async fn let_go_of_strangers(&self, key: &ObjectKey, uid: Option<&str>) -> Result<(), WriteError> {
        let tracked = self.pods.by_index(TRACKED, key.as_str());
        let strangers = tracked.iter().filter(|pod| uid.is_none_or(|uid| !is_of(pod, uid)));
        self.strip(strangers.map(|pod| (key.namespace().to_string(), pod.metadata.name.clone()))).await
    }

    async fn strip(&self, pods: impl Iterator<Item = (String, String)>) -> Result<(), WriteError> {
        let (_, failed) = pods::all_at_once(pods.map(|(namespace, name)| strip_one(self.statuses.clone(), namespace, name))).await;
        failed.map_or(Ok(()), Err)
    }

    async fn carry_out(&self, key: &ObjectKey, job: &Arc<Job>, plan: Plan) -> Result<(), WriteError> {
        let deleted = self.delete(key, job, plan.delete).await;
        let created = self.create(key, job, plan.create).await;
        let decided = plan.status.is_some();
        if let Some(status) = plan.status {
            let changed = Job { status: *status, ..(**job).clone() };
            let api = Api::<Job>::namespaced(&self.statuses, key.namespace());
            api.update_status(&changed).await.map_err(|err| WriteError::new("update status of", owned::describe(&**job), err))?;
        }
        if decided {
            for event in plan.events {
                self.control.recorder.about(&**job, event.kind, &event.reason, &event.message);
            }
        }
        // Only now: a Pod that goes without being in the status would never be counted.
        self.strip(plan.strip.into_iter().map(|name| (key.namespace().to_string(), name))).await?;
        deleted.and(created)
    }

    async fn delete(&self, key: &ObjectKey, job: &Arc<Job>, deletions: Vec<Deletion>) -> Result<(), WriteError> {
        self.expectations.expect_deletions(key, deletions.iter().map(|deletion| deletion.uid.clone()));
        let all = deletions.into_iter().map(|Deletion { name, uid, uncounted }| {
            let (control, job, key) = (self.control.clone(), job.clone(), key.clone());
            let (expectations, statuses) = (self.expectations.clone(), self.statuses.clone());
            async move {
                let one = async {
                    if uncounted {
                        strip_one(statuses, key.namespace().to_string(), name.clone()).await?;
                    }
                    let deleted = control.delete(key.namespace(), &name, &uid, &*job).await;
                    deleted.map_err(|err| WriteError::new("delete", format!("Pod {name:?}"), err))
                };
                let outcome = one.await;
                if outcome.is_err() {
                    expectations.deletion_observed(&key, &uid);
                }
                outcome
            }
        });
        let (_, failed) = pods::all_at_once(all).await;
        failed.map_or(Ok(()), Err)
    }

    async fn create(&self, key: &ObjectKey, job: &Arc<Job>, slots: Vec<Slot>) -> Result<(), WriteError> {
        let count = slots.len();
        self.expectations.expect_creations(key, count);
        let tried = Arc::new(AtomicUsize::new(0));
        let (_, failed) = pods::slow_start(count, |number| {
            let mut pod = pods::from_template(&job.spec.template, key.namespace(), controller_reference(&**job));
            pod.metadata.finalizers.push(FINALIZER.to_string());
            indexes::put(job, &mut pod, slots[number]);
            let (control, job, key) = (self.control.clone(), job.clone(), key.clone());
            let (expectations, tried) = (self.expectations.clone(), tried.clone());
            async move {
                tried.fetch_add(1, Ordering::Relaxed);
                let made = control.create(&pod, &*job).await;
                if made.is_err() {
                    expectations.creation_observed(&key);
                }
                match made {
                    Err(err) if !err.is_namespace_terminating() => Err(WriteError::new("create", "Pod", err)),
                    _ => Ok(()),
                }
            }
        })
        .await;
        self.expectations.creations_skipped(key, count - tried.load(Ordering::Relaxed));
        failed.map_or(Ok(()), Err)
    }
}

async fn strip_one(client: Client, namespace: String, name: String) -> Result<(), WriteError> {
    let mut patch = Value::object();
    patch.set_at(&["metadata", "$deleteFromPrimitiveList/finalizers"], Value::Array(vec![FINALIZER.into()]));
    match Api::<Pod>::namespaced(&client, &namespace).patch(&name, &Patch::Strategic(patch), &PatchParams::default()).await {
        Err(err) if !err.is_not_found() => Err(WriteError::new("remove the finalizer of", format!("Pod {name:?}"), err)),
        _ => Ok(()),
    }
}
