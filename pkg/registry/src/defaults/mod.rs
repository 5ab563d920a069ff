//! Defaults of the served versions: unset fields are filled in when an object is decoded, from a request or from the store.
//!
//! `generated` walks each kind and applies the plain rules of api/api-defaults.json; types with conditional rules are in `by_hand`.
//! Upstream: pkg/apis/*/v1/defaults.go.

mod by_hand;
#[rustfmt::skip]
pub mod generated;

#[cfg(test)]
mod tests;
