//! What the server makes by itself once it answers: the objects every cluster has. Upstream: pkg/controlplane.

mod namespaces;

use apiserver::rest::ResourceDef;
use apiserver::server::PostStartHook;

use crate::Config;

/// Every resource this server serves.
pub fn resources(config: &registry::Config) -> Vec<ResourceDef> {
    let mut resources = registry::core::resources(config);
    resources.extend(registry::coordination::resources());
    resources
}

/// Hooks in the order of `/readyz`.
pub fn hooks(_config: &Config) -> Vec<PostStartHook> {
    vec![PostStartHook { name: "start-system-namespaces-controller", run: Box::new(|server, stop| Box::pin(namespaces::keep(server, stop))) }]
}
