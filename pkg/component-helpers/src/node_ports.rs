//! Ports a pod takes on its node. Upstream: component-helpers/scheduling, pkg/scheduler/framework (HostPortInfo).

use api::core::v1::Pod;

/// A port on the node's addresses. An empty address or `0.0.0.0` means all of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// True if both cannot be open at once.
    pub fn clashes_with(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
        self.port == other.port && self.protocol == other.protocol && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// The host ports of a pod's containers, sidecars included.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars = pod.spec.init_containers.iter().filter(|container| crate::resource::is_sidecar(container));
    pod.spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter())
        .filter(|port| port.host_port > 0)
        .map(|port| HostPort {
            ip: port.host_ip.clone(),
            protocol: if port.protocol.is_empty() { "TCP".to_owned() } else { port.protocol.clone() },
            port: port.host_port,
        })
        .collect()
}
