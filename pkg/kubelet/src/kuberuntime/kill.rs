//! Ends containers and sandboxes: hooks first, then a signal and its grace, sidecars after those they serve.

use super::actions::{Kill, KillReason, is_sidecar};
use super::labels::{self, ContainerInfo};
use super::status::{ContainerStatus, PodStatus};
use crate::lifecycle;
use crate::node::Node;
use api::core::v1::{Container, LifecycleHandler, Pod, Probe};
use cri_api::{Code, Status, v1};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::Instant;

/// The least a container gets after its hook, however long that took.
const MINIMUM_GRACE: i64 = 2;

/// How long a container may take to end.
fn grace_period(pod: &Pod, container: Option<&Container>, info: &ContainerInfo, reason: Option<KillReason>) -> i64 {
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds.filter(|_| pod.metadata.deletion_timestamp.is_some()) {
        return seconds;
    }
    let own = |probe: Option<&Probe>| probe.and_then(|probe| probe.termination_grace_period_seconds);
    let of_probe = container.and_then(|container| match reason {
        Some(KillReason::StartupProbe) => own(container.startup_probe.as_deref()),
        Some(KillReason::LivenessProbe) => own(container.liveness_probe.as_deref()),
        _ => None,
    });
    of_probe.or(pod.spec.termination_grace_period_seconds).or(info.grace_period).unwrap_or(30)
}

/// Stops one container. `grace` overrides all other periods; `until` is when the pod's own period is over.
pub async fn container(node: &Node, pod: &Pod, status: &ContainerStatus, kill: Option<&Kill>, grace: Option<i64>) -> Result<(), Status> {
    let name = &status.name;
    let spec = super::find_any_container(pod, name);
    let info = ContainerInfo::read(&Default::default(), &status.annotations);
    let mut seconds = grace.unwrap_or_else(|| grace_period(pod, spec.as_ref(), &info, kill.map(|kill| kill.reason)));
    let message = kill.map_or_else(|| format!("Stopping container {name}"), |kill| kill.message.clone());
    let field = labels::field_path(pod, name);
    node.events.pod(pod, field.as_deref(), "Normal", "Killing", &message);
    node.probes.stop_liveness(&status.id);

    let hook = spec.as_ref().and_then(|spec| spec.lifecycle.as_ref()?.pre_stop.as_deref().cloned()).or_else(|| {
        // The pod may be known from its containers alone.
        info.pre_stop.as_ref().and_then(|json| apimachinery::json::from_slice::<LifecycleHandler>(json.as_bytes()).ok())
    });
    if let Some(hook) = hook.filter(|_| seconds > 0) {
        let started = Instant::now();
        let limit = Duration::from_secs(seconds as u64);
        let ips = node.cache.get(&pod.metadata.uid).map(|status| status.ips.clone()).unwrap_or_default();
        match tokio::time::timeout(limit, lifecycle::run(node, pod, spec.as_ref(), &status.id, &hook, &ips)).await {
            Ok(Ok(())) => {}
            Ok(Err(err)) => node.events.pod(pod, field.as_deref(), "Warning", "FailedPreStopHook", &format!("PreStopHook failed: {err}")),
            Err(_) => tracing::warn!(object = %name, uid = %pod.metadata.uid, "preStop hook not completed in grace period"),
        }
        seconds -= started.elapsed().as_secs() as i64;
        seconds = seconds.max(MINIMUM_GRACE);
    }
    stop(node, &status.id, seconds).await
}

/// The call lasts as long as the container does, so its deadline is the grace period and then some.
async fn stop(node: &Node, id: &str, seconds: i64) -> Result<(), Status> {
    let request = v1::StopContainerRequest { container_id: id.to_owned(), timeout: seconds.max(0) };
    let limit = node.settings.runtime_request_timeout + Duration::from_secs(seconds.max(0) as u64);
    match tokio::time::timeout(limit, node.runtime.stop_container(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(err)) if err.code() == Code::NotFound => Ok(()),
        Ok(Err(err)) => Err(err),
        Err(_) => Err(Status::deadline_exceeded("the runtime did not stop the container in time")),
    }
}

/// Stops everything of the pod: main containers together, then sidecars from last to first, then the sandboxes.
pub async fn pod(node: &Node, pod: &Pod, status: &PodStatus, grace: Option<i64>) -> Result<(), Status> {
    let sidecar_position = |name: &str| pod.spec.init_containers.iter().position(|c| c.name == *name && is_sidecar(c));
    let started = Instant::now();
    let total = grace.unwrap_or_else(|| grace_period(pod, None, &ContainerInfo::default(), None));
    let (mut sidecars, main): (Vec<_>, Vec<_>) = status
        .containers
        .iter()
        .filter(|container| container.state != super::status::State::Exited)
        .partition(|container| sidecar_position(&container.name).is_some());
    let results = join_all(main.iter().map(|status| container(node, pod, status, None, grace))).await;
    let mut result = results.into_iter().collect::<Result<Vec<_>, _>>().map(|_| ());

    sidecars.sort_by_key(|container| std::cmp::Reverse(sidecar_position(&container.name)));
    for status in sidecars {
        // What the main containers took of the period is gone for the sidecars too.
        let left = (total - started.elapsed().as_secs() as i64).max(if grace.is_some() { total.min(MINIMUM_GRACE) } else { MINIMUM_GRACE });
        let stopped = container(node, pod, status, None, Some(left)).await;
        result = result.and(stopped);
    }
    result?;
    for sandbox in &status.sandboxes {
        sandbox_stop(node, &sandbox.id).await?;
    }
    Ok(())
}

pub async fn sandbox_stop(node: &Node, id: &str) -> Result<(), Status> {
    match node.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() }).await {
        Err(err) if err.code() != Code::NotFound => Err(err),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grace_periods() {
        let mut pod = Pod::default();
        let info = ContainerInfo { grace_period: Some(9), ..Default::default() };
        assert_eq!(grace_period(&pod, None, &ContainerInfo::default(), None), 30);
        assert_eq!(grace_period(&pod, None, &info, None), 9);
        pod.spec.termination_grace_period_seconds = Some(5);
        assert_eq!(grace_period(&pod, None, &info, None), 5);
        let probe = Probe { termination_grace_period_seconds: Some(1), ..Default::default() };
        let container = Container { liveness_probe: Some(Box::new(probe)), ..Default::default() };
        assert_eq!(grace_period(&pod, Some(&container), &info, Some(KillReason::LivenessProbe)), 1);
        assert_eq!(grace_period(&pod, Some(&container), &info, Some(KillReason::StartupProbe)), 5);
        pod.metadata.deletion_timestamp = Some(Default::default());
        pod.metadata.deletion_grace_period_seconds = Some(3);
        assert_eq!(grace_period(&pod, Some(&container), &info, Some(KillReason::LivenessProbe)), 3);
    }
}
