//! From API objects to what the proxy knows of them. Whatever the proxy does not serve becomes nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::core::v1::{Node, Service as ApiService};
use api::discovery::v1::{EndpointPort, EndpointSlice};
use ipnetwork::IpNetwork;

use crate::service::{Endpoint, Family, NodeInfo, PortEndpoints, PortKey, Protocol, Service, ServiceName, ServicePort};

/// Services and slices with this label are for another proxy.
const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Slices of headless Services have this label.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const ZONE: &str = "topology.kubernetes.io/zone";
/// The cluster autoscaler taints a node so before it deletes it.
const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Seconds of affinity where the Service does not say: the API's default.
const AFFINITY_TIMEOUT: i32 = 10800;

/// The Service if it is ours to serve: it has a cluster IP and is for no other proxy.
pub fn service(object: &ApiService) -> Option<Service> {
    let spec = &object.spec;
    let labels = &object.metadata.labels;
    if spec.type_ == "ExternalName" || labels.contains_key(SERVICE_PROXY_NAME) || labels.contains_key(HEADLESS) {
        return None;
    }
    let mut cluster_ips: Vec<IpAddr> = spec.cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    if cluster_ips.is_empty() {
        cluster_ips.extend(spec.cluster_ip.parse::<IpAddr>());
    }
    if cluster_ips.is_empty() {
        return None;
    }
    let external_local = spec.external_traffic_policy == "Local";
    let is_balanced = spec.type_ == "LoadBalancer";
    let affinity_timeout = (spec.session_affinity == "ClientIP").then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|config| config.timeout_seconds).unwrap_or(AFFINITY_TIMEOUT);
        u32::try_from(seconds).unwrap_or_default().max(1)
    });
    Some(Service {
        name: ServiceName::new(&object.metadata.namespace, &object.metadata.name),
        ports: spec.ports.iter().filter_map(service_port).collect(),
        cluster_ips,
        external_ips: spec.external_ips.iter().filter_map(|ip| ip.parse().ok()).collect(),
        load_balancer_ips: match is_balanced {
            true => virtual_ips(object),
            false => Vec::new(),
        },
        source_ranges: match is_balanced {
            true => spec.load_balancer_source_ranges.iter().filter_map(|range| range.trim().parse().ok()).collect(),
            false => Vec::new(),
        },
        affinity_timeout,
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        external_local,
        health_check_node_port: match is_balanced && external_local {
            true => u16::try_from(spec.health_check_node_port).unwrap_or_default(),
            false => 0,
        },
    })
}

fn service_port(port: &api::core::v1::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: port.name.as_str().into(),
        protocol: Protocol::parse(&port.protocol)?,
        port: u16::try_from(port.port).ok().filter(|port| *port > 0)?,
        node_port: u16::try_from(port.node_port).unwrap_or_default(),
    })
}

fn virtual_ips(object: &ApiService) -> Vec<IpAddr> {
    let ingress = object.status.load_balancer.ingress.iter();
    ingress
        .filter(|ingress| ingress.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"))
        .filter_map(|ingress| ingress.ip.parse().ok())
        .collect()
}

/// The Service's name and the endpoints of the slice; `None` if the slice is of no concern here.
pub fn slice(object: &EndpointSlice, node_name: &str) -> Option<(ServiceName, PortEndpoints)> {
    let labels = &object.metadata.labels;
    let service = labels.get(SERVICE_NAME)?;
    if labels.contains_key(SERVICE_PROXY_NAME) || labels.contains_key(HEADLESS) {
        return None;
    }
    let family = match object.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        _ => return None,
    };
    let mut ports = PortEndpoints::new();
    for (key, number) in object.ports.iter().filter_map(endpoint_port) {
        let endpoints = ports.entry(key).or_default();
        for endpoint in object.endpoints.iter() {
            let hints = endpoint.hints.as_deref();
            // All addresses of an endpoint are the same thing; consumers use the first.
            let Some(ip) = endpoint.addresses.first().and_then(|address| address.parse().ok()) else { continue };
            if Family::of(ip) != family {
                continue;
            }
            let conditions = &endpoint.conditions;
            endpoints.push(Endpoint {
                ip,
                port: number,
                is_ready: conditions.ready.unwrap_or(true),
                is_serving: conditions.serving.unwrap_or(true),
                is_terminating: conditions.terminating.unwrap_or(false),
                is_local: endpoint.node_name.as_deref().is_some_and(|name| name == node_name),
                zone_hints: hints
                    .map(|hints| hints.for_zones.iter().map(|zone| Arc::from(zone.name.as_str())).collect())
                    .unwrap_or_default(),
                node_hints: hints
                    .map(|hints| hints.for_nodes.iter().map(|node| Arc::from(node.name.as_str())).collect())
                    .unwrap_or_default(),
            });
        }
    }
    Some((ServiceName::new(&object.metadata.namespace, service), ports))
}

fn endpoint_port(port: &EndpointPort) -> Option<(PortKey, u16)> {
    let name = port.name.as_deref().unwrap_or_default();
    let protocol = Protocol::parse(port.protocol.as_deref().unwrap_or_default())?;
    // A port without a number means all ports, which a service port cannot lead to.
    let number = u16::try_from(port.port?).ok().filter(|number| *number > 0)?;
    Some(((name.into(), protocol), number))
}

/// Puts the slices of one Service together. An endpoint may be in two slices while it moves from one to the other: it
/// counts once, and as ready if one of them says so.
pub fn merge<'a>(slices: impl Iterator<Item = &'a PortEndpoints>) -> PortEndpoints {
    let mut merged: BTreeMap<PortKey, BTreeMap<(IpAddr, u16), Endpoint>> = BTreeMap::new();
    for (key, endpoints) in slices.flatten() {
        let port = merged.entry(key.clone()).or_default();
        for endpoint in endpoints {
            let known = port.entry((endpoint.ip, endpoint.port)).or_insert_with(|| endpoint.clone());
            if endpoint.is_ready && !known.is_ready {
                *known = endpoint.clone();
            }
        }
    }
    merged.into_iter().map(|(key, endpoints)| (key, endpoints.into_values().collect())).collect()
}

/// What the proxy has to know of its node.
pub fn node(object: &Node) -> NodeInfo {
    let addresses_of = |kind: &'static str| {
        let addresses = object.status.addresses.iter().filter(move |address| address.type_ == kind);
        addresses.filter_map(|address| address.address.parse::<IpAddr>().ok())
    };
    let mut pod_cidrs: Vec<IpNetwork> = object.spec.pod_cidrs.iter().filter_map(|cidr| cidr.parse().ok()).collect();
    if pod_cidrs.is_empty() {
        pod_cidrs.extend(object.spec.pod_cidr.parse::<IpNetwork>());
    }
    NodeInfo {
        name: object.metadata.name.as_str().into(),
        zone: object.metadata.labels.get(ZONE).map(|zone| zone.as_str().into()),
        ips: addresses_of("InternalIP").chain(addresses_of("ExternalIP")).collect(),
        pod_cidrs,
        is_leaving: object.metadata.deletion_timestamp.is_some() || object.spec.taints.iter().any(|taint| taint.key == TO_BE_DELETED),
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::json;

    use super::*;

    fn parse_service(spec: &str, status: &str) -> Option<Service> {
        let text = format!(r#"{{"metadata":{{"name":"web","namespace":"ns"}},"spec":{spec},"status":{status}}}"#);
        service(&json::from_slice::<ApiService>(text.as_bytes()).unwrap())
    }

    #[test]
    fn services_that_are_not_ours_become_nothing() {
        for spec in [
            r#"{"clusterIP":"None","clusterIPs":["None"]}"#,
            r#"{"type":"ExternalName","externalName":"www.example.com"}"#,
            r#"{"clusterIP":""}"#,
        ] {
            assert_eq!(parse_service(spec, "{}"), None, "{spec}");
        }
    }

    #[test]
    fn a_load_balancer_has_all_its_parts() {
        let service = parse_service(
            r#"{"type":"LoadBalancer","clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1","fd00:96::1"],
                "ports":[{"name":"http","port":80,"nodePort":30080,"protocol":"TCP"},{"port":53,"protocol":"UDP"}],
                "externalIPs":["203.0.113.9"],"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":60}},
                "externalTrafficPolicy":"Local","internalTrafficPolicy":"Local","healthCheckNodePort":31000,
                "loadBalancerSourceRanges":[" 198.51.100.0/24","nonsense"]}"#,
            r#"{"loadBalancer":{"ingress":[{"ip":"203.0.113.1"},{"ip":"203.0.113.2","ipMode":"Proxy"},
                {"ip":"203.0.113.3","ipMode":"VIP"},{"hostname":"lb.example.com"}]}}"#,
        )
        .unwrap();
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(service.cluster_ips, ips(&["10.96.0.1", "fd00:96::1"]));
        assert_eq!(service.load_balancer_ips, ips(&["203.0.113.1", "203.0.113.3"]));
        assert_eq!(service.external_ips, ips(&["203.0.113.9"]));
        assert_eq!(service.source_ranges, ["198.51.100.0/24".parse().unwrap()]);
        assert_eq!(service.ports.len(), 2);
        assert_eq!((service.affinity_timeout, service.health_check_node_port), (Some(60), 31000));
        assert!(service.internal_local && service.external_local);
    }

    fn parse_slice(text: &str) -> Option<(ServiceName, PortEndpoints)> {
        slice(&json::from_slice::<EndpointSlice>(text.as_bytes()).unwrap(), "n1")
    }

    #[test]
    fn slices_have_conditions_hints_and_places() {
        let (name, ports) = parse_slice(
            r#"{"metadata":{"name":"web-1","namespace":"ns","labels":{"kubernetes.io/service-name":"web"}},"addressType":"IPv4",
                "ports":[{"name":"http","port":8080,"protocol":"TCP"},{"name":"all"}],
                "endpoints":[{"addresses":["10.0.0.1"],"nodeName":"n1","hints":{"forZones":[{"name":"a"}],"forNodes":[{"name":"n1"}]}},
                             {"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true,"terminating":true}}]}"#,
        )
        .unwrap();
        assert_eq!(name, ServiceName::new("ns", "web"));
        assert_eq!(ports.len(), 1);
        let endpoints = &ports[&("http".into(), Protocol::Tcp)];
        assert!(endpoints[0].is_ready && endpoints[0].is_local);
        assert!(endpoints[0].zone_hints.contains("a") && endpoints[0].node_hints.contains("n1"));
        assert!(!endpoints[1].is_ready && endpoints[1].is_serving && endpoints[1].is_terminating && !endpoints[1].is_local);
        assert_eq!(parse_slice(r#"{"metadata":{"name":"x"},"addressType":"IPv4"}"#), None);
    }

    #[test]
    fn an_endpoint_in_two_slices_counts_once_and_as_ready_if_one_says_so() {
        let key: PortKey = ("".into(), Protocol::Tcp);
        let ready = Endpoint::ready("10.0.0.1".parse().unwrap(), 80);
        let unready = Endpoint { is_ready: false, ..ready.clone() };
        let slices = [[(key.clone(), vec![unready])].into(), [(key.clone(), vec![ready.clone()])].into()];
        assert_eq!(merge(slices.iter())[&key], [ready]);
    }

    #[test]
    fn a_node_has_internal_addresses_first() {
        let text = r#"{"metadata":{"name":"n1","labels":{"topology.kubernetes.io/zone":"a"}},
            "spec":{"podCIDR":"10.244.1.0/24","podCIDRs":["10.244.1.0/24","fd00:244:1::/64"],
                    "taints":[{"key":"ToBeDeletedByClusterAutoscaler","effect":"NoSchedule"}]},
            "status":{"addresses":[{"type":"Hostname","address":"n1"},{"type":"ExternalIP","address":"203.0.113.1"},
                                   {"type":"InternalIP","address":"192.168.0.1"}]}}"#;
        let node = node(&json::from_slice::<Node>(text.as_bytes()).unwrap());
        assert_eq!(node.ips, ["192.168.0.1".parse::<IpAddr>().unwrap(), "203.0.113.1".parse().unwrap()]);
        assert_eq!((node.zone.as_deref(), node.pod_cidrs.len(), node.is_leaving), (Some("a"), 2, true));
    }
}
