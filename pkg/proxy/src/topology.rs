//! Which endpoints of a service port this node uses: hints, traffic policies, endpoints that are on their way out.
//!
//! Upstream: pkg/proxy/topology.go.

use crate::service::{Endpoint, Family, NodeInfo, Service, ServicePort};

/// The endpoints of one service port in one family, sorted by use.
#[derive(Debug, Default, PartialEq)]
pub struct Usable<'a> {
    /// For traffic with policy Cluster.
    pub cluster: Vec<&'a Endpoint>,
    /// For traffic with policy Local; empty if no traffic has it.
    pub local: Vec<&'a Endpoint>,
    /// Whether some node could serve the port. If so, a policy of Local without local endpoints drops;
    /// if not, connections are rejected.
    pub any: bool,
}

/// How far traffic should go, as the hints of the endpoint slices have it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reach<'n> {
    Cluster,
    Node(&'n str),
    Zone(&'n str),
}

/// Sorts `endpoints`. Ready endpoints come first; those that terminate but still serve are used only where no ready
/// one is left, so that the last pod of a service drains rather than dies.
pub fn categorize<'a>(service: &Service, port: &ServicePort, endpoints: &'a [Endpoint], node: &NodeInfo, family: Family) -> Usable<'a> {
    let all = || endpoints.iter().filter(|endpoint| Family::of(endpoint.ip) == family);
    let mut usable = Usable { any: all().any(is_usable), ..Usable::default() };
    if service.uses_cluster_endpoints(port) {
        let reach = reach(all(), node);
        usable.cluster = all().filter(|endpoint| endpoint.is_ready && is_within(endpoint, reach)).collect();
        if usable.cluster.is_empty() {
            usable.cluster = all().filter(|endpoint| is_draining(endpoint)).collect();
        }
    }
    if service.uses_local_endpoints(port) {
        usable.local = all().filter(|endpoint| endpoint.is_local && endpoint.is_ready).collect();
        if usable.local.is_empty() {
            usable.local = all().filter(|endpoint| endpoint.is_local && is_draining(endpoint)).collect();
        }
    }
    usable
}

/// How many ready endpoints this node has, for the health check of load balancers. An endpoint with several ports counts once.
pub fn local_ready_addresses<'a>(endpoints: impl Iterator<Item = &'a Endpoint>) -> usize {
    let addresses: std::collections::BTreeSet<_> =
        endpoints.filter(|endpoint| endpoint.is_local && endpoint.is_ready).map(|endpoint| endpoint.ip).collect();
    addresses.len()
}

fn is_usable(endpoint: &Endpoint) -> bool {
    endpoint.is_ready || is_draining(endpoint)
}

fn is_draining(endpoint: &Endpoint) -> bool {
    endpoint.is_serving && endpoint.is_terminating
}

/// A hint counts only if every ready endpoint has one and at least one names us: a half-written slice must not pull
/// all traffic to the few endpoints that are hinted already.
fn reach<'a, 'n>(endpoints: impl Iterator<Item = &'a Endpoint>, node: &'n NodeInfo) -> Reach<'n> {
    let (mut all_have_node, mut all_have_zone) = (true, true);
    let (mut ours_by_node, mut ours_by_zone) = (false, false);
    for endpoint in endpoints.filter(|endpoint| endpoint.is_ready) {
        all_have_node &= !endpoint.node_hints.is_empty();
        all_have_zone &= !endpoint.zone_hints.is_empty();
        ours_by_node |= endpoint.node_hints.contains(&*node.name);
        ours_by_zone |= node.zone.as_deref().is_some_and(|zone| endpoint.zone_hints.contains(zone));
    }
    match node.zone.as_deref() {
        _ if all_have_node && ours_by_node => Reach::Node(&node.name),
        Some(zone) if all_have_zone && ours_by_zone => Reach::Zone(zone),
        _ => Reach::Cluster,
    }
}

fn is_within(endpoint: &Endpoint, reach: Reach<'_>) -> bool {
    match reach {
        Reach::Cluster => true,
        Reach::Node(node) => endpoint.node_hints.contains(node),
        Reach::Zone(zone) => endpoint.zone_hints.contains(zone),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{Protocol, ServiceName};

    /// `endpoints` reads like "1:ready,local 2:draining 3:unready 4:ready,zone=a 5:ready,node=n1"; numbers are addresses.
    fn parse(endpoints: &str) -> Vec<Endpoint> {
        endpoints
            .split_whitespace()
            .map(|word| {
                let (number, flags) = word.split_once(':').unwrap();
                let mut endpoint = Endpoint::ready(format!("10.0.0.{number}").parse().unwrap(), 80);
                for flag in flags.split(',') {
                    match flag.split_once('=') {
                        Some(("zone", zone)) => drop(endpoint.zone_hints.insert(zone.into())),
                        Some(("node", node)) => drop(endpoint.node_hints.insert(node.into())),
                        _ => match flag {
                            "ready" => {}
                            "local" => endpoint.is_local = true,
                            "unready" => (endpoint.is_ready, endpoint.is_serving) = (false, false),
                            "draining" => (endpoint.is_ready, endpoint.is_terminating) = (false, true),
                            other => panic!("unknown flag {other}"),
                        },
                    }
                }
                endpoint
            })
            .collect()
    }

    fn render(endpoints: &[&Endpoint]) -> String {
        let last = |endpoint: &&Endpoint| endpoint.ip.to_string().rsplit('.').next().unwrap().to_owned();
        endpoints.iter().map(last).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn check(policy: &str, endpoints: &str, expected: (&str, &str, bool)) {
        let port = ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: 30080 };
        let mut service = Service::new(ServiceName::new("ns", "svc"));
        service.internal_local = policy.contains("internal");
        service.external_local = policy.contains("external");
        let node = NodeInfo { name: "n1".into(), zone: Some("a".into()), ..NodeInfo::default() };
        let endpoints = parse(endpoints);
        let usable = categorize(&service, &port, &endpoints, &node, Family::V4);
        let seen = (render(&usable.cluster), render(&usable.local), usable.any);
        assert_eq!((&*seen.0, &*seen.1, seen.2), expected);
    }

    #[test]
    fn ready_endpoints_are_used_and_others_are_not() {
        check("", "1:ready 2:unready 3:draining 4:ready,local", ("1 4", "", true));
        check("", "2:unready", ("", "", false));
        check("", "", ("", "", false));
    }

    #[test]
    fn draining_endpoints_serve_only_when_nothing_is_ready() {
        check("", "1:draining 2:draining 3:unready", ("1 2", "", true));
        check("external", "1:ready 2:draining,local", ("1", "2", true));
        check("external", "1:ready,local 2:draining,local", ("1", "1", true));
    }

    #[test]
    fn local_policies_keep_to_this_node() {
        check("internal", "1:ready 2:ready,local", ("1 2", "2", true));
        check("external", "1:ready 2:ready", ("1 2", "", true));
    }

    #[test]
    fn hints_count_only_if_all_endpoints_have_them_and_one_names_us() {
        check("", "1:ready,zone=a 2:ready,zone=b", ("1", "", true));
        check("", "1:ready,zone=a 2:ready", ("1 2", "", true));
        check("", "1:ready,zone=b 2:ready,zone=c", ("1 2", "", true));
        check("", "1:ready,zone=a,node=n1 2:ready,zone=a,node=n2", ("1", "", true));
        check("", "1:ready,zone=a,node=n3 2:ready,zone=b,node=n2", ("1", "", true));
        check("", "1:unready 2:ready,zone=b 3:ready,zone=a", ("3", "", true));
    }

    #[test]
    fn an_endpoint_with_two_ports_is_one_address() {
        let mut endpoints = parse("1:ready,local 2:ready 3:draining,local");
        endpoints.push(Endpoint { port: 81, ..endpoints[0].clone() });
        assert_eq!(local_ready_addresses(endpoints.iter()), 1);
    }
}
