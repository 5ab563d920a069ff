//! The node's own object: made once, its status kept true, its Lease renewed.
//!
//! Upstream: pkg/kubelet/kubelet_node_status.go, pkg/kubelet/nodestatus, component-helpers/apimachinery/lease.

pub mod lease;

use crate::api_server::{ApiError, ApiServer, Events};
use crate::machine;
use api::core::v1::{ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo, Taint};
use apimachinery::{Map, Quantity, Time, Value};
use cri_api::{ImageServiceClient, RuntimeServiceClient, v1};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Until the node is ready it is looked at this often.
const STARTUP_PERIOD: Duration = Duration::from_millis(100);
/// Names of one image that are reported.
const MAX_IMAGE_NAMES: usize = 5;

/// What does not change while the kubelet runs.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    pub name: String,
    pub hostname: String,
    pub ips: Vec<String>,
    pub labels: Map<String>,
    pub taints: Vec<Taint>,
    pub provider_id: String,
    pub register: bool,
    pub port: i32,
    pub capacity: Map<Quantity>,
    pub allocatable: Map<Quantity>,
    pub info: NodeSystemInfo,
    pub max_images: i32,
    pub update_period: Duration,
    pub report_period: Duration,
}

/// Which resources run short, as eviction sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

pub struct NodeReporter {
    settings: NodeSettings,
    server: Arc<dyn ApiServer>,
    events: Arc<dyn Events>,
    runtime: RuntimeServiceClient,
    images: ImageServiceClient,
    pleg_health: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    pressure: Arc<Mutex<Pressure>>,
}

/// What the runtime says about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuntimeState {
    /// Why it cannot run pods; empty if it can.
    pub errors: Vec<String>,
    pub handlers: Vec<v1::RuntimeHandler>,
    pub supplemental_groups_policy: Option<bool>,
}

pub async fn runtime_state(runtime: &RuntimeServiceClient) -> RuntimeState {
    let answer = match runtime.status(v1::StatusRequest { verbose: false }).await {
        Ok(answer) => answer,
        Err(err) => {
            return RuntimeState {
                errors: vec![format!("container runtime status check may not have completed yet: {}", err.message())],
                ..Default::default()
            };
        }
    };
    let mut errors = Vec::new();
    for (kind, text) in [("RuntimeReady", "container runtime not ready"), ("NetworkReady", "container runtime network not ready")] {
        let conditions = answer.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        match conditions.iter().find(|condition| condition.r#type == kind) {
            Some(condition) if condition.status => {}
            Some(condition) => errors.push(format!("{text}: {kind}=false reason:{} message:{}", condition.reason, condition.message)),
            None => errors.push(format!("{text}: {kind} is not reported")),
        }
    }
    RuntimeState {
        errors,
        handlers: answer.runtime_handlers,
        supplemental_groups_policy: answer.features.map(|features| features.supplemental_groups_policy),
    }
}

fn condition(kind: &str, holds: bool, (good, bad): ((&str, &str), (&str, &str)), good_is: bool) -> NodeCondition {
    let (reason, message) = if holds == good_is { good } else { bad };
    NodeCondition {
        type_: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..Default::default()
    }
}

/// The node's conditions; times of those that stay the same are kept.
fn conditions(old: &[NodeCondition], pressure: Pressure, errors: &[String], now: Time) -> Vec<NodeCondition> {
    let mut ready =
        condition("Ready", errors.is_empty(), (("KubeletReady", "kubelet is posting ready status"), ("KubeletNotReady", "")), true);
    if !errors.is_empty() {
        ready.message = errors.join(", ");
    }
    let mut fresh = [
        condition(
            "MemoryPressure",
            pressure.memory,
            (
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ),
            false,
        ),
        condition(
            "DiskPressure",
            pressure.disk,
            (("KubeletHasNoDiskPressure", "kubelet has no disk pressure"), ("KubeletHasDiskPressure", "kubelet has disk pressure")),
            false,
        ),
        condition(
            "PIDPressure",
            pressure.pids,
            (
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ),
            false,
        ),
        ready,
    ];
    for condition in &mut fresh {
        let known = old.iter().find(|old| old.type_ == condition.type_ && old.status == condition.status);
        condition.last_heartbeat_time = now;
        condition.last_transition_time = known.map_or(now, |old| old.last_transition_time);
    }
    fresh.into()
}

/// Equal but for the heartbeat.
fn same_but_heartbeat(old: &NodeStatus, new: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        status.conditions.iter_mut().for_each(|condition| condition.last_heartbeat_time = Time::default());
        status
    };
    still(old) == still(new)
}

/// The strategic merge patch of the status: conditions and addresses merge by type, all else is replaced.
fn status_patch(old: &NodeStatus, new: &NodeStatus) -> Vec<u8> {
    let value = |status: &NodeStatus| Value::parse(&apimachinery::json::part_to_vec(status)).expect("the JSON writer writes JSON");
    let (old, new) = (value(old), value(new));
    let mut changes = Value::object();
    if let (Some(fields), Some(old), Some(new)) = (changes.as_object_mut(), old.as_object(), new.as_object()) {
        for (key, value) in new.iter().filter(|(key, value)| old.get(key) != Some(*value)) {
            let value = match (key, value) {
                // An address of the same type as an old one stands beside it, unless the list says otherwise.
                ("addresses", Value::Array(items)) => {
                    let mut replace = Value::object();
                    replace.set_at(&["$patch"], "replace");
                    Value::Array(std::iter::once(replace).chain(items.iter().cloned()).collect())
                }
                _ => value.clone(),
            };
            fields.insert(key, value);
        }
    }
    let mut patch = Value::object();
    patch.set_at(&["status"], changes);
    patch.to_vec()
}

impl NodeReporter {
    pub fn new(
        settings: NodeSettings,
        server: Arc<dyn ApiServer>,
        events: Arc<dyn Events>,
        (runtime, images): (RuntimeServiceClient, ImageServiceClient),
        pleg_health: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
        pressure: Arc<Mutex<Pressure>>,
    ) -> Self {
        NodeReporter { settings, server, events, runtime, images, pleg_health, pressure }
    }

    fn labels(&self) -> Map<String> {
        let settings = &self.settings;
        let mut labels = settings.labels.clone();
        for (key, value) in [
            ("kubernetes.io/hostname", &settings.hostname),
            ("kubernetes.io/os", &settings.info.operating_system),
            ("kubernetes.io/arch", &settings.info.architecture),
            ("beta.kubernetes.io/os", &settings.info.operating_system),
            ("beta.kubernetes.io/arch", &settings.info.architecture),
        ] {
            labels.insert(key, value.clone());
        }
        labels
    }

    async fn image_list(&self) -> Vec<ContainerImage> {
        let Ok(answer) = self.images.list_images(v1::ListImagesRequest::default()).await else { return Vec::new() };
        let mut images: Vec<ContainerImage> = answer
            .images
            .into_iter()
            .map(|image| ContainerImage {
                names: image.repo_digests.into_iter().chain(image.repo_tags).take(MAX_IMAGE_NAMES).collect(),
                size_bytes: image.size as i64,
            })
            .collect();
        images.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.names.first().cmp(&b.names.first())));
        if self.settings.max_images >= 0 {
            images.truncate(self.settings.max_images as usize);
        }
        images
    }

    async fn status(&self, old: &NodeStatus) -> NodeStatus {
        let settings = &self.settings;
        let runtime = runtime_state(&self.runtime).await;
        let mut errors = runtime.errors;
        errors.extend((self.pleg_health)().err().map(|err| format!("PLEG is not healthy: {err}")));
        let pressure = *self.pressure.lock().expect("no holder panics");
        let addresses = settings.ips.iter().map(|ip| NodeAddress { type_: "InternalIP".into(), address: ip.clone() });
        let hostname = NodeAddress { type_: "Hostname".into(), address: settings.hostname.clone() };
        let handlers = runtime.handlers.into_iter().map(|handler| api::core::v1::NodeRuntimeHandler {
            name: handler.name,
            features: handler.features.map(|features| {
                Box::new(api::core::v1::NodeRuntimeHandlerFeatures {
                    recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
                    user_namespaces: Some(features.user_namespaces),
                })
            }),
        });
        NodeStatus {
            capacity: settings.capacity.clone(),
            allocatable: settings.allocatable.clone(),
            conditions: conditions(&old.conditions, pressure, &errors, Time::now()).into(),
            addresses: addresses.chain([hostname]).collect(),
            daemon_endpoints: api::core::v1::NodeDaemonEndpoints { kubelet_endpoint: DaemonEndpoint { port: settings.port } },
            node_info: settings.info.clone(),
            images: self.image_list().await.into(),
            runtime_handlers: handlers.collect(),
            features: runtime
                .supplemental_groups_policy
                .map(|policy| Box::new(api::core::v1::NodeFeatures { supplemental_groups_policy: Some(policy) })),
            ..Default::default()
        }
    }

    /// Makes the node's object, or takes the one that is there and corrects its labels.
    async fn register(&self) -> Result<Node, ApiError> {
        let settings = &self.settings;
        let mut node = Node::default();
        node.metadata.name = settings.name.clone();
        node.metadata.labels = self.labels();
        node.metadata.annotations.insert("volumes.kubernetes.io/controller-managed-attach-detach", "true".to_owned());
        node.spec.taints = settings.taints.clone().into();
        node.spec.provider_id = settings.provider_id.clone();
        node.status = self.status(&NodeStatus::default()).await;
        match self.server.create_node(&node).await {
            Ok(made) => {
                tracing::info!(node = %settings.name, "Successfully registered node");
                self.tell_changes(&[], &made.status.conditions);
                return Ok(made);
            }
            Err(ApiError::AlreadyExists(_)) => {}
            Err(err) => return Err(err),
        }
        let there = self.server.get_node(&settings.name).await?;
        let wrong: Vec<(&str, &String)> =
            node.metadata.labels.iter().filter(|(key, value)| there.metadata.labels.get(key) != Some(*value)).collect();
        if wrong.is_empty() {
            return Ok(there);
        }
        let mut patch = Value::object();
        for (key, value) in wrong {
            patch.set_at(&["metadata", "labels", key], value.as_str());
        }
        tracing::info!(node = %settings.name, "Node was previously registered");
        self.server.patch_node(&settings.name, patch.to_vec()).await
    }

    fn tell_changes(&self, old: &[NodeCondition], new: &[NodeCondition]) {
        for condition in new {
            let before = old.iter().find(|old| old.type_ == condition.type_).map(|old| old.status.as_str());
            if before == Some(condition.status.as_str()) {
                continue;
            }
            let holds = condition.status == "True";
            let reason = match (condition.type_.as_str(), holds) {
                ("Ready", true) => "NodeReady",
                ("Ready", false) => "NodeNotReady",
                ("MemoryPressure", true) => "NodeHasInsufficientMemory",
                ("MemoryPressure", false) => "NodeHasSufficientMemory",
                ("DiskPressure", true) => "NodeHasDiskPressure",
                ("DiskPressure", false) => "NodeHasNoDiskPressure",
                ("PIDPressure", true) => "NodeHasInsufficientPID",
                ("PIDPressure", false) => "NodeHasSufficientPID",
                _ => continue,
            };
            self.events.node("Normal", reason, &format!("Node {} status is now: {reason}", self.settings.name));
        }
    }

    /// Registers the node and keeps its status true until stopped.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep(&self) {
        let mut backoff = component_base::backoff::Backoff::new(Duration::from_millis(200), Duration::from_secs(7));
        let mut node = loop {
            let result = if self.settings.register { self.register().await } else { self.server.get_node(&self.settings.name).await };
            match result {
                Ok(node) => break node,
                Err(err) => tracing::error!(node = %self.settings.name, err = %err, "Unable to register node with API server"),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        };
        let mut reported: Option<Instant> = None;
        loop {
            let status = self.status(&node.status).await;
            let due = reported.is_none_or(|at| at.elapsed() >= self.settings.report_period);
            if due || !same_but_heartbeat(&node.status, &with_foreign(&status, &node.status)) {
                match self.server.patch_node_status(&self.settings.name, status_patch(&node.status, &status)).await {
                    Ok(patched) => {
                        self.tell_changes(&node.status.conditions, &status.conditions);
                        node = patched;
                        reported = Some(Instant::now());
                    }
                    Err(ApiError::NotFound(_)) if self.settings.register => {
                        // Somebody deleted the object of a node that lives.
                        if let Ok(made) = self.register().await {
                            node = made;
                        }
                    }
                    Err(err) => tracing::error!(node = %self.settings.name, err = %err, "Error updating node status, will retry"),
                }
            }
            let ready = node.status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
            tokio::time::sleep(if ready { self.settings.update_period } else { STARTUP_PERIOD }).await;
        }
    }
}

/// What others write into the status counts as ours in comparisons.
fn with_foreign(status: &NodeStatus, there: &NodeStatus) -> NodeStatus {
    let mut status = status.clone();
    let foreign: Vec<NodeCondition> =
        there.conditions.iter().filter(|c| !status.conditions.iter().any(|own| own.type_ == c.type_)).cloned().collect();
    let own: Vec<NodeCondition> =
        there.conditions.iter().filter_map(|c| status.conditions.iter().find(|own| own.type_ == c.type_).cloned()).collect();
    if own.len() == status.conditions.len() && foreign.is_empty() {
        status.conditions = own.into();
    } else {
        status.conditions.extend(foreign);
    }
    status.volumes_attached = there.volumes_attached.clone();
    status.phase = there.phase.clone();
    status.declared_features = there.declared_features.clone();
    status
}

/// The addresses the node is known by: those given, else the one it talks to others from.
pub fn node_ips(given: &[std::net::IpAddr]) -> Vec<String> {
    match given {
        [] => machine::default_ip().map(|ip| ip.to_string()).into_iter().collect(),
        given => given.iter().map(ToString::to_string).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_keep_their_time_while_they_stay() {
        let first = conditions(&[], Pressure::default(), &["no network".to_owned()], Time::from_unix(10));
        let ready = |list: &[NodeCondition]| list.iter().find(|c| c.type_ == "Ready").cloned().unwrap();
        assert_eq!((ready(&first).status.as_str(), ready(&first).message.as_str()), ("False", "no network"));
        let second = conditions(&first, Pressure { memory: true, ..Default::default() }, &[], Time::from_unix(20));
        let text: Vec<String> =
            second.iter().map(|c| format!("{}={} {} {}", c.type_, c.status, c.reason, c.last_transition_time.unix())).collect();
        assert_eq!(
            text,
            [
                "MemoryPressure=True KubeletHasInsufficientMemory 20",
                "DiskPressure=False KubeletHasNoDiskPressure 10",
                "PIDPressure=False KubeletHasSufficientPID 10",
                "Ready=True KubeletReady 20"
            ]
        );
    }

    #[test]
    fn a_heartbeat_alone_is_no_change() {
        let status = |time| NodeStatus {
            conditions: conditions(&[], Pressure::default(), &[], Time::from_unix(1))
                .into_iter()
                .map(|mut c| {
                    c.last_heartbeat_time = Time::from_unix(time);
                    c
                })
                .collect(),
            ..Default::default()
        };
        assert!(same_but_heartbeat(&status(5), &status(9)));
        assert!(!same_but_heartbeat(&status(5), &NodeStatus::default()));
    }
}
