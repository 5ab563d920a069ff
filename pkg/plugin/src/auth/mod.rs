//! Authorizers that know built-in kinds. Upstream: plugin/pkg/auth.

pub mod node;
