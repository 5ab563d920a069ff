//! The I/O around the plan.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::apps::v1::{ControllerRevision, DaemonSet};
use api::core::v1::{Node, Pod};
use apimachinery::Time;
use apimachinery::labels::Selector;
use client::{Api, Client};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use informer::{Event, Expectations, ObjectKey, Reconcile, Requeue, Store, WorkQueue};
use parking_lot::Mutex;

use super::nodes::pod_for;
use super::{Deletion, Observed, Plan, next_availability_change, next_status, plan};
use crate::context::{ControllerContext, StartError, Started};
use crate::history::{self, Stored};
use crate::pods::{self, PodControl};
use crate::shell::{WriteError, unless_stale};
use crate::{owned, wake};

const NAME: &str = "daemonset-controller";
const ACCOUNT: &str = "daemon-set-controller";
/// First and longest rest after a Pod failed on a node; upstream's numbers.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15 * 60));

pub(super) fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let (sets, pods, nodes) = (sources.of::<DaemonSet>(), sources.of::<Pod>(), sources.of::<Node>());
    let revisions = sources.of::<ControllerRevision>();
    owned::index(&pods.store());
    owned::index(&revisions.store());
    let queue = WorkQueue::new(NAME);
    let expectations = Arc::new(Expectations::new());
    sets.enqueue(&queue);
    wake::by_pods(&pods, sets.store(), |set: &DaemonSet| Selector::of_option(set.spec.selector.as_deref()).ok(), &queue, &expectations);
    nodes.on_event({
        let (queue, sets) = (queue.clone(), sets.store());
        move |event| {
            // Heartbeats change nothing that sets look at.
            if let Event::Updated { old, new } = event
                && old.metadata.labels == new.metadata.labels
                && old.spec == new.spec
            {
                return;
            }
            sets.keys().into_iter().for_each(|key| queue.add(key));
        }
    });
    let reconciler = DaemonSetController {
        sets: sets.store(),
        pods: pods.store(),
        nodes: nodes.store(),
        revisions: revisions.store(),
        control: PodControl { client: context.client(ACCOUNT)?, recorder: context.recorder(NAME) },
        statuses: context.client(ACCOUNT)?,
        expectations,
        rests: Mutex::default(),
        clock: context.clock.clone(),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.daemonset);
    Ok(Started::Running)
}

/// How long a node is left alone after a Pod failed on it.
#[derive(Clone, Copy)]
struct Rest {
    until: Instant,
    length: Duration,
}

struct DaemonSetController {
    sets: Arc<Store<DaemonSet>>,
    pods: Arc<Store<Pod>>,
    nodes: Arc<Store<Node>>,
    revisions: Arc<Store<ControllerRevision>>,
    control: PodControl,
    statuses: Client,
    expectations: Arc<Expectations>,
    /// By set and node.
    rests: Mutex<HashMap<(ObjectKey, String), Rest>>,
    clock: Arc<dyn Clock>,
}

impl Reconcile for DaemonSetController {
    const NAME: &'static str = NAME;
    type Error = WriteError;
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        unless_stale(key, &["update status of"], self.look(key).await)
    }
}

impl DaemonSetController {
    /// Look, plan, carry out. An error puts the key back with backoff; nothing is retried here.
    async fn look(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(set) = self.sets.get(key) else {
            self.expectations.forget(key);
            self.rests.lock().retain(|(of, _), _| of != key);
            return Ok(Requeue::OnChange);
        };
        let may_write = self.expectations.met(key);
        let selector = Selector::of_option(set.spec.selector.as_deref())
            .map_err(|err| WriteError::Invalid(format!("{} has an invalid selector: {err}", owned::describe(&*set))))?;
        if selector.is_everything() {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.control.recorder.about(&*set, "Warning", "SelectingAll", message);
            return Ok(Requeue::OnChange);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Requeue::OnChange);
        }
        let mut candidates = owned::owned_by(&self.pods, &set.metadata.uid);
        candidates.extend(owned::orphans(&self.pods, key.namespace()));
        let pods = owned::settle(&self.control.client, &*set, owned::claims(&set.metadata, &selector, candidates, |_| true)).await?;
        let mut candidates = owned::owned_by(&self.revisions, &set.metadata.uid);
        candidates.extend(owned::orphans(&self.revisions, key.namespace()));
        let claims = owned::claims(&set.metadata, &selector, candidates, |_| true);
        let mut revisions = owned::settle(&self.control.client, &*set, claims).await?;
        history::sort(&mut revisions);
        let present = history::present(&*set, &set.spec.template, set.status.collision_count, &revisions);
        let revision = match history::store(&self.control.client, present).await? {
            Stored::At(revision) => revision,
            Stored::Collision => return self.count_collision(&set).await,
        };
        let hash = history::hash_of(&revision);

        let nodes = self.nodes.list();
        let instant = self.clock.instant();
        let resting = |node: &str| self.rests.lock().get(&(key.clone(), node.to_string())).is_some_and(|rest| rest.until > instant);
        let seen = Observed { set: &set, hash, nodes: &nodes, pods: &pods, resting: &resting, now: Time::from(self.clock.now()) };
        let plan = if may_write { plan(&seen) } else { Plan::default() };
        let written = self.carry_out(key, &set, hash, &plan).await;
        if let Some(status) = next_status(&seen) {
            let changed = DaemonSet { status, ..(*set).clone() };
            let api = Api::<DaemonSet>::namespaced(&self.statuses, key.namespace());
            api.update_status(&changed).await.map_err(|err| WriteError::new("update status of", owned::describe(&*set), err))?;
        }
        written?;
        let in_use = |one: &ControllerRevision| {
            let label = history::hash_of(one);
            label == hash || pods.iter().any(|pod| pod.metadata.labels.get(history::HASH_LABEL).is_some_and(|held| held == label))
        };
        history::truncate(&self.control.client, &revisions, set.spec.revision_history_limit.unwrap_or(10), in_use).await?;
        let available = next_availability_change(&seen).map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
        let rested = self
            .rests
            .lock()
            .iter()
            .filter(|((of, _), rest)| of == key && rest.until > instant)
            .map(|(_, rest)| rest.until - instant)
            .min();
        Ok(available.into_iter().chain(rested).min().map_or(Requeue::OnChange, Requeue::After))
    }

    async fn count_collision(&self, set: &DaemonSet) -> Result<Requeue, WriteError> {
        let mut changed = set.clone();
        changed.status.collision_count = Some(changed.status.collision_count.unwrap_or(0) + 1);
        let api = Api::<DaemonSet>::namespaced(&self.statuses, &set.metadata.namespace);
        let written = api.update_status(&changed).await;
        written.map_err(|err| WriteError::new("update status of", owned::describe(set), err))?;
        Ok(Requeue::OnChange) // The new status brings us back.
    }

    /// Notes that a Pod failed on a node, which then rests twice as long as the last time.
    fn rest(&self, key: &ObjectKey, node: &str) {
        let now = self.clock.instant();
        let mut rests = self.rests.lock();
        let length = match rests.get(&(key.clone(), node.to_string())) {
            // Two rests without a failure, and all is forgotten.
            Some(rest) if rest.until + REST.1 > now => (rest.length * 2).min(REST.1),
            _ => REST.0,
        };
        rests.insert((key.clone(), node.to_string()), Rest { until: now + length, length });
    }

    async fn carry_out(&self, key: &ObjectKey, set: &Arc<DaemonSet>, hash: &str, plan: &Plan) -> Result<(), WriteError> {
        self.expectations.expect_creations(key, plan.create.len());
        self.expectations.expect_deletions(key, plan.delete.iter().map(|deletion| deletion.uid.clone()));
        let tried = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (_, refused) = pods::slow_start(plan.create.len(), |index| {
            let pod = pod_for(set, &plan.create[index], hash);
            let (control, set, key) = (self.control.clone(), set.clone(), key.clone());
            let (expectations, tried) = (self.expectations.clone(), tried.clone());
            async move {
                tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let made = control.create(&pod, &*set).await;
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
        self.expectations.creations_skipped(key, plan.create.len() - tried.load(std::sync::atomic::Ordering::Relaxed));
        let deletions = plan.delete.iter().cloned().map(|Deletion { name, uid, node, ended }| {
            if ended.as_deref() == Some("Failed") {
                self.rest(key, &node);
            }
            self.tell_ended(set, &name, &node, ended.as_deref());
            let (control, set, key, expectations) = (self.control.clone(), set.clone(), key.clone(), self.expectations.clone());
            async move {
                let deleted = control.delete(key.namespace(), &name, &uid, &*set).await;
                if deleted.is_err() {
                    expectations.deletion_observed(&key, &uid);
                }
                deleted.map_err(|err| WriteError::new("delete", format!("Pod {name:?}"), err))
            }
        });
        let (_, failed) = pods::all_at_once(deletions).await;
        refused.or(failed).map_or(Ok(()), Err)
    }

    fn tell_ended(&self, set: &DaemonSet, name: &str, node: &str, phase: Option<&str>) {
        let (kind, reason, what, todo) = match phase {
            Some("Failed") => ("Warning", "FailedDaemonPod", "failed", "will try to kill it"),
            Some("Succeeded") => ("Normal", "SucceededDaemonPod", "succeeded", "will try to delete it"),
            _ => return,
        };
        let message = format!("Found {what} daemon pod {}/{name} on node {node}, {todo}", set.metadata.namespace);
        self.control.recorder.about(set, kind, reason, &message);
    }
}
