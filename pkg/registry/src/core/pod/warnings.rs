//! What is accepted in a Pod and yet not what its writer wants, most likely. Upstream: pkg/api/pod/warnings.go.

use std::collections::BTreeSet;

use api::core::v1::{Container, Pod, PodSpec};
use apimachinery::validation::names;
use apimachinery::{Map, Quantity};

/// Warnings about a Pod. Upstream repeats them only for a spec that changed.
pub fn pod(pod: &Pod) -> Vec<String> {
    let mut warnings = Vec::new();
    let problems = names::is_dns1123_label(&pod.metadata.name);
    if !pod.metadata.name.is_empty() && !problems.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            problems.join(" ")
        ));
    }
    warnings.extend(pod_spec(&pod.spec, "spec"));
    warnings
}

/// Warnings about a spec at a path.
pub fn pod_spec(spec: &PodSpec, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (index, constraint) in spec.topology_spread_constraints.iter().enumerate() {
        if constraint.label_selector.is_none() {
            warnings
                .push(format!("{path}.topologySpreadConstraints[{index}].labelSelector: a null labelSelector results in matching no pod"));
        }
    }
    for volume in &spec.volumes {
        if volume.volume_source.projected.as_ref().is_some_and(|projected| projected.sources.is_empty()) {
            warnings.push(format!("volume {} (Projected) has no sources provided", apimachinery::gotext::quote(&volume.name)));
        }
    }
    let mut addresses = BTreeSet::new();
    for (index, alias) in spec.host_aliases.iter().enumerate() {
        if !addresses.insert(alias.ip.as_str()) {
            let ip = apimachinery::gotext::quote(&alias.ip);
            warnings.push(format!("{path}.hostAliases[{index}].ip: duplicate ip {ip}"));
        }
    }
    let mut secrets = BTreeSet::new();
    for (index, secret) in spec.image_pull_secrets.iter().enumerate() {
        let name = apimachinery::gotext::quote(&secret.name);
        if secret.name.is_empty() {
            warnings.push(format!("{path}.imagePullSecrets[{index}].name: invalid empty name {name}"));
        } else if !secrets.insert(secret.name.as_str()) {
            warnings.push(format!("{path}.imagePullSecrets[{index}].name: duplicate name {name}"));
        }
    }
    for (field, containers) in [("initContainers", &spec.init_containers), ("containers", &spec.containers)] {
        for (index, found) in containers.iter().enumerate() {
            warnings.extend(container(found, &format!("{path}.{field}[{index}]")));
        }
    }
    warnings
}

fn container(container: &Container, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for (kind, list) in [("limits", &container.resources.limits), ("requests", &container.resources.requests)] {
        warnings.extend(fractional_bytes(list, &format!("{path}.resources.{kind}")));
    }
    let mut known = BTreeSet::new();
    for (index, variable) in container.env.iter().enumerate() {
        if !known.insert(variable.name.as_str()) {
            let name = apimachinery::gotext::quote(&variable.name);
            warnings.push(format!("{path}.env[{index}]: hides previous definition of {name}, which may be dropped when using apply"));
        }
    }
    for (index, port) in container.ports.iter().enumerate() {
        if port.host_port == 0 && !port.host_ip.is_empty() {
            warnings.push(format!(
                "{path}.ports[{index}]: hostIP set without hostPort: {{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
                port.name, port.host_port, port.container_port, port.protocol, port.host_ip
            ));
        }
    }
    warnings
}

/// `100m` of memory is a tenth of a byte: somebody meant `100M`.
fn fractional_bytes(list: &Map<Quantity>, path: &str) -> Vec<String> {
    let sizes = list.iter().filter(|(name, _)| matches!(*name, "memory" | "ephemeral-storage" | "storage"));
    sizes
        .filter(|(_, amount)| amount.milli_value() % 1000 != 0)
        .map(|(name, amount)| {
            let shown = apimachinery::gotext::quote(&amount.to_string());
            format!("{path}[{name}]: fractional byte value {shown} is invalid, must be an integer")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_hardly_meant() {
        let json = br#"{"metadata":{"name":"a.b"},"spec":{"containers":[{"name":"c","resources":{"limits":{"memory":"100m"}}}]}}"#;
        let found: Pod = apimachinery::json::from_slice(json).unwrap();
        let warnings = pod(&found);
        assert!(warnings[0].ends_with("a DNS label is recommended: [must not contain dots]"));
        assert!(warnings[1].starts_with("spec.containers[0].resources.limits[memory]: fractional byte value \"100m\""));
    }
}
