//! How much a pod matters when the node runs short: its QoS class, its resource sums and what follows from both.

use super::cgroups::{self, Limits};
use api::core::v1::{Container, Pod, ResourceRequirements};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QosClass {
    BestEffort,
    Burstable,
    Guaranteed,
}

impl QosClass {
    pub fn as_str(self) -> &'static str {
        match self {
            QosClass::BestEffort => "BestEffort",
            QosClass::Burstable => "Burstable",
            QosClass::Guaranteed => "Guaranteed",
        }
    }

    /// The class of `pod`: as the API server wrote it, else computed, as for static pods.
    pub fn of(pod: &Pod) -> Self {
        match pod.status.qos_class.as_str() {
            "BestEffort" => return QosClass::BestEffort,
            "Burstable" => return QosClass::Burstable,
            "Guaranteed" => return QosClass::Guaranteed,
            _ => {}
        }
        if let Some(resources) = &pod.spec.resources
            && !(resources.requests.is_empty() && resources.limits.is_empty())
        {
            return Self::of_requirements(std::iter::once(&**resources));
        }
        Self::of_requirements(pod.spec.init_containers.iter().chain(pod.spec.containers.iter()).map(|container| &container.resources))
    }

    fn of_requirements<'a>(all: impl Iterator<Item = &'a ResourceRequirements>) -> Self {
        let (mut any, mut guaranteed) = (false, true);
        for resources in all {
            for name in ["cpu", "memory"] {
                let value = |list: &apimachinery::Map<apimachinery::Quantity>| list.get(name).filter(|q| !q.is_zero()).cloned();
                let (request, limit) = (value(&resources.requests), value(&resources.limits));
                any |= request.is_some() || limit.is_some();
                // A limit without a request is its own request.
                guaranteed &= limit.is_some() && request.as_ref().is_none_or(|request| Some(request) == limit.as_ref());
            }
        }
        match (any, guaranteed) {
            (false, _) => QosClass::BestEffort,
            (true, true) => QosClass::Guaranteed,
            (true, false) => QosClass::Burstable,
        }
    }
}

/// A container's own amount of a resource, in thousandths for cpu and units otherwise.
fn amount(container: &Container, name: &str, limits: bool) -> Option<i64> {
    let resources = &container.resources;
    let list = if limits { &resources.limits } else { &resources.requests };
    let quantity = list.get(name).or_else(|| if limits { None } else { resources.limits.get(name) })?;
    Some(if name == "cpu" { quantity.milli_value() } else { quantity.value() })
}

/// What the pod as a whole asks for: main containers and sidecars together, or the largest step of initialization.
pub fn pod_request(pod: &Pod, name: &str) -> i64 {
    let scale = |quantity: &apimachinery::Quantity| if name == "cpu" { quantity.milli_value() } else { quantity.value() };
    let overhead = pod.spec.overhead.get(name).map_or(0, scale);
    if let Some(request) = pod.spec.resources.as_ref().and_then(|resources| resources.requests.get(name)) {
        return scale(request) + overhead;
    }
    let mut sidecars = 0;
    let mut init = 0;
    for container in pod.spec.init_containers.iter() {
        let own = amount(container, name, false).unwrap_or(0);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars += own;
            init = init.max(sidecars);
        } else {
            init = init.max(sidecars + own);
        }
    }
    let main: i64 = pod.spec.containers.iter().map(|container| amount(container, name, false).unwrap_or(0)).sum();
    init.max(main + sidecars) + overhead
}

/// The pod's limit, or `None` as soon as one container has none.
pub fn pod_limit(pod: &Pod, name: &str) -> Option<i64> {
    let scale = |quantity: &apimachinery::Quantity| if name == "cpu" { quantity.milli_value() } else { quantity.value() };
    let overhead = pod.spec.overhead.get(name).map_or(0, scale);
    if let Some(limit) = pod.spec.resources.as_ref().and_then(|resources| resources.limits.get(name)) {
        return Some(scale(limit) + overhead);
    }
    let mut sidecars = 0;
    let mut init = 0;
    for container in pod.spec.init_containers.iter() {
        let own = amount(container, name, true)?;
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars += own;
            init = init.max(sidecars);
        } else {
            init = init.max(sidecars + own);
        }
    }
    let main = pod.spec.containers.iter().map(|container| amount(container, name, true)).sum::<Option<i64>>()?;
    Some(init.max(main + sidecars) + overhead)
}

/// What is written into the pod's own cgroup.
pub fn pod_limits(pod: &Pod, enforce_cpu_limits: bool, cpu_period: i64) -> Limits {
    let class = QosClass::of(pod);
    let mut limits = Limits { cpu_shares: Some(cgroups::MIN_SHARES), ..Default::default() };
    if class == QosClass::BestEffort {
        return limits;
    }
    limits.cpu_shares = Some(cgroups::milli_cpu_to_shares(pod_request(pod, "cpu")));
    if enforce_cpu_limits && let Some(milli) = pod_limit(pod, "cpu").filter(|milli| *milli > 0) {
        limits.cpu_quota = Some(cgroups::milli_cpu_to_quota(milli, cpu_period));
        limits.cpu_period = Some(cpu_period);
    }
    limits.memory = pod_limit(pod, "memory").filter(|bytes| *bytes > 0);
    limits
}

const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// Whether the pod may stay where others have to go: static pods, mirror pods and the system priority classes.
pub fn is_critical(pod: &Pod) -> bool {
    let annotations = &pod.metadata.annotations;
    let is_static = annotations.get("kubernetes.io/config.source").is_some_and(|source| *source != "api");
    is_static
        || annotations.contains_key("kubernetes.io/config.mirror")
        || pod.spec.priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY)
}

/// Who is to go first when memory is gone: 1000 at once, below zero hardly ever.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    if pod.spec.priority.is_some_and(|priority| priority >= CRITICAL_PRIORITY + 1000) {
        return -997;
    }
    match QosClass::of(pod) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let request = amount(container, "memory", false).unwrap_or(0);
            // Asking for a tenth of the machine makes a container a tenth less likely to go.
            let adjusted = 1000 - 1000 * i128::from(request) / i128::from(memory_capacity.max(1));
            // Above the guaranteed and below the best-effort ones.
            (adjusted as i64).clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        let list = |items: &[(&str, &str)]| items.iter().map(|(k, v)| ((*k).to_owned(), v.parse().unwrap())).collect();
        let mut container = Container::default();
        container.resources.requests = list(requests);
        container.resources.limits = list(limits);
        container
    }

    fn pod(containers: Vec<Container>) -> Pod {
        let mut pod = Pod::default();
        pod.spec.containers = containers.into();
        pod
    }

    #[test]
    fn classes() {
        let full = [("cpu", "100m"), ("memory", "1Mi")];
        for (pod, class) in [
            (pod(vec![container(&[], &[])]), QosClass::BestEffort),
            (pod(vec![container(&full, &full)]), QosClass::Guaranteed),
            (pod(vec![container(&[], &full)]), QosClass::Guaranteed),
            (pod(vec![container(&full, &full), container(&[], &[])]), QosClass::Burstable),
            (pod(vec![container(&full, &[])]), QosClass::Burstable),
            (pod(vec![container(&[("memory", "1Mi")], &full)]), QosClass::Guaranteed),
            (pod(vec![container(&[("memory", "2Mi")], &full)]), QosClass::Burstable),
        ] {
            assert_eq!(QosClass::of(&pod), class, "{:?}", pod.spec.containers);
        }
    }

    #[test]
    fn sums_count_the_largest_step() {
        let mut pod = pod(vec![container(&[("cpu", "100m")], &[]), container(&[("cpu", "200m")], &[])]);
        assert_eq!(pod_request(&pod, "cpu"), 300);
        let mut sidecar = container(&[("cpu", "50m")], &[]);
        sidecar.restart_policy = Some("Always".into());
        pod.spec.init_containers = vec![sidecar, container(&[("cpu", "1")], &[])].into();
        assert_eq!(pod_request(&pod, "cpu"), 1050);
        assert_eq!(pod_limit(&pod, "cpu"), None);
    }

    #[test]
    fn limits_of_the_pods_cgroup() {
        let full = [("cpu", "500m"), ("memory", "1Mi")];
        assert_eq!(
            pod_limits(&pod(vec![container(&full, &full)]), true, 100_000),
            Limits { cpu_shares: Some(512), cpu_quota: Some(50_000), cpu_period: Some(100_000), memory: Some(1 << 20), pids: None }
        );
        assert_eq!(pod_limits(&pod(vec![container(&[], &[])]), true, 100_000), Limits { cpu_shares: Some(2), ..Default::default() });
    }

    #[test]
    fn oom_scores() {
        let burstable = pod(vec![container(&[("memory", "1Gi")], &[])]);
        assert_eq!(oom_score_adj(&burstable, &burstable.spec.containers[0], 4 << 30), 750);
        let best_effort = pod(vec![container(&[], &[])]);
        assert_eq!(oom_score_adj(&best_effort, &best_effort.spec.containers[0], 4 << 30), 1000);
    }
}
