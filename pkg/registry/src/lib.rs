//! The built-in resources: what the API server does to each kind. One folder per API group. Upstream: pkg/registry, pkg/apis.
//!
//! Start at [`core::resources`]; [`Config`] is what resources need to know besides their objects. [`validation`] has what groups share.

pub mod apps;
pub mod authentication;
pub mod authorization;
pub mod batch;
pub mod certificates;
pub mod config;
pub mod coordination;
pub mod core;
pub mod defaults;
pub mod discovery;
pub mod networking;
pub mod node;
pub mod policy;
pub mod printers;
pub mod rbac;
pub mod scheduling;
pub mod storage;
mod stored;
pub mod validation;
pub mod workloads;

#[cfg(test)]
mod replay;

pub use config::{Config, LateObjects};
