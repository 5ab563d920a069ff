//! The nftables back end: tables `ip kube-proxy` and `ip6 kube-proxy`, with upstream's names for chains, sets and maps.
//!
//! Start at [`rules::fragment`] (a Service becomes text) and [`table::Table`] (text becomes a transaction); both are pure.
//! [`exec::Nft`] is all that touches the kernel, and [`proxier::Proxier`] ties the three together for one family.

mod base;
pub mod exec;
pub mod fragment;
mod names;
pub mod proxier;
pub mod rules;
pub mod slots;
pub mod table;

pub use base::TABLE;
