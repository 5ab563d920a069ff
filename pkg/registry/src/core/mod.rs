//! The core group. Upstream: pkg/registry/core, pkg/apis/core.

mod config_map;
pub mod connect;
mod event;
mod namespace;
mod node;
pub mod pod;
mod secret;
pub mod service;
mod service_account;
pub mod token;
pub mod validation;

use apiserver::rest::ResourceDef;

use crate::Config;

/// The group's resources, and the events of events.k8s.io, which are the same objects.
pub fn resources(config: &Config) -> Vec<ResourceDef> {
    vec![
        ResourceDef::stored(namespace::NamespaceStrategy).status(namespace::StatusStrategy).write("finalize", namespace::FinalizeStrategy),
        ResourceDef::stored(config_map::ConfigMapStrategy),
        ResourceDef::stored(secret::SecretStrategy),
        service_account::resource(config),
        event::resource(config.event_ttl_seconds),
        ResourceDef::stored(node::NodeStrategy).status(node::StatusStrategy).connect("proxy", connect::NodeProxy(connections(config))),
        pod::resource(config),
        pod::bindings(config),
        service::resource(config),
    ]
}

fn connections(config: &Config) -> connect::Connections {
    connect::Connections { objects: config.objects.clone(), nodes: config.nodes.clone() }
}
