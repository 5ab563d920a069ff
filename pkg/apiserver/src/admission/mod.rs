//! Admission: what may still change or refuse a write after it was authorized. Upstream: apiserver/pkg/admission.
//!
//! Plugins run in the order of `api/defaults.json`; all mutating ones before validation, all validating ones after it.

use apimachinery::Object;
use apimachinery::status::StatusError;
use async_trait::async_trait;

use crate::request::RequestContext;

/// The kind of write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// exec, attach, port-forward, proxy.
    Connect,
}

impl Operation {
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// A write on its way through admission.
#[derive(Debug)]
pub struct Review<'a> {
    pub context: &'a RequestContext,
    pub operation: Operation,
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// Empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// Empty while the server has yet to make one from generateName.
    pub name: &'a str,
    /// The object as it would be stored; for deletes none; for CONNECT the options object.
    pub object: Option<&'a mut dyn Object>,
    /// The stored object on update and delete.
    pub old: Option<&'a dyn Object>,
    /// The request's options (CreateOptions, DeleteOptions, ...) as JSON, for webhooks.
    pub options: &'a [u8],
}

/// An admission plugin. A plugin is asked only for what `handles` accepts.
#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// The name in `--enable-admission-plugins`.
    fn name(&self) -> &'static str;

    fn handles(&self, operation: Operation) -> bool;

    /// May change the object. Runs before validation.
    async fn admit(&self, _review: &mut Review<'_>) -> Result<(), StatusError> {
        Ok(())
    }

    /// Only refuses. Runs after validation.
    async fn validate(&self, _review: &Review<'_>) -> Result<(), StatusError> {
        Ok(())
    }
}
