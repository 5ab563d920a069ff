//! The built-in resources: what the API server does to each kind. One folder per API group. Upstream: pkg/registry, pkg/apis.

pub mod defaults;
