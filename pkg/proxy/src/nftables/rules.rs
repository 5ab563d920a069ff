//! From a Service and its endpoints to its fragment of the table. Pure: the same input gives the same text.
//!
//! ```text
//! service-ips ---------> service-H-ns/name/tcp/port   policy Cluster: spreads over all endpoints
//!   (cluster IP)    `--> local-H-ns/name/tcp/port     policy Local: spreads over those of this node
//! service-ips ---------> external-H-ns/name/tcp/port  marks for masquerading or short-circuits, then one of the above
//!   (other IPs)          firewall-H-ns/name/tcp/port  loadBalancerSourceRanges
//! service-nodeports ---> external-...
//! ```
//!
//! There is no chain per endpoint: a spreading chain picks a number and looks the endpoint up in a map that all services
//! share ([`super::slots`]), and a connection from an endpoint to itself is recognized by the set `hairpin-connections`
//! after the translation. Only
//! session affinity needs a chain and a set per endpoint, to remember who went where.
//!
//! Upstream: pkg/proxy/nftables/proxier.go.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnetwork::IpNetwork;

use super::fragment::{Collection, Fragment};
use super::names::{chain_name, endpoint_name};
use super::slots::Slots;
use crate::config::LocalTraffic;
use crate::service::{Endpoint, Family, NodeInfo, PortEndpoints, Service, ServicePort};
use crate::topology::{Usable, categorize};

/// Everything besides the Service itself that its rules depend upon.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub family: Family,
    pub node: NodeInfo,
    pub masquerade_all: bool,
    pub local_traffic: LocalTraffic,
    /// The ranges that cluster IPs are taken from, of any family, as far as they are known.
    pub service_cidrs: Vec<IpNetwork>,
}

impl View {
    /// `ip` or `ip6`, in expressions as well as in the name of the table.
    pub fn ip(&self) -> &'static str {
        ip(self.family)
    }

    /// The match for traffic of this cluster's own pods, if they can be told apart.
    fn if_local(&self) -> Option<String> {
        self.match_local("")
    }

    fn if_not_local(&self) -> Option<String> {
        self.match_local("!= ")
    }

    fn match_local(&self, operator: &str) -> Option<String> {
        match &self.local_traffic {
            LocalTraffic::Unknown => None,
            LocalTraffic::Cidrs(cidrs) => {
                let cidrs = cidrs.iter().filter(|cidr| cidr.is_ipv4() == (self.family == Family::V4));
                let cidrs = merge(cidrs.copied());
                (!cidrs.is_empty()).then(|| format!("{} saddr {operator}{}", self.ip(), any_of(&cidrs)))
            }
            LocalTraffic::BridgeInterface(name) => Some(format!("iifname {operator}\"{name}\"")),
            LocalTraffic::InterfaceNamePrefix(prefix) => Some(format!("iifname {operator}\"{prefix}*\"")),
        }
    }
}

pub(super) fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

/// Builds the fragment of `service` in the view's family. Empty if the Service has no address of that family.
///
/// `slots` says where the Service's endpoints are in the maps, and is told where they are from now on.
pub fn fragment(service: &Service, endpoints: &PortEndpoints, view: &View, slots: &mut Slots) -> Fragment {
    let mut fragment = Fragment::default();
    let mut hairpins = BTreeSet::new();
    let Some(cluster_ip) = service.cluster_ip(view.family) else {
        slots.keep_only(&service.name, &[]);
        return fragment;
    };
    fragment.set(Collection::ClusterIps, cluster_ip.to_string());
    for port in &service.ports {
        let endpoints = endpoints.get(&port.key()).map_or(&[][..], Vec::as_slice);
        let usable = categorize(service, port, endpoints, &view.node, view.family);
        hairpins.extend(usable.cluster.iter().chain(&usable.local).map(|endpoint| endpoint.ip));
        PortWriter { service, port, usable, cluster_ip, view, slots, out: &mut fragment }.write();
    }
    for ip in hairpins {
        fragment.set(Collection::HairpinConnections, format!("{ip} . {ip}"));
    }
    let spreading = fragment.chains.iter().filter(|(_, rules)| rules.contains(" numgen ")).map(|(chain, _)| chain);
    slots.keep_only(&service.name, &spreading.collect::<Vec<_>>());
    fragment
}

/// Writes what one service port needs.
struct PortWriter<'a> {
    service: &'a Service,
    port: &'a ServicePort,
    usable: Usable<'a>,
    cluster_ip: IpAddr,
    view: &'a View,
    slots: &'a mut Slots,
    out: &'a mut Fragment,
}

impl PortWriter<'_> {
    fn write(&mut self) {
        let cluster = (!self.usable.cluster.is_empty()).then(|| self.chain("service"));
        let local = (!self.usable.local.is_empty()).then(|| self.chain("local"));
        let internal = if self.service.internal_local { &local } else { &cluster };
        let external = if self.service.external_local { &local } else { &cluster };

        self.spread(cluster.as_ref(), !self.service.internal_local, &self.usable.cluster.clone());
        self.spread(local.as_ref(), self.service.internal_local, &self.usable.local.clone());
        self.remember_clients();
        self.frontend(self.cluster_ip, internal.as_deref(), internal.is_some());

        if !self.service.is_externally_accessible(self.port) {
            return;
        }
        let chain = self.external(cluster.as_ref(), local.as_ref());
        let family = self.view.family;
        let service = self.service;
        for ip in service.external_ips.iter().filter(|ip| Family::of(**ip) == family) {
            self.frontend(*ip, chain.as_deref(), external.is_some());
        }
        for ip in service.load_balancer_ips.iter().filter(|ip| Family::of(**ip) == family) {
            self.frontend(*ip, chain.as_deref(), external.is_some());
        }
        self.firewall();
        if self.port.node_port != 0 {
            let key = format!("{} . {}", self.port.protocol.as_str(), self.port.node_port);
            if let Some(chain) = &chain {
                self.out.map(Collection::ServiceNodePorts, key.clone(), &format!("goto {chain}"), None);
            }
            if external.is_none() {
                self.refuse(Collection::NoEndpointNodePorts, key);
            }
        }
    }

    fn chain(&self, prefix: &str) -> Arc<str> {
        chain_name(prefix, &self.service.name, self.port)
    }

    /// Leads an address to `chain`; without endpoints for its policy, what arrives untranslated is refused.
    fn frontend(&mut self, ip: IpAddr, chain: Option<&str>, has_endpoints: bool) {
        let key = format!("{ip} . {} . {}", self.port.protocol.as_str(), self.port.port);
        if let Some(chain) = chain {
            self.out.map(Collection::ServiceIps, key.clone(), &format!("goto {chain}"), None);
        }
        if !has_endpoints {
            self.refuse(Collection::NoEndpointServices, key);
        }
    }

    /// Without any endpoint in the cluster: an answer at once. With endpoints elsewhere: silence, since a load
    /// balancer may have sent the packet before it noticed that this node has none.
    fn refuse(&mut self, map: Collection, key: String) {
        let verdict = if self.usable.any { "drop" } else { "goto reject-chain" };
        let mut comment = self.service.name.to_string();
        if !self.port.name.is_empty() {
            let _ = write!(comment, ":{}", self.port.name);
        }
        // The kernel keeps at most 128 bytes of comment.
        comment.truncate(120);
        self.out.map(map, key, verdict, Some(comment));
    }

    /// Writes the chain that spreads connections over `endpoints`.
    fn spread(&mut self, chain: Option<&Arc<str>>, serves_cluster_ip: bool, endpoints: &[&Endpoint]) {
        let Some(chain) = chain else {
            return;
        };
        let mut rules = String::new();
        if serves_cluster_ip && let Some(source) = self.foreign_source() {
            let (ip, cluster_ip) = (self.view.ip(), self.cluster_ip);
            let _ = writeln!(rules, "{ip} daddr {cluster_ip} {source}jump mark-for-masquerade");
        }
        match self.service.affinity_timeout {
            None => {
                let rule = self.translate(chain, endpoints);
                rules.push_str(&rule);
            }
            Some(_) => self.stay_or_choose(&mut rules, endpoints),
        }
        self.out.chains.push((chain.clone(), rules.into()));
    }

    /// Matches traffic to the cluster IP whose answers would not find back here unless it is masqueraded.
    fn foreign_source(&self) -> Option<String> {
        if self.view.masquerade_all {
            return Some(String::new());
        }
        self.view.if_not_local().map(|condition| condition + " ")
    }

    /// The rule that picks an endpoint at random, each with the same chance.
    fn translate(&mut self, chain: &Arc<str>, endpoints: &[&Endpoint]) -> String {
        let protocol = self.port.protocol;
        if let [only] = endpoints {
            return self.translate_to(only);
        }
        let endpoints: Vec<SocketAddr> = endpoints.iter().map(|endpoint| SocketAddr::new(endpoint.ip, endpoint.port)).collect();
        let map = Collection::endpoints(protocol);
        let (offset, order) = self.slots.assign(&self.service.name, chain, &endpoints);
        for (number, endpoint) in (offset..).zip(order) {
            self.out.map(map, number.to_string(), &format!("{} . {}", endpoint.ip(), endpoint.port()), None);
        }
        let (ip, count, map) = (self.view.ip(), endpoints.len(), map.as_str());
        let protocol = protocol.as_str();
        format!("meta l4proto {protocol} dnat {ip} to numgen random mod {count} offset {offset} map @{map}\n")
    }

    fn translate_to(&self, endpoint: &Endpoint) -> String {
        let (ip, protocol) = (self.view.ip(), self.port.protocol.as_str());
        format!("meta l4proto {protocol} dnat {ip} to {}\n", SocketAddr::new(endpoint.ip, endpoint.port))
    }

    /// Sends a client that has been here before to its endpoint, and picks one for the others.
    fn stay_or_choose(&self, rules: &mut String, endpoints: &[&Endpoint]) {
        let ip = self.view.ip();
        let mut choices = String::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let chain = self.endpoint("endpoint", endpoint);
            let set = self.endpoint("affinity", endpoint);
            let _ = writeln!(rules, "{ip} saddr @{set} goto {chain}");
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(choices, "{comma}{index} : goto {chain}");
        }
        let _ = writeln!(rules, "numgen random mod {} vmap {{ {choices} }}", endpoints.len());
    }

    /// With session affinity: per endpoint the chain that leads there and notes the client in a set.
    fn remember_clients(&mut self) {
        let Some(timeout) = self.service.affinity_timeout else {
            return;
        };
        let ip = self.view.ip();
        let address_type = match self.view.family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        };
        let declaration: Arc<str> = format!("type {address_type} ; flags dynamic,timeout ; timeout {timeout}s ;").into();
        let endpoints: BTreeSet<&Endpoint> = self.usable.cluster.iter().chain(&self.usable.local).copied().collect();
        for endpoint in endpoints {
            let set = self.endpoint("affinity", endpoint);
            let rules = format!("update @{set} {{ {ip} saddr }}\n{}", self.translate_to(endpoint));
            self.out.sets.push((set, declaration.clone()));
            self.out.chains.push((self.endpoint("endpoint", endpoint), rules.into()));
        }
    }

    fn endpoint(&self, prefix: &str, endpoint: &Endpoint) -> Arc<str> {
        let timeout = self.service.affinity_timeout.unwrap_or_default();
        endpoint_name(prefix, &self.service.name, self.port, endpoint, timeout)
    }

    /// Writes the chain for traffic to node ports, external and load balancer addresses, if there is anywhere to lead it.
    fn external(&mut self, cluster: Option<&Arc<str>>, local: Option<&Arc<str>>) -> Option<Arc<str>> {
        if cluster.is_none() && local.is_none() {
            return None;
        }
        let mut rules = String::new();
        if self.service.external_local {
            if let Some(cluster) = cluster {
                // Pods and this host reach external addresses as they would the cluster IP: by way of all endpoints.
                if let Some(condition) = self.view.if_local() {
                    let _ = writeln!(rules, "{condition} goto {cluster}");
                }
                let _ = writeln!(rules, "fib saddr type local jump mark-for-masquerade");
                let _ = writeln!(rules, "fib saddr type local goto {cluster}");
            }
            if let Some(local) = local {
                let _ = writeln!(rules, "goto {local}");
            }
        } else {
            let cluster = cluster?;
            let _ = writeln!(rules, "jump mark-for-masquerade\ngoto {cluster}");
        }
        let chain = self.chain("external");
        self.out.chains.push((chain.clone(), rules.into()));
        Some(chain)
    }

    /// `loadBalancerSourceRanges`: drops, before any translation, what comes to a load balancer address from elsewhere.
    fn firewall(&mut self) {
        let family = self.view.family;
        let ranges = self.service.source_ranges.iter().filter(|range| range.is_ipv4() == (family == Family::V4));
        let mut ranges: Vec<IpNetwork> = ranges.copied().collect();
        let own = || self.service.load_balancer_ips.iter().copied().filter(|ip| Family::of(*ip) == family);
        if ranges.is_empty() || own().next().is_none() {
            return;
        }
        // A host that may use the address sends from that very address where the balancer has bound it to an interface.
        if self.view.node.ips.iter().any(|ip| ranges.iter().any(|range| range.contains(*ip))) {
            ranges.extend(own().map(IpNetwork::from));
        }
        let chain = self.chain("firewall");
        let rules = format!("{} saddr != {} drop\n", self.view.ip(), any_of(&merge(ranges.into_iter())));
        let keys: Vec<String> = own().map(|ip| format!("{ip} . {} . {}", self.port.protocol.as_str(), self.port.port)).collect();
        for key in keys {
            self.out.map(Collection::FirewallIps, key, &format!("goto {chain}"), None);
        }
        self.out.chains.push((chain, rules.into()));
    }
}

/// Leaves out networks that lie in others: nft refuses overlapping elements.
pub(super) fn merge(networks: impl Iterator<Item = IpNetwork>) -> Vec<IpNetwork> {
    let mut sorted: Vec<IpNetwork> = networks.filter_map(|network| IpNetwork::new(network.network(), network.prefix()).ok()).collect();
    sorted.sort_by_key(|network| (network.prefix(), network.ip()));
    let mut kept: Vec<IpNetwork> = Vec::new();
    for network in sorted {
        if !kept.iter().any(|wider| wider.contains(network.ip())) {
            kept.push(network);
        }
    }
    kept
}

/// One network as it is, several as an anonymous set.
pub(super) fn any_of(networks: &[IpNetwork]) -> String {
    let texts: Vec<String> = networks.iter().map(IpNetwork::to_string).collect();
    match &texts[..] {
        [only] => only.clone(),
        _ => format!("{{ {} }}", texts.join(", ")),
    }
}

#[cfg(test)]
mod tests;
