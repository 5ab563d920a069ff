//! The core group. Upstream: pkg/registry/core, pkg/apis/core.

mod config_map;
pub mod connect;
mod endpoints;
mod event;
mod limit_range;
mod namespace;
mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub mod pod;
mod pod_template;
mod replication_controller;
mod resource_quota;
mod secret;
pub mod service;
mod service_account;
pub mod token;
pub mod validation;

#[cfg(test)]
mod tests;

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
        ResourceDef::stored(endpoints::EndpointsStrategy),
        ResourceDef::stored(persistent_volume::PersistentVolumeStrategy).status(persistent_volume::StatusStrategy),
        ResourceDef::stored(persistent_volume_claim::PersistentVolumeClaimStrategy).status(persistent_volume_claim::StatusStrategy),
        ResourceDef::stored(limit_range::LimitRangeStrategy),
        ResourceDef::stored(resource_quota::ResourceQuotaStrategy).status(resource_quota::StatusStrategy),
        replication_controller::resource(),
        ResourceDef::stored(pod_template::PodTemplateStrategy),
    ]
}

fn connections(config: &Config) -> connect::Connections {
    connect::Connections { objects: config.objects.clone(), nodes: config.nodes.clone() }
}
