//! `pods/NAME/eviction`: a delete that asks disruption budgets first. Upstream: EvictionREST of pkg/registry/core/pod/storage.

use std::sync::Arc;

use api::core::v1::Pod;
use api::policy::v1::{Eviction, PodDisruptionBudget};
use apimachinery::gvk::GroupResource;
use apimachinery::labels::Selector;
use apimachinery::meta::v1::{Condition, DeleteOptions};
use apimachinery::status::{StatusDetails, StatusError, reason};
use apimachinery::{Object, Time};
use apiserver::objects::Objects;
use apiserver::request::RequestContext;
use apiserver::rest::{Answer, Creater, Graceful, Strategy};
use async_trait::async_trait;
use component_helpers::pod as pods;
use http::StatusCode;
use storage::Store;

use super::PodStrategy;
use crate::config::LateObjects;
use crate::stored;

/// So many Pods may be on their way out of one budget before its controller has seen any of them go.
const MAX_DISRUPTED_PODS: usize = 2000;

/// How often a delete starts over when somebody else changes the Pod at the same time.
const TRIES: usize = 20;

/// Evicts Pods.
#[derive(Clone)]
pub struct EvictionCreater {
    pub objects: Arc<LateObjects>,
    pub store: Option<Arc<dyn Store>>,
    pub prefix: String,
}

#[async_trait]
impl Creater for EvictionCreater {
    async fn create(&self, context: &RequestContext, body: Box<dyn Object>) -> Result<Answer, StatusError> {
        let eviction: &Eviction = body.downcast_ref().ok_or_else(|| StatusError::bad_request("not an Eviction object"))?;
        let name = context.info.name.as_str();
        if eviction.metadata.name != name {
            return Err(StatusError::bad_request("name in URL does not match name in Eviction object"));
        }
        let options = eviction.delete_options.as_deref().cloned().unwrap_or_default();
        let dry_run = context.dry_run || !options.dry_run.is_empty();
        let pod = self.pod(&context.info.namespace, name).await?;
        if !goes_anyway(&pod) {
            self.ask_budgets(&pod, dry_run).await?;
        }
        if !dry_run {
            self.delete(pod, &options).await?;
        }
        Ok(Answer::Success(StatusCode::CREATED))
    }
}

/// A Pod that does not run, or is going already, is no budget's concern.
fn goes_anyway(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed" | "Pending") || pod.metadata.deletion_timestamp.is_some()
}

impl EvictionCreater {
    async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, StatusError> {
        let found = self.objects.get_live("", "pods", namespace, name).await?;
        let found = found.ok_or_else(|| StatusError::not_found(&GroupResource::new("", "pods"), name))?;
        Ok(found.downcast_ref::<Pod>().expect("pods are Pods").clone())
    }

    /// Takes one disruption from the Pod's budget, if it has one.
    async fn ask_budgets(&self, pod: &Pod, dry_run: bool) -> Result<(), StatusError> {
        let namespace = &pod.metadata.namespace;
        let objects = self.objects.list("policy", "poddisruptionbudgets", namespace).await?;
        let budgets: Vec<&PodDisruptionBudget> = objects.iter().filter_map(|object| object.downcast_ref()).collect();
        let mut covering = budgets.into_iter().filter(|budget| covers(budget, pod));
        let Some(budget) = covering.next() else { return Ok(()) };
        if covering.next().is_some() {
            let message = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(StatusError::new(500, reason::UNKNOWN, message));
        }
        let name = budget.metadata.name.clone();
        let now = Time::now();
        let take = |object: &dyn Object| {
            let budget: &PodDisruptionBudget = object.downcast_ref().expect("budgets are PodDisruptionBudgets");
            disrupt(budget, pod, now).map(|changed| changed.map(|budget| Box::new(budget) as Box<dyn Object>))
        };
        if dry_run {
            return take(budget).map(drop);
        }
        self.objects.update("policy", "poddisruptionbudgets", namespace, &name, &take).await.map(drop)
    }

    /// Deletes as DELETE does: with the grace the Pod needs, and only this incarnation.
    async fn delete(&self, pod: Pod, options: &DeleteOptions) -> Result<(), StatusError> {
        let uid = pod.metadata.uid.clone();
        let mut current = pod;
        for _ in 0..TRIES {
            if current.metadata.uid != uid {
                return Ok(());
            }
            if let Some(preconditions) = &options.preconditions
                && preconditions.uid.as_ref().is_some_and(|wanted| *wanted != uid)
            {
                let wanted = preconditions.uid.as_deref().unwrap_or_default();
                let why = format!(
                    "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and \
                     then recreated"
                );
                return Err(StatusError::conflict(&GroupResource::new("", "Pod"), &current.metadata.name, why));
            }
            let Graceful::Seconds(grace) = PodStrategy::default().graceful_deletion(&current, options) else { return Ok(()) };
            if grace > 0 || !current.metadata.finalizers.is_empty() {
                let now = Time::now();
                let mark = |object: &dyn Object| {
                    let pod: &Pod = object.downcast_ref().expect("pods are Pods");
                    Ok(marked(pod, &uid, grace, now).map(|pod| Box::new(pod) as Box<dyn Object>))
                };
                let (namespace, name) = (&current.metadata.namespace, &current.metadata.name);
                return match self.objects.update("", "pods", namespace, name, &mark).await {
                    Err(error) if error.is_not_found() => Ok(()),
                    other => other.map(drop),
                };
            }
            if stored::remove(self.store.as_ref(), &self.prefix, "pods", &current).await? {
                return Ok(());
            }
            current = match self.pod(&current.metadata.namespace, &current.metadata.name).await {
                Err(error) if error.is_not_found() => return Ok(()),
                other => other?,
            };
        }
        Err(StatusError::too_many_requests("the pod changes too quickly to be evicted", 1))
    }
}

/// The Pod on its way out; none if it is on its way already with no more time than that, or is another one by now.
fn marked(pod: &Pod, uid: &str, grace: i64, now: Time) -> Option<Pod> {
    if pod.metadata.uid != uid {
        return None;
    }
    if pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds.is_some_and(|left| left <= grace) {
        return None;
    }
    let mut marked = pod.clone();
    let meta = &mut marked.metadata;
    if meta.deletion_timestamp.is_none() && meta.generation > 0 {
        meta.generation += 1;
    }
    meta.deletion_timestamp = Some(now.add_seconds(grace));
    meta.deletion_grace_period_seconds = Some(grace);
    Some(marked)
}

fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    // A budget without a selector covers nothing, an empty selector everything.
    budget
        .spec
        .selector
        .as_deref()
        .and_then(|selector| Selector::of(selector).ok())
        .is_some_and(|selector| selector.matches(&pod.metadata.labels))
}

/// The budget after this eviction; none if the eviction costs it nothing.
fn disrupt(budget: &PodDisruptionBudget, pod: &Pod, now: Time) -> Result<Option<PodDisruptionBudget>, StatusError> {
    let (name, status) = (&budget.metadata.name, &budget.status);
    if !pods::is_ready(pod) {
        let always = budget.spec.unhealthy_pod_eviction_policy.as_deref() == Some("AlwaysAllow");
        if always || status.current_healthy >= status.desired_healthy && status.desired_healthy > 0 {
            return Ok(None);
        }
    }
    if status.observed_generation < budget.metadata.generation {
        return Err(too_many(format!("The disruption budget {name} is still being processed by the server."), 10));
    }
    let forbidden = |why: &str| Err(StatusError::forbidden(&GroupResource::new("policy", "poddisruptionbudget"), name, why));
    if status.disruptions_allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if status.disrupted_pods.len() > MAX_DISRUPTED_PODS {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if status.disruptions_allowed == 0 {
        let (needs, has) = (status.desired_healthy, status.current_healthy);
        return Err(too_many(format!("The disruption budget {name} needs {needs} healthy pods and has {has} currently"), 0));
    }
    let mut changed = budget.clone();
    changed.status.disruptions_allowed -= 1;
    if changed.status.disruptions_allowed == 0 {
        set_condition(&mut changed, now);
    }
    changed.status.disrupted_pods.insert(&pod.metadata.name, now);
    Ok(Some(changed))
}

fn set_condition(budget: &mut PodDisruptionBudget, now: Time) {
    let mut condition = Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: "False".to_owned(),
        observed_generation: budget.status.observed_generation,
        last_transition_time: now,
        reason: "InsufficientPods".to_owned(),
        message: String::new(),
    };
    match budget.status.conditions.iter_mut().find(|found| found.type_ == condition.type_) {
        Some(found) => {
            if found.status == condition.status {
                condition.last_transition_time = found.last_transition_time;
            }
            *found = condition;
        }
        None => budget.status.conditions.push(condition),
    }
}

fn too_many(message: String, retry_after_seconds: i32) -> StatusError {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let details = StatusDetails { retry_after_seconds, ..StatusDetails::default() };
    StatusError::new(429, reason::TOO_MANY_REQUESTS, text).with_details(details).with_cause("DisruptionBudget", message, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i32) -> PodDisruptionBudget {
        let json = format!(
            r#"{{"metadata":{{"name":"b","generation":1}},"spec":{{"selector":{{"matchLabels":{{"app":"a"}}}}}},
                "status":{{"observedGeneration":1,"disruptionsAllowed":{allowed},"currentHealthy":1,"desiredHealthy":1,"expectedPods":1}}}}"#
        );
        apimachinery::json::from_slice(json.as_bytes()).unwrap()
    }

    fn pod() -> Pod {
        let json = r#"{"metadata":{"name":"p","labels":{"app":"a"}},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}"#;
        apimachinery::json::from_slice(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_budget_gives_what_it_has() {
        assert!(covers(&budget(1), &pod()));
        let after = disrupt(&budget(1), &pod(), Time::from_unix(5)).unwrap().unwrap();
        assert_eq!(after.status.disruptions_allowed, 0);
        assert_eq!(after.status.disrupted_pods.get("p"), Some(&Time::from_unix(5)));
        assert_eq!(after.status.conditions[0].reason, "InsufficientPods");
        let error = disrupt(&budget(0), &pod(), Time::from_unix(5)).unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (429, "Cannot evict pod as it would violate the pod's disruption budget."));
        assert_eq!(error.causes()[0].message, "The disruption budget b needs 1 healthy pods and has 1 currently");
    }

    #[test]
    fn an_unready_pod_of_a_healthy_budget_goes_for_nothing() {
        let mut unready = pod();
        unready.status.conditions[0].status = "False".into();
        assert_eq!(disrupt(&budget(0), &unready, Time::from_unix(5)).unwrap(), None);
    }

    #[test]
    fn a_delete_only_shortens_what_is_left() {
        let mut pod = pod();
        pod.metadata.uid = "u".into();
        let once = marked(&pod, "u", 30, Time::from_unix(0)).unwrap();
        assert_eq!(marked(&once, "u", 60, Time::from_unix(0)), None);
        assert_eq!(marked(&once, "u", 5, Time::from_unix(0)).unwrap().metadata.deletion_grace_period_seconds, Some(5));
        assert_eq!(marked(&pod, "other", 5, Time::from_unix(0)), None);
    }
}
