//! Ends UDP flows that the kernel would go on translating to endpoints that are gone.
//!
//! The kernel decides on an endpoint once per flow, and a UDP flow lives for as long as its client keeps sending. So
//! when a UDP service changes, entries that lead to no longer used endpoints are deleted, and so are entries that lead
//! to no endpoint at all because there was none when the first datagram came. TCP connections end by themselves.
//!
//! Upstream: pkg/proxy/conntrack.

mod netlink;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

pub use netlink::{ConntrackError, delete_flows};

use crate::service::{Family, NodeInfo, PortEndpoints, Protocol, Service};
use crate::topology::categorize;

/// A UDP flow as the kernel keeps it: what the client sent, and who answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    pub destination: SocketAddr,
    /// Another address than the destination if it was translated.
    pub answers_from: SocketAddr,
}

/// Where flows to some UDP services should lead.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expected {
    addresses: HashMap<SocketAddr, HashSet<SocketAddr>>,
    node_ports: HashMap<u16, HashSet<SocketAddr>>,
    node_ips: HashSet<IpAddr>,
}

impl Expected {
    pub fn new(node: &NodeInfo) -> Self {
        Self { node_ips: node.ips.iter().copied().collect(), ..Self::default() }
    }

    /// Is there nothing to look for?
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.node_ports.is_empty()
    }

    /// Adds the UDP ports of `service`. Add a Service that is gone with no endpoints.
    pub fn add(&mut self, service: &Service, endpoints: &PortEndpoints, node: &NodeInfo) {
        for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
            let endpoints = endpoints.get(&port.key()).map_or(&[][..], Vec::as_slice);
            let used: HashSet<SocketAddr> = [Family::V4, Family::V6]
                .into_iter()
                .flat_map(|family| {
                    let usable = categorize(service, port, endpoints, node, family);
                    usable.cluster.into_iter().chain(usable.local)
                })
                .map(|endpoint| SocketAddr::new(endpoint.ip, endpoint.port))
                .collect();
            let ips = service.cluster_ips.iter().chain(&service.external_ips).chain(&service.load_balancer_ips);
            for ip in ips {
                let expected = self.addresses.entry(SocketAddr::new(*ip, port.port)).or_default();
                expected.extend(&used);
            }
            if port.node_port != 0 {
                self.node_ports.entry(port.node_port).or_default().extend(&used);
            }
        }
    }

    /// Does the flow lead astray?
    pub fn is_stale(&self, flow: &Flow) -> bool {
        let is_translated = flow.answers_from != flow.destination;
        let expected = match self.addresses.get(&flow.destination) {
            Some(expected) => expected,
            None => match self.node_ports.get(&flow.destination.port()) {
                // Any address may be the node's if it was translated; else only those that are known to be.
                Some(expected) if is_translated || self.node_ips.contains(&flow.destination.ip()) => expected,
                _ => return false,
            },
        };
        let family = Family::of(flow.destination.ip());
        let has_any = expected.iter().any(|endpoint| Family::of(endpoint.ip()) == family);
        // Without endpoints an untranslated flow is refused as it should be.
        (is_translated || has_any) && !expected.contains(&flow.answers_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Endpoint, ServiceName, ServicePort};

    fn expected(endpoints: &[&str]) -> Expected {
        let port = ServicePort { name: "".into(), protocol: Protocol::Udp, port: 53, node_port: 30053 };
        let service = Service {
            ports: vec![port.clone()],
            cluster_ips: vec!["10.96.0.10".parse().unwrap()],
            ..Service::new(ServiceName::new("kube-system", "kube-dns"))
        };
        let node = NodeInfo { ips: vec!["192.168.0.1".parse().unwrap()], ..NodeInfo::default() };
        let endpoints = endpoints.iter().map(|ip| Endpoint::ready(ip.parse().unwrap(), 5353)).collect();
        let mut expected = Expected::new(&node);
        expected.add(&service, &PortEndpoints::from([(port.key(), endpoints)]), &node);
        expected
    }

    #[test]
    fn flows_to_endpoints_that_are_gone_or_to_none_are_stale() {
        let flow = |destination: &str, answers_from: &str| Flow {
            destination: destination.parse().unwrap(),
            answers_from: answers_from.parse().unwrap(),
        };
        for (destination, answers_from, with_one, with_none) in [
            ("10.96.0.10:53", "10.244.0.1:5353", false, true),
            ("10.96.0.10:53", "10.244.0.2:5353", true, true),
            ("10.96.0.10:53", "10.96.0.10:53", true, false),
            ("10.96.0.10:54", "10.244.0.2:5353", false, false),
            ("192.168.0.1:30053", "10.244.0.1:5353", false, true),
            ("192.168.0.1:30053", "10.244.0.2:5353", true, true),
            ("192.168.0.1:30053", "192.168.0.1:30053", true, false),
            ("192.0.2.1:30053", "192.0.2.1:30053", false, false),
            ("192.0.2.1:53", "192.0.2.1:53", false, false),
        ] {
            let flow = flow(destination, answers_from);
            assert_eq!(expected(&["10.244.0.1"]).is_stale(&flow), with_one, "{flow:?}");
            assert_eq!(expected(&[]).is_stale(&flow), with_none, "{flow:?}");
        }
    }
}
