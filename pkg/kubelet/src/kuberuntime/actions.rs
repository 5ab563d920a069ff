//! Decides what to do for a pod, given what it asks for and what the runtime has. Pure: no call, clock or lock.
//!
//! Upstream: computePodActions and computeInitContainerActions in pkg/kubelet/kuberuntime/kuberuntime_manager.go.

use super::labels::container_hash;
use super::status::{ContainerStatus, PodStatus, State, is_ready};
use crate::prober::Verdict;
use api::core::v1::{Container, Pod};
use cri_api::v1;

/// A container to stop, and why: the reason and text become its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    pub id: String,
    pub name: String,
    pub reason: KillReason,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillReason {
    Unknown,
    LivenessProbe,
    StartupProbe,
    SpecChanged,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodActions {
    /// Stop everything, the sandbox included.
    pub kill_pod: bool,
    pub create_sandbox: bool,
    /// The sandbox to go on with, when none is created.
    pub sandbox_id: Option<String>,
    /// The number of the sandbox to create.
    pub attempt: u32,
    /// Indices into the spec's lists.
    pub init_containers_to_start: Vec<usize>,
    pub ephemeral_containers_to_start: Vec<usize>,
    pub containers_to_start: Vec<usize>,
    pub containers_to_kill: Vec<Kill>,
}

/// What probes say about containers, by container id.
pub trait Probes {
    fn liveness(&self, id: &str) -> Option<Verdict>;
    fn startup(&self, id: &str) -> Option<Verdict>;
}

/// An init container that stays: one whose own restart policy is Always.
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a container that ended, or never ran, is to be started again.
///
/// A container's own rules come first, then its own policy, then the pod's.
pub fn should_restart(pod: &Pod, container: &Container, status: Option<&ContainerStatus>) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let Some(status) = status else { return true };
    match status.state {
        State::Running => false,
        State::Unknown | State::Created => true,
        State::Exited => restarts_after(pod, container, status.exit_code),
    }
}

/// Whether an end with this exit code is followed by a restart.
pub fn restarts_after(pod: &Pod, container: &Container, exit_code: i32) -> bool {
    for rule in container.restart_policy_rules.iter() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.contains(&exit_code);
        let matches = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matches {
            return matches!(rule.action.as_str(), "Restart" | "RestartAllContainers");
        }
    }
    match container.restart_policy.as_deref().unwrap_or(&pod.spec.restart_policy) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether the sandbox no longer serves, the next attempt's number and the one to go on with.
fn sandbox_changed(pod: &Pod, status: &PodStatus) -> (bool, u32, Option<String>) {
    let Some(newest) = status.sandboxes.first() else { return (true, 0, None) };
    let attempt = newest.metadata.as_ref().map_or(0, |meta| meta.attempt);
    let ready = status.sandboxes.iter().filter(|sandbox| is_ready(sandbox)).count();
    // With two ready ones nobody knows which is the pod's.
    if ready > 1 || !is_ready(newest) {
        return (true, attempt + 1, Some(newest.id.clone()));
    }
    let network = newest.linux.as_ref().and_then(|linux| linux.namespaces.as_ref()).and_then(|ns| ns.options.as_ref()).map(|o| o.network);
    let wanted = if pod.spec.host_network { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
    if network.is_some_and(|network| network != wanted as i32) {
        return (true, attempt + 1, None);
    }
    let has_ip = newest.network.as_ref().is_some_and(|network| !network.ip.is_empty());
    if !pod.spec.host_network && !has_ip {
        return (true, attempt + 1, Some(newest.id.clone()));
    }
    (false, attempt, Some(newest.id.clone()))
}

/// Whether any of the pod's main containers was ever made, which proves that initialization is behind it.
fn any_main_container_created(pod: &Pod, status: &PodStatus) -> bool {
    pod.spec.containers.iter().any(|container| status.container(&container.name).is_some_and(|status| status.state != State::Unknown))
}

pub fn compute_actions(pod: &Pod, status: &PodStatus, probes: &dyn Probes) -> PodActions {
    let (create_sandbox, attempt, sandbox_id) = sandbox_changed(pod, status);
    let mut actions = PodActions { kill_pod: create_sandbox, create_sandbox, sandbox_id, attempt, ..Default::default() };

    if create_sandbox {
        start_over(pod, status, &mut actions);
        return actions;
    }

    for (index, container) in pod.spec.ephemeral_containers.iter().enumerate() {
        // They run once: whatever became of one, it is not started again.
        if status.container(&container.ephemeral_container_common.name).is_none() {
            actions.ephemeral_containers_to_start.push(index);
        }
    }

    let initialized = init_actions(pod, status, probes, &mut actions);
    if actions.kill_pod || !initialized {
        return actions;
    }

    let mut kept = 0;
    for (index, container) in pod.spec.containers.iter().enumerate() {
        let Some(current) = status.container(&container.name) else {
            if should_restart(pod, container, None) {
                actions.containers_to_start.push(index);
            }
            continue;
        };
        if !current.is_running() {
            if should_restart(pod, container, Some(current)) {
                actions.containers_to_start.push(index);
                if current.state == State::Unknown {
                    // It may still run: make sure that it does not before its successor starts.
                    actions.containers_to_kill.push(Kill {
                        id: current.id.clone(),
                        name: container.name.clone(),
                        reason: KillReason::Unknown,
                        message: "Container is in \"unknown\" state, try killing it before restart".to_owned(),
                    });
                }
            }
            continue;
        }
        let Some((reason, text)) = why_kill(container, current, probes) else {
            kept += 1;
            continue;
        };
        let restart = reason == KillReason::SpecChanged || restarts_after(pod, container, 137);
        let message = if restart { format!("{text}, will be restarted") } else { text };
        if restart {
            actions.containers_to_start.push(index);
        }
        actions.containers_to_kill.push(Kill { id: current.id.clone(), name: container.name.clone(), reason, message });
    }

    if kept == 0 && actions.containers_to_start.is_empty() {
        actions.kill_pod = true;
        // Sidecars must not keep a finished pod alive.
        actions.init_containers_to_start.clear();
    }
    actions
}

/// A new sandbox: nothing of the old one goes on.
fn start_over(pod: &Pod, status: &PodStatus, actions: &mut PodActions) {
    let restarts = pod.spec.restart_policy != "Never" || pod.spec.containers.iter().any(|c| restarts_after(pod, c, 137));
    if !restarts && actions.attempt != 0 && !status.containers.is_empty() {
        // Its containers ran and may not run again.
        actions.create_sandbox = false;
        return;
    }
    let to_start: Vec<usize> = pod
        .spec
        .containers
        .iter()
        .enumerate()
        .filter(|(_, container)| match status.container(&container.name) {
            Some(current) if current.succeeded() => restarts_after(pod, container, 0),
            _ => true,
        })
        .map(|(index, _)| index)
        .collect();
    if to_start.is_empty() {
        // All succeeded; the sandbox went with them.
        actions.create_sandbox = false;
        return;
    }
    if pod.spec.init_containers.is_empty() {
        actions.containers_to_start = to_start;
    } else {
        actions.init_containers_to_start = vec![0];
    }
}

/// Why a running container must not go on, if so.
fn why_kill(container: &Container, current: &ContainerStatus, probes: &dyn Probes) -> Option<(KillReason, String)> {
    let name = &container.name;
    if container_hash(container) != current.hash {
        return Some((KillReason::SpecChanged, format!("Container {name} definition changed")));
    }
    if probes.liveness(&current.id) == Some(Verdict::Failure) {
        return Some((KillReason::LivenessProbe, format!("Container {name} failed liveness probe")));
    }
    if probes.startup(&current.id) == Some(Verdict::Failure) {
        return Some((KillReason::StartupProbe, format!("Container {name} failed startup probe")));
    }
    None
}

/// Plans the init containers and returns whether the main containers may run.
///
/// Finished init containers may have been collected by the runtime's garbage collection, so the search goes backwards:
/// the last one with a trace tells how far initialization has come. Behind that point only sidecars matter.
fn init_actions(pod: &Pod, status: &PodStatus, probes: &dyn Probes, actions: &mut PodActions) -> bool {
    let containers = &pod.spec.init_containers;
    let initialized = any_main_container_created(pod, status);
    if containers.is_empty() {
        return true;
    }
    // Behind the furthest trace: whether that one's successor (or the main containers) may start.
    let mut main_may_start = initialized;
    let mut found = initialized;
    for (index, container) in containers.iter().enumerate().rev() {
        let sidecar = is_sidecar(container);
        let current = status.container(&container.name);
        let Some(current) = current else {
            if found && sidecar {
                actions.init_containers_to_start.push(index);
            }
            continue;
        };
        if found && !sidecar {
            continue;
        }
        let is_last = index + 1 == containers.len();
        let mut next = |actions: &mut PodActions| {
            if is_last { main_may_start = true } else { actions.init_containers_to_start.push(index + 1) }
        };
        match current.state {
            State::Created => actions.init_containers_to_start.push(index),
            State::Running if !sidecar => {}
            State::Running => {
                if let Some((reason, text)) = why_kill(container, current, probes) {
                    actions.containers_to_kill.push(Kill {
                        id: current.id.clone(),
                        name: container.name.clone(),
                        reason,
                        message: format!("{text}, will be restarted"),
                    });
                    actions.init_containers_to_start.push(index);
                } else if !found && (container.startup_probe.is_none() || probes.startup(&current.id) == Some(Verdict::Success)) {
                    next(actions);
                }
            }
            State::Exited if sidecar => {
                if should_restart(pod, container, Some(current)) {
                    actions.init_containers_to_start.push(index);
                }
            }
            State::Exited if current.exit_code == 0 => next(actions),
            State::Exited => {
                if !restarts_after(pod, container, current.exit_code) {
                    actions.kill_pod = true;
                    actions.init_containers_to_start.clear();
                    return false;
                }
                if should_restart(pod, container, Some(current)) {
                    actions.init_containers_to_start.push(index);
                }
            }
            State::Unknown => {
                actions.containers_to_kill.push(Kill {
                    id: current.id.clone(),
                    name: container.name.clone(),
                    reason: KillReason::Unknown,
                    message: "Init container is in \"unknown\" state, try killing it before restart".to_owned(),
                });
                if sidecar || restarts_after(pod, container, 137) {
                    actions.init_containers_to_start.push(index);
                } else {
                    actions.kill_pod = true;
                    actions.init_containers_to_start.clear();
                    return false;
                }
            }
        }
        found = true;
    }
    if !found {
        actions.init_containers_to_start = vec![0];
        return false;
    }
    actions.init_containers_to_start.sort_unstable();
    actions.init_containers_to_start.dedup();
    main_may_start
}

#[cfg(test)]
#[path = "actions_tests.rs"]
mod tests;
