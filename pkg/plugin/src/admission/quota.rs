//! ResourceQuota: what a namespace's quotas allow in sum. Upstream: apiserver/pkg/admission/plugin/resourcequota, pkg/quota/v1.

use std::sync::Arc;

use api::core::v1::{Pod, ResourceQuota as Quota};
use apimachinery::status::StatusError;
use apimachinery::{Map, Object, Quantity};
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, list};

pub use component_helpers::quota::{Usage, in_scope, usage};

pub struct ResourceQuota {
    objects: Arc<dyn Objects>,
}

impl ResourceQuota {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }
}

/// Names of a quota's hard limits with their amounts.
fn pairs<'a>(names: &[&str], amounts: impl Fn(&str) -> Option<&'a Quantity>) -> String {
    names.iter().map(|name| format!("{name}={}", amounts(name).cloned().unwrap_or_default())).collect::<Vec<_>>().join(",")
}

/// What a quota says to a change: nothing to count, its new `used`, or why not.
fn charge(quota: &Quota, delta: &Usage, object: &dyn Object) -> Result<Option<Map<Quantity>>, String> {
    let hard = &quota.status.hard;
    let concerned: Vec<&str> = delta.keys().map(String::as_str).filter(|name| hard.contains_key(name)).collect();
    // Pods have to say what they want of everything that is limited.
    if let Some(pod) = object.downcast_ref::<Pod>() {
        let missing: Vec<&str> = missing_constraints(pod, hard);
        if !missing.is_empty() {
            return Err(format!(
                "failed quota: {}: must specify {} for: {}",
                quota.metadata.name,
                missing.join(","),
                containers_missing(pod, &missing)
            ));
        }
    }
    let grows: Vec<&str> = concerned.iter().copied().filter(|name| delta[*name].signum() > 0).collect();
    if concerned.iter().all(|name| delta[*name].is_zero()) {
        return Ok(None);
    }
    let mut used = quota.status.used.clone();
    let mut exceeded = Vec::new();
    for name in &concerned {
        let sum = used.entry_or_default(name);
        sum.add(&delta[*name]);
        if grows.contains(name) && hard.get(name).is_some_and(|hard| sum.cmp(hard).is_gt()) {
            exceeded.push(*name);
        }
    }
    if exceeded.is_empty() {
        return Ok(Some(used));
    }
    Err(format!(
        "exceeded quota: {}, requested: {}, used: {}, limited: {}",
        quota.metadata.name,
        pairs(&exceeded, |name| delta.get(name)),
        pairs(&exceeded, |name| quota.status.used.get(name)),
        pairs(&exceeded, |name| hard.get(name)),
    ))
}

/// Compute resources that the quota limits and some container leaves open.
fn missing_constraints<'a>(pod: &Pod, hard: &'a Map<Quantity>) -> Vec<&'a str> {
    hard.keys()
        .filter(|name| pod.spec.init_containers.iter().chain(pod.spec.containers.iter()).any(|container| leaves_open(container, pod, name)))
        .collect()
}

fn leaves_open(container: &api::core::v1::Container, pod: &Pod, name: &str) -> bool {
    let pod_level = pod.spec.resources.as_ref();
    let (list, of_pod, resource) = match name {
        "cpu" | "memory" => (&container.resources.requests, pod_level.map(|r| &r.requests), name),
        "requests.cpu" | "requests.memory" => (&container.resources.requests, pod_level.map(|r| &r.requests), &name[9..]),
        "limits.cpu" | "limits.memory" => (&container.resources.limits, pod_level.map(|r| &r.limits), &name[7..]),
        _ => return false,
    };
    !list.contains_key(resource) && !of_pod.is_some_and(|list| list.contains_key(resource))
}

fn containers_missing(pod: &Pod, missing: &[&str]) -> String {
    let mut names: Vec<&str> = pod
        .spec
        .init_containers
        .iter()
        .chain(pod.spec.containers.iter())
        .filter(|container| missing.iter().any(|name| leaves_open(container, pod, name)))
        .map(|container| container.name.as_str())
        .collect();
    names.sort_unstable();
    names.join(",")
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if review.namespace.is_empty() || !(review.subresource.is_empty() || (review.resource == "pods" && review.subresource == "resize"))
        {
            return Ok(());
        }
        let Some(object) = review.object.as_deref() else { return Ok(()) };
        let quotas: Vec<Quota> = list(&self.objects, "", "resourcequotas", review.namespace).await?;
        if quotas.is_empty() {
            return Ok(());
        }
        let delta = delta(review, object);
        if delta.values().all(Quantity::is_zero) {
            return Ok(());
        }
        for quota in quotas.iter().filter(|quota| in_scope(quota, object)) {
            if let Err(why) = charge(quota, &delta, object) {
                return Err(forbidden(review, why));
            }
        }
        if review.context.dry_run {
            return Ok(());
        }
        // Counted in the quota's status with compare-and-swap, so that two servers cannot both use the last of it.
        for quota in quotas.iter().filter(|quota| in_scope(quota, object)) {
            let taken = self
                .objects
                .update("", "resourcequotas", review.namespace, &quota.metadata.name, &|current| {
                    let Some(current) = current.downcast_ref::<Quota>() else { return Ok(None) };
                    match charge(current, &delta, object) {
                        Ok(None) => Ok(None),
                        Ok(Some(used)) => {
                            let mut new = current.clone();
                            new.status.used = used;
                            Ok(Some(Box::new(new) as Box<dyn Object>))
                        }
                        Err(why) => Err(forbidden(review, why)),
                    }
                })
                .await;
            match taken {
                Ok(_) => {}
                Err(err) if err.is_not_found() => {} // The quota went away meanwhile.
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

/// What the write adds to the namespace's use.
fn delta(review: &Review<'_>, object: &dyn Object) -> Usage {
    let mut delta = usage(review.group, review.resource, object);
    if let Some(old) = review.old {
        for (name, amount) in usage(review.group, review.resource, old) {
            delta.entry(name).or_default().sub(&amount);
        }
    }
    delta
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::json;

    #[test]
    fn a_full_quota_refuses_in_upstreams_words() {
        let quota: Quota = json::from_slice(
            br#"{"metadata":{"name":"q"},"status":{"hard":{"pods":"2","requests.cpu":"1"},"used":{"pods":"1","requests.cpu":"900m"}}}"#,
        )
        .unwrap();
        let pod: Pod = json::from_slice(br#"{"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"200m"}}}]}}"#).unwrap();
        let delta = usage("", "pods", &pod);
        assert_eq!(
            charge(&quota, &delta, &pod).unwrap_err(),
            "exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=900m, limited: requests.cpu=1"
        );
        let silent: Pod = json::from_slice(br#"{"spec":{"containers":[{"name":"a"}]}}"#).unwrap();
        assert_eq!(charge(&quota, &usage("", "pods", &silent), &silent).unwrap_err(), "failed quota: q: must specify requests.cpu for: a");
    }
}
