//! The I/O around the plan.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api::apps::v1::{Deployment, ReplicaSet};
use api::core::v1::Pod;
use apimachinery::Time;
use apimachinery::labels::Selector;
use client::{Api, Client, DeleteParams};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use component_helpers::owners::controller_of;
use component_helpers::pod::is_terminal;
use informer::{Event, ObjectKey, Reconcile, Recorder, Requeue, Store, WorkQueue};

use super::conditions::{condition, set_condition};
use super::{Observed, Plan, Write, plan};
use crate::context::{ControllerContext, StartError, Started};
use crate::owned;
use crate::shell::{WriteError, unless_stale};

const NAME: &str = "deployment-controller";

pub(super) fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let (deployments, sets, pods) = (sources.of::<Deployment>(), sources.of::<ReplicaSet>(), sources.of::<Pod>());
    owned::index(&sets.store());
    owned::index(&pods.store());
    let queue = WorkQueue::new(NAME);
    deployments.enqueue(&queue);
    sets.on_event({
        let (queue, deployments) = (queue.clone(), deployments.store());
        move |event| wake_owner(event, &deployments, &queue)
    });
    pods.on_event({
        let (queue, deployments, sets) = (queue.clone(), deployments.store(), sets.store());
        move |event| {
            // Under Recreate the last of the old Pods is waited for.
            if let Event::Deleted(pod) = event
                && let Some(set) = controller_of(&pod.metadata).and_then(|owner| sets.get_named(&pod.metadata.namespace, &owner.name))
                && let Some(owner) = controller_of(&set.metadata)
                && let Some(deployment) = deployments.get_named(&pod.metadata.namespace, &owner.name)
                && deployment.spec.strategy.type_ == "Recreate"
            {
                queue.add(ObjectKey::of(&*deployment));
            }
        }
    });
    let reconciler = DeploymentController {
        deployments: deployments.store(),
        sets: sets.store(),
        pods: pods.store(),
        client: context.client(NAME)?,
        recorder: context.recorder(NAME),
        clock: context.clock.clone(),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.deployment);
    Ok(Started::Running)
}

fn wake_owner(event: &Event<ReplicaSet>, deployments: &Store<Deployment>, queue: &WorkQueue) {
    let owner = |set: &ReplicaSet| {
        let reference = controller_of(&set.metadata).filter(|reference| reference.kind == "Deployment")?;
        let deployment = deployments.get_named(&set.metadata.namespace, &reference.name)?;
        (deployment.metadata.uid == reference.uid).then(|| ObjectKey::of(&*deployment))
    };
    let set = event.object();
    if let Event::Updated { old, new } = event
        && controller_of(&old.metadata) != controller_of(&new.metadata)
        && let Some(key) = owner(old)
    {
        queue.add(key);
    }
    if let Some(key) = owner(set) {
        queue.add(key);
    } else if controller_of(&set.metadata).is_none() && !matches!(event, Event::Deleted(_)) {
        for deployment in deployments.in_namespace(&set.metadata.namespace) {
            let selector = Selector::of_option(deployment.spec.selector.as_deref());
            if selector.is_ok_and(|selector| selector.matches(&set.metadata.labels)) {
                queue.add(ObjectKey::of(&*deployment));
            }
        }
    }
}

struct DeploymentController {
    deployments: Arc<Store<Deployment>>,
    sets: Arc<Store<ReplicaSet>>,
    pods: Arc<Store<Pod>>,
    client: Client,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
}

impl Reconcile for DeploymentController {
    const NAME: &'static str = NAME;
    const MAX_RETRIES: Option<u32> = Some(15);
    type Error = WriteError;
    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        unless_stale(key, &["update", "update status of"], self.look(key).await)
    }
}

impl DeploymentController {
    /// Look, plan, carry out. An error puts the key back with backoff; nothing is retried here.
    async fn look(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(deployment) = self.deployments.get(key) else { return Ok(Requeue::OnChange) };
        let selector = Selector::of_option(deployment.spec.selector.as_deref())
            .map_err(|err| WriteError::Invalid(format!("{} has an invalid selector: {err}", owned::describe(&*deployment))))?;
        if selector.is_everything() {
            self.recorder.about(
                &*deployment,
                "Warning",
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
            );
            return Ok(Requeue::OnChange);
        }
        let mut candidates = owned::owned_by(&self.sets, &deployment.metadata.uid);
        candidates.extend(owned::orphans(&self.sets, key.namespace()));
        let claims = owned::claims(&deployment.metadata, &selector, candidates, |_| true);
        let sets = owned::settle(&self.client, &*deployment, claims).await?;
        let with_pods = self.sets_with_pods(&deployment, &sets);
        let seen = Observed { deployment: &deployment, sets, with_pods, now: Time::from(self.clock.now()) };
        let plan = plan(&seen);
        let look_again = plan.look_again;
        self.carry_out(&deployment, plan).await?;
        Ok(look_again.map_or(Requeue::OnChange, |seconds| Requeue::After(Duration::from_secs(seconds.unsigned_abs()))))
    }

    fn sets_with_pods(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> HashSet<String> {
        if deployment.spec.strategy.type_ != "Recreate" {
            return HashSet::new();
        }
        let runs = |uid: &str| owned::owned_by(&self.pods, uid).iter().any(|pod| !is_terminal(pod));
        sets.iter().map(|set| set.metadata.uid.clone()).filter(|uid| runs(uid)).collect()
    }

    async fn carry_out(&self, deployment: &Deployment, plan: Plan) -> Result<(), WriteError> {
        let sets = Api::<ReplicaSet>::namespaced(&self.client, &deployment.metadata.namespace);
        for write in plan.writes {
            match write {
                Write::Create(set) => self.create(&sets, deployment, &set).await?,
                Write::Update { set, from } => {
                    sets.update(&set).await.map_err(|err| WriteError::new("update", owned::describe(&*set), err))?;
                    if let Some(from) = from {
                        self.tell_scaled(deployment, &set, from);
                    }
                }
                Write::Delete { name, uid } => match sets.delete(&name, &DeleteParams::of_uid(uid)).await {
                    Err(err) if !err.is_not_found() => return Err(WriteError::new("delete", format!("ReplicaSet {name:?}"), err)),
                    _ => {}
                },
            }
        }
        let api = Api::<Deployment>::namespaced(&self.client, &deployment.metadata.namespace);
        let refused = |verb| move |err| WriteError::new(verb, owned::describe(deployment), err);
        let mut current = deployment.clone();
        if let Some(changed) = plan.deployment {
            current = api.update(&changed).await.map_err(refused("update"))?;
        }
        for event in plan.events {
            self.recorder.about(deployment, event.kind, event.reason, &event.message);
        }
        if let Some(status) = plan.status {
            current.status = *status;
            api.update_status(&current).await.map_err(refused("update status of"))?;
        }
        Ok(())
    }

    fn tell_scaled(&self, deployment: &Deployment, set: &ReplicaSet, from: i32) {
        let to = set.spec.replicas.unwrap_or(1);
        let direction = if to > from { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {} from {from} to {to}", set.metadata.name);
        self.recorder.about(deployment, "Normal", "ScalingReplicaSet", &message);
    }

    async fn create(&self, sets: &Api<ReplicaSet>, deployment: &Deployment, set: &ReplicaSet) -> Result<(), WriteError> {
        let Err(err) = sets.create(set).await else {
            if set.spec.replicas.unwrap_or(0) > 0 {
                self.tell_scaled(deployment, set, 0);
            }
            return Ok(());
        };
        let what = owned::describe(set);
        let mut failed = deployment.clone();
        if err.is_already_exists() {
            // Our cache may be behind, and the set ours already; anything else in its place is a collision of hashes.
            let found = sets.get(&set.metadata.name).await.map_err(|err| WriteError::new("read", what.clone(), err))?;
            let ours = controller_of(&found.metadata).is_some_and(|owner| owner.uid == deployment.metadata.uid);
            if ours && crate::template::same(&found.spec.template, &deployment.spec.template) {
                return Ok(()); // Its event, on its way, wakes us.
            }
            failed.status.collision_count = Some(failed.status.collision_count.unwrap_or(0) + 1);
            self.write_status(&failed).await?;
            return Err(WriteError::new("create", what, err));
        }
        if !err.is_namespace_terminating() {
            let message = format!("Failed to create new replica set {:?}: {err}", set.metadata.name);
            self.recorder.about(deployment, "Warning", "ReplicaSetCreateError", &message);
            if super::conditions::has_deadline(deployment) {
                let now = Time::from(self.clock.now());
                set_condition(&mut failed.status, condition("Progressing", "False", "ReplicaSetCreateError", message, now));
                self.write_status(&failed).await?;
            }
        }
        Err(WriteError::new("create", what, err))
    }

    async fn write_status(&self, deployment: &Deployment) -> Result<(), WriteError> {
        let api = Api::<Deployment>::namespaced(&self.client, &deployment.metadata.namespace);
        let written = api.update_status(deployment).await;
        written.map(drop).map_err(|err| WriteError::new("update status of", owned::describe(deployment), err))
    }
}
