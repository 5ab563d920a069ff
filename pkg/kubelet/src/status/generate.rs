//! A pod's status as the API shows it, from what the runtime has, what probes say and why containers wait. Pure.
//!
//! Upstream: generateAPIPodStatus and getPhase in pkg/kubelet/kubelet_pods.go, pkg/kubelet/status/generate.go.

use crate::cm::qos::QosClass;
use crate::kuberuntime::Reasons;
use crate::kuberuntime::actions::{is_sidecar, restarts_after, should_restart};
use crate::kuberuntime::labels::from_ephemeral;
use crate::kuberuntime::status as runtime;
use api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, ContainerUser,
    HostIP, LinuxContainerUser, Pod, PodCondition, PodIP, PodStatus, ResourceRequirements, VolumeMountStatus,
};
use apimachinery::Time;

/// What the status is made from, besides the pod.
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    /// The status last written, or the API server's.
    pub old: &'a PodStatus,
    pub runtime: &'a runtime::PodStatus,
    pub reasons: &'a Reasons,
    /// Says of a running container (by spec and id) whether it is started and ready.
    pub is_started: &'a dyn Fn(&Container, &str) -> bool,
    pub is_ready: &'a dyn Fn(&Container, &str) -> bool,
    pub host_ips: &'a [String],
    /// Nothing of the pod will be started again.
    pub ended: bool,
    pub now: Time,
}

/// The runtime's part of container ids.
pub const RUNTIME: &str = "containerd";

fn time(nanos: i64) -> Time {
    if nanos <= 0 { Time::default() } else { Time::from_unix(nanos / 1_000_000_000) }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let waiting = ContainerStateWaiting { reason: reason.to_owned(), message: message.to_owned() };
    ContainerState { waiting: Some(Box::new(waiting)), ..Default::default() }
}

fn state_of(status: &runtime::ContainerStatus) -> ContainerState {
    match status.state {
        runtime::State::Running => {
            ContainerState { running: Some(Box::new(ContainerStateRunning { started_at: time(status.started_at) })), ..Default::default() }
        }
        runtime::State::Created => waiting("ContainerCreating", ""),
        runtime::State::Exited => terminated(ContainerStateTerminated {
            exit_code: status.exit_code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            started_at: time(status.started_at),
            finished_at: time(status.finished_at),
            container_id: format!("{RUNTIME}://{}", status.id),
            ..Default::default()
        }),
        runtime::State::Unknown => terminated(ContainerStateTerminated {
            exit_code: 137,
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was terminated".into(),
            container_id: format!("{RUNTIME}://{}", status.id),
            ..Default::default()
        }),
    }
}

fn terminated(state: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(Box::new(state)), ..Default::default() }
}

/// The status of one container of any kind.
fn container_status(inputs: &Inputs<'_>, container: &Container, old: Option<&ContainerStatus>, default_reason: &str) -> ContainerStatus {
    let name = &container.name;
    let mut found = inputs.runtime.containers.iter().filter(|status| status.name == *name);
    let newest = found.next();
    let mut status = ContainerStatus { name: name.clone(), image: container.image.clone(), ..Default::default() };
    match newest {
        None => {
            status.state = waiting(default_reason, "");
            if let Some(old) = old {
                status.restart_count = old.restart_count;
                if old.state.terminated.is_some() {
                    // Its record was collected; what was told once stays true.
                    status = old.clone();
                } else {
                    status.last_state = old.last_state.clone();
                    if old.state.running.is_some() && inputs.ended {
                        status.state = terminated(ContainerStateTerminated {
                            exit_code: 137,
                            reason: "ContainerStatusUnknown".into(),
                            message: "The container could not be located when the pod was terminated".into(),
                            ..Default::default()
                        });
                    }
                }
            }
        }
        Some(current) => {
            status.restart_count = current.restart_count as i32;
            if !current.image.is_empty() && !current.image.starts_with("sha256:") {
                status.image = current.image.clone();
            }
            status.image_id = current.image_ref.clone();
            status.container_id = format!("{RUNTIME}://{}", current.id);
            status.state = state_of(current);
            if let Some(previous) = found.next() {
                status.last_state = state_of(previous);
            } else if let Some(old) = old.filter(|old| current.restart_count > 0 && old.container_id == status.container_id) {
                status.last_state = old.last_state.clone();
            } else if let Some(old) = old.filter(|old| current.restart_count > 0 && old.state.terminated.is_some()) {
                status.last_state = old.state.clone();
            }
            if current.is_running() {
                status.allocated_resources = container.resources.requests.clone();
                status.resources = Some(Box::new(ResourceRequirements {
                    limits: container.resources.limits.clone(),
                    requests: container.resources.requests.clone(),
                    ..Default::default()
                }));
            }
            if let Some(user) = &current.user {
                let linux =
                    LinuxContainerUser { uid: user.uid, gid: user.gid, supplemental_groups: user.supplemental_groups.clone().into() };
                status.user = Some(Box::new(ContainerUser { linux: Some(Box::new(linux)) }));
            }
        }
    }
    // A container that is to be started and cannot be is waiting, whatever it was before.
    if let Some(reason) = inputs.reasons.get(name)
        && !inputs.ended
        && should_restart(inputs.pod, container, newest)
    {
        if status.state.terminated.is_some() {
            status.last_state = std::mem::take(&mut status.state);
        }
        status.state = waiting(&reason.reason, &reason.message);
    }
    status.volume_mounts = container
        .volume_mounts
        .iter()
        .map(|mount| VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only,
            recursive_read_only: mount.read_only.then(|| "Disabled".to_owned()),
            ..Default::default()
        })
        .collect();
    let running = newest.filter(|current| current.is_running() && status.state.running.is_some());
    match running {
        Some(current) => {
            let started = (inputs.is_started)(container, &current.id);
            status.started = Some(started);
            status.ready = started && (inputs.is_ready)(container, &current.id);
        }
        None => status.started = Some(false),
    }
    status
}

fn find<'a>(list: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    list.iter().find(|status| status.name == name)
}

fn exit_code(state: &ContainerState) -> Option<i32> {
    state.terminated.as_ref().map(|terminated| terminated.exit_code)
}

fn phase(inputs: &Inputs<'_>, status: &PodStatus) -> &'static str {
    let spec = &inputs.pod.spec;
    let (mut pending_init, mut failed_init) = (false, false);
    for container in spec.init_containers.iter().filter(|container| !is_sidecar(container)) {
        let Some(current) = find(&status.init_container_statuses, &container.name) else {
            pending_init = true;
            continue;
        };
        let code = exit_code(&current.state).or_else(|| current.state.waiting.as_ref().and_then(|_| exit_code(&current.last_state)));
        match code {
            Some(0) => {}
            Some(code) => {
                failed_init |= !restarts_after(inputs.pod, container, code) || inputs.ended;
                pending_init = true;
            }
            None => pending_init = true,
        }
    }
    for container in spec.init_containers.iter().filter(|container| is_sidecar(container)) {
        // Until it has come up once, the main containers wait for it.
        let up = find(&status.init_container_statuses, &container.name)
            .is_some_and(|current| current.started == Some(true) || current.restart_count > 0 || exit_code(&current.state).is_some());
        pending_init |= !up;
    }
    let (mut waiting, mut running, mut stopped, mut succeeded, mut unknown, mut restarting) = (0, 0, 0, 0, 0, 0);
    for container in spec.containers.iter() {
        let Some(current) = find(&status.container_statuses, &container.name) else {
            unknown += 1;
            continue;
        };
        if current.state.running.is_some() {
            running += 1;
        } else if let Some(code) = exit_code(&current.state).or_else(|| exit_code(&current.last_state)) {
            stopped += 1;
            succeeded += i32::from(code == 0);
            restarting += i32::from(restarts_after(inputs.pod, container, code));
        } else {
            waiting += 1;
        }
    }
    if failed_init {
        return "Failed";
    }
    let main_ran = running + stopped > 0;
    if pending_init && !(main_ran && inputs.ended) && (running + stopped == 0) {
        return if inputs.ended { "Failed" } else { "Pending" };
    }
    if waiting > 0 {
        return if inputs.ended { "Failed" } else { "Pending" };
    }
    if running > 0 && unknown == 0 {
        return "Running";
    }
    if running == 0 && stopped > 0 && unknown == 0 {
        return match () {
            () if inputs.ended && stopped == succeeded => "Succeeded",
            () if inputs.ended => "Failed",
            () if restarting > 0 => "Running",
            () if stopped == succeeded => "Succeeded",
            () => "Failed",
        };
    }
    "Pending"
}

fn condition(kind: &str, holds: bool, reason: &str, message: String) -> PodCondition {
    PodCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message,
        ..Default::default()
    }
}

fn list_names(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn initialized(inputs: &Inputs<'_>, status: &PodStatus) -> PodCondition {
    let init = &inputs.pod.spec.init_containers;
    if status.phase == "Succeeded" {
        return condition("Initialized", true, "PodCompleted", String::new());
    }
    // Once a main container ran, whatever happened before it is over.
    let past = inputs.pod.spec.containers.iter().any(|container| {
        find(&status.container_statuses, &container.name)
            .is_some_and(|c| c.state.running.is_some() || exit_code(&c.state).is_some() || c.restart_count > 0)
    });
    let incomplete: Vec<&str> = init
        .iter()
        .filter(|container| match find(&status.init_container_statuses, &container.name) {
            None => true,
            Some(current) if is_sidecar(container) => current.started != Some(true) && !past,
            Some(current) => exit_code(&current.state) != Some(0) && !past,
        })
        .map(|container| container.name.as_str())
        .collect();
    match incomplete.is_empty() {
        true => condition("Initialized", true, "", String::new()),
        false => condition(
            "Initialized",
            false,
            "ContainersNotInitialized",
            format!("containers with incomplete status: {}", list_names(&incomplete)),
        ),
    }
}

fn containers_ready(inputs: &Inputs<'_>, status: &PodStatus) -> PodCondition {
    match status.phase.as_str() {
        "Succeeded" => return condition("ContainersReady", false, "PodCompleted", String::new()),
        "Failed" => return condition("ContainersReady", false, "PodFailed", String::new()),
        _ => {}
    }
    let sidecars = inputs.pod.spec.init_containers.iter().filter(|container| is_sidecar(container));
    let in_init = sidecars.map(|container| (container, find(&status.init_container_statuses, &container.name)));
    let in_main = inputs.pod.spec.containers.iter().map(|container| (container, find(&status.container_statuses, &container.name)));
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for (container, current) in in_init.chain(in_main) {
        match current {
            None => unknown.push(container.name.as_str()),
            Some(current) if !current.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: {}", list_names(&unknown)));
    }
    if !unready.is_empty() {
        messages.push(format!("containers with unready status: {}", list_names(&unready)));
    }
    match messages.is_empty() {
        true => condition("ContainersReady", true, "", String::new()),
        false => condition("ContainersReady", false, "ContainersNotReady", messages.join(", ")),
    }
}

fn ready(inputs: &Inputs<'_>, containers: &PodCondition) -> PodCondition {
    if containers.status != "True" {
        return PodCondition { type_: "Ready".into(), ..containers.clone() };
    }
    let mut messages = Vec::new();
    for gate in inputs.pod.spec.readiness_gates.iter() {
        match inputs.old.conditions.iter().find(|condition| condition.type_ == gate.condition_type) {
            Some(condition) if condition.status == "True" => {}
            Some(condition) => {
                messages
                    .push(format!("the status of pod readiness gate {:?} is not \"True\", but {}", gate.condition_type, condition.status));
            }
            None => messages.push(format!("corresponding condition of pod readiness gate {:?} does not exist.", gate.condition_type)),
        }
    }
    match messages.is_empty() {
        true => condition("Ready", true, "", String::new()),
        false => condition("Ready", false, "ReadinessGatesNotReady", messages.join(", ")),
    }
}

/// The conditions a kubelet writes; all others belong to somebody else.
pub const OWN_CONDITIONS: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

pub fn generate(inputs: &Inputs<'_>) -> PodStatus {
    let pod = inputs.pod;
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation,
        start_time: inputs.old.start_time.or(Some(inputs.now)),
        qos_class: QosClass::of(pod).as_str().to_owned(),
        nominated_node_name: inputs.old.nominated_node_name.clone(),
        resource_claim_statuses: inputs.old.resource_claim_statuses.clone(),
        ..Default::default()
    };
    let has_init = !pod.spec.init_containers.is_empty();
    let default_reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
    status.init_container_statuses = pod
        .spec
        .init_containers
        .iter()
        .map(|container| {
            let mut status =
                container_status(inputs, container, find(&inputs.old.init_container_statuses, &container.name), "PodInitializing");
            if !is_sidecar(container) {
                // An init container is ready once it has done its work.
                status.ready = exit_code(&status.state) == Some(0);
            }
            status
        })
        .collect();
    let mut statuses: Vec<ContainerStatus> = pod
        .spec
        .containers
        .iter()
        .map(|container| container_status(inputs, container, find(&inputs.old.container_statuses, &container.name), default_reason))
        .collect();
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    status.container_statuses = statuses.into();
    status.ephemeral_container_statuses = pod
        .spec
        .ephemeral_containers
        .iter()
        .map(|ephemeral| {
            let container = from_ephemeral(&ephemeral.ephemeral_container_common);
            let mut status =
                container_status(inputs, &container, find(&inputs.old.ephemeral_container_statuses, &container.name), "ContainerCreating");
            (status.ready, status.started) = (false, None);
            status
        })
        .collect();

    status.phase = match inputs.old.phase.as_str() {
        // An end is final.
        ended @ ("Succeeded" | "Failed") => ended.to_owned(),
        _ => phase(inputs, &status).to_owned(),
    };
    if matches!(inputs.old.phase.as_str(), "Succeeded" | "Failed") {
        status.reason = inputs.old.reason.clone();
        status.message = inputs.old.message.clone();
    }
    if let Some(ip) = inputs.host_ips.first() {
        status.host_ip = ip.clone();
        status.host_ips = inputs.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect();
    }
    let pod_ips: Vec<String> = match (pod.spec.host_network, inputs.runtime.ips.as_slice()) {
        (true, _) => inputs.host_ips.to_vec(),
        // A sandbox that is gone leaves its address in the status until the pod is.
        (false, []) => inputs.old.pod_ips.iter().map(|ip| ip.ip.clone()).collect(),
        (false, ips) => ips.to_vec(),
    };
    status.pod_ip = pod_ips.first().cloned().unwrap_or_default();
    status.pod_ips = pod_ips.into_iter().map(|ip| PodIP { ip }).collect();

    let has_network = inputs.runtime.ready_sandbox().is_some_and(|_| pod.spec.host_network || !inputs.runtime.ips.is_empty());
    let containers = containers_ready(inputs, &status);
    let own = [
        condition("PodReadyToStartContainers", has_network, "", String::new()),
        initialized(inputs, &status),
        ready(inputs, &containers),
        containers,
        condition("PodScheduled", true, "", String::new()),
    ];
    let mut conditions: Vec<PodCondition> =
        inputs.old.conditions.iter().filter(|condition| !OWN_CONDITIONS.contains(&condition.type_.as_str())).cloned().collect();
    for mut condition in own {
        let old = inputs.old.conditions.iter().find(|old| old.type_ == condition.type_);
        condition.observed_generation = pod.metadata.generation;
        condition.last_transition_time = match old {
            Some(old) if old.status == condition.status => old.last_transition_time,
            _ => inputs.now,
        };
        conditions.push(condition);
    }
    status.conditions = conditions.into();
    status
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod tests;
