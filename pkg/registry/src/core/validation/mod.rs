//! Validation of the core group, split by topic. Upstream: pkg/apis/core/validation.

pub mod affinity;
pub mod container;
pub mod env;
pub mod node;
pub mod paths;
pub mod persistent_volume;
pub mod persistent_volume_claim;
pub mod pod;
pub mod pod_spec;
pub mod ports;
pub mod probe;
pub mod references;
pub mod resource;
pub mod security;
pub mod service;
pub mod volume;
pub mod volume_source;

/// All data of a Secret or ConfigMap together.
pub const MAX_SECRET_SIZE: usize = 1024 * 1024;
