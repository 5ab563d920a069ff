//! The Kubernetes API as Rust types: one door to the generated crates.
//!
//! `api::core::v1::Pod`, `api::apps::v1::Deployment`, ... A module is named after the API group without its domain. Types of versions that are no
//! longer served live in `api-unserved`, which only the API server links. Upstream: staging/src/k8s.io/api.

pub use api_core::core;
pub use api_groups::*;

use apimachinery::wire::TypeInfo;

/// What is known at run time of the kind `group/version kind`, if it has object metadata.
pub fn type_info(group: &str, version: &str, kind: &str) -> Option<&'static TypeInfo> {
    kinds().find(|info| info.kind == kind && info.group == group && info.version == version)
}

/// Every served kind with object metadata.
pub fn kinds() -> impl Iterator<Item = &'static TypeInfo> {
    api_core::KINDS.iter().chain(api_groups::KINDS)
}
