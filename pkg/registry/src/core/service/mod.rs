//! Services. Upstream: pkg/registry/core/service.
//!
//! Rules are in [`strategy`]; what is taken for a Service from the cluster's ranges, and given back, in [`allocation`].

mod allocation;
mod cells;
mod ip_allocator;
mod ip_families;
mod ip_range;
mod port_allocator;
mod strategy;
mod updates;

pub use ip_range::IpRange;
pub use strategy::{ServiceStrategy, StatusStrategy};

use api::core::v1::Service;
use apiserver::rest::ResourceDef;

use crate::Config;
use crate::core::connect::ServiceProxy;

/// Services, their status, and the hooks that allocate for them.
pub fn resource(config: &Config) -> ResourceDef {
    ResourceDef::stored(ServiceStrategy)
        .status(StatusStrategy)
        .connect("proxy", ServiceProxy(super::connections(config)))
        .hooks(allocation::Allocation::new(config))
}

/// Every kind of Service but a mere alias has (or could have) addresses of its own.
pub fn needs_cluster_ip(service: &Service) -> bool {
    matches!(service.spec.type_.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer")
}

/// True for `clusterIP: None`: there are no addresses to allocate.
pub fn is_headless(service: &Service) -> bool {
    service.spec.cluster_ips.first().is_some_and(|ip| ip == "None") || service.spec.cluster_ip == "None"
}

fn needs_node_port(service: &Service) -> bool {
    match service.spec.type_.as_str() {
        "NodePort" => true,
        "LoadBalancer" => service.spec.allocate_load_balancer_node_ports.unwrap_or(true),
        _ => false,
    }
}

/// A load balancer asks each node whether it has endpoints of its own.
pub fn needs_health_check_port(service: &Service) -> bool {
    service.spec.type_ == "LoadBalancer" && service.spec.external_traffic_policy == "Local"
}

/// Traffic from outside the cluster can reach it.
pub fn is_externally_accessible(service: &Service) -> bool {
    match service.spec.type_.as_str() {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !service.spec.external_ips.is_empty(),
        _ => false,
    }
}
