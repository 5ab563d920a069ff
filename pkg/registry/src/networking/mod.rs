//! The networking.k8s.io group but for ServiceCIDRs and IPAddresses, which belong to service addresses (`core::service`).
//! Upstream: pkg/registry/networking, pkg/apis/networking.

mod ingress;
mod policy;

use apiserver::rest::ResourceDef;

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![
        ResourceDef::stored(ingress::IngressStrategy).status(ingress::StatusStrategy),
        ResourceDef::stored(ingress::IngressClassStrategy),
        ResourceDef::stored(policy::NetworkPolicyStrategy),
    ]
}
