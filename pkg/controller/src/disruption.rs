//! disruption-controller: keeps the status of PodDisruptionBudgets, by which evictions are admitted.
//!
//! Reads PodDisruptionBudgets, Pods and what owns them; writes PodDisruptionBudget status. Upstream: pkg/controller/disruption.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use api::autoscaling::v1::Scale;
use api::core::v1::{Pod, ReplicationController};
use api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use apimachinery::labels::Selector;
use apimachinery::meta::v1::{Condition, OwnerReference};
use apimachinery::{IntOrString, Map, Resource, Time};
use client::{Api, Client, Discovery, RestMapper};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use component_helpers::{owners, pod};
use informer::{Event, ObjectKey, Reconcile, Recorder, Requeue, Store, WorkQueue};

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration = Registration { name: "disruption-controller", alias: Some("disruption"), default_on: true, start };

/// How long an eviction counts without the pod being deleted: then something went wrong with it. Upstream's number.
const DISRUPTED_SECONDS: i64 = 120;

/// One look at a budget.
pub struct Observed<'a> {
    pub budget: &'a PodDisruptionBudget,
    /// Those its selector picks.
    pub pods: &'a [Arc<Pod>],
    /// How many pods their owners want in sum, or why that cannot be known. Only asked for where the budget needs it.
    pub scale: Result<i32, String>,
    pub now: Time,
}

/// Whether the budget is relative to what the pods' owners want.
pub fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    budget.spec.max_unavailable.is_some() || matches!(budget.spec.min_available, Some(IntOrString::String(_)))
}

/// The status as it should be. `last_transition_time` moves only with the condition.
pub fn next_status(seen: &Observed<'_>) -> PodDisruptionBudgetStatus {
    let budget = seen.budget;
    let mut status = budget.status.clone();
    status.observed_generation = budget.metadata.generation;
    let (expected, desired) = match expected_and_desired(seen) {
        Ok(counts) => counts,
        Err(problem) => {
            // Nothing may be evicted on a guess.
            status.disruptions_allowed = 0;
            set_condition(&mut status, "False", "SyncFailed", problem, budget.metadata.generation, seen.now);
            return status;
        }
    };
    status.disrupted_pods = still_disrupted(seen);
    let healthy = seen.pods.iter().filter(|pod| {
        pod.metadata.deletion_timestamp.is_none() && !status.disrupted_pods.contains_key(&pod.metadata.name) && pod::is_ready(pod)
    });
    status.current_healthy = i32::try_from(healthy.count()).unwrap_or(i32::MAX);
    status.desired_healthy = desired;
    status.expected_pods = expected;
    status.disruptions_allowed = if expected > 0 { (status.current_healthy - desired).max(0) } else { 0 };
    let (allowed, reason) = if status.disruptions_allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    set_condition(&mut status, allowed, reason, String::new(), budget.metadata.generation, seen.now);
    status
}

fn expected_and_desired(seen: &Observed<'_>) -> Result<(i32, i32), String> {
    let spec = &seen.budget.spec;
    let scaled =
        |value: &IntOrString, total: i32| value.scaled(total, true).ok_or_else(|| format!("invalid value for IntOrString: {value}"));
    if let Some(most) = &spec.max_unavailable {
        let expected = seen.scale.clone()?;
        return Ok((expected, (expected - scaled(most, expected)?).max(0)));
    }
    match &spec.min_available {
        Some(IntOrString::Int(least)) => Ok((i32::try_from(seen.pods.len()).unwrap_or(i32::MAX), *least)),
        Some(share) => {
            let expected = seen.scale.clone()?;
            Ok((expected, scaled(share, expected)?))
        }
        None => Ok((i32::try_from(seen.pods.len()).unwrap_or(i32::MAX), 0)),
    }
}

/// Pods whose eviction was admitted and that are not seen to be going yet.
fn still_disrupted(seen: &Observed<'_>) -> Map<Time> {
    let mut disrupted = seen.budget.status.disrupted_pods.clone();
    disrupted.retain(|name, since| {
        let found = seen.pods.iter().find(|pod| pod.metadata.name == name);
        let staying = found.is_some_and(|pod| pod.metadata.deletion_timestamp.is_none());
        staying && seen.now.seconds_since(*since) < DISRUPTED_SECONDS
    });
    disrupted
}

fn set_condition(status: &mut PodDisruptionBudgetStatus, value: &str, reason: &str, message: String, generation: i64, now: Time) {
    let new = Condition {
        type_: "DisruptionAllowed".into(),
        status: value.into(),
        observed_generation: generation,
        last_transition_time: now,
        reason: reason.into(),
        message,
    };
    match status.conditions.iter_mut().find(|known| known.type_ == new.type_) {
        None => status.conditions.push(new),
        Some(known) => {
            let since = if known.status == new.status { known.last_transition_time } else { now };
            *known = Condition { last_transition_time: since, ..new };
        }
    }
}

/// In how many seconds the first eviction stops counting.
fn next_expiry(status: &PodDisruptionBudgetStatus, now: Time) -> Option<u64> {
    let left = status.disrupted_pods.values().map(|since| DISRUPTED_SECONDS - now.seconds_since(*since)).min()?;
    Some(u64::try_from(left.max(1)).unwrap_or(1))
}

fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    Selector::of_option(budget.spec.selector.as_deref()).is_ok_and(|selector| selector.matches(&pod.metadata.labels))
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let budgets = sources.of::<PodDisruptionBudget>();
    let pods = sources.of::<Pod>();
    let queue = WorkQueue::new("disruption");
    budgets.enqueue(&queue);
    let (known, changed) = (budgets.store(), queue.clone());
    pods.on_event(move |event| {
        let old = if let Event::Updated { old, .. } = event { Some(old) } else { None };
        for budget in known.in_namespace(&event.object().metadata.namespace) {
            if selects(&budget, event.object()) || old.is_some_and(|old| selects(&budget, old)) {
                changed.add(ObjectKey::of_metadata(&budget.metadata));
            }
        }
    });
    let client = context.client("disruption-controller")?;
    let reconciler = Disruption {
        budgets: budgets.store(),
        pods: pods.store(),
        replica_sets: sources.of::<ReplicaSet>().store(),
        deployments: sources.of::<Deployment>().store(),
        stateful_sets: sources.of::<StatefulSet>().store(),
        replication_controllers: sources.of::<ReplicationController>().store(),
        api: Api::all(&client),
        client,
        recorder: context.recorder("controllermanager"),
        clock: context.clock.clone(),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 1);
    Ok(Started::Running)
}

struct Disruption {
    budgets: Arc<Store<PodDisruptionBudget>>,
    pods: Arc<Store<Pod>>,
    replica_sets: Arc<Store<ReplicaSet>>,
    deployments: Arc<Store<Deployment>>,
    stateful_sets: Arc<Store<StatefulSet>>,
    replication_controllers: Arc<Store<ReplicationController>>,
    api: Api<PodDisruptionBudget>,
    client: Client,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
}

impl Reconcile for Disruption {
    const NAME: &'static str = "disruption-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Requeue::OnChange) };
        let mut pods = self.pods.in_namespace(key.namespace());
        pods.retain(|pod| selects(&budget, pod));
        if pods.is_empty() {
            self.recorder.about(budget.as_ref(), "Normal", "NoPods", "No matching pods found");
        }
        let scale = match needs_scale(&budget) {
            true => {
                // What nobody controls has no scale, and is not counted.
                let (managed, unmanaged): (Vec<_>, Vec<_>) =
                    pods.iter().cloned().partition(|pod| owners::controller_of(&pod.metadata).is_some());
                if !unmanaged.is_empty() {
                    let names: Vec<&str> = unmanaged.iter().map(|pod| pod.metadata.name.as_str()).collect();
                    let message = format!(
                        "No controller manages these pods, so that the budget cannot count them: {}. With an integer in \
                         \".spec.minAvailable\" it would.",
                        names.join(", ")
                    );
                    self.recorder.about(budget.as_ref(), "Warning", "UnmanagedPods", &message);
                }
                self.scale(&managed).await
            }
            false => Ok(0),
        };
        if let Err(problem) = &scale {
            let message = format!("Failed to calculate the number of expected pods: {problem}");
            self.recorder.about(budget.as_ref(), "Warning", "CalculateExpectedPodCountFailed", &message);
        }
        let now = Time::from(self.clock.now());
        let failed = scale.as_ref().err().cloned();
        let status = next_status(&Observed { budget: &budget, pods: &pods, scale, now });
        let expiry = next_expiry(&status, now);
        if status != budget.status {
            let mut next = (*budget).clone();
            next.status = status;
            match self.api.within(key.namespace()).update_status(&next).await {
                Err(err) if !err.is_not_found() => {
                    return Err(WriteError::new("update the status of", format!("pod disruption budget \"{key}\""), err));
                }
                _ => {}
            }
        }
        match (failed, expiry) {
            (Some(problem), _) => Err(WriteError::Invalid(format!("pod disruption budget \"{key}\": {problem}"))),
            (None, Some(seconds)) => Ok(Requeue::After(Duration::from_secs(seconds))),
            (None, None) => Ok(Requeue::OnChange),
        }
    }
}

impl Disruption {
    /// How many pods the owners of these want in sum.
    async fn scale(&self, pods: &[Arc<Pod>]) -> Result<i32, String> {
        let mut scales: HashMap<String, i32> = HashMap::new();
        let mut mapper = None;
        for pod in pods {
            let Some(owner) = owners::controller_of(&pod.metadata) else {
                return Err(format!("found no controller ref for pod {:?}", pod.metadata.name));
            };
            if scales.contains_key(&owner.uid) {
                continue;
            }
            let namespace = &pod.metadata.namespace;
            let (uid, replicas) = match self.cached(owner, namespace) {
                Some(found) => found,
                None => (owner.uid.clone(), self.ask(owner, namespace, &mut mapper).await?),
            };
            // Several ReplicaSets of one Deployment count once.
            scales.insert(uid, replicas);
        }
        Ok(scales.values().sum())
    }

    fn cached(&self, owner: &OwnerReference, namespace: &str) -> Option<(String, i32)> {
        fn of<K: Resource>(store: &Store<K>, namespace: &str, owner: &OwnerReference) -> Option<Arc<K>> {
            store.get_named(namespace, &owner.name).filter(|found| found.metadata().uid == owner.uid)
        }
        match owner.kind.as_str() {
            "ReplicaSet" => {
                let set = of(&self.replica_sets, namespace, owner)?;
                let above = owners::controller_of(&set.metadata).filter(|above| above.kind == "Deployment");
                if let Some(deployment) = above.and_then(|above| of(&self.deployments, namespace, above)) {
                    return Some((deployment.metadata.uid.clone(), deployment.spec.replicas.unwrap_or(1)));
                }
                Some((set.metadata.uid.clone(), set.spec.replicas.unwrap_or(1)))
            }
            "StatefulSet" => {
                of(&self.stateful_sets, namespace, owner).map(|set| (set.metadata.uid.clone(), set.spec.replicas.unwrap_or(1)))
            }
            "ReplicationController" => {
                let set = of(&self.replication_controllers, namespace, owner)?;
                Some((set.metadata.uid.clone(), set.spec.replicas.unwrap_or(1)))
            }
            _ => None,
        }
    }

    /// Any other kind is asked for its scale.
    async fn ask(&self, owner: &OwnerReference, namespace: &str, mapper: &mut Option<RestMapper>) -> Result<i32, String> {
        let mapper = match mapper {
            Some(known) => known,
            None => mapper.insert(RestMapper::new(Discovery::fetch(&self.client).await.map_err(|err| err.to_string())?)),
        };
        let kind = mapper.kind(&owner.api_version, &owner.kind).map_err(|err| err.to_string())?;
        if kind.subresource("scale").is_none() {
            return Err(format!("{} does not implement the scale subresource", kind.gvr().group_resource()));
        }
        let api = Api::metadata(&self.client, kind.gvr(), namespace);
        let path = api.path().object(&owner.name, "scale").map_err(|err| err.to_string())?;
        let request = client::Request::get(path).accept("application/json");
        let answer = self.client.fetch(request).await.map_err(|err| err.to_string())?;
        let scale: Scale = apimachinery::json::from_slice(&answer).map_err(|err| err.to_string())?;
        Ok(scale.spec.replicas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service_pods::fixtures;

    const NOW: Time = Time::from_unix(1000);

    fn budget(min: Option<&str>, max: Option<&str>) -> PodDisruptionBudget {
        let mut budget = PodDisruptionBudget::default();
        budget.metadata.generation = 3;
        budget.spec.min_available = min.map(IntOrString::parse);
        budget.spec.max_unavailable = max.map(IntOrString::parse);
        budget
    }

    /// Expected: healthy/desired of expected pods, disruptions allowed.
    #[track_caller]
    fn check(budget: &PodDisruptionBudget, states: &str, scale: i32, expected: &str) -> PodDisruptionBudgetStatus {
        let pods: Vec<_> =
            states.split_whitespace().enumerate().map(|(n, state)| fixtures::pod(&format!("p{n}"), "10.1.0.1", state)).collect();
        let status = next_status(&Observed { budget, pods: &pods, scale: Ok(scale), now: NOW });
        let told =
            format!("{}/{} of {}, {}", status.current_healthy, status.desired_healthy, status.expected_pods, status.disruptions_allowed);
        assert_eq!(told, expected);
        status
    }

    #[test]
    fn budgets_are_counted_or_relative() {
        check(&budget(Some("2"), None), "ready ready ready", 0, "3/2 of 3, 1");
        check(&budget(Some("2"), None), "ready unready terminating", 0, "1/2 of 3, 0");
        check(&budget(Some("50%"), None), "ready ready ready", 5, "3/3 of 5, 0");
        check(&budget(None, Some("1")), "ready ready ready", 3, "3/2 of 3, 1");
        check(&budget(None, Some("30%")), "ready ready ready", 3, "3/2 of 3, 1");
        check(&budget(Some("0"), None), "", 0, "0/0 of 0, 0");
    }

    #[test]
    fn evictions_count_until_they_show_or_lapse() {
        let mut budget = budget(Some("1"), None);
        budget.status.disrupted_pods = [("p0", Time::from_unix(990)), ("p1", Time::from_unix(800)), ("gone", Time::from_unix(990))].into();
        let status = check(&budget, "ready ready ready", 0, "2/1 of 3, 1");
        assert_eq!(status.disrupted_pods.keys().collect::<Vec<_>>(), ["p0"]);
        assert_eq!(next_expiry(&status, NOW), Some(110));
    }

    #[test]
    fn what_cannot_be_known_allows_nothing() {
        let mut budget = budget(None, Some("1"));
        budget.status.disruptions_allowed = 2;
        let status = next_status(&Observed { budget: &budget, pods: &[], scale: Err("no".into()), now: NOW });
        assert_eq!((status.disruptions_allowed, status.conditions[0].reason.as_str()), (0, "SyncFailed"));
        assert_eq!(status.conditions[0].observed_generation, 3);
    }
}
