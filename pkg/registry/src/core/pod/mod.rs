//! Pods. Upstream: pkg/registry/core/pod, pkg/api/pod.

mod cells;
mod normalize;
mod strategy;

pub use strategy::{EphemeralContainersStrategy, PodStrategy, StatusStrategy};

use apiserver::rest::ResourceDef;

/// Pods and what is below them.
pub fn resource() -> ResourceDef {
    ResourceDef::stored(PodStrategy).status(StatusStrategy).write("ephemeralcontainers", EphemeralContainersStrategy)
}
