//! Requests and limits as cgroup values for the runtime.

use crate::cm::cgroups::{milli_cpu_to_quota, milli_cpu_to_shares};
use crate::cm::{CgroupConfig, qos};
use api::core::v1::{Container, Pod};
use apimachinery::Quantity;
use cri_api::v1;

pub fn for_container(pod: &Pod, container: &Container, cgroups: &CgroupConfig, memory_capacity: i64) -> v1::LinuxContainerResources {
    let resources = &container.resources;
    let milli = |quantity: Option<&Quantity>| quantity.map(Quantity::milli_value);
    let cpu_limit = milli(resources.limits.get("cpu"));
    let cpu_request = milli(resources.requests.get("cpu")).or(cpu_limit);
    let mut linux = v1::LinuxContainerResources {
        cpu_shares: milli_cpu_to_shares(cpu_request.unwrap_or(0)),
        memory_limit_in_bytes: resources.limits.get("memory").map_or(0, Quantity::value),
        oom_score_adj: qos::oom_score_adj(pod, container, memory_capacity),
        ..Default::default()
    };
    if cgroups.cpu_cfs_quota {
        // -1 and not 0: the runtime leaves a 0 out, and an update would then keep the old quota.
        linux.cpu_period = cgroups.cpu_period;
        linux.cpu_quota = match cpu_limit {
            Some(limit) if limit > 0 => milli_cpu_to_quota(limit, cgroups.cpu_period),
            _ => -1,
        };
    }
    for (name, quantity) in resources.limits.iter() {
        if let Some(size) = name.strip_prefix("hugepages-") {
            // The runtime names sizes as the kernel does: 2MB, not 2Mi.
            let page_size = size.replace("Ki", "KB").replace("Mi", "MB").replace("Gi", "GB");
            linux.hugepage_limits.push(v1::HugepageLimit { page_size, limit: quantity.value().max(0) as u64 });
        }
    }
    linux
}

/// The sum over the pod, for runtimes that size a virtual machine by it.
pub fn for_pod(pod: &Pod, cgroups: &CgroupConfig) -> v1::LinuxContainerResources {
    let mut linux = v1::LinuxContainerResources {
        cpu_shares: milli_cpu_to_shares(qos::pod_request(pod, "cpu")),
        memory_limit_in_bytes: qos::pod_limit(pod, "memory").unwrap_or(0),
        ..Default::default()
    };
    if cgroups.cpu_cfs_quota
        && let Some(limit) = qos::pod_limit(pod, "cpu").filter(|limit| *limit > 0)
    {
        linux.cpu_period = cgroups.cpu_period;
        linux.cpu_quota = milli_cpu_to_quota(limit, cgroups.cpu_period);
    }
    linux
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shares_and_limits_are_quotas() {
        let cgroups = CgroupConfig {
            root: "/".into(),
            per_qos: true,
            cpu_cfs_quota: true,
            cpu_period: 100_000,
            pod_pids_limit: -1,
            enforce_allocatable: true,
        };
        let mut container = Container::default();
        let plain = for_container(&Pod::default(), &container, &cgroups, 1 << 30);
        assert_eq!((plain.cpu_shares, plain.cpu_quota, plain.memory_limit_in_bytes, plain.oom_score_adj), (2, -1, 0, 1000));
        container.resources.limits = [("cpu", "250m"), ("memory", "64Mi")].map(|(k, v)| (k, v.parse::<Quantity>().unwrap())).into();
        let limited = for_container(&Pod::default(), &container, &cgroups, 1 << 30);
        assert_eq!((limited.cpu_shares, limited.cpu_quota, limited.memory_limit_in_bytes), (256, 25_000, 64 << 20));
    }
}
