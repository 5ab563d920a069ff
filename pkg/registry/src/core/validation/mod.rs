//! Validation of the core group, split by topic. Upstream: pkg/apis/core/validation.

pub mod node;
pub mod pod;
pub mod ports;
pub mod resource;
pub mod service;

/// All data of a Secret or ConfigMap together.
pub const MAX_SECRET_SIZE: usize = 1024 * 1024;
