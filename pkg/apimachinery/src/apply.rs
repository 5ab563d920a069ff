//! Server-side apply and the record of who set which field.
//!
//! Every write goes through a [`FieldManager`]: [`FieldManager::update`] notes which fields a create, update or patch changed, and
//! [`FieldManager::apply`] merges an applied configuration into the live object unless it would change what others own. The record is
//! `metadata.managedFields`, in memory [`Managed`]; its sets of fields are [`FieldSet`]s.
//!
//! What lists are sets, maps or replaced as a whole comes from the schema, read through [`crate::typed::TypeRef`].
//! Upstream: apimachinery `pkg/util/managedfields`, sigs.k8s.io/structured-merge-diff.

mod compare;
mod extract;
mod fieldsv1;
mod last_applied;
mod managed;
mod manager;
mod merge;
mod path;
mod remove;
mod set;
#[cfg(test)]
mod tests;

pub use compare::{Comparison, compare};
pub use extract::{TypedError, check, field_set};
pub use managed::{Managed, ManagedEntry, Operation};
pub use manager::{ApplyError, Conflict, FieldManager, Versions};
pub use merge::merge;
pub use path::PathElement;
pub use remove::remove;
pub use set::FieldSet;
