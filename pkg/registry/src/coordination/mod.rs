//! coordination.k8s.io: Leases. Upstream: pkg/registry/coordination.

mod lease;

pub use lease::LeaseStrategy;

use apiserver::rest::ResourceDef;

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![ResourceDef::stored(LeaseStrategy)]
}
