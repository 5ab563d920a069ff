//! The part of a table that one Service asks for.

use std::sync::Arc;

use crate::service::Protocol;

/// The sets and maps that every table has; what is in them comes from fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    ClusterIps,
    HairpinConnections,
    ServiceIps,
    ServiceNodePorts,
    NoEndpointServices,
    NoEndpointNodePorts,
    FirewallIps,
    EndpointsTcp,
    EndpointsUdp,
    EndpointsSctp,
}

impl Collection {
    pub const ALL: [Self; 10] = [
        Self::ClusterIps,
        Self::HairpinConnections,
        Self::ServiceIps,
        Self::ServiceNodePorts,
        Self::NoEndpointServices,
        Self::NoEndpointNodePorts,
        Self::FirewallIps,
        Self::EndpointsTcp,
        Self::EndpointsUdp,
        Self::EndpointsSctp,
    ];

    /// The endpoints of one protocol, by number.
    pub fn endpoints(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::EndpointsTcp,
            Protocol::Udp => Self::EndpointsUdp,
            Protocol::Sctp => Self::EndpointsSctp,
        }
    }

    /// Its name in the kernel: upstream's, except for the hairpin set and the endpoints, which upstream does not have.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIps => "cluster-ips",
            Self::HairpinConnections => "hairpin-connections",
            Self::ServiceIps => "service-ips",
            Self::ServiceNodePorts => "service-nodeports",
            Self::NoEndpointServices => "no-endpoint-services",
            Self::NoEndpointNodePorts => "no-endpoint-nodeports",
            Self::FirewallIps => "firewall-ips",
            Self::EndpointsTcp => "endpoints-tcp",
            Self::EndpointsUdp => "endpoints-udp",
            Self::EndpointsSctp => "endpoints-sctp",
        }
    }
}

/// What goes with an element's key. Comments are for the admin who lists the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Value {
    pub comment: Option<Arc<str>>,
    /// What a map leads to: a verdict, or an endpoint. Empty in a set.
    pub target: Option<Arc<str>>,
}

/// Chains, sets and elements of one Service, all by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fragment {
    /// Sets of the Service's own (session affinity) with their declaration. A name never comes with two declarations.
    pub sets: Vec<(Arc<str>, Arc<str>)>,
    /// Chains with their rules, one per line.
    pub chains: Vec<(Arc<str>, Arc<str>)>,
    /// Two Services may ask for one element (the same external IP); the table decides.
    pub elements: Vec<(Collection, Arc<str>, Value)>,
}

impl Fragment {
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty() && self.chains.is_empty() && self.elements.is_empty()
    }

    pub(super) fn set(&mut self, collection: Collection, key: String) {
        self.elements.push((collection, key.into(), Value::default()));
    }

    pub(super) fn map(&mut self, collection: Collection, key: String, target: &str, comment: Option<String>) {
        let value = Value { comment: comment.map(Into::into), target: Some(target.into()) };
        self.elements.push((collection, key.into(), value));
    }
}
