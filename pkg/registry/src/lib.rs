//! The built-in resources: what the API server does to each kind. One folder per API group. Upstream: pkg/registry, pkg/apis.
//!
//! Start at [`core::resources`]; [`Config`] is what resources need to know besides their objects. [`validation`] has what groups share.

pub mod config;
pub mod coordination;
pub mod core;
pub mod defaults;
pub mod printers;
pub mod validation;

#[cfg(test)]
mod replay;

pub use config::{Config, LateObjects};
