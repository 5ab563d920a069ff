//! What the kubelet writes on sandboxes and containers to find them again after its own restart.
//!
//! Names and values are upstream's, so that either kubelet adopts what the other started.

use api::core::v1::{Container, EphemeralContainerCommon, LifecycleHandler, Pod};
use std::collections::BTreeMap;

pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

const HASH: &str = "io.kubernetes.container.hash";
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
const PORTS: &str = "io.kubernetes.container.ports";
const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
const POD_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
const POD_DELETION_GRACE_PERIOD: &str = "io.kubernetes.pod.deletionGracePeriod";

type Strings = BTreeMap<String, String>;

/// The hash of what cannot change under a running container: another one means kill and start anew.
///
/// It is upstream's to the bit: FNV-1a over the bytes of `{"image":...,"name":...}` printed as a list of numbers.
pub fn container_hash(container: &Container) -> u64 {
    let json = format!("{{\"image\":\"{}\",\"name\":\"{}\"}}", container.image, container.name);
    let numbers: Vec<String> = json.bytes().map(|byte| byte.to_string()).collect();
    let text = format!("([]uint8)[{}]", numbers.join(" "));
    u64::from(text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)))
}

pub fn pod_labels(pod: &Pod) -> Strings {
    let meta = &pod.metadata;
    let mut labels: Strings = meta.labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    labels.insert(POD_NAME.into(), meta.name.clone());
    labels.insert(POD_NAMESPACE.into(), meta.namespace.clone());
    labels.insert(POD_UID.into(), meta.uid.clone());
    labels
}

pub fn pod_annotations(pod: &Pod) -> Strings {
    pod.metadata.annotations.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

pub fn container_labels(container: &Container, pod: &Pod) -> Strings {
    [
        (POD_NAME, &pod.metadata.name),
        (POD_NAMESPACE, &pod.metadata.namespace),
        (POD_UID, &pod.metadata.uid),
        (CONTAINER_NAME, &container.name),
    ]
    .map(|(key, value)| (key.to_owned(), value.clone()))
    .into()
}

pub fn container_annotations(container: &Container, pod: &Pod, restart_count: u32) -> Strings {
    let mut annotations: Strings = [
        (HASH, format!("{:x}", container_hash(container))),
        (RESTART_COUNT, restart_count.to_string()),
        (TERMINATION_MESSAGE_PATH, container.termination_message_path.clone()),
        (TERMINATION_MESSAGE_POLICY, container.termination_message_policy.clone()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if let Some(seconds) = pod.metadata.deletion_grace_period_seconds {
        annotations.insert(POD_DELETION_GRACE_PERIOD.into(), seconds.to_string());
    }
    if let Some(seconds) = pod.spec.termination_grace_period_seconds {
        annotations.insert(POD_GRACE_PERIOD.into(), seconds.to_string());
    }
    if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
        annotations.insert(PRE_STOP.into(), json::<LifecycleHandler>(hook));
    }
    if !container.ports.is_empty() {
        let ports: Vec<String> = container.ports.iter().map(json).collect();
        annotations.insert(PORTS.into(), format!("[{}]", ports.join(",")));
    }
    annotations
}

/// Where in the pod's spec a container stands, as events name it: `spec.containers{web}`.
pub fn field_path(pod: &Pod, container: &str) -> Option<String> {
    let spec = &pod.spec;
    if spec.containers.iter().any(|c| c.name == container) {
        Some(format!("spec.containers{{{container}}}"))
    } else if spec.init_containers.iter().any(|c| c.name == container) {
        Some(format!("spec.initContainers{{{container}}}"))
    } else if spec.ephemeral_containers.iter().any(|c| c.ephemeral_container_common.name == container) {
        Some(format!("spec.ephemeralContainers{{{container}}}"))
    } else {
        None
    }
}

/// An ephemeral container has a container's fields but no type in common with it.
pub fn from_ephemeral(common: &EphemeralContainerCommon) -> Container {
    let common = common.clone();
    Container {
        name: common.name,
        image: common.image,
        command: common.command,
        args: common.args,
        working_dir: common.working_dir,
        ports: common.ports,
        env_from: common.env_from,
        env: common.env,
        resources: common.resources,
        resize_policy: common.resize_policy,
        restart_policy: common.restart_policy,
        restart_policy_rules: common.restart_policy_rules,
        volume_mounts: common.volume_mounts,
        volume_devices: common.volume_devices,
        liveness_probe: common.liveness_probe,
        readiness_probe: common.readiness_probe,
        startup_probe: common.startup_probe,
        lifecycle: common.lifecycle,
        termination_message_path: common.termination_message_path,
        termination_message_policy: common.termination_message_policy,
        image_pull_policy: common.image_pull_policy,
        security_context: common.security_context,
        stdin: common.stdin,
        stdin_once: common.stdin_once,
        tty: common.tty,
    }
}

fn json<M: apimachinery::Message>(part: &M) -> String {
    String::from_utf8(apimachinery::json::part_to_vec(part)).expect("the JSON writer writes UTF-8")
}

/// What a container's labels and annotations say; defaults where a label is missing or spoiled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerInfo {
    pub name: String,
    pub pod_uid: String,
    pub hash: u64,
    pub restart_count: u32,
    pub termination_message_path: Option<String>,
    pub termination_message_policy: String,
    pub pre_stop: Option<String>,
    pub grace_period: Option<i64>,
}

impl ContainerInfo {
    pub fn read(labels: &Strings, annotations: &Strings) -> Self {
        let text = |map: &Strings, key: &str| map.get(key).cloned().unwrap_or_default();
        ContainerInfo {
            name: text(labels, CONTAINER_NAME),
            pod_uid: text(labels, POD_UID),
            hash: u64::from_str_radix(&text(annotations, HASH), 16).unwrap_or(0),
            restart_count: text(annotations, RESTART_COUNT).parse().unwrap_or(0),
            termination_message_path: annotations.get(TERMINATION_MESSAGE_PATH).filter(|path| !path.is_empty()).cloned(),
            termination_message_policy: text(annotations, TERMINATION_MESSAGE_POLICY),
            pre_stop: annotations.get(PRE_STOP).cloned(),
            grace_period: annotations.get(POD_GRACE_PERIOD).and_then(|seconds| seconds.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_upstreams() {
        let container = Container { name: "test_container".into(), image: "foo/image:v1".into(), ..Default::default() };
        assert_eq!(container_hash(&container), 0x8e45_cbd0);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut pod = Pod::default();
        pod.metadata.uid = "u1".into();
        pod.spec.termination_grace_period_seconds = Some(7);
        let container = Container {
            name: "c".into(),
            image: "i".into(),
            termination_message_path: "/dev/termination-log".into(),
            ..Default::default()
        };
        let info = ContainerInfo::read(&container_labels(&container, &pod), &container_annotations(&container, &pod, 3));
        assert_eq!((info.name.as_str(), info.pod_uid.as_str(), info.restart_count), ("c", "u1", 3));
        assert_eq!((info.hash, info.grace_period), (container_hash(&container), Some(7)));
    }
}
