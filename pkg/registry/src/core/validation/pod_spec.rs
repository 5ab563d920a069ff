//! The spec of a Pod, in a Pod or in a template.

use api::core::v1::{PodDNSConfig, PodResourceClaim, PodSpec};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::{names, net};

use super::affinity::{affinity, gates, tolerations, topology_spread_constraints};
use super::container::{self, Surroundings};
use super::resource::{container_resource_name, resource_quantity_value};
use super::security;
use super::volume::volumes;
use crate::validation::fields::{extend_invalid, supported};
use crate::validation::labels;
use crate::validation::meta::string_list;

/// A spec. `pod`: of a Pod and not of a template.
pub fn pod_spec(spec: &PodSpec, pod: bool, path: &Path<'_>) -> ErrorList {
    let (good_volumes, mut errors) = volumes(&spec.volumes, pod, &path.child("volumes"));
    let grace = spec.termination_grace_period_seconds.unwrap_or(30);
    let around = Surroundings { spec, volumes: &good_volumes, grace };
    errors.extend(resource_claims(&spec.resource_claims, &path.child("resourceClaims")));
    errors.extend(container::containers(around, &path.child("containers")));
    errors.extend(container::init_containers(around, &path.child("initContainers")));
    if pod {
        errors.extend(container::ephemeral_containers(around, &path.child("ephemeralContainers")));
    }
    errors.extend(host_network_ports(spec, path));
    match spec.restart_policy.as_str() {
        "" => errors.push(Error::required(&path.child("restartPolicy"), "")),
        policy => errors.extend(supported(policy, &["Always", "OnFailure", "Never"], &path.child("restartPolicy"))),
    }
    match spec.dns_policy.as_str() {
        "" => errors.push(Error::required(&path.child("dnsPolicy"), "")),
        policy => {
            let known = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
            errors.extend(supported(policy, &known, &path.child("dnsPolicy")));
        }
    }
    errors.extend(labels(&spec.node_selector, &path.child("nodeSelector")));
    errors.extend(security_context(spec, &path.child("securityContext")));
    if let Some(found) = &spec.affinity {
        errors.extend(affinity(found, &path.child("affinity")));
    }
    errors.extend(dns_config(spec, &path.child("dnsConfig")));
    let ready = path.child("readinessGates");
    for (index, gate) in spec.readiness_gates.iter().enumerate() {
        let messages = names::is_qualified_name(&gate.condition_type);
        extend_invalid(&mut errors, &ready.index(index).child("conditionType"), &gate.condition_type, messages);
    }
    errors.extend(gates(spec.scheduling_gates.iter().map(|gate| gate.name.as_str()), &path.child("schedulingGates")));
    errors.extend(topology_spread_constraints(&spec.topology_spread_constraints, &path.child("topologySpreadConstraints")));
    errors.extend(host_users(spec, path));
    errors.extend(names_of_others(spec, path));
    if let Some(seconds) = spec.active_deadline_seconds
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = names::inclusive_range_error(1, i64::from(i32::MAX));
        errors.push(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, detail));
    }
    errors.extend(tolerations(&spec.tolerations, &path.child("tolerations")));
    errors.extend(host_aliases(spec, &path.child("hostAliases")));
    if let Some(policy) = &spec.preemption_policy {
        match policy.as_str() {
            "" => errors.push(Error::required(&path.child("preemptionPolicy"), "")),
            policy => errors.extend(supported(policy, &["PreemptLowerPriority", "Never"], &path.child("preemptionPolicy"))),
        }
    }
    let overhead = path.child("overhead");
    for (name, amount) in &spec.overhead {
        errors.extend(container_resource_name(name, &overhead.key(name)));
        errors.extend(resource_quantity_value(name, amount, &overhead.key(name)));
    }
    if let Some(os) = &spec.os {
        let os_path = path.child("os");
        match os.name.as_str() {
            "" => errors.push(Error::required(&os_path.child("name"), "")),
            name => errors.extend(supported(name, &["linux", "windows"], &os_path.child("name"))),
        }
    }
    if let Some(resources) = &spec.resources {
        errors.extend(container::resources(resources, &[], &path.child("resources")));
    }
    errors
}

/// Names of objects and of the Pod itself on the network.
fn names_of_others(spec: &PodSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let subdomains = [
        ("serviceAccountName", spec.service_account_name.as_str()),
        ("nodeName", &spec.node_name),
        ("priorityClassName", &spec.priority_class_name),
    ];
    for (field, name) in subdomains.into_iter().filter(|(_, name)| !name.is_empty()) {
        extend_invalid(&mut errors, &path.child(field), name, names::is_dns1123_subdomain(name));
    }
    for (field, name) in [("runtimeClassName", &spec.runtime_class_name), ("hostnameOverride", &spec.hostname_override)] {
        if let Some(name) = name {
            extend_invalid(&mut errors, &path.child(field), name, names::is_dns1123_subdomain(name));
        }
    }
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| name.len() > 64) {
        errors.push(Error::invalid(&path.child("hostnameOverride"), name, "must be no more than 64 characters"));
    }
    for (field, name) in [("hostname", &spec.hostname), ("subdomain", &spec.subdomain)] {
        if !name.is_empty() {
            extend_invalid(&mut errors, &path.child(field), name, names::is_dns1123_label(name));
        }
    }
    errors
}

fn resource_claims(claims: &[PodResourceClaim], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        match claim.name.as_str() {
            "" => errors.push(Error::required(&path.child("name"), "")),
            name if claims[..index].iter().any(|other| other.name == name) => {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
            name => extend_invalid(&mut errors, &path.child("name"), name, names::is_dns1123_label(name)),
        }
        let shown = || crate::validation::go_value::go_value(claim);
        match (&claim.resource_claim_name, &claim.resource_claim_template_name) {
            (Some(_), Some(_)) => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.push(Error::invalid(&path, shown(), detail));
            }
            (None, None) => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.push(Error::invalid(&path, shown(), detail));
            }
            _ => {}
        }
        for (field, name) in
            [("resourceClaimName", &claim.resource_claim_name), ("resourceClaimTemplateName", &claim.resource_claim_template_name)]
        {
            if let Some(name) = name {
                extend_invalid(&mut errors, &path.child(field), name, names::is_dns1123_subdomain(name));
            }
        }
    }
    errors
}

/// On the host's network a container's port is the host's.
fn host_network_ports(spec: &PodSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if !spec.host_network {
        return errors;
    }
    let list = path.child("containers");
    for (index, container) in spec.containers.iter().enumerate() {
        let item = list.index(index);
        let ports = item.child("ports");
        for (index, port) in container.ports.iter().enumerate().filter(|(_, port)| port.host_port != port.container_port) {
            let detail = "must match `containerPort` when `hostNetwork` is true";
            errors.push(Error::invalid(&ports.index(index).child("hostPort"), port.host_port, detail));
        }
    }
    errors
}

fn security_context(spec: &PodSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(context) = &spec.security_context {
        errors.extend(security::pod(context, spec, path));
    }
    if spec.host_pid && spec.share_process_namespace == Some(true) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.push(Error::invalid(&path.child("shareProcessNamespace"), true, detail));
    }
    errors
}

/// A Pod with users of its own cannot share what belongs to the host's.
fn host_users(spec: &PodSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if spec.host_users.unwrap_or(true) {
        return errors;
    }
    for (field, set) in [("hostNetwork", spec.host_network), ("hostPID", spec.host_pid), ("hostIPC", spec.host_ipc)] {
        if set {
            errors.push(Error::forbidden(&path.child(field), "when `hostUsers` is false"));
        }
    }
    errors
}

const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;

fn dns_config(spec: &PodSpec, path: &Path<'_>) -> ErrorList {
    let empty = PodDNSConfig::default();
    let config = match &spec.dns_config {
        None if spec.dns_policy == "None" => {
            return vec![Error::required(path, "must provide `dnsConfig` when `dnsPolicy` is None")];
        }
        None => &empty,
        Some(config) => config,
    };
    let mut errors = ErrorList::new();
    let (servers, searches, options) = (path.child("nameservers"), path.child("searches"), path.child("options"));
    if spec.dns_policy == "None" && config.nameservers.is_empty() {
        return vec![Error::required(&servers, "must provide at least one DNS nameserver when `dnsPolicy` is None")];
    }
    if config.nameservers.len() > MAX_NAMESERVERS {
        let detail = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        errors.push(Error::invalid(&servers, string_list(&config.nameservers), detail));
    }
    for (index, server) in config.nameservers.iter().enumerate() {
        errors.extend(net::is_ip(&servers.index(index), server));
    }
    if config.searches.len() > MAX_SEARCHES {
        let detail = format!("must not have more than {MAX_SEARCHES} search paths");
        errors.push(Error::invalid(&searches, string_list(&config.searches), detail));
    }
    if config.searches.join(" ").len() > MAX_SEARCH_CHARACTERS {
        let detail = format!("must not have more than {MAX_SEARCH_CHARACTERS} characters (including spaces) in the search list");
        errors.push(Error::invalid(&searches, string_list(&config.searches), detail));
    }
    for (index, search) in config.searches.iter().enumerate().filter(|(_, search)| *search != ".") {
        let trimmed = search.strip_suffix('.').unwrap_or(search);
        extend_invalid(&mut errors, &searches.index(index), trimmed, names::is_dns1123_subdomain_with_underscore(trimmed));
    }
    for (index, option) in config.options.iter().enumerate() {
        if option.name.is_empty() {
            errors.push(Error::required(&options.index(index), "must not be empty"));
        }
    }
    errors
}

fn host_aliases(spec: &PodSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, alias) in spec.host_aliases.iter().enumerate() {
        let path = path.index(index);
        errors.extend(net::is_ip(&path.child("ip"), &alias.ip));
        let hostnames = path.child("hostnames");
        for (index, hostname) in alias.hostnames.iter().enumerate() {
            extend_invalid(&mut errors, &hostnames.index(index), hostname, names::is_dns1123_subdomain(hostname));
        }
    }
    errors
}
