//! A Pod's row.

use api::core::v1::{Container, ContainerState, ContainerStatus, Pod};
use apimachinery::{Time, Value};
use component_helpers::pod::{condition, is_ready, is_terminal};
use component_helpers::resource::is_sidecar;

use crate::printers::{age, age_text, or_none};

/// Name, Ready, Status, Restarts, Age, IP, Node, Nominated Node, Readiness Gates.
pub fn cells(pod: &Pod, now: Time) -> Vec<Value> {
    let summary = summarize(pod);
    let mut restarts = summary.restarts.count.to_string();
    if summary.restarts.count != 0 && !summary.restarts.last.is_zero() {
        restarts = format!("{restarts} ({} ago)", age_text(summary.restarts.last, now));
    }
    let gates = &pod.spec.readiness_gates;
    let passed =
        gates.iter().filter(|gate| condition(&pod.status, &gate.condition_type).is_some_and(|found| found.status == "True")).count();
    let gates = if gates.is_empty() { String::new() } else { format!("{passed}/{}", gates.len()) };
    let ip = pod.status.pod_ips.first().map_or("", |ip| ip.ip.as_str());
    vec![
        pod.metadata.name.clone().into(),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        age(pod.metadata.creation_timestamp, now),
        or_none(ip).into(),
        or_none(pod.spec.node_name.as_str()).into(),
        or_none(pod.status.nominated_node_name.as_str()).into(),
        or_none(gates).into(),
    ]
}

#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Time,
}

impl Restarts {
    fn add(&mut self, status: &ContainerStatus) {
        self.count += i64::from(status.restart_count);
        if let Some(terminated) = &status.last_state.terminated
            && (self.last.is_zero() || self.last < terminated.finished_at)
        {
            self.last = terminated.finished_at;
        }
    }
}

struct Summary {
    ready: usize,
    total: usize,
    reason: String,
    restarts: Restarts,
}

fn summarize(pod: &Pod) -> Summary {
    let status = &pod.status;
    let is_sidecar_named =
        |name: &str| pod.spec.init_containers.iter().any(|container: &Container| container.name == name && is_sidecar(container));
    let sidecars = pod.spec.init_containers.iter().filter(|container| is_sidecar(container)).count();
    let mut summary = Summary {
        ready: 0,
        total: pod.spec.containers.len() + sidecars,
        reason: if status.reason.is_empty() { status.phase.clone() } else { status.reason.clone() },
        restarts: Restarts::default(),
    };
    if condition(status, "PodScheduled").is_some_and(|found| found.reason == "SchedulingGated") {
        summary.reason = "SchedulingGated".to_owned();
    }
    let mut sidecar_restarts = Restarts::default();
    let mut initializing = false;
    for (index, container) in status.init_container_statuses.iter().enumerate() {
        summary.restarts.add(container);
        let sidecar = is_sidecar_named(&container.name);
        if sidecar {
            sidecar_restarts.add(container);
        }
        if container.state.terminated.as_ref().is_some_and(|terminated| terminated.exit_code == 0) {
            continue;
        }
        if sidecar && container.started == Some(true) {
            summary.ready += usize::from(container.ready);
            continue;
        }
        initializing = true;
        let waiting = container.state.waiting.as_ref().map_or("", |waiting| waiting.reason.as_str());
        summary.reason = match terminated_reason(&container.state) {
            Some(reason) => format!("Init:{reason}"),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{index}/{}", pod.spec.init_containers.len()),
        };
        break;
    }
    if !initializing || condition(status, "Initialized").is_some_and(|found| found.status == "True") {
        summary.restarts = sidecar_restarts;
        let mut running = false;
        for container in status.container_statuses.iter().rev() {
            summary.restarts.add(container);
            let waiting = container.state.waiting.as_ref().map_or("", |waiting| waiting.reason.as_str());
            if !waiting.is_empty() {
                summary.reason = waiting.to_owned();
            } else if let Some(reason) = terminated_reason(&container.state) {
                summary.reason = reason;
            } else if container.ready && container.state.running.is_some() {
                running = true;
                summary.ready += 1;
            }
        }
        if summary.reason == "Completed" && running {
            summary.reason = if is_ready(pod) { "Running" } else { "NotReady" }.to_owned();
        }
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !is_terminal(pod) {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

fn terminated_reason(state: &ContainerState) -> Option<String> {
    let terminated = state.terminated.as_ref()?;
    Some(match (terminated.reason.as_str(), terminated.signal) {
        ("", 0) => format!("ExitCode:{}", terminated.exit_code),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    })
}
