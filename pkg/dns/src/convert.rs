//! From API objects to the zone's records.

use std::net::IpAddr;

use api::core::v1::{Service, ServicePort};
use api::discovery::v1::{EndpointPort, EndpointSlice};

use crate::zone::{EndpointRecord, Port, ServiceRecord, SliceRecord, Target};

/// Names the Service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What the Service's name stands for; `None` while it has no address yet.
pub fn service(object: &Service) -> Option<ServiceRecord> {
    let spec = &object.spec;
    let ports = spec.ports.iter().filter_map(service_port).collect();
    if spec.type_ == "ExternalName" {
        return Some(ServiceRecord { target: Target::External(spec.external_name.clone()), ports });
    }
    let texts = spec.cluster_ips.iter().chain(spec.cluster_ips.is_empty().then_some(&spec.cluster_ip));
    let mut cluster_ips: Vec<IpAddr> = Vec::new();
    for text in texts {
        if text == "None" {
            return Some(ServiceRecord { target: Target::Headless, ports });
        }
        cluster_ips.extend(text.parse::<IpAddr>());
    }
    (!cluster_ips.is_empty()).then_some(ServiceRecord { target: Target::ClusterIps(cluster_ips), ports })
}

/// The name of the slice's Service and the endpoints that are ready; `None` if it belongs to no Service.
pub fn slice(object: &EndpointSlice) -> Option<(&str, SliceRecord)> {
    let service = object.metadata.labels.get(SERVICE_NAME)?;
    if object.address_type != "IPv4" && object.address_type != "IPv6" {
        return Some((service, SliceRecord::default()));
    }
    // Where not-ready addresses are to be published, the controller says that they are ready.
    let ready = object.endpoints.iter().filter(|endpoint| endpoint.conditions.ready.unwrap_or(true));
    let endpoints = ready.map(|endpoint| EndpointRecord {
        addresses: endpoint.addresses.iter().filter_map(|address| address.parse().ok()).collect(),
        hostname: endpoint.hostname.clone().filter(|name| !name.is_empty()),
    });
    let ports = object.ports.iter().filter_map(endpoint_port).collect();
    Some((service, SliceRecord { endpoints: endpoints.collect(), ports }))
}

fn service_port(port: &ServicePort) -> Option<Port> {
    let number = u16::try_from(port.port).ok()?;
    Some(Port { name: port.name.to_ascii_lowercase(), protocol: protocol(&port.protocol)?, number })
}

fn endpoint_port(port: &EndpointPort) -> Option<Port> {
    let number = u16::try_from(port.port?).ok()?;
    let name = port.name.as_deref().unwrap_or_default().to_ascii_lowercase();
    Some(Port { name, protocol: protocol(port.protocol.as_deref().unwrap_or_default())?, number })
}

fn protocol(text: &str) -> Option<&'static str> {
    match text {
        "TCP" | "" => Some("tcp"),
        "UDP" => Some("udp"),
        "SCTP" => Some("sctp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::json;

    use super::*;

    fn parse_service(spec: &str) -> Option<ServiceRecord> {
        service(&json::from_slice::<Service>(format!(r#"{{"spec":{spec}}}"#).as_bytes()).unwrap())
    }

    #[test]
    fn services_are_told_apart_by_their_address() {
        let targets = [
            r#"{"clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1","fd00::1"]}"#,
            r#"{"clusterIP":"10.96.0.1"}"#,
            r#"{"clusterIP":"None","clusterIPs":["None"]}"#,
            r#"{"type":"ExternalName","externalName":"www.example.com"}"#,
        ]
        .map(|spec| parse_service(spec).unwrap().target);
        let ips = |texts: &[&str]| Target::ClusterIps(texts.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(
            targets,
            [ips(&["10.96.0.1", "fd00::1"]), ips(&["10.96.0.1"]), Target::Headless, Target::External("www.example.com".to_owned())]
        );
        assert_eq!(parse_service("{}"), None);
    }

    #[test]
    fn slices_give_their_ready_endpoints() {
        let text = r#"{"metadata":{"name":"db-1","labels":{"kubernetes.io/service-name":"db"}},"addressType":"IPv4",
            "ports":[{"name":"sql","port":5432,"protocol":"TCP"},{"name":"any"}],
            "endpoints":[{"addresses":["10.0.0.1"],"hostname":"db-0","conditions":{"ready":true}},
                         {"addresses":["10.0.0.2"],"conditions":{"ready":false,"serving":true}},
                         {"addresses":["10.0.0.3"]}]}"#;
        let object = json::from_slice::<EndpointSlice>(text.as_bytes()).unwrap();
        let (service, record) = slice(&object).unwrap();
        assert_eq!(service, "db");
        assert_eq!(record.ports, [Port { name: "sql".to_owned(), protocol: "tcp", number: 5432 }]);
        let seen: Vec<_> = record.endpoints.iter().map(|endpoint| endpoint.hostname.as_deref()).collect();
        assert_eq!(seen, [Some("db-0"), None]);
    }
}
