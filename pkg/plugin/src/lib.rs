//! Admission plugins and authorizers that know built-in kinds. Upstream: plugin/pkg.
//!
//! Each plugin is one file; [`admission::in_order`] is the list that the server runs, in the order of api/defaults.json.

pub mod admission;
pub mod auth;
