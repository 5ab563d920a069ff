//! The part of a table that one Service asks for.

use std::sync::Arc;

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
}

impl Collection {
    pub const ALL: [Self; 7] = [
        Self::ClusterIps,
        Self::HairpinConnections,
        Self::ServiceIps,
        Self::ServiceNodePorts,
        Self::NoEndpointServices,
        Self::NoEndpointNodePorts,
        Self::FirewallIps,
    ];

    /// Its name in the kernel: upstream's, except for the hairpin set, which upstream does not have.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIps => "cluster-ips",
            Self::HairpinConnections => "hairpin-connections",
            Self::ServiceIps => "service-ips",
            Self::ServiceNodePorts => "service-nodeports",
            Self::NoEndpointServices => "no-endpoint-services",
            Self::NoEndpointNodePorts => "no-endpoint-nodeports",
            Self::FirewallIps => "firewall-ips",
        }
    }
}

/// What goes to where an element's key points. Comments are for the admin who lists the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Value {
    pub comment: Option<Arc<str>>,
    /// Empty in a set.
    pub verdict: Option<Arc<str>>,
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

    pub(super) fn map(&mut self, collection: Collection, key: String, verdict: &str, comment: Option<String>) {
        let value = Value { comment: comment.map(Into::into), verdict: Some(verdict.into()) };
        self.elements.push((collection, key.into(), value));
    }
}
