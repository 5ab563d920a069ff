//! Fields of a Pod that say the same, and values that stand for others: what upstream's way through its internal type does visibly.

use api::core::v1::{HostIP, Pod, PodIP, PodSpec};
use apimachinery::List;

/// Brings fields that say the same in line. Idempotent.
pub fn pod(pod: &mut Pod) {
    pod_spec(&mut pod.spec);
    let status = &mut pod.status;
    // The single address wins: older kubelets know no other.
    match status.pod_ips.first() {
        Some(first) if status.pod_ip.is_empty() => status.pod_ip = first.ip.clone(),
        first if !status.pod_ip.is_empty() && first.is_none_or(|first| first.ip != status.pod_ip) => {
            status.pod_ips = List::from(vec![PodIP { ip: status.pod_ip.clone() }]);
        }
        _ => {}
    }
    if status.host_ips.is_empty() && !status.host_ip.is_empty() {
        status.host_ips = List::from(vec![HostIP { ip: status.host_ip.clone() }]);
    }
}

/// As [`pod`], for the spec of a Pod or a template.
pub fn pod_spec(spec: &mut PodSpec) {
    if spec.service_account_name.is_empty() {
        spec.service_account_name.clone_from(&spec.service_account);
    }
    spec.service_account.clone_from(&spec.service_account_name);
    // An old way of asking for the shortest time.
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        spec.termination_grace_period_seconds = Some(1);
    }
}
