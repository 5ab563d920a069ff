//! What the runtime is told to make: sandbox and container configurations.

use super::{expand, hosts, labels, resources, security};
use crate::dns::Resolver;
use crate::logs;
use crate::node::Node;
use crate::volume::Mounts;
use api::core::v1::{Container, Pod};
use cri_api::v1;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

/// The sandbox of a pod. The same values give the same configuration: the runtime is handed it again with each container.
pub fn sandbox(node: &Node, resolver: &Resolver, pod: &Pod, attempt: u32) -> Result<v1::PodSandboxConfig, String> {
    let meta = &pod.metadata;
    let dns = resolver.for_pod(pod)?;
    for (reason, message) in &dns.warnings {
        node.events.pod(pod, None, "Warning", reason, message);
    }
    let hostname = match pod.spec.host_network {
        // It keeps the node's own.
        true => String::new(),
        false => hosts::sandbox_host_name(pod, &node.settings.cluster_domain)?,
    };
    let sysctls: BTreeMap<String, String> = security::pod_context(pod)
        .map(|context| context.sysctls.iter().map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone())).collect())
        .unwrap_or_default();
    let log_directory = logs::pod_directory(&node.settings.pod_logs, &meta.namespace, &meta.name, &meta.uid);
    Ok(v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            namespace: meta.namespace.clone(),
            attempt,
        }),
        hostname,
        log_directory: log_directory.display().to_string(),
        dns_config: Some(dns.config),
        port_mappings: port_mappings(pod),
        labels: labels::pod_labels(pod),
        annotations: labels::pod_annotations(pod),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: node.cgroups.pod_path(pod),
            security_context: Some(security::for_sandbox(pod)),
            sysctls,
            overhead: None,
            resources: Some(resources::for_pod(pod, node.cgroups.config())),
        }),
        windows: None,
    })
}

/// Ports of all containers. On the node's network there is nothing to map.
fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    if pod.spec.host_network {
        return Vec::new();
    }
    let sidecars = pod.spec.init_containers.iter().filter(|container| super::actions::is_sidecar(container));
    let ports = sidecars.chain(pod.spec.containers.iter()).flat_map(|container| container.ports.iter());
    ports
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_str() {
                "UDP" => v1::Protocol::Udp,
                "SCTP" => v1::Protocol::Sctp,
                _ => v1::Protocol::Tcp,
            } as i32,
            container_port: port.container_port,
            host_port: port.host_port,
            host_ip: port.host_ip.clone(),
        })
        .collect()
}

/// What a container's configuration is made from.
pub struct ContainerInputs<'a> {
    pub pod: &'a Pod,
    pub container: &'a Container,
    pub restart_count: u32,
    pub image: &'a v1::Image,
    pub environment: Vec<(String, String)>,
    pub mounts: Mounts,
    pub pod_ips: &'a [String],
    /// The id of the container an ephemeral one joins.
    pub target: Option<&'a str>,
}

/// Writes the files the container mounts from the kubelet (hosts, termination message) and composes its configuration.
pub fn container(node: &Node, inputs: ContainerInputs<'_>) -> Result<v1::ContainerConfig, String> {
    let ContainerInputs { pod, container, restart_count, image, environment, mounts, pod_ips, target } = inputs;
    let user = security::ImageUser { uid: image.uid.as_ref().map(|uid| uid.value), name: image.username.clone() };
    security::verify_non_root(pod, container, &user)?;
    let seccomp_root = node.settings.seccomp();
    let settings = security::Settings { seccomp_default: node.settings.seccomp_default, seccomp_root: &seccomp_root };
    let mut security_context = security::for_container(pod, container, &user, target, &settings)?;
    security_context.supplemental_groups.extend(mounts.groups);

    let lookup = |name: &str| environment.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let command = container.command.iter().map(|word| expand::expand(word, lookup)).collect();
    let args = container.args.iter().map(|word| expand::expand(word, lookup)).collect();

    let mut all = mounts.list;
    if !all.iter().any(|mount| mount.container_path == "/etc/hosts") {
        all.push(hosts_mount(node, pod, container, pod_ips)?);
    }
    all.extend(termination_message_mount(node, pod, container)?);

    let log_path = logs::container_file(&container.name, restart_count);
    let log_directory = logs::pod_directory(&node.settings.pod_logs, &pod.metadata.namespace, &pod.metadata.name, &pod.metadata.uid);
    std::fs::create_dir_all(log_directory.join(&container.name))
        .map_err(|err| format!("create container log directory for container {} failed: {err}", container.name))?;

    let stop_signal =
        container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.as_deref()).map_or(v1::Signal::RuntimeDefault, signal);
    Ok(v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: container.name.clone(), attempt: restart_count }),
        image: Some(v1::ImageSpec {
            image: image.id.clone(),
            user_specified_image: container.image.clone(),
            image_ref: image.id.clone(),
            ..Default::default()
        }),
        command,
        args,
        working_dir: container.working_dir.clone(),
        envs: environment.into_iter().map(|(key, value)| v1::KeyValue { key, value: value.into_bytes() }).collect(),
        mounts: all,
        labels: labels::container_labels(container, pod),
        annotations: labels::container_annotations(container, pod, restart_count),
        log_path,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(resources::for_container(pod, container, node.cgroups.config(), node.settings.memory_capacity)),
            security_context: Some(security_context),
        }),
        stop_signal: stop_signal as i32,
        ..Default::default()
    })
}

fn signal(name: &str) -> v1::Signal {
    (0..=65)
        .filter_map(|number| v1::Signal::try_from(number).ok())
        .find(|signal| signal.as_str_name() == name)
        .unwrap_or(v1::Signal::RuntimeDefault)
}

fn hosts_mount(node: &Node, pod: &Pod, container: &Container, pod_ips: &[String]) -> Result<v1::Mount, String> {
    let path = node.settings.pod(&pod.metadata.uid).join("etc-hosts");
    let text = if pod.spec.host_network {
        let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        hosts::node_hosts(&own, &pod.spec.host_aliases)
    } else {
        let (name, domain) = hosts::host_name(pod, &node.settings.cluster_domain)?;
        hosts::pod_hosts(pod_ips, &name, &domain, &pod.spec.host_aliases)
    };
    std::fs::write(&path, text).map_err(|err| format!("cannot write {}: {err}", path.display()))?;
    let read_only = container.security_context.as_ref().is_some_and(|context| context.read_only_root_filesystem == Some(true));
    Ok(v1::Mount { container_path: "/etc/hosts".into(), host_path: path.display().to_string(), readonly: read_only, ..Default::default() })
}

/// A fresh file per container: what an earlier one left must not be taken for this one's last words.
fn termination_message_mount(node: &Node, pod: &Pod, container: &Container) -> Result<Option<v1::Mount>, String> {
    if container.termination_message_path.is_empty() {
        return Ok(None);
    }
    let directory = node.settings.container(&pod.metadata.uid, &container.name);
    let create = || -> std::io::Result<std::path::PathBuf> {
        std::fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{:08x}", crate::clock::now_nanos() as u32));
        std::fs::write(&path, "")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
        Ok(path)
    };
    let path = create().map_err(|err| format!("cannot make the termination message file in {}: {err}", directory.display()))?;
    Ok(Some(v1::Mount {
        container_path: container.termination_message_path.clone(),
        host_path: path.display().to_string(),
        ..Default::default()
    }))
}
