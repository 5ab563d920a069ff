//! The I/O around the plan.

use std::sync::Arc;
use std::time::Duration;

use api::apps::v1::{ControllerRevision, StatefulSet};
use api::core::v1::{PersistentVolumeClaim, Pod};
use apimachinery::Time;
use apimachinery::labels::Selector;
use client::{Api, Client, DeleteParams};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use informer::{Expectations, ObjectKey, Reconcile, Recorder, Requeue, Store, WorkQueue};

use super::identity::ordinal_of;
use super::{Action, Observed, Version, Why, next_availability_change, next_status, plan, revision_of};
use crate::context::{ControllerContext, StartError, Started};
use crate::history::{self, Stored};
use crate::shell::{WriteError, unless_stale};
use crate::{owned, wake};

const NAME: &str = "statefulset-controller";

pub(super) fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let (sets, pods) = (sources.of::<StatefulSet>(), sources.of::<Pod>());
    let (claims, revisions) = (sources.of::<PersistentVolumeClaim>(), sources.of::<ControllerRevision>());
    owned::index(&pods.store());
    owned::index(&revisions.store());
    let queue = WorkQueue::new(NAME);
    sets.enqueue(&queue);
    let selector = |set: &StatefulSet| Selector::of_option(set.spec.selector.as_deref()).ok();
    wake::by_pods(&pods, sets.store(), selector, &queue, &Arc::new(Expectations::new()));
    let reconciler = StatefulSetController {
        sets: sets.store(),
        pods: pods.store(),
        claims: claims.store(),
        revisions: revisions.store(),
        client: context.client(NAME)?,
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.statefulset);
    Ok(Started::Running)
}

struct StatefulSetController {
    sets: Arc<Store<StatefulSet>>,
    pods: Arc<Store<Pod>>,
    claims: Arc<Store<PersistentVolumeClaim>>,
    revisions: Arc<Store<ControllerRevision>>,
    client: Client,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
}

impl Reconcile for StatefulSetController {
    const NAME: &'static str = NAME;
    type Error = WriteError;
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        unless_stale(key, &["update status of"], self.look(key).await)
    }
}

impl StatefulSetController {
    /// Look, plan, carry out. An error puts the key back with backoff; nothing is retried here.
    async fn look(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(set) = self.sets.get(key) else { return Ok(Requeue::OnChange) };
        let selector = Selector::of_option(set.spec.selector.as_deref())
            .map_err(|err| WriteError::Invalid(format!("{} has an invalid selector: {err}", owned::describe(&*set))))?;
        let mut candidates = owned::owned_by(&self.pods, &set.metadata.uid);
        candidates.extend(owned::orphans(&self.pods, key.namespace()));
        let is_member = |pod: &Pod| ordinal_of(&set.metadata.name, &pod.metadata.name).is_some();
        let pods = owned::settle(&self.client, &*set, owned::claims(&set.metadata, &selector, candidates, is_member)).await?;
        let mut candidates = owned::owned_by(&self.revisions, &set.metadata.uid);
        candidates.extend(owned::orphans(&self.revisions, key.namespace()));
        let claims = owned::claims(&set.metadata, &selector, candidates, |_| true);
        let mut revisions = owned::settle(&self.client, &*set, claims).await?;
        history::sort(&mut revisions);
        let present = history::present(&*set, &set.spec.template, set.status.collision_count, &revisions);
        let update = match history::store(&self.client, present).await? {
            Stored::At(revision) => revision,
            Stored::Collision => return self.count_collision(&set).await,
        };
        let current = revisions.iter().find(|revision| revision.metadata.name == set.status.current_revision).unwrap_or(&update).clone();
        let mut current_set = (*set).clone();
        if let Some(template) = history::template_of(&current).filter(|_| current.metadata.name != update.metadata.name) {
            current_set.spec.template = template;
        }
        let claim = |name: &str| self.claims.get_named(key.namespace(), name);
        let seen = Observed {
            set: &set,
            pods: &pods,
            current: Version { name: &current.metadata.name, set: &current_set },
            update: Version { name: &update.metadata.name, set: &set },
            claim: &claim,
            now: Time::from(self.clock.now()),
        };
        let written = self.carry_out(&set, plan(&seen)).await;
        if let Some(status) = next_status(&seen) {
            let changed = StatefulSet { status, ..(*set).clone() };
            let api = Api::<StatefulSet>::namespaced(&self.client, key.namespace());
            api.update_status(&changed).await.map_err(|err| WriteError::new("update status of", owned::describe(&*set), err))?;
        }
        written?;
        let in_use = |one: &ControllerRevision| {
            let name = &one.metadata.name;
            *name == current.metadata.name || *name == update.metadata.name || pods.iter().any(|pod| revision_of(pod) == name)
        };
        history::truncate(&self.client, &revisions, set.spec.revision_history_limit.unwrap_or(10), in_use).await?;
        Ok(next_availability_change(&seen).map_or(Requeue::OnChange, |seconds| Requeue::After(Duration::from_secs(seconds.unsigned_abs()))))
    }

    async fn count_collision(&self, set: &StatefulSet) -> Result<Requeue, WriteError> {
        let mut changed = set.clone();
        changed.status.collision_count = Some(changed.status.collision_count.unwrap_or(0) + 1);
        let api = Api::<StatefulSet>::namespaced(&self.client, &set.metadata.namespace);
        let written = api.update_status(&changed).await;
        written.map_err(|err| WriteError::new("update status of", owned::describe(set), err))?;
        Ok(Requeue::OnChange) // The new status brings us back.
    }

    /// One after another: the order is the point.
    async fn carry_out(&self, set: &StatefulSet, actions: Vec<Action>) -> Result<(), WriteError> {
        let pods = Api::<Pod>::namespaced(&self.client, &set.metadata.namespace);
        let claims = Api::<PersistentVolumeClaim>::namespaced(&self.client, &set.metadata.namespace);
        for action in actions {
            match action {
                Action::CreateClaim { claim, pod } => {
                    let name = &claim.metadata.name;
                    let what = format!("Claim {name} Pod {pod} in StatefulSet {}", set.metadata.name);
                    let made = claims.create(&claim).await.map(drop);
                    self.tell(set, "create", &what, made, "success", ("claim", name))?;
                }
                Action::UpdateClaim(claim) => {
                    claims.update(&claim).await.map_err(|err| WriteError::new("update", owned::describe(&*claim), err))?;
                }
                Action::CreatePod(pod) => {
                    let what = format!("Pod {} in StatefulSet {}", pod.metadata.name, set.metadata.name);
                    let made = pods.create(&pod).await.map(drop);
                    self.tell(set, "create", &what, made, "successful", ("Pod", &pod.metadata.name))?;
                }
                Action::UpdatePod(pod) => {
                    let what = format!("Pod {} in StatefulSet {}", pod.metadata.name, set.metadata.name);
                    let made = pods.update(&pod).await.map(drop);
                    self.tell(set, "update", &what, made, "successful", ("Pod", &pod.metadata.name))?;
                }
                Action::DeletePod { name, uid, why } => {
                    if why == Why::Ended {
                        let message =
                            format!("StatefulSet {}/{} is recreating terminated Pod {name}", set.metadata.namespace, set.metadata.name);
                        self.recorder.about(set, "Warning", "RecreatingTerminatedPod", &message);
                    }
                    let what = format!("Pod {name} in StatefulSet {}", set.metadata.name);
                    let gone = match pods.delete(&name, &DeleteParams::of_uid(uid)).await {
                        Err(err) if err.is_not_found() => continue,
                        other => other.map(drop),
                    };
                    self.tell(set, "delete", &what, gone, "successful", ("Pod", &name))?;
                }
            }
        }
        Ok(())
    }

    /// Tells how a write went. One that finds its work done already is neither told nor an error: our cache is behind.
    fn tell(
        &self,
        set: &StatefulSet,
        verb: &'static str,
        what: &str,
        outcome: Result<(), client::Error>,
        success: &str,
        (kind, name): (&str, &str),
    ) -> Result<(), WriteError> {
        let reason = match verb {
            "create" => "Create",
            "update" => "Update",
            _ => "Delete",
        };
        match outcome {
            Ok(()) => {
                self.recorder.about(set, "Normal", &format!("Successful{reason}"), &format!("{verb} {what} {success}"));
                Ok(())
            }
            Err(err) if err.is_already_exists() => {
                // Ours, not seen yet; or a stranger's, which the next look finds again until it goes.
                Err(WriteError::new(verb, format!("{kind} {name:?}"), err))
            }
            Err(err) => {
                if !err.is_namespace_terminating() {
                    self.recorder.about(set, "Warning", &format!("Failed{reason}"), &format!("{verb} {what} failed error: {err}"));
                }
                Err(WriteError::new(verb, format!("{kind} {name:?}"), err))
            }
        }
    }
}
