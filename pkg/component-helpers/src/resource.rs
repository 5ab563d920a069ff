//! What a pod asks for. Upstream: component-helpers/resource, pkg/api/v1/resource.

use api::core::v1::{Container, Pod, ResourceRequirements};
use apimachinery::{Map, Quantity};

/// Amounts by resource name.
pub type ResourceList = Map<Quantity>;

/// Adds every amount of `more` to `sum`.
pub fn add(sum: &mut ResourceList, more: &ResourceList) {
    for (name, amount) in more {
        match sum.get_mut(name) {
            Some(total) => total.add(amount),
            None => {
                sum.insert(name, amount.clone());
            }
        }
    }
}

/// Takes away every amount of `less` that `sum` has.
pub fn subtract(sum: &mut ResourceList, less: &ResourceList) {
    for (name, amount) in less {
        if let Some(total) = sum.get_mut(name) {
            total.sub(amount);
        }
    }
}

/// Raises each amount to at least that of `other`.
pub fn max(list: &mut ResourceList, other: &ResourceList) {
    for (name, amount) in other {
        match list.get_mut(name) {
            Some(have) if have.cmp(amount).is_ge() => {}
            Some(have) => *have = amount.clone(),
            None => {
                list.insert(name, amount.clone());
            }
        }
    }
}

/// True for an init container that runs as long as the pod does.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Resources that can be given for a pod as a whole.
pub fn is_pod_level_resource(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// What the scheduler sets aside for a pod: the larger of what the containers want while running and what starting them takes,
/// pod-level amounts in their place where given, and the overhead of its runtime.
pub fn pod_requests(pod: &Pod) -> ResourceList {
    pod_amounts(pod, |resources| &resources.requests, true, &ResourceList::nil())
}

/// As [`pod_requests`], where a container that does not ask for a resource of `missing` counts as asking for that much.
pub fn pod_requests_or(pod: &Pod, missing: &ResourceList) -> ResourceList {
    pod_amounts(pod, |resources| &resources.requests, true, missing)
}

/// As [`pod_requests`], for limits. A resource counts only if the pod or a container has a limit on it.
pub fn pod_limits(pod: &Pod) -> ResourceList {
    pod_amounts(pod, |resources| &resources.limits, true, &ResourceList::nil())
}

/// As [`pod_requests`] without the overhead.
pub fn pod_requests_without_overhead(pod: &Pod) -> ResourceList {
    pod_amounts(pod, |resources| &resources.requests, false, &ResourceList::nil())
}

fn pod_amounts(pod: &Pod, of: impl Fn(&ResourceRequirements) -> &ResourceList, overhead: bool, missing: &ResourceList) -> ResourceList {
    let of_container = |container: &Container| {
        let mut amounts = of(&container.resources).clone();
        for (name, amount) in missing {
            if !amounts.contains_key(name) {
                amounts.insert(name, amount.clone());
            }
        }
        amounts
    };
    let mut running = ResourceList::empty();
    for container in &pod.spec.containers {
        add(&mut running, &of_container(container));
    }
    // Init containers run one after another, beside the sidecars started before them.
    let mut sidecars = ResourceList::empty();
    let mut starting = ResourceList::empty();
    for container in &pod.spec.init_containers {
        let wanted = &of_container(container);
        if is_sidecar(container) {
            add(&mut running, wanted);
            add(&mut sidecars, wanted);
            max(&mut starting, &sidecars);
        } else {
            let mut now = sidecars.clone();
            add(&mut now, wanted);
            max(&mut starting, &now);
        }
    }
    max(&mut running, &starting);
    if let Some(pod_level) = &pod.spec.resources {
        for (name, amount) in of(pod_level) {
            if is_pod_level_resource(name) {
                running.insert(name, amount.clone());
            }
        }
    }
    if overhead && !pod.spec.overhead.is_empty() {
        for (name, amount) in &pod.spec.overhead {
            // Limits grow by the overhead only where there is a limit; a request without an entry starts at it.
            match running.get_mut(name) {
                Some(total) => total.add(amount),
                None => {
                    running.insert(name, amount.clone());
                }
            }
        }
    }
    running
}

/// An amount in thousandths, for cpu.
pub fn milli(list: &ResourceList, name: &str) -> i64 {
    list.get(name).map_or(0, Quantity::milli_value)
}

/// An amount in whole units, rounded up.
pub fn units(list: &ResourceList, name: &str) -> i64 {
    list.get(name).map_or(0, Quantity::value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::json;

    fn cpu(pod: &str) -> i64 {
        milli(&pod_requests(&json::from_slice(pod.as_bytes()).unwrap()), "cpu")
    }

    #[test]
    fn init_containers_count_where_they_need_more_than_the_pod_running() {
        let container = |cpu: &str| format!(r#"{{"resources":{{"requests":{{"cpu":"{cpu}"}}}}}}"#);
        let sidecar = |cpu: &str| format!(r#"{{"restartPolicy":"Always","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}"#);
        let pod = |init: &[String], main: &[String]| {
            format!(r#"{{"spec":{{"initContainers":[{}],"containers":[{}]}}}}"#, init.join(","), main.join(","))
        };
        assert_eq!(cpu(&pod(&[], &[container("1"), container("500m")])), 1500);
        assert_eq!(cpu(&pod(&[container("2")], &[container("1")])), 2000);
        assert_eq!(cpu(&pod(&[sidecar("1"), container("2")], &[container("1")])), 3000);
        assert_eq!(cpu(&pod(&[container("2"), sidecar("1")], &[container("1")])), 2000);
    }

    #[test]
    fn overhead_is_added_and_pod_level_amounts_replace() {
        let text = r#"{"spec":{"overhead":{"cpu":"100m"},"resources":{"requests":{"cpu":"3"}},"containers":[{"resources":{"requests":{"cpu":"1"}}}]}}"#;
        assert_eq!(cpu(text), 3100);
    }
}
