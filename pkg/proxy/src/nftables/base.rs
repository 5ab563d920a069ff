//! What a table holds before the first Service: base chains at the hooks, sets and maps, marks and masquerading.

use std::fmt::Write;

use super::fragment::Collection;
use super::rules::{View, any_of, merge};
use crate::config::NodePortAddresses;
use crate::service::Family;

/// Name of the tables, in either family.
pub const TABLE: &str = "kube-proxy";

/// The table's fixed part, as statements each on a line of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Base {
    /// Makes the table, its sets, maps and chains. May be said again of a table that has them.
    pub declarations: String,
    /// Makes the chains' rules.
    pub contents: String,
}

impl Base {
    /// The names of one kind (`chain`, `set`, `map`) that it declares.
    pub fn names<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.declarations.lines().filter_map(move |line| {
            let mut words = line.split(' ').skip(1);
            (words.next() == Some(kind)).then(|| words.nth(2)).flatten()
        })
    }
}

/// The fixed part of the table that `view` sees.
pub fn base(view: &View, node_ports: &NodePortAddresses, masquerade_bit: u32) -> Base {
    let (mut out, mut contents) = (String::with_capacity(4 << 10), String::with_capacity(4 << 10));
    let (ip, mark) = (view.ip(), 1_u32 << masquerade_bit);
    let address = match view.family {
        Family::V4 => "ipv4_addr",
        Family::V6 => "ipv6_addr",
    };
    let _ = writeln!(out, "add table {ip} {TABLE} {{ comment \"rules for kube-proxy\" ; }}");

    let service = format!("type {address} . inet_proto . inet_service : verdict ;");
    let node_port = "type inet_proto . inet_service : verdict ;".to_owned();
    // The key of these has a type without a name, so it is given by example. The port's must name the protocol.
    let endpoints = |protocol| format!("typeof numgen random mod 1 : {ip} daddr . {protocol} dport ;");
    for collection in Collection::ALL {
        let name = collection.as_str();
        let (kind, definition, comment) = match collection {
            Collection::ClusterIps => ("set", format!("type {address} ;"), "Active ClusterIPs"),
            Collection::HairpinConnections => {
                ("set", format!("type {address} . {address} ;"), "endpoints that may be led back to themselves")
            }
            Collection::ServiceIps => ("map", service.clone(), "ClusterIP, ExternalIP and LoadBalancer IP traffic"),
            Collection::ServiceNodePorts => ("map", node_port.clone(), "NodePort traffic"),
            Collection::NoEndpointServices => ("map", service.clone(), "services with no endpoints: drop or reject"),
            Collection::NoEndpointNodePorts => ("map", node_port.clone(), "node ports with no endpoints: drop or reject"),
            Collection::FirewallIps => ("map", service.clone(), "load balancer addresses with source ranges"),
            Collection::EndpointsTcp => ("map", endpoints("tcp"), "endpoints by number"),
            Collection::EndpointsUdp => ("map", endpoints("udp"), "endpoints by number"),
            Collection::EndpointsSctp => ("map", endpoints("sctp"), "endpoints by number"),
        };
        let _ = writeln!(out, "add {kind} {ip} {TABLE} {name} {{ {definition} comment \"{comment}\" ; }}");
    }

    let node_port_match = node_port_match(&mut out, &mut contents, view, node_ports);
    let service_key = format!("{ip} daddr . meta l4proto . th dport");
    let node_port_key = format!("{node_port_match} meta l4proto . th dport");
    let chains: [(&str, &str, Vec<String>); 16] = [
        ("mark-for-masquerade", "", vec![format!("meta mark set meta mark or {mark:#x}")]),
        (
            "masquerading",
            "",
            vec![
                // Led back to the endpoint that it came from: the endpoint would take its own address for a stray packet.
                format!("ct status dnat {ip} saddr . {ip} daddr @hairpin-connections masquerade fully-random"),
                format!("meta mark and {mark:#x} == 0 return"),
                format!("meta mark set meta mark xor {mark:#x}"),
                "masquerade fully-random".to_owned(),
            ],
        ),
        ("services", "", vec![format!("{service_key} vmap @service-ips"), format!("{node_port_key} vmap @service-nodeports")]),
        // A reset rather than upstream's ICMP for TCP: the kernel limits the rate of ICMP errors to a peer, and a client
        // whose error was held back waits for its next attempt.
        ("reject-chain", "", vec!["meta l4proto tcp reject with tcp reset".to_owned(), "reject".to_owned()]),
        ("firewall-check", "", vec![format!("{service_key} vmap @firewall-ips")]),
        ("service-endpoints-check", "", vec![format!("{service_key} vmap @no-endpoint-services")]),
        ("nodeport-endpoints-check", "", vec![format!("{node_port_key} vmap @no-endpoint-nodeports")]),
        // What still has a cluster IP after the translation asks for a port that no Service has.
        ("cluster-ips-check", "", cluster_ips_check(view)),
        ("nat-prerouting", "type nat hook prerouting priority dstnat ;", vec!["jump services".to_owned()]),
        ("nat-output", "type nat hook output priority -100 ;", vec!["jump services".to_owned()]),
        ("nat-postrouting", "type nat hook postrouting priority srcnat ;", vec!["jump masquerading".to_owned()]),
        // Source ranges look at the address that the client used, so they come before the translation, the other
        // checks after it.
        ("filter-prerouting-pre-dnat", "type filter hook prerouting priority -110 ;", vec!["ct state new jump firewall-check".to_owned()]),
        ("filter-output-pre-dnat", "type filter hook output priority -110 ;", vec!["ct state new jump firewall-check".to_owned()]),
        (
            "filter-input",
            "type filter hook input priority 0 ;",
            vec!["ct state new jump nodeport-endpoints-check".to_owned(), "ct state new jump service-endpoints-check".to_owned()],
        ),
        (
            "filter-forward",
            "type filter hook forward priority 0 ;",
            vec!["ct state new jump service-endpoints-check".to_owned(), "ct state new jump cluster-ips-check".to_owned()],
        ),
        (
            "filter-output-post-dnat",
            "type filter hook output priority 0 ;",
            vec!["ct state new jump service-endpoints-check".to_owned(), "ct state new jump cluster-ips-check".to_owned()],
        ),
    ];
    // Rules name chains further down, so all chains come before all rules.
    for (name, hook, _) in &chains {
        let body = if hook.is_empty() { String::new() } else { format!(" {{ {hook} }}") };
        let _ = writeln!(out, "add chain {ip} {TABLE} {name}{body}");
    }
    for (name, _, rules) in &chains {
        for rule in rules {
            let _ = writeln!(contents, "add rule {ip} {TABLE} {name} {rule}");
        }
    }
    Base { declarations: out, contents }
}

fn cluster_ips_check(view: &View) -> Vec<String> {
    let ip = view.ip();
    let mut rules = vec![format!("{ip} daddr @cluster-ips goto reject-chain")];
    let of_family = view.service_cidrs.iter().filter(|cidr| cidr.is_ipv4() == (view.family == Family::V4));
    let cidrs = merge(of_family.copied());
    if !cidrs.is_empty() {
        // Of no Service at all, or of one that is not known here yet: it must not leave by the default route.
        rules.push(format!("{ip} daddr {} drop", any_of(&cidrs)));
    }
    rules
}

/// The match for the node's own addresses that node ports answer on; writes the set that it needs, if any.
fn node_port_match(out: &mut String, contents: &mut String, view: &View, node_ports: &NodePortAddresses) -> String {
    let ip = view.ip();
    let (address_type, loopback) = match view.family {
        Family::V4 => ("ipv4_addr", "127.0.0.0/8"),
        Family::V6 => ("ipv6_addr", "::1"),
    };
    if let NodePortAddresses::Within(networks) = node_ports {
        let of_family = networks.iter().filter(|network| network.is_ipv4() == (view.family == Family::V4));
        let networks = merge(of_family.copied());
        // Whatever addresses the node has at the time, rather than those it has now.
        match &networks[..] {
            [] => {}
            [all] if all.prefix() == 0 => return format!("fib daddr type local {ip} daddr != {loopback}"),
            some => return format!("fib daddr type local {ip} daddr {} {ip} daddr != {loopback}", any_of(some)),
        }
    }
    let comment = "IPs that accept NodePort traffic";
    let _ = writeln!(out, "add set {ip} {TABLE} nodeport-ips {{ type {address_type} ; comment \"{comment}\" ; }}");
    let primary = view.node.ips.iter().find(|address| Family::of(**address) == view.family);
    if let (NodePortAddresses::Primary, Some(address)) = (node_ports, primary) {
        let _ = writeln!(contents, "add element {ip} {TABLE} nodeport-ips {{ {address} }}");
    }
    format!("{ip} daddr @nodeport-ips")
}
