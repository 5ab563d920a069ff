//! Services.

use api::core::v1::{Service, ServicePort, SessionAffinityConfig};
use apimachinery::meta::v1::ObjectMeta;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::{names, net};

use super::ports::{port_number, port_number_or_name};
use crate::core::service::{is_externally_accessible, is_headless, needs_cluster_ip, needs_health_check_port};
use crate::validation::fields::{IMMUTABLE, extend_invalid, supported};
use crate::validation::go_value::go_value;
use crate::validation::meta::string_list;
use crate::validation::{labels, object_meta, object_meta_update};

const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const ONLY_ONCE: &str = "may not change once set";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// The kubelet's port must not be reachable from outside by way of a load balancer.
const KUBELET_PORT: i32 = 10250;

const MAX_AFFINITY_SECONDS: i32 = 86_400;

/// A Service with everything allocated.
pub fn validate(service: &Service) -> ErrorList {
    let spec = &service.spec;
    let path = Path::new("spec");
    let (ports, ips) = (path.child("ports"), path.child("clusterIPs"));
    let mut errors = object_meta(&service.metadata, true, names::name_is_dns1035_label, &Path::new("metadata"));
    let headless = is_headless(service);
    if spec.ports.is_empty() && !headless && spec.type_ != "ExternalName" {
        errors.push(Error::required(&ports, ""));
    }
    match spec.type_.as_str() {
        kind @ ("LoadBalancer" | "NodePort") => {
            for (index, port) in spec.ports.iter().enumerate() {
                if kind == "LoadBalancer" && port.port == KUBELET_PORT {
                    let detail = format!("may not expose port {KUBELET_PORT} externally since it is used by kubelet");
                    errors.push(Error::invalid(&ports.index(index), port.port, detail));
                }
            }
            if headless {
                let shown = spec.cluster_ips.first().map_or("None", String::as_str);
                errors.push(Error::invalid(&ips.index(0), shown, format!("may not be set to 'None' for {kind} services")));
            }
        }
        "ExternalName" => errors.extend(external_name(service, &path)),
        _ => {}
    }
    for (index, port) in spec.ports.iter().enumerate() {
        errors.extend(service_port(port, spec.ports.len() > 1, &ports.index(index)));
        if !port.name.is_empty() && spec.ports[..index].iter().any(|other| other.name == port.name) {
            errors.push(Error::duplicate(&ports.index(index).child("name"), &port.name));
        }
    }
    errors.extend(labels(&spec.selector, &path.child("selector")));
    errors.extend(session_affinity(service, &path));
    errors.extend(addresses(service, &path));
    let external = path.child("externalIPs");
    for (index, ip) in spec.external_ips.iter().enumerate() {
        let found = net::is_ip(&external.index(index), ip);
        errors.extend(if found.is_empty() { super::ports::non_special_ip(ip, &external.index(index)) } else { found });
    }
    match spec.type_.as_str() {
        "" => errors.push(Error::required(&path.child("type"), "")),
        kind => errors.extend(supported(kind, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], &path.child("type"))),
    }
    errors.extend(port_clashes(service, &ports));
    errors.extend(source_ranges(service, &path));
    if spec.allocate_load_balancer_node_ports.is_some() && spec.type_ != "LoadBalancer" {
        errors.push(Error::forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_LOAD_BALANCER));
    }
    if spec.type_ == "LoadBalancer" && spec.allocate_load_balancer_node_ports.is_none() {
        errors.push(Error::required(&path.child("allocateLoadBalancerNodePorts"), ""));
    }
    errors.extend(load_balancer_class(service, None, &path));
    errors.extend(traffic(service, &path));
    errors
}

/// A changed Service.
pub fn validate_update(new: &Service, old: &Service) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    errors.extend(changed_addresses(new, old, &path));
    errors.extend(load_balancer_class(new, Some(old), &path));
    let kept_health_port = needs_health_check_port(new) && needs_health_check_port(old);
    if kept_health_port && new.spec.health_check_node_port != old.spec.health_check_node_port {
        errors.push(Error::invalid(&path.child("healthCheckNodePort"), new.spec.health_check_node_port, IMMUTABLE));
    }
    errors.extend(validate(new));
    errors
}

/// A changed status.
pub fn validate_status_update(new: &Service, old: &Service) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    let status = Path::new("status");
    let balancer = status.child("loadBalancer");
    let path = balancer.child("ingress");
    if new.spec.type_ != "LoadBalancer" && !new.status.load_balancer.ingress.is_empty() && old.spec.type_ != "LoadBalancer" {
        errors.push(Error::forbidden(&path, "may only be used when `spec.type` is \"LoadBalancer\""));
        return errors;
    }
    for (index, ingress) in new.status.load_balancer.ingress.iter().enumerate() {
        let path = path.index(index);
        if !ingress.ip.is_empty() {
            errors.extend(net::is_ip(&path.child("ip"), &ingress.ip));
        }
        match ingress.ip_mode.as_deref() {
            None if !ingress.ip.is_empty() => {
                errors.push(Error::required(&path.child("ipMode"), "must be specified when `ip` is set"));
            }
            Some(_) if ingress.ip.is_empty() => {
                errors.push(Error::forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set"));
            }
            Some(mode) => errors.extend(supported(mode, &["Proxy", "VIP"], &path.child("ipMode"))),
            None => {}
        }
        if !ingress.hostname.is_empty() {
            extend_invalid(&mut errors, &path.child("hostname"), &ingress.hostname, names::is_dns1123_subdomain(&ingress.hostname));
            if net::parse_ip_sloppy(&ingress.hostname).is_some() {
                errors.push(Error::invalid(&path.child("hostname"), &ingress.hostname, "must be a DNS name, not an IP address"));
            }
        }
    }
    errors
}

/// What is accepted and yet not wise.
pub fn warnings(service: &Service) -> Vec<String> {
    let mut warnings = Vec::new();
    if is_headless(service) {
        if !service.spec.load_balancer_ip.is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !service.spec.external_ips.is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if service.spec.session_affinity != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    if !service.spec.external_ips.is_empty() {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if service.spec.type_ != "ExternalName" && !service.spec.external_name.is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if service.spec.traffic_distribution.as_deref() == Some("PreferClose") {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    warnings
}

fn external_name(service: &Service, path: &Path<'_>) -> ErrorList {
    let spec = &service.spec;
    let mut errors = ErrorList::new();
    for (name, set) in [
        ("clusterIPs", !spec.cluster_ips.is_empty()),
        ("ipFamilies", !spec.ip_families.is_empty()),
        ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
    ] {
        if set {
            errors.push(Error::forbidden(&path.child(name), "may not be set for ExternalName services"));
        }
    }
    // The value is a CNAME and may end with a dot.
    let name = spec.external_name.strip_suffix('.').unwrap_or(&spec.external_name);
    let path = path.child("externalName");
    match name {
        "" => errors.push(Error::required(&path, "")),
        name => extend_invalid(&mut errors, &path, name, names::is_dns1123_subdomain(name)),
    }
    errors
}

fn service_port(port: &ServicePort, needs_name: bool, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    match port.name.as_str() {
        "" if needs_name => errors.push(Error::required(&path.child("name"), "")),
        "" => {}
        name => extend_invalid(&mut errors, &path.child("name"), name, names::is_dns1123_label(name)),
    }
    errors.extend(port_number(port.port, &path.child("port")));
    match port.protocol.as_str() {
        "" => errors.push(Error::required(&path.child("protocol"), "")),
        protocol => errors.extend(supported(protocol, &["SCTP", "TCP", "UDP"], &path.child("protocol"))),
    }
    errors.extend(port_number_or_name(&port.target_port, &path.child("targetPort")));
    if let Some(protocol) = &port.app_protocol {
        extend_invalid(&mut errors, &path.child("appProtocol"), protocol, names::is_qualified_name(protocol));
    }
    errors
}

fn session_affinity(service: &Service, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let config = service.spec.session_affinity_config.as_deref();
    let config_path = path.child("sessionAffinityConfig");
    match service.spec.session_affinity.as_str() {
        "" => errors.push(Error::required(&path.child("sessionAffinity"), "")),
        kind => errors.extend(supported(kind, &["ClientIP", "None"], &path.child("sessionAffinity"))),
    }
    match service.spec.session_affinity.as_str() {
        "ClientIP" => errors.extend(client_ip_config(config, &config_path)),
        "None" if config.is_some() => errors.push(Error::forbidden(&config_path, "must not be set when session affinity is None")),
        _ => {}
    }
    errors
}

fn client_ip_config(config: Option<&SessionAffinityConfig>, path: &Path<'_>) -> Option<Error> {
    let why = "when session affinity type is ClientIP";
    let Some(config) = config else { return Some(Error::required(path, why)) };
    let path = path.child("clientIP");
    let Some(client) = &config.client_ip else { return Some(Error::required(&path, why)) };
    let path = path.child("timeoutSeconds");
    match client.timeout_seconds {
        None => Some(Error::required(&path, why)),
        Some(seconds) if seconds <= 0 || seconds > MAX_AFFINITY_SECONDS => {
            let detail = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
            Some(Error::invalid(&path, seconds, detail))
        }
        Some(_) => None,
    }
}

/// `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`, which depend on each other.
pub fn addresses(service: &Service, path: &Path<'_>) -> ErrorList {
    let spec = &service.spec;
    let mut errors = ErrorList::new();
    if spec.type_ == "ExternalName" {
        return errors;
    }
    let (ips, families) = (path.child("clusterIPs"), path.child("ipFamilies"));
    for (index, family) in spec.ip_families.iter().enumerate() {
        if !matches!(family.as_str(), "IPv4" | "IPv6") {
            errors.push(Error::not_supported(&families.index(index), family, &["IPv4", "IPv6"]));
        } else if spec.ip_families[..index].contains(family) {
            errors.push(Error::duplicate(&families.index(index), family));
        }
    }
    if let Some(policy) = &spec.ip_family_policy {
        errors.extend(supported(policy, &["PreferDualStack", "RequireDualStack", "SingleStack"], &path.child("ipFamilyPolicy")));
    }
    let before = errors.len();
    match (spec.cluster_ip.is_empty(), spec.cluster_ips.first()) {
        (false, None) => errors.push(Error::required(&ips, "")),
        (true, Some(_)) => {
            errors.push(Error::invalid(&ips, string_list(&spec.cluster_ips), "must be empty when `clusterIP` is not specified"))
        }
        (false, Some(first)) if *first != spec.cluster_ip => {
            errors.push(Error::invalid(&ips, string_list(&spec.cluster_ips), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    if spec.cluster_ips.len() > 1 && spec.cluster_ips.iter().any(|ip| ip == "None") {
        errors.push(Error::invalid(&ips, string_list(&spec.cluster_ips), "'None' must be the first and only value"));
    }
    for (index, ip) in spec.cluster_ips.iter().enumerate().filter(|(_, ip)| *ip != "None") {
        errors.extend(net::is_ip(&ips.index(index), ip));
    }
    if spec.cluster_ips.len() > 2 {
        errors.push(Error::invalid(&ips, string_list(&spec.cluster_ips), "may only hold up to 2 values"));
    }
    if errors.len() > before {
        return errors;
    }
    let parsed: Vec<_> = spec.cluster_ips.iter().filter_map(|ip| net::parse_ip_sloppy(ip)).collect();
    if parsed.len() == 2 && parsed[0].is_ipv4() == parsed[1].is_ipv4() {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&ips, string_list(&spec.cluster_ips), detail));
    }
    for (index, (ip, family)) in parsed.iter().zip(spec.ip_families.iter()).enumerate() {
        if (family == "IPv4") != ip.is_ipv4() && matches!(family.as_str(), "IPv4" | "IPv6") {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.push(Error::invalid(&ips.index(index), ip.to_string(), detail));
        }
    }
    errors
}

/// Once there, the first address and family stay; the second may come and go with the policy.
fn changed_addresses(new: &Service, old: &Service, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if !needs_cluster_ip(new) || !needs_cluster_ip(old) {
        return errors;
    }
    let single = new.spec.ip_family_policy.as_deref() == Some("SingleStack");
    let mut check = |field: &str, what: &str, new: &[String], old: &[String]| {
        let path = path.child(field);
        for (index, value) in old.iter().enumerate().take(new.len()) {
            if new[index] != *value {
                errors.push(Error::invalid(&path.index(index), string_list(new), ONLY_ONCE));
            }
        }
        if new.is_empty() && !old.is_empty() {
            errors.push(Error::invalid(&path.index(0), string_list(new), format!("primary {what} can not be unset")));
        } else if old.len() > new.len() && !single {
            let policy = Path::new("spec");
            let shown: BadValue = Some("").into();
            let detail = format!("must be set to 'SingleStack' when releasing the secondary {what}");
            errors.push(Error::invalid(&policy.child("ipFamilyPolicy"), shown, detail));
        }
    };
    check("clusterIPs", "clusterIP", &new.spec.cluster_ips, &old.spec.cluster_ips);
    check("ipFamilies", "ipFamily", &new.spec.ip_families, &old.spec.ip_families);
    errors
}

fn port_clashes(service: &Service, path: &Path<'_>) -> ErrorList {
    let ports = &service.spec.ports;
    let mut errors = ErrorList::new();
    if service.spec.type_ == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| port.node_port != 0) {
            errors.push(Error::forbidden(&path.index(index).child("nodePort"), "may not be used when `type` is 'ClusterIP'"));
        }
    }
    for (index, port) in ports.iter().enumerate().filter(|(_, port)| port.node_port != 0) {
        if ports[..index].iter().any(|other| other.node_port == port.node_port && other.protocol == port.protocol) {
            errors.push(Error::duplicate(&path.index(index).child("nodePort"), port.node_port));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        if ports[..index].iter().any(|other| other.port == port.port && other.protocol == port.protocol) {
            let key = ServicePort { protocol: port.protocol.clone(), port: port.port, ..ServicePort::default() };
            errors.push(Error::duplicate(&path.index(index), go_value(&key)));
        }
    }
    errors
}

fn source_ranges(service: &Service, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let ranges = &service.spec.load_balancer_source_ranges;
    let balancer = service.spec.type_ == "LoadBalancer";
    if !ranges.is_empty() {
        let path = path.child("LoadBalancerSourceRanges");
        if !balancer {
            errors.push(Error::forbidden(&path, ONLY_LOAD_BALANCER));
        }
        for (index, range) in ranges.iter().enumerate() {
            // White space around a range was accepted always.
            errors.extend(net::is_cidr(&path.index(index), range.trim()));
        }
        return errors;
    }
    errors.extend(annotated_ranges(&service.metadata, balancer));
    errors
}

fn annotated_ranges(meta: &ObjectMeta, balancer: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, name) = (Path::new("metadata"), "annotations");
    let path = path.child(name);
    let path = path.key(SOURCE_RANGES);
    let Some(value) = meta.annotations.get(SOURCE_RANGES) else { return errors };
    if !balancer {
        errors.push(Error::forbidden(&path, ONLY_LOAD_BALANCER));
    }
    let value = value.trim();
    let bad = |part: &str| net::parse_cidr_sloppy(part.trim()).is_none();
    if !value.is_empty() && value.split(',').any(bad) {
        let detail = "must be a comma separated list of CIDRs e.g. 10.0.0.0/8,192.168.2.0/24";
        errors.push(Error::invalid(&path, value, detail));
    }
    errors
}

fn load_balancer_class(service: &Service, old: Option<&Service>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = path.child("loadBalancerClass");
    let class = service.spec.load_balancer_class.as_deref();
    let balancer = service.spec.type_ == "LoadBalancer";
    if let Some(old) = old
        && balancer
        && old.spec.type_ == "LoadBalancer"
        && old.spec.load_balancer_class.as_deref() != class
    {
        errors.push(Error::invalid(&path, class, ONLY_ONCE));
        return errors;
    }
    match class {
        Some(_) if !balancer => errors.push(Error::forbidden(&path, ONLY_LOAD_BALANCER)),
        Some(class) => extend_invalid(&mut errors, &path, class, names::is_qualified_name(class)),
        None => {}
    }
    errors
}

/// Where traffic from outside and from inside goes.
fn traffic(service: &Service, path: &Path<'_>) -> ErrorList {
    let spec = &service.spec;
    let mut errors = ErrorList::new();
    let external = path.child("externalTrafficPolicy");
    match (is_externally_accessible(service), spec.external_traffic_policy.as_str()) {
        (false, "") => {}
        (false, policy) => errors.push(Error::invalid(&external, policy, "may only be set for externally-accessible services")),
        (true, "") => errors.push(Error::required(&external, "")),
        (true, policy) => errors.extend(supported(policy, &["Cluster", "Local"], &external)),
    }
    let health = path.child("healthCheckNodePort");
    match (needs_health_check_port(service), spec.health_check_node_port) {
        (false, 0) => {}
        (false, port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(Error::invalid(&health, port, detail));
        }
        (true, 0) => errors.push(Error::required(&health, "")),
        (true, port) => errors.extend(port_number(port, &health)),
    }
    let internal = path.child("internalTrafficPolicy");
    match spec.internal_traffic_policy.as_deref() {
        None if matches!(spec.type_.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") => errors.push(Error::required(&internal, "")),
        None => {}
        Some(policy) => errors.extend(supported(policy, &["Cluster", "Local"], &internal)),
    }
    if let Some(distribution) = &spec.traffic_distribution {
        let known = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        errors.extend(supported(distribution, &known, &path.child("trafficDistribution")));
    }
    errors
}
