//! The apps group. Upstream: pkg/registry/apps, pkg/apis/apps.

mod controller_revision;
mod daemon_set;
mod deployment;
mod replica_set;
mod stateful_set;
pub mod validation;

use apiserver::rest::ResourceDef;

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![
        deployment::resource(),
        replica_set::resource(),
        stateful_set::resource(),
        daemon_set::resource(),
        ResourceDef::stored(controller_revision::ControllerRevisionStrategy),
    ]
}
