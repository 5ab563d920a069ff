//! A Service's row.

use api::core::v1::Service;
use apimachinery::{Time, Value};

use crate::printers::{UNKNOWN, age, labels_text, or_none};

/// Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector.
pub fn cells(service: &Service, now: Time) -> Vec<Value> {
    let spec = &service.spec;
    let cluster_ip = spec.cluster_ips.first().map_or(spec.cluster_ip.as_str(), String::as_str);
    let ports: Vec<String> = spec
        .ports
        .iter()
        .map(|port| match port.node_port {
            0 => format!("{}/{}", port.port, port.protocol),
            node_port => format!("{}:{node_port}/{}", port.port, port.protocol),
        })
        .collect();
    vec![
        service.metadata.name.clone().into(),
        spec.type_.clone().into(),
        or_none(cluster_ip).into(),
        external_ip(service).into(),
        or_none(ports.join(",")).into(),
        age(service.metadata.creation_timestamp, now),
        labels_text(&spec.selector).into(),
    ]
}

fn external_ip(service: &Service) -> String {
    let spec = &service.spec;
    match spec.type_.as_str() {
        "ClusterIP" | "NodePort" => or_none(spec.external_ips.join(",")),
        "LoadBalancer" => {
            let mut addresses: Vec<&str> = service
                .status
                .load_balancer
                .ingress
                .iter()
                .map(|ingress| if ingress.ip.is_empty() { ingress.hostname.as_str() } else { ingress.ip.as_str() })
                .filter(|address| !address.is_empty())
                .collect();
            addresses.sort_unstable();
            addresses.dedup();
            let assigned = addresses.join(",");
            match (spec.external_ips.is_empty(), assigned.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (true, false) => assigned,
                (false, true) => spec.external_ips.join(","),
                (false, false) => format!("{assigned},{}", spec.external_ips.join(",")),
            }
        }
        "ExternalName" => spec.external_name.clone(),
        _ => UNKNOWN.to_owned(),
    }
}
