//! LimitRanger: a namespace's LimitRanges give defaults to containers and bound what pods, containers and claims ask for.

use std::sync::Arc;

use api::core::v1::{LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod, ResourceRequirements};
use apimachinery::status::StatusError;
use apimachinery::{Map, Quantity};
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, is, list, object, object_mut};

pub struct LimitRanger {
    objects: Arc<dyn Objects>,
}

impl LimitRanger {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }

    async fn ranges(&self, namespace: &str) -> Result<Vec<LimitRange>, StatusError> {
        list(&self.objects, "", "limitranges", namespace).await
    }
}

/// Whether LimitRanger looks at this write at all.
fn concerned(review: &Review<'_>) -> bool {
    let claim = is(review, "", "persistentvolumeclaims");
    let pod = is(review, "", "pods") && review.operation == Operation::Create;
    // In-place resizing changes what a pod asks for.
    let resize = review.group.is_empty() && review.resource == "pods" && review.subresource == "resize";
    (claim && matches!(review.operation, Operation::Create | Operation::Update)) || pod || resize
}

/// Defaults of all ranges for containers: later ranges do not override earlier ones.
fn defaults(ranges: &[LimitRange]) -> (Map<Quantity>, Map<Quantity>) {
    let (mut limits, mut requests) = (Map::empty(), Map::empty());
    for item in ranges.iter().flat_map(|range| range.spec.limits.iter()).filter(|item| item.type_ == "Container") {
        for (to, from) in [(&mut limits, &item.default), (&mut requests, &item.default_request)] {
            for (name, amount) in from {
                to.insert(name, amount.clone());
            }
        }
    }
    (limits, requests)
}

/// Fills in what a container does not say; gives back what was set, for the annotation.
fn fill_in(resources: &mut ResourceRequirements, limits: &Map<Quantity>, requests: &Map<Quantity>) -> (Vec<String>, Vec<String>) {
    let fill = |to: &mut Map<Quantity>, from: &Map<Quantity>| {
        let mut set = Vec::new();
        for (name, amount) in from {
            if !to.contains_key(name) {
                to.insert(name, amount.clone());
                set.push(name.to_owned());
            }
        }
        set
    };
    (fill(&mut resources.limits, limits), fill(&mut resources.requests, requests))
}

fn apply_defaults(pod: &mut Pod, ranges: &[LimitRange]) {
    let (limits, requests) = defaults(ranges);
    if limits.is_empty() && requests.is_empty() {
        return;
    }
    let mut notes = Vec::new();
    let spec = &mut pod.spec;
    for (what, containers) in [("container", &mut spec.containers), ("init container", &mut spec.init_containers)] {
        for container in containers.iter_mut() {
            let (set_limits, set_requests) = fill_in(&mut container.resources, &limits, &requests);
            for (names, kind) in [(set_requests, "request"), (set_limits, "limit")] {
                if !names.is_empty() {
                    notes.push(format!("{} {kind} for {what} {}", names.join(", "), container.name));
                }
            }
        }
    }
    if !notes.is_empty() {
        pod.metadata.annotations.insert("kubernetes.io/limit-ranger", format!("LimitRanger plugin set: {}", notes.join("; ")));
    }
}

/// What a bound forbids, in upstream's words.
fn violations(item: &LimitRangeItem, resources: &ResourceRequirements, errors: &mut Vec<String>) {
    let kind = &item.type_;
    for (name, min) in &item.min {
        let (request, limit) = (resources.requests.get(name), resources.limits.get(name));
        match request {
            None => errors.push(format!("minimum {name} usage per {kind} is {min}.  No request is specified")),
            Some(request) if request.cmp(min).is_lt() => {
                errors.push(format!("minimum {name} usage per {kind} is {min}, but request is {request}"))
            }
            Some(_) => {}
        }
        if let Some(limit) = limit
            && limit.cmp(min).is_lt()
        {
            errors.push(format!("minimum {name} usage per {kind} is {min}, but limit is {limit}"));
        }
    }
    for (name, max) in &item.max {
        match resources.limits.get(name) {
            None => errors.push(format!("maximum {name} usage per {kind} is {max}.  No limit is specified")),
            Some(limit) if limit.cmp(max).is_gt() => errors.push(format!("maximum {name} usage per {kind} is {max}, but limit is {limit}")),
            Some(_) => {}
        }
        if let Some(request) = resources.requests.get(name)
            && request.cmp(max).is_gt()
        {
            errors.push(format!("maximum {name} usage per {kind} is {max}, but request is {request}"));
        }
    }
    for (name, ratio) in &item.max_limit_request_ratio {
        let (request, limit) = (resources.requests.get(name), resources.limits.get(name));
        match (request, limit) {
            (Some(request), Some(limit)) if request.signum() > 0 => {
                let actual = limit.as_f64() / request.as_f64();
                if actual > ratio.as_f64() {
                    errors.push(format!("{name} max limit to request ratio per {kind} is {ratio}, but provided ratio is {actual:.6}"));
                }
            }
            _ => {
                errors.push(format!("{name} max limit to request ratio per {kind} is {ratio}, but no request is specified or request is 0"))
            }
        }
    }
}

fn pod_violations(pod: &Pod, ranges: &[LimitRange]) -> Vec<String> {
    let mut errors = Vec::new();
    for item in ranges.iter().flat_map(|range| range.spec.limits.iter()) {
        match item.type_.as_str() {
            "Container" => {
                for container in pod.spec.containers.iter().chain(pod.spec.init_containers.iter()) {
                    violations(item, &container.resources, &mut errors);
                }
            }
            "Pod" => {
                let total = ResourceRequirements {
                    requests: component_helpers::resource::pod_requests_without_overhead(pod),
                    limits: component_helpers::resource::pod_limits(pod),
                    ..ResourceRequirements::default()
                };
                violations(item, &total, &mut errors);
            }
            _ => {}
        }
    }
    errors
}

fn claim_violations(claim: &PersistentVolumeClaim, ranges: &[LimitRange]) -> Vec<String> {
    let mut errors = Vec::new();
    for item in ranges.iter().flat_map(|range| range.spec.limits.iter()).filter(|item| item.type_ == "PersistentVolumeClaim") {
        for (name, min) in &item.min {
            match claim.spec.resources.requests.get(name) {
                None => errors.push(format!("minimum {name} usage per PersistentVolumeClaim is {min}.  No request is specified")),
                Some(request) if request.cmp(min).is_lt() => {
                    errors.push(format!("minimum {name} usage per PersistentVolumeClaim is {min}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
        for (name, max) in &item.max {
            match claim.spec.resources.requests.get(name) {
                None => errors.push(format!("maximum {name} usage per PersistentVolumeClaim is {max}.  No request is specified")),
                Some(request) if request.cmp(max).is_gt() => {
                    errors.push(format!("maximum {name} usage per PersistentVolumeClaim is {max}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
    errors
}

/// One error as it is, several in brackets.
pub(super) fn aggregate(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[async_trait]
impl Plugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !concerned(review) || review.resource != "pods" || !review.subresource.is_empty() {
            return Ok(());
        }
        let ranges = self.ranges(review.namespace).await?;
        if let Some(pod) = object_mut::<Pod>(review) {
            apply_defaults(pod, &ranges);
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if !concerned(review) {
            return Ok(());
        }
        let ranges = self.ranges(review.namespace).await?;
        let errors = if let Some(pod) = object::<Pod>(review) {
            pod_violations(pod, &ranges)
        } else if let Some(claim) = object::<PersistentVolumeClaim>(review) {
            claim_violations(claim, &ranges)
        } else {
            Vec::new()
        };
        if errors.is_empty() { Ok(()) } else { Err(forbidden(review, aggregate(&errors))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::json;

    #[test]
    fn defaults_are_noted_and_bounds_are_kept() {
        let range: LimitRange = json::from_slice(
            br#"{"spec":{"limits":[{"type":"Container","default":{"cpu":"1"},"defaultRequest":{"cpu":"100m"},"max":{"cpu":"2"}}]}}"#,
        )
        .unwrap();
        let mut pod: Pod = json::from_slice(
            br#"{"spec":{"containers":[{"name":"a"},{"name":"b","resources":{"limits":{"cpu":"3"},"requests":{"cpu":"3"}}}]}}"#,
        )
        .unwrap();
        apply_defaults(&mut pod, std::slice::from_ref(&range));
        assert_eq!(
            pod.metadata.annotations.get_str("kubernetes.io/limit-ranger"),
            "LimitRanger plugin set: cpu request for container a; cpu limit for container a"
        );
        assert_eq!(
            pod_violations(&pod, &[range]),
            ["maximum cpu usage per Container is 2, but limit is 3", "maximum cpu usage per Container is 2, but request is 3"]
        );
    }
}
