//! The proxy's settings, as the library takes them.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;

use crate::service::{Family, NodeInfo};

/// How to tell traffic of this cluster's pods from other traffic (`--detect-local-mode`).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LocalTraffic {
    /// It cannot be told: nothing is masqueraded on that account.
    #[default]
    Unknown,
    /// By source address: `--cluster-cidr`, or the node's pod CIDRs.
    Cidrs(Vec<IpNetwork>),
    /// By the bridge that pods are attached to.
    BridgeInterface(String),
    /// By the names of the pods' interfaces.
    InterfaceNamePrefix(String),
}

/// On which of the node's addresses node ports answer (`--nodeport-addresses`).
#[derive(Clone, Debug, Default, PartialEq)]
pub enum NodePortAddresses {
    /// The node's primary address of each family: the default of nftables mode, and `primary`.
    #[default]
    Primary,
    /// The node's addresses within these networks. Loopback is never among them.
    Within(Vec<IpNetwork>),
}

impl NodePortAddresses {
    /// Addresses to listen on for health-check node ports.
    pub fn listening(&self, families: &[Family], node: &NodeInfo) -> Vec<IpAddr> {
        let of = |family: Family| node.ips.iter().copied().filter(move |ip| Family::of(*ip) == family);
        match self {
            Self::Primary => families.iter().flat_map(|family| of(*family).take(1)).collect(),
            // A socket on 0.0.0.0 takes both families here.
            Self::Within(networks) if networks.iter().any(|network| network.prefix() == 0) => {
                vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)]
            }
            Self::Within(networks) => {
                let is_within = |ip: &IpAddr| networks.iter().any(|network| network.contains(*ip));
                families.iter().flat_map(|family| of(*family)).filter(is_within).collect()
            }
        }
    }
}
