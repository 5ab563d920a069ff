//! The proxy's settings, as the library takes them.

use ipnetwork::IpNetwork;

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
