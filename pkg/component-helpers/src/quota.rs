//! What objects count for in quotas, and which quotas count them. Shared by admission, which charges changes, and by the
//! controller, which counts afresh. Upstream: pkg/quota/v1/evaluator/core.

use std::collections::BTreeMap;

use api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota as Quota, Service};
use apimachinery::quantity::Format;
use apimachinery::{Object, Quantity};

/// Amounts an object counts for, by quota resource name.
pub type Usage = BTreeMap<String, Quantity>;

fn count(number: i64) -> Quantity {
    Quantity::from_value(number, Format::DecimalSI)
}

/// What one object uses. Objects of any kind count for `count/RESOURCE.GROUP`.
pub fn usage(group: &str, resource: &str, object: &dyn Object) -> Usage {
    let mut used = Usage::new();
    let generic = if group.is_empty() { format!("count/{resource}") } else { format!("count/{resource}.{group}") };
    used.insert(generic, count(1));
    match (group, resource) {
        ("", "pods") => {
            if let Some(pod) = object.downcast_ref::<Pod>() {
                pod_usage(pod, &mut used);
            }
        }
        ("", "services") => {
            if let Some(service) = object.downcast_ref::<Service>() {
                service_usage(service, &mut used);
            }
        }
        ("", "persistentvolumeclaims") => {
            if let Some(claim) = object.downcast_ref::<PersistentVolumeClaim>() {
                claim_usage(claim, &mut used);
            }
        }
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => {
            used.insert(resource.to_owned(), count(1));
        }
        _ => {}
    }
    used
}

fn pod_usage(pod: &Pod, used: &mut Usage) {
    // A finished pod, or one past its grace period on a node that is lost, uses nothing but its place in the store.
    if crate::pod::is_terminal(pod) {
        return;
    }
    used.insert("pods".to_owned(), count(1));
    for (name, amount) in crate::resource::pod_requests(pod) {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(name.clone(), amount.clone());
        }
        if name.starts_with("hugepages-") {
            used.insert(name.clone(), amount.clone());
        }
        used.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in crate::resource::pod_limits(pod) {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            used.insert(format!("limits.{name}"), amount);
        }
    }
}

fn service_usage(service: &Service, used: &mut Usage) {
    used.insert("services".to_owned(), count(1));
    let ports = i64::try_from(service.spec.ports.len()).unwrap_or(i64::MAX);
    let (node_ports, balancers) = match service.spec.type_.as_str() {
        "NodePort" => (ports, 0),
        "LoadBalancer" if service.spec.allocate_load_balancer_node_ports == Some(false) => {
            (i64::try_from(service.spec.ports.iter().filter(|port| port.node_port != 0).count()).unwrap_or(0), 1)
        }
        "LoadBalancer" => (ports, 1),
        _ => (0, 0),
    };
    used.insert("services.nodeports".to_owned(), count(node_ports));
    used.insert("services.loadbalancers".to_owned(), count(balancers));
}

fn claim_usage(claim: &PersistentVolumeClaim, used: &mut Usage) {
    used.insert("persistentvolumeclaims".to_owned(), count(1));
    let class = claim
        .spec
        .storage_class_name
        .clone()
        .or_else(|| claim.metadata.annotations.get("volume.beta.kubernetes.io/storage-class").cloned());
    if let Some(class) = &class {
        used.insert(format!("{class}.storageclass.storage.k8s.io/persistentvolumeclaims"), count(1));
    }
    if let Some(storage) = claim.spec.resources.requests.get("storage") {
        used.insert("requests.storage".to_owned(), storage.clone());
        if let Some(class) = &class {
            used.insert(format!("{class}.storageclass.storage.k8s.io/requests.storage"), storage.clone());
        }
    }
}

/// True if the quota's scopes take the object in. Scopes are about pods (and claims by attributes class); other objects are in unscoped quotas only.
pub fn in_scope(quota: &Quota, object: &dyn Object) -> bool {
    let scopes: Vec<(&str, &str, Vec<&str>)> = quota
        .spec
        .scopes
        .iter()
        .map(|scope| (scope.as_str(), "Exists", Vec::new()))
        .chain(quota.spec.scope_selector.iter().flat_map(|selector| selector.match_expressions.iter()).map(|requirement| {
            (requirement.scope_name.as_str(), requirement.operator.as_str(), requirement.values.iter().map(String::as_str).collect())
        }))
        .collect();
    if scopes.is_empty() {
        return true;
    }
    let Some(pod) = object.downcast_ref::<Pod>() else { return false };
    scopes.iter().all(|(scope, operator, values)| pod_in_scope(pod, scope, operator, values))
}

fn pod_in_scope(pod: &Pod, scope: &str, operator: &str, values: &[&str]) -> bool {
    let best_effort = crate::qos::class(pod) == "BestEffort";
    match scope {
        "Terminating" => pod.spec.active_deadline_seconds.is_some_and(|seconds| seconds >= 0),
        "NotTerminating" => pod.spec.active_deadline_seconds.is_none(),
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => {
            let class = pod.spec.priority_class_name.as_str();
            match operator {
                "In" => values.contains(&class),
                "NotIn" => !values.contains(&class),
                "Exists" => !class.is_empty(),
                "DoesNotExist" => class.is_empty(),
                _ => false,
            }
        }
        "CrossNamespacePodAffinity" => uses_cross_namespace_affinity(pod),
        _ => false,
    }
}

fn uses_cross_namespace_affinity(pod: &Pod) -> bool {
    let Some(affinity) = &pod.spec.affinity else { return false };
    let crosses = |term: &api::core::v1::PodAffinityTerm| !term.namespaces.is_empty() || term.namespace_selector.is_some();
    let near = affinity.pod_affinity.iter().flat_map(|a| {
        a.required_during_scheduling_ignored_during_execution
            .iter()
            .chain(a.preferred_during_scheduling_ignored_during_execution.iter().map(|w| &w.pod_affinity_term))
    });
    let far = affinity.pod_anti_affinity.iter().flat_map(|a| {
        a.required_during_scheduling_ignored_during_execution
            .iter()
            .chain(a.preferred_during_scheduling_ignored_during_execution.iter().map(|w| &w.pod_affinity_term))
    });
    near.chain(far).any(crosses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_count_their_node_ports() {
        let service: Service = apimachinery::json::from_slice(br#"{"spec":{"type":"NodePort","ports":[{"port":1},{"port":2}]}}"#).unwrap();
        assert_eq!(usage("", "services", &service)["services.nodeports"].value(), 2);
    }
}
