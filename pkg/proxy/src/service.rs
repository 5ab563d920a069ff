//! What the proxy knows of a service port and of an endpoint, free of API types.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

/// Namespace and name of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ServiceName {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.namespace, self.name)
    }
}

/// Transport protocol of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Reads the API's spelling; the empty string is the default, TCP.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "TCP" | "" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// The spelling of nftables, which is also the one in chain names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// IPv4 or IPv6: each has a table, a mirror and a transaction of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The name metrics and logs use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// One port of one Service, of both address families.
///
/// Upstream: `ServicePortInfo` in pkg/proxy/serviceport.go.
#[derive(Clone, Debug, PartialEq)]
pub struct ServicePort {
    /// The port's name; empty where the Service has one unnamed port.
    pub name: Arc<str>,
    pub protocol: Protocol,
    pub port: u16,
    /// 0 where there is none.
    pub node_port: u16,
}

/// What ties a service port to the ports of endpoint slices: its name and protocol.
pub type PortKey = (Arc<str>, Protocol);

/// A Service's endpoints by port, of both families.
pub type PortEndpoints = BTreeMap<PortKey, Vec<Endpoint>>;

impl ServicePort {
    pub fn key(&self) -> PortKey {
        (self.name.clone(), self.protocol)
    }
}

/// A Service as the proxy sees it. Made by [`crate::convert::service`], or by hand in a test.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    pub name: ServiceName,
    pub ports: Vec<ServicePort>,
    /// At most one of each family.
    pub cluster_ips: Vec<IpAddr>,
    pub external_ips: Vec<IpAddr>,
    /// Load balancer addresses whose mode is VIP; with mode Proxy the traffic comes back by another way.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer addresses; empty means everybody.
    pub source_ranges: Vec<IpNetwork>,
    /// Seconds for which a client stays with its endpoint.
    pub affinity_timeout: Option<u32>,
    /// `internalTrafficPolicy: Local`
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`
    pub external_local: bool,
    /// Where load balancers ask whether this node has endpoints; 0 for nowhere.
    pub health_check_node_port: u16,
}

impl Service {
    /// A plain ClusterIP Service, for tests and as a start for the conversion.
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            ports: Vec::new(),
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            affinity_timeout: None,
            internal_local: false,
            external_local: false,
            health_check_node_port: 0,
        }
    }

    pub fn cluster_ip(&self, family: Family) -> Option<IpAddr> {
        self.cluster_ips.iter().copied().find(|ip| Family::of(*ip) == family)
    }

    /// Can this port be reached from outside of the cluster?
    pub fn is_externally_accessible(&self, port: &ServicePort) -> bool {
        port.node_port != 0 || !self.external_ips.is_empty() || !self.load_balancer_ips.is_empty()
    }

    /// Does any traffic to this port go to endpoints of the whole cluster?
    pub fn uses_cluster_endpoints(&self, port: &ServicePort) -> bool {
        // Even with externalTrafficPolicy Local, pods reach the external addresses by way of all endpoints.
        !self.internal_local || self.is_externally_accessible(port)
    }

    /// Does any traffic to this port stay on its node?
    pub fn uses_local_endpoints(&self, port: &ServicePort) -> bool {
        self.internal_local || (self.external_local && self.is_externally_accessible(port))
    }
}

/// One address and port behind a service port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub ip: IpAddr,
    pub port: u16,
    pub is_ready: bool,
    pub is_serving: bool,
    pub is_terminating: bool,
    /// On this node.
    pub is_local: bool,
    /// Zones whose traffic should come here; empty without such a hint.
    pub zone_hints: BTreeSet<Arc<str>>,
    /// Nodes whose traffic should come here; empty without such a hint.
    pub node_hints: BTreeSet<Arc<str>>,
}

impl Endpoint {
    /// A ready endpoint on another node, without hints.
    pub fn ready(ip: IpAddr, port: u16) -> Self {
        Self {
            ip,
            port,
            is_ready: true,
            is_serving: true,
            is_terminating: false,
            is_local: false,
            zone_hints: BTreeSet::new(),
            node_hints: BTreeSet::new(),
        }
    }
}

/// What the proxy has to know of the node that it runs on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeInfo {
    pub name: Arc<str>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// The first of each family is the primary address.
    pub ips: Vec<IpAddr>,
    pub pod_cidrs: Vec<IpNetwork>,
    /// The node is about to be deleted, so load balancers should send nothing more.
    pub is_leaving: bool,
}
