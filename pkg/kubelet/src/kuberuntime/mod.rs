//! Pods on a container runtime: from what a pod asks for to calls of the runtime interface.
//!
//! [`actions`] decides, [`sync_pod`] carries out, [`kill`] ends, [`pod_status`] looks. The rest composes configurations.
//! Upstream: pkg/kubelet/kuberuntime.

pub mod actions;
pub mod config;
pub mod env;
pub mod expand;
pub mod gc;
pub mod hosts;
pub mod kill;
pub mod labels;
pub mod resources;
pub mod security;
pub mod status;

use crate::lifecycle;
use crate::logs;
use crate::node::Node;
use crate::volume::Volumes;
use actions::{PodActions, compute_actions};
use api::core::v1::{Container, Pod};
use cri_api::{RuntimeServiceClient, Status, v1};
use futures_util::future::{join_all, try_join_all};
use status::{ContainerStatus, PodStatus, State};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Longest termination message that is passed on.
const MAX_MESSAGE: usize = 4096;
const MAX_LOG_MESSAGE: u64 = 2048;
const MAX_LOG_LINES: u64 = 80;

/// Why a container is not running, as its waiting state tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: String,
}

/// Reasons by container name; they outlive a pass, until the container starts.
pub type Reasons = HashMap<String, Waiting>;

/// What a pass over a pod came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The first thing that went wrong.
    pub error: Option<String>,
    /// Whether the runtime was told to do anything.
    pub acted: bool,
    /// When the next pass can achieve more, without anything happening in between.
    pub retry_after: Option<Duration>,
}

impl Outcome {
    fn fail(&mut self, error: impl Into<String>) {
        self.error.get_or_insert(error.into());
    }

    /// Marks that something was done, whatever came of it.
    fn acting<T>(&mut self, result: T) -> T {
        self.acted = true;
        result
    }

    fn retry(&mut self, after: Duration) {
        self.retry_after = Some(self.retry_after.map_or(after, |have| have.min(after)));
    }
}

/// The spec of a container of any kind.
pub fn find_any_container(pod: &Pod, name: &str) -> Option<Container> {
    env::find_container(pod, name).cloned().or_else(|| {
        let ephemeral = pod.spec.ephemeral_containers.iter().find(|c| c.ephemeral_container_common.name == name)?;
        Some(labels::from_ephemeral(&ephemeral.ephemeral_container_common))
    })
}

fn by_uid(uid: &str) -> BTreeMap<String, String> {
    [(labels::POD_UID.to_owned(), uid.to_owned())].into()
}

/// Asks the runtime for all it has of one pod.
pub async fn pod_status(runtime: &RuntimeServiceClient, uid: &str) -> Result<PodStatus, Status> {
    let sandboxes = runtime.list_pod_sandbox(v1::ListPodSandboxRequest {
        filter: Some(v1::PodSandboxFilter { label_selector: by_uid(uid), ..Default::default() }),
    });
    let containers = runtime.list_containers(v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter { label_selector: by_uid(uid), ..Default::default() }),
    });
    let (sandboxes, containers) = tokio::try_join!(sandboxes, containers)?;
    let sandboxes = sandboxes.items.into_iter().map(|sandbox| async move {
        let request = v1::PodSandboxStatusRequest { pod_sandbox_id: sandbox.id, verbose: false };
        gone_is_none(runtime.pod_sandbox_status(request).await.map(|answer| answer.status))
    });
    let containers = containers.containers.into_iter().map(|container| async move {
        let request = v1::ContainerStatusRequest { container_id: container.id, verbose: false };
        gone_is_none(runtime.container_status(request).await.map(|answer| answer.status))
    });
    let (sandboxes, containers) = tokio::try_join!(try_join_all(sandboxes), try_join_all(containers))?;
    let mut sandboxes: Vec<v1::PodSandboxStatus> = sandboxes.into_iter().flatten().collect();
    sandboxes.sort_by_key(|sandbox| std::cmp::Reverse(sandbox.created_at));
    let mut containers: Vec<ContainerStatus> = containers.into_iter().flatten().map(ContainerStatus::from_cri).collect();
    containers.sort_by_key(|container| std::cmp::Reverse(container.created_at));
    for container in containers.iter_mut().filter(|container| container.state == State::Exited) {
        container.message = termination_message(container).await;
    }
    let mut status = PodStatus { uid: uid.to_owned(), sandboxes, containers, ..Default::default() };
    if let Some(meta) = status.sandboxes.first().and_then(|sandbox| sandbox.metadata.as_ref()) {
        (status.name, status.namespace) = (meta.name.clone(), meta.namespace.clone());
    }
    status.ips = status.ready_sandbox().map(sandbox_ips).unwrap_or_default();
    Ok(status)
}

/// Something that went away between list and look is as if never listed.
fn gone_is_none<T>(result: Result<Option<T>, Status>) -> Result<Option<T>, Status> {
    match result {
        Err(err) if err.code() == cri_api::Code::NotFound => Ok(None),
        result => result,
    }
}

fn sandbox_ips(sandbox: &v1::PodSandboxStatus) -> Vec<String> {
    let Some(network) = &sandbox.network else { return Vec::new() };
    let more = network.additional_ips.iter().map(|ip| &ip.ip);
    std::iter::once(&network.ip).chain(more).filter(|ip| !ip.is_empty()).cloned().collect()
}

/// A container's last words: its own file, or the end of its log if it left none and failed.
async fn termination_message(status: &ContainerStatus) -> String {
    if let Some(path) = &status.termination_message_path
        && let Ok(bytes) = tokio::fs::read(path).await
        && !bytes.is_empty()
    {
        let bytes = &bytes[bytes.len().saturating_sub(MAX_MESSAGE)..];
        return String::from_utf8_lossy(bytes).into_owned();
    }
    if !status.termination_message_fallback || status.exit_code == 0 {
        return status.message.clone();
    }
    let options = logs::read::Options { tail: Some(MAX_LOG_LINES), ..Default::default() };
    let (mut sink, mut lines) = tokio::sync::mpsc::channel::<Vec<u8>>(64);
    let path = std::path::PathBuf::from(&status.log_path);
    let reading = async move {
        let _ = logs::read::read(&path, &options, &mut sink, || std::future::ready(false)).await;
    };
    let collecting = async {
        let mut text = Vec::new();
        while let Some(bytes) = lines.recv().await {
            text.extend(bytes);
        }
        text
    };
    let ((), text) = tokio::join!(reading, collecting);
    let text = &text[text.len().saturating_sub(MAX_LOG_MESSAGE as usize)..];
    String::from_utf8_lossy(text).into_owned()
}

/// One pass: looks at what there is, decides, and carries it out. The caller looks again afterwards.
pub async fn sync_pod(node: &Node, pod: &Pod, status: &PodStatus, volumes: &Volumes, reasons: &mut Reasons) -> Outcome {
    let mut outcome = Outcome::default();
    let plan = compute_actions(pod, status, &*node.probes);
    tracing::trace!(object = %pod.metadata.name, uid = %pod.metadata.uid, plan = ?plan, "computed pod actions");
    if plan == (PodActions { sandbox_id: plan.sandbox_id.clone(), attempt: plan.attempt, ..Default::default() }) {
        return outcome;
    }

    if plan.create_sandbox && plan.sandbox_id.is_some() {
        node.events.pod(pod, None, "Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
    }
    if plan.kill_pod {
        outcome.acted = true;
        if let Err(err) = kill::pod(node, pod, status, None).await {
            outcome.fail(format!("killing pod: {}", err.message()));
            return outcome;
        }
    } else {
        outcome.acted = !plan.containers_to_kill.is_empty();
        let kills = plan.containers_to_kill.iter().filter_map(|kill| Some((kill, status.containers.iter().find(|c| c.id == kill.id)?)));
        for result in join_all(kills.map(|(kill, container)| kill::container(node, pod, container, Some(kill), None))).await {
            if let Err(err) = result {
                outcome.fail(format!("killing container: {}", err.message()));
                return outcome;
            }
        }
    }

    let nothing_to_start =
        plan.init_containers_to_start.is_empty() && plan.containers_to_start.is_empty() && plan.ephemeral_containers_to_start.is_empty();
    if nothing_to_start && !plan.create_sandbox {
        return outcome;
    }
    let sandbox_config = match config::sandbox(node, &node.resolver, pod, plan.attempt) {
        Ok(config) => config,
        Err(err) => {
            node.events.pod(pod, None, "Warning", "FailedCreatePodSandBox", &format!("Failed to create pod sandbox: {err}"));
            outcome.fail(err);
            return outcome;
        }
    };
    let (sandbox_id, ips) = match (plan.create_sandbox, &plan.sandbox_id) {
        (false, Some(id)) => (id.clone(), status.ips.clone()),
        _ => match outcome.acting(create_sandbox(node, pod, &sandbox_config).await) {
            Ok(made) => made,
            Err(message) => {
                node.events.pod(pod, None, "Warning", "FailedCreatePodSandBox", &format!("Failed to create pod sandbox: {message}"));
                outcome.fail(format!("CreatePodSandboxError: {message}"));
                return outcome;
            }
        },
    };
    // On the node's network the runtime knows no address.
    let ips = if pod.spec.host_network { node.settings.node_ips.clone() } else { ips };
    let start = Start { node, pod, status, volumes, sandbox_id: &sandbox_id, sandbox: &sandbox_config, ips: &ips };

    for index in &plan.ephemeral_containers_to_start {
        let ephemeral = &pod.spec.ephemeral_containers[*index];
        let container = labels::from_ephemeral(&ephemeral.ephemeral_container_common);
        let target = match ephemeral.target_container_name.as_str() {
            "" => None,
            name => status.container(name).filter(|status| status.is_running()).map(|status| status.id.as_str()),
        };
        start.try_start(&container, target, reasons, &mut outcome).await;
    }
    for index in &plan.init_containers_to_start {
        let container = &pod.spec.init_containers[*index];
        if !start.try_start(container, None, reasons, &mut outcome).await && !actions::is_sidecar(container) {
            return outcome;
        }
    }
    for index in &plan.containers_to_start {
        start.try_start(&pod.spec.containers[*index], None, reasons, &mut outcome).await;
    }
    outcome
}

async fn create_sandbox(node: &Node, pod: &Pod, config: &v1::PodSandboxConfig) -> Result<(String, Vec<String>), String> {
    std::fs::create_dir_all(&config.log_directory).map_err(|err| format!("cannot create {}: {err}", config.log_directory))?;
    let runtime_handler = match pod.spec.runtime_class_name.as_deref() {
        None | Some("") => String::new(),
        Some(class) => node.server.runtime_handler(class).await.map_err(|err| err.to_string())?,
    };
    let request = v1::RunPodSandboxRequest { config: Some(config.clone()), runtime_handler };
    let limit = node.settings.runtime_request_timeout * 2;
    let answer = tokio::time::timeout(limit, node.runtime.run_pod_sandbox(request)).await;
    let id = match answer {
        Ok(Ok(answer)) => answer.pod_sandbox_id,
        Ok(Err(err)) => return Err(format!("rpc error: code = {:?} desc = {}", err.code(), err.message())),
        Err(_) => return Err("rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned()),
    };
    let status = node.runtime.pod_sandbox_status(v1::PodSandboxStatusRequest { pod_sandbox_id: id.clone(), verbose: false }).await;
    let status = status.map_err(|err| err.message().to_owned())?.status.ok_or("the runtime made a sandbox that it does not know")?;
    Ok((id, sandbox_ips(&status)))
}

/// What starting any container of one pass has in common.
struct Start<'a> {
    node: &'a Node,
    pod: &'a Pod,
    status: &'a PodStatus,
    volumes: &'a Volumes,
    sandbox_id: &'a str,
    sandbox: &'a v1::PodSandboxConfig,
    ips: &'a [String],
}

impl Start<'_> {
    /// Starts the container unless it has to wait; returns whether it was started.
    async fn try_start(&self, container: &Container, target: Option<&str>, reasons: &mut Reasons, outcome: &mut Outcome) -> bool {
        let (node, pod) = (self.node, self.pod);
        let key = format!("{}_{}_{:x}", pod.metadata.uid, container.name, labels::container_hash(container));
        let last = self.status.container(&container.name).filter(|status| status.state == State::Exited);
        if let Some(last) = last {
            if let Some((left, delay)) = node.backoffs.waiting_since(&key, crate::clock::since(last.finished_at)) {
                let name = format!("{}_{}({})", pod.metadata.name, pod.metadata.namespace, pod.metadata.uid);
                let field = labels::field_path(pod, &container.name);
                let message = format!("Back-off restarting failed container {} in pod {name}", container.name);
                node.events.pod(pod, field.as_deref(), "Warning", "BackOff", &message);
                let message = format!(
                    "back-off {} restarting failed container={} pod={name}",
                    component_base::duration::format(delay),
                    container.name
                );
                reasons.insert(container.name.clone(), Waiting { reason: "CrashLoopBackOff".into(), message });
                outcome.retry(left);
                return false;
            }
            node.backoffs.failed(&key, "");
        }
        outcome.acted = true;
        match self.start(container, target).await {
            Ok(()) => {
                reasons.remove(&container.name);
                true
            }
            Err(waiting) => {
                if let Some(left) = node.images.retry_after(pod, &container.image) {
                    outcome.retry(left);
                }
                outcome.fail(format!("failed to start container {:?} with {}: {}", container.name, waiting.reason, waiting.message));
                reasons.insert(container.name.clone(), waiting);
                false
            }
        }
    }

    async fn start(&self, container: &Container, target: Option<&str>) -> Result<(), Waiting> {
        let (node, pod) = (self.node, self.pod);
        let field = labels::field_path(pod, &container.name);
        let failed = |reason: &str, message: String| {
            node.events.pod(pod, field.as_deref(), "Warning", "Failed", &format!("Error: {message}"));
            Waiting { reason: reason.to_owned(), message }
        };
        let image = match node.images.ensure(pod, container, self.sandbox).await {
            Ok(image) => image,
            Err(err) => {
                // The puller has told what happened; that the container fails for it is the second event.
                node.events.pod(pod, field.as_deref(), "Warning", "Failed", &format!("Error: {}", err.reason));
                return Err(Waiting { reason: err.reason.to_owned(), message: err.message });
            }
        };

        let restart_count = match self.status.container(&container.name) {
            Some(last) => last.restart_count + 1,
            None => restarts_in_logs(&std::path::Path::new(&self.sandbox.log_directory).join(&container.name)),
        };
        let addresses = crate::fieldpath::Addresses { pod: self.ips.to_vec(), host: node.settings.node_ips.clone() };
        let services = node.services.list();
        let allocatable = node.allocatable();
        let sources = env::Sources { pod, objects: &*node.objects, services: &services, addresses: &addresses, allocatable: &allocatable };
        let built = env::build(container, &sources).await.map_err(|err| failed("CreateContainerConfigError", err))?;
        for message in &built.skipped {
            node.events.pod(pod, field.as_deref(), "Warning", "InvalidEnvironmentVariableNames", message);
        }
        let mounts = self
            .volumes
            .mounts(node, pod, container, |name| built.environment.get(name).map(str::to_owned))
            .map_err(|err| failed("CreateContainerConfigError", err))?;
        let inputs = config::ContainerInputs {
            pod,
            container,
            restart_count,
            image: &image,
            environment: built.environment.into_vec(),
            mounts,
            pod_ips: self.ips,
            target,
        };
        let config = config::container(node, inputs).map_err(|err| failed("CreateContainerConfigError", err))?;
        let log_path = std::path::Path::new(&self.sandbox.log_directory).join(&config.log_path);

        let request = v1::CreateContainerRequest {
            pod_sandbox_id: self.sandbox_id.to_owned(),
            config: Some(config),
            sandbox_config: Some(self.sandbox.clone()),
        };
        let created = node.runtime.create_container(request).await;
        let id = created.map_err(|err| failed("CreateContainerError", err.message().to_owned()))?.container_id;
        node.events.pod(pod, field.as_deref(), "Normal", "Created", "Container created");

        let started = node.runtime.start_container(v1::StartContainerRequest { container_id: id.clone() }).await;
        started.map_err(|err| failed("RunContainerError", err.message().to_owned()))?;
        node.events.pod(pod, field.as_deref(), "Normal", "Started", "Container started");
        node.probes.watch(pod, container, &id, self.ips, crate::clock::now_nanos());

        if let Some(directory) = &node.settings.container_logs {
            let link = logs::legacy_link(directory, &pod.metadata.name, &pod.metadata.namespace, &container.name, &id);
            if let Err(err) = std::os::unix::fs::symlink(&log_path, &link) {
                tracing::debug!(link = %link.display(), err = %err, "cannot link a container's log");
            }
        }

        if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_deref())
            && let Err(err) = lifecycle::run(node, pod, Some(container), &id, hook, self.ips).await
        {
            node.events.pod(pod, field.as_deref(), "Warning", "FailedPostStartHook", &format!("PostStartHook failed: {err}"));
            let status = ContainerStatus { id: id.clone(), name: container.name.clone(), ..Default::default() };
            let kill = actions::Kill {
                id,
                name: container.name.clone(),
                reason: actions::KillReason::Unknown,
                message: "FailedPostStartHook".to_owned(),
            };
            if let Err(err) = kill::container(node, pod, &status, Some(&kill), None).await {
                tracing::warn!(object = %container.name, err = %err.message(), "cannot kill a container whose postStart hook failed");
            }
            return Err(Waiting { reason: "PostStartHookError".into(), message: err });
        }
        Ok(())
    }
}

/// After the runtime lost a container's record its logs still tell how often it was started.
fn restarts_in_logs(directory: &std::path::Path) -> u32 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.split_once(".log")?.0.parse::<u32>().ok());
    numbers.max().map_or(0, |highest| highest + 1)
}
