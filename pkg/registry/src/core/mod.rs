//! The core group. Upstream: pkg/registry/core, pkg/apis/core.

mod config_map;
mod event;
mod namespace;
mod node;
pub mod pod;
mod secret;
pub mod service;
mod service_account;
pub mod validation;

use apiserver::rest::ResourceDef;

use crate::Config;

/// The group's resources, and the events of events.k8s.io, which are the same objects.
pub fn resources(config: &Config) -> Vec<ResourceDef> {
    vec![
        ResourceDef::stored(namespace::NamespaceStrategy).status(namespace::StatusStrategy).write("finalize", namespace::FinalizeStrategy),
        ResourceDef::stored(config_map::ConfigMapStrategy),
        ResourceDef::stored(secret::SecretStrategy),
        ResourceDef::stored(service_account::ServiceAccountStrategy),
        event::resource(config.event_ttl_seconds),
        ResourceDef::stored(node::NodeStrategy).status(node::StatusStrategy),
        pod::resource(),
        service::resource(config),
    ]
}
