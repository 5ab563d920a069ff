//! Pods. Upstream: pkg/registry/core/pod, pkg/api/pod.

mod binding;
mod cells;
pub mod disabled;
mod eviction;
pub mod normalize;
mod strategy;
pub mod warnings;

pub use strategy::{EphemeralContainersStrategy, PodStrategy, ResizeStrategy, StatusStrategy};

use api::core::v1::Binding;
use apiserver::rest::ResourceDef;

use crate::Config;
use crate::core::connect::{LogConnecter, PodProxy, PortForwardConnecter, RemoteCommandConnecter};

/// Pods and what is below them.
pub fn resource(config: &Config) -> ResourceDef {
    let connections = super::connections(config);
    let eviction =
        eviction::EvictionCreater { objects: config.objects.clone(), store: config.store.clone(), prefix: config.store_prefix.clone() };
    ResourceDef::stored(PodStrategy { allow_privileged: config.allow_privileged })
        .status(StatusStrategy)
        .write("ephemeralcontainers", EphemeralContainersStrategy)
        .write("resize", ResizeStrategy)
        .create("binding", binding::BindingCreater { objects: config.objects.clone() })
        .create("eviction", eviction)
        .connect("log", LogConnecter(connections.clone()))
        .connect("exec", RemoteCommandConnecter { connections: connections.clone(), verb: "exec" })
        .connect("attach", RemoteCommandConnecter { connections: connections.clone(), verb: "attach" })
        .connect("portforward", PortForwardConnecter(connections.clone()))
        .connect("proxy", PodProxy(connections))
}

/// The old way to bind a Pod.
pub fn bindings(config: &Config) -> ResourceDef {
    ResourceDef::answered::<Binding>(binding::BindingCreater { objects: config.objects.clone() })
}
