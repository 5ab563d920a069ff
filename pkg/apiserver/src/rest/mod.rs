//! The contract between the generic server and a resource. Upstream: apiserver/pkg/registry/rest.

pub mod strategy;

pub use strategy::{ErasedStrategy, Graceful, Strategy, erase};
