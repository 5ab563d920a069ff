//! Quality-of-service class of a pod. Upstream: pkg/apis/core/v1/helper/qos.

use api::core::v1::{Pod, ResourceRequirements};

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(pod: &Pod) -> &'static str {
    if let Some(resources) = &pod.spec.resources
        && (has_amount(&resources.requests) || has_amount(&resources.limits))
    {
        return if is_guaranteed(resources) { "Guaranteed" } else { "Burstable" };
    }
    let all = || pod.spec.containers.iter().chain(pod.spec.init_containers.iter());
    if !all().any(|container| has_amount(&container.resources.requests) || has_amount(&container.resources.limits)) {
        return "BestEffort";
    }
    if all().all(|container| is_guaranteed(&container.resources)) { "Guaranteed" } else { "Burstable" }
}

/// The class as computed, or as the API server once recorded it.
pub fn class_of(pod: &Pod) -> &str {
    if pod.status.qos_class.is_empty() { class(pod) } else { &pod.status.qos_class }
}

fn has_amount(list: &crate::resource::ResourceList) -> bool {
    ["cpu", "memory"].iter().any(|name| list.get(name).is_some_and(|amount| amount.signum() > 0))
}

/// Both cpu and memory are limited, and requested to the same amount.
fn is_guaranteed(resources: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|name| match resources.limits.get(name) {
        Some(limit) if limit.signum() > 0 => resources.requests.get(name).is_none_or(|request| request.cmp(limit).is_eq()),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::json;

    #[test]
    fn classes_follow_requests_and_limits() {
        let pod = |resources: &str| {
            json::from_slice::<Pod>(format!(r#"{{"spec":{{"containers":[{{"resources":{resources}}}]}}}}"#).as_bytes()).unwrap()
        };
        assert_eq!(class(&pod("{}")), "BestEffort");
        assert_eq!(class(&pod(r#"{"requests":{"cpu":"1"}}"#)), "Burstable");
        assert_eq!(class(&pod(r#"{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"1","memory":"1Gi"}}"#)), "Guaranteed");
        assert_eq!(class(&pod(r#"{"limits":{"cpu":"1","memory":"1Gi"},"requests":{"cpu":"500m","memory":"1Gi"}}"#)), "Burstable");
    }
}
