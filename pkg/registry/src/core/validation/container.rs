//! Containers of all kinds: ordinary, init, sidecar, ephemeral.

use api::core::v1::{
    Container, ContainerPort, ContainerResizePolicy, ContainerRestartRule, PodSpec, ResourceClaim, ResourceRequirements, Volume,
    VolumeDevice, VolumeMount,
};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use component_helpers::resource::is_sidecar;

use super::env::{env, env_from};
use super::paths::{local_descending, no_backsteps};
use super::ports::port_number;
use super::probe::{ProbeKind, lifecycle, probe};
use super::resource::{container_resource_name, is_huge_page_resource, is_overcommit_allowed, resource_quantity_value};
use super::security;
use crate::validation::fields::{extend_invalid, supported};
use crate::validation::go_value::go_list;

/// What containers are checked against: their Pod, its volumes that are right, and its time to end.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub spec: &'a PodSpec,
    pub volumes: &'a [&'a Volume],
    pub grace: i64,
}

const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];

/// The ordinary containers.
pub fn containers(around: Surroundings<'_>, path: &Path<'_>) -> ErrorList {
    let containers = &around.spec.containers;
    if containers.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = ErrorList::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        errors.extend(common(container, around, &path));
        if !container.name.is_empty() && containers[..index].iter().any(|other| other.name == container.name) {
            errors.push(Error::duplicate(&path.child("name"), &container.name));
        }
        errors.extend(probes_and_hooks(container, around.grace, &path));
        errors.extend(restart_policy(container, &path));
    }
    errors.extend(host_port_clashes(containers, path));
    errors
}

/// The containers that run before them, and those of them that run on.
pub fn init_containers(around: Surroundings<'_>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = around.spec;
    for (index, container) in spec.init_containers.iter().enumerate() {
        let path = path.index(index);
        errors.extend(common(container, around, &path));
        let before = spec.containers.iter().chain(&spec.init_containers[..index]);
        if !container.name.is_empty() && before.map(|other| &other.name).any(|name| *name == container.name) {
            errors.push(Error::duplicate(&path.child("name"), &container.name));
        }
        errors.extend(host_port_clashes(std::slice::from_ref(container), &path));
        errors.extend(restart_policy(container, &path));
        if is_sidecar(container) {
            errors.extend(probes_and_hooks(container, around.grace, &path));
        } else {
            let detail = "may not be set for init containers without restartPolicy=Always";
            for (name, set) in [
                ("lifecycle", container.lifecycle.is_some()),
                ("livenessProbe", container.liveness_probe.is_some()),
                ("readinessProbe", container.readiness_probe.is_some()),
                ("startupProbe", container.startup_probe.is_some()),
            ] {
                if set {
                    errors.push(Error::forbidden(&path.child(name), detail));
                }
            }
            if !container.resize_policy.is_empty() {
                errors.push(Error::invalid(
                    &path.child("resizePolicy"),
                    go_list(&container.resize_policy),
                    "must not be set for init containers",
                ));
            }
        }
    }
    errors
}

/// Containers for debugging, which may have little of what others have.
pub fn ephemeral_containers(around: Surroundings<'_>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = around.spec;
    let others: Vec<&str> = spec.containers.iter().chain(spec.init_containers.iter()).map(|container| container.name.as_str()).collect();
    for (index, container) in spec.ephemeral_containers.iter().enumerate() {
        let path = path.index(index);
        let fields = &container.ephemeral_container_common;
        errors.extend(common(&as_container(fields), around, &path));
        let before = spec.ephemeral_containers[..index].iter().map(|other| other.ephemeral_container_common.name.as_str());
        if !fields.name.is_empty() && others.iter().copied().chain(before).any(|name| name == fields.name) {
            errors.push(Error::duplicate(&path.child("name"), &fields.name));
        }
        if !container.target_container_name.is_empty() && !others.contains(&container.target_container_name.as_str()) {
            errors.push(Error::not_found(&path.child("targetContainerName"), &container.target_container_name));
        }
        let empty = fields.resources == ResourceRequirements::default()
            || fields.resources.limits.is_empty() && fields.resources.requests.is_empty();
        for (name, set) in [
            ("ports", !fields.ports.is_empty()),
            ("livenessProbe", fields.liveness_probe.is_some()),
            ("readinessProbe", fields.readiness_probe.is_some()),
            ("startupProbe", fields.startup_probe.is_some()),
            ("lifecycle", fields.lifecycle.is_some()),
            ("resources", !empty),
            ("resizePolicy", !fields.resize_policy.is_empty()),
        ] {
            if set {
                errors.push(Error::forbidden(&path.child(name), "cannot be set for an Ephemeral Container"));
            }
        }
        for (index, mount) in fields.volume_mounts.iter().enumerate() {
            let mounts = path.child("volumeMounts");
            let item = mounts.index(index);
            if !mount.sub_path.is_empty() {
                errors.push(Error::forbidden(&item.child("subPath"), "cannot be set for an Ephemeral Container"));
            }
            if !mount.sub_path_expr.is_empty() {
                errors.push(Error::forbidden(&item.child("subPathExpr"), "cannot be set for an Ephemeral Container"));
            }
        }
        if fields.restart_policy.is_some() {
            errors.push(Error::forbidden(&path.child("restartPolicy"), "may not be set for ephemeral containers"));
        }
    }
    errors
}

/// The fields an ephemeral container shares with others.
fn as_container(fields: &api::core::v1::EphemeralContainerCommon) -> Container {
    Container {
        name: fields.name.clone(),
        image: fields.image.clone(),
        env: fields.env.clone(),
        env_from: fields.env_from.clone(),
        ports: fields.ports.clone(),
        resources: fields.resources.clone(),
        volume_mounts: fields.volume_mounts.clone(),
        volume_devices: fields.volume_devices.clone(),
        termination_message_policy: fields.termination_message_policy.clone(),
        image_pull_policy: fields.image_pull_policy.clone(),
        security_context: fields.security_context.clone(),
        ..Container::default()
    }
}

fn common(container: &Container, around: Surroundings<'_>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    match container.name.as_str() {
        "" => errors.push(Error::required(&path.child("name"), "")),
        name => extend_invalid(&mut errors, &path.child("name"), name, names::is_dns1123_label(name)),
    }
    if container.image.is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    } else if container.image.trim() != container.image {
        errors.push(Error::invalid(&path.child("image"), &container.image, "must not have leading or trailing whitespace"));
    }
    match container.termination_message_policy.as_str() {
        "" => errors.push(Error::required(&path.child("terminationMessagePolicy"), "")),
        policy => errors.extend(supported(policy, &["File", "FallbackToLogsOnError"], &path.child("terminationMessagePolicy"))),
    }
    errors.extend(ports(&container.ports, &path.child("ports")));
    errors.extend(env(&container.env, &path.child("env")));
    errors.extend(env_from(&container.env_from, &path.child("envFrom")));
    errors.extend(volume_mounts(container, around.volumes, &path.child("volumeMounts")));
    errors.extend(volume_devices(container, around.volumes, &path.child("volumeDevices")));
    match container.image_pull_policy.as_str() {
        "" => errors.push(Error::required(&path.child("imagePullPolicy"), "")),
        policy => errors.extend(supported(policy, &["Always", "IfNotPresent", "Never"], &path.child("imagePullPolicy"))),
    }
    let claims: Vec<&str> = around.spec.resource_claims.iter().map(|claim| claim.name.as_str()).collect();
    errors.extend(resources(&container.resources, &claims, &path.child("resources")));
    errors.extend(resize_policy(&container.resize_policy, &around.spec.restart_policy, &path.child("resizePolicy")));
    if let Some(context) = &container.security_context {
        let host_users = around.spec.host_users.unwrap_or(true);
        errors.extend(security::container(context, host_users, &path.child("securityContext")));
    }
    errors
}

fn probes_and_hooks(container: &Container, grace: i64, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(found) = &container.lifecycle {
        errors.extend(lifecycle(found, grace, &path.child("lifecycle")));
    }
    for (kind, name, found) in [
        (ProbeKind::Liveness, "livenessProbe", &container.liveness_probe),
        (ProbeKind::Readiness, "readinessProbe", &container.readiness_probe),
        (ProbeKind::Startup, "startupProbe", &container.startup_probe),
    ] {
        if let Some(found) = found {
            errors.extend(probe(kind, found, grace, &path.child(name)));
        }
    }
    errors
}

fn restart_policy(container: &Container, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let policy_path = path.child("restartPolicy");
    match &container.restart_policy {
        Some(policy) => errors.extend(supported(policy, &RESTART_POLICIES, &policy_path)),
        None if !container.restart_policy_rules.is_empty() => {
            errors.push(Error::required(&policy_path, "must specify restartPolicy when restart rules are used"));
        }
        None => {}
    }
    let rules = path.child("restartPolicyRules");
    if container.restart_policy_rules.len() > 20 {
        errors.push(Error::too_many(&rules, container.restart_policy_rules.len(), 20));
    }
    for (index, rule) in container.restart_policy_rules.iter().enumerate() {
        errors.extend(restart_rule(rule, &rules.index(index)));
    }
    errors
}

fn restart_rule(rule: &ContainerRestartRule, path: &Path<'_>) -> ErrorList {
    let mut errors = supported(&rule.action, &["Restart", "RestartAllContainers"], &path.child("action"));
    let codes_path = path.child("exitCodes");
    let Some(codes) = &rule.exit_codes else {
        errors.push(Error::required(&codes_path, "must be specified"));
        return errors;
    };
    errors.extend(supported(&codes.operator, &["In", "NotIn"], &codes_path.child("operator")));
    if codes.values.len() > 255 {
        errors.push(Error::too_many(&codes_path.child("values"), codes.values.len(), 255));
    }
    errors
}

fn ports(ports: &[ContainerPort], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known: Vec<&str> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        if !port.name.is_empty() {
            let messages = names::is_port_name(&port.name);
            if !messages.is_empty() {
                extend_invalid(&mut errors, &path.child("name"), &port.name, messages);
            } else if known.contains(&port.name.as_str()) {
                errors.push(Error::duplicate(&path.child("name"), &port.name));
            } else {
                known.push(&port.name);
            }
        }
        match port.container_port {
            0 => errors.push(Error::required(&path.child("containerPort"), "")),
            number => errors.extend(port_number(number, &path.child("containerPort"))),
        }
        if port.host_port != 0 {
            errors.extend(port_number(port.host_port, &path.child("hostPort")));
        }
        match port.protocol.as_str() {
            "" => errors.push(Error::required(&path.child("protocol"), "")),
            protocol => errors.extend(supported(protocol, &["SCTP", "TCP", "UDP"], &path.child("protocol"))),
        }
    }
    errors
}

/// No two ports of these containers want the same port of the node.
fn host_port_clashes(containers: &[Container], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut taken: Vec<String> = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let item = path.index(index);
        let ports = item.child("ports");
        for (index, port) in container.ports.iter().enumerate().filter(|(_, port)| port.host_port != 0) {
            let key = format!("{}/{}/{}", port.protocol, port.host_ip, port.host_port);
            if taken.contains(&key) {
                errors.push(Error::duplicate(&ports.index(index).child("hostPort"), &key));
            } else {
                taken.push(key);
            }
        }
    }
    errors
}

fn volume_mounts(container: &Container, volumes: &[&Volume], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mounts = &container.volume_mounts;
    for (index, mount) in mounts.iter().enumerate() {
        let item = path.index(index);
        let (name, target) = (item.child("name"), item.child("mountPath"));
        if mount.name.is_empty() {
            errors.push(Error::required(&name, ""));
        }
        if !volumes.iter().any(|volume| volume.name == mount.name) {
            errors.push(Error::not_found(&name, &mount.name));
        }
        if mount.mount_path.is_empty() {
            errors.push(Error::required(&target, ""));
        }
        if mounts[..index].iter().any(|other| other.mount_path == mount.mount_path) {
            errors.push(Error::invalid(&target, &mount.mount_path, "must be unique"));
        }
        if container.volume_devices.iter().any(|device| device.name == mount.name) {
            errors.push(Error::invalid(&name, &mount.name, "must not already exist in volumeDevices"));
        }
        if container.volume_devices.iter().any(|device| device.device_path == mount.mount_path) {
            errors.push(Error::invalid(&target, &mount.mount_path, "must not already exist as a path in volumeDevices"));
        }
        if !mount.sub_path.is_empty() {
            errors.extend(local_descending(&mount.sub_path, &path.child("subPath")));
        }
        if !mount.sub_path_expr.is_empty() {
            if !mount.sub_path.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.push(Error::invalid(&path.child("subPathExpr"), &mount.sub_path_expr, detail));
            }
            errors.extend(local_descending(&mount.sub_path_expr, &path.child("subPathExpr")));
        }
        errors.extend(mount_propagation(mount, container, path));
        errors.extend(recursive_read_only(mount, path));
    }
    errors
}

fn mount_propagation(mount: &VolumeMount, container: &Container, path: &Path<'_>) -> ErrorList {
    let Some(propagation) = &mount.mount_propagation else { return ErrorList::new() };
    let path = path.child("mountPropagation");
    let mut errors = supported(propagation, &["Bidirectional", "HostToContainer", "None"], &path);
    let privileged = container.security_context.as_ref().is_some_and(|context| context.privileged == Some(true));
    if propagation == "Bidirectional" && !privileged {
        errors.push(Error::forbidden(&path, "Bidirectional mount propagation is available only to privileged containers"));
    }
    errors
}

fn recursive_read_only(mount: &VolumeMount, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = path.child("recursiveReadOnly");
    match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.read_only {
                errors.push(Error::forbidden(&path, "may only be specified when readOnly is true"));
            }
            if mount.mount_propagation.as_deref().is_some_and(|propagation| propagation != "None") {
                errors.push(Error::forbidden(&path, "may only be specified when mountPropagation is None or not specified"));
            }
        }
        Some(other) => errors.push(Error::not_supported(&path, other, &["Disabled", "Enabled", "IfPossible"])),
    }
    errors
}

fn volume_devices(container: &Container, volumes: &[&Volume], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let devices: &[VolumeDevice] = &container.volume_devices;
    for (index, device) in devices.iter().enumerate() {
        let path = path.index(index);
        let (name, target) = (path.child("name"), path.child("devicePath"));
        if device.name.is_empty() {
            errors.push(Error::required(&name, ""));
        }
        if devices[..index].iter().any(|other| other.name == device.name) {
            errors.push(Error::invalid(&name, &device.name, "must be unique"));
        }
        match volumes.iter().find(|volume| volume.name == device.name) {
            None => errors.push(Error::not_found(&name, &device.name)),
            Some(volume) if volume.volume_source.persistent_volume_claim.is_none() && volume.volume_source.ephemeral.is_none() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(&name, &device.name, detail));
            }
            Some(_) => {}
        }
        if device.device_path.is_empty() {
            errors.push(Error::required(&target, ""));
        }
        if devices[..index].iter().any(|other| other.device_path == device.device_path) {
            errors.push(Error::invalid(&target, &device.device_path, "must be unique"));
        }
        if no_backsteps(&device.device_path, &target).is_some() {
            errors.push(Error::invalid(&target, &device.device_path, "can not contain backsteps ('..')"));
        }
        if container.volume_mounts.iter().any(|mount| mount.name == device.name) {
            errors.push(Error::invalid(&name, &device.name, "must not already exist in volumeMounts"));
        }
        if container.volume_mounts.iter().any(|mount| mount.mount_path == device.device_path) {
            errors.push(Error::invalid(&target, &device.device_path, "must not already exist as a path in volumeMounts"));
        }
    }
    errors
}

/// What a container (or a Pod as a whole) asks for and may have at most. `claims`: names of the Pod's resource claims.
pub fn resources(requirements: &ResourceRequirements, claims: &[&str], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    for (name, amount) in &requirements.limits {
        errors.extend(container_resource_name(name, &limits.key(name)));
        errors.extend(resource_quantity_value(name, amount, &limits.key(name)));
    }
    for (name, amount) in &requirements.requests {
        errors.extend(container_resource_name(name, &requests.key(name)));
        errors.extend(resource_quantity_value(name, amount, &requests.key(name)));
        match requirements.limits.get(name) {
            Some(limit) if amount.cmp(limit).is_ne() && !is_overcommit_allowed(name) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests, amount.to_string(), detail));
            }
            Some(limit) if amount.cmp(limit).is_gt() => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests, amount.to_string(), detail));
            }
            None if !is_overcommit_allowed(name) => {
                errors.push(Error::required(&limits, "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
    }
    let any = |wanted: fn(&str) -> bool| requirements.limits.keys().chain(requirements.requests.keys()).any(wanted);
    if any(is_huge_page_resource) && !any(|name| matches!(name, "cpu" | "memory")) {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
    errors.extend(resource_claims(&requirements.claims, claims, &path.child("claims")));
    errors
}

fn resource_claims(used: &[ResourceClaim], claims: &[&str], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, claim) in used.iter().enumerate() {
        let item = path.index(index);
        if claim.name.is_empty() {
            errors.push(Error::required(&item, ""));
            continue;
        }
        if used[..index].iter().any(|other| other.name == claim.name && (other.request == claim.request || other.request.is_empty())) {
            errors.push(Error::duplicate(&item, &claim.name));
        }
        if !claims.contains(&claim.name.as_str()) {
            errors.push(Error::not_found(&item, &claim.name));
        }
    }
    errors
}

fn resize_policy(policies: &[ContainerResizePolicy], pod_restart_policy: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, policy) in policies.iter().enumerate() {
        if policies[..index].iter().any(|other| other.resource_name == policy.resource_name) {
            errors.push(Error::duplicate(&path.index(index), &policy.resource_name));
        }
        match policy.resource_name.as_str() {
            "" => errors.push(Error::required(path, "")),
            name => errors.extend(supported(name, &["cpu", "memory"], path)),
        }
        match policy.restart_policy.as_str() {
            "" => errors.push(Error::required(path, "")),
            name => errors.extend(supported(name, &["NotRequired", "RestartContainer"], path)),
        }
        if pod_restart_policy == "Never" && policy.restart_policy != "NotRequired" {
            errors.push(Error::invalid(path, &policy.restart_policy, "must be 'NotRequired' when `restartPolicy` is 'Never'"));
        }
    }
    errors
}
