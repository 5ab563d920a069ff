//! The networking.k8s.io group. Upstream: pkg/registry/networking, pkg/apis/networking.

mod address;
mod ingress;
mod policy;

use apiserver::rest::ResourceDef;

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![
        ResourceDef::stored(ingress::IngressStrategy).status(ingress::StatusStrategy),
        ResourceDef::stored(ingress::IngressClassStrategy),
        ResourceDef::stored(policy::NetworkPolicyStrategy),
        ResourceDef::stored(address::IPAddressStrategy),
        ResourceDef::stored(address::ServiceCIDRStrategy).status(address::ServiceCIDRStatusStrategy),
    ]
}
