//! Removal of stored objects, which [`apiserver::objects::Objects`] does not offer.

use std::sync::Arc;

use apimachinery::Object;
use apimachinery::status::StatusError;
use storage::{DeleteOutcome, Expect, Revision, Store};

/// Removes an object that is still as it was read. `Ok(false)`: it has changed or gone in the meantime.
pub async fn remove(store: Option<&Arc<dyn Store>>, prefix: &str, resource: &str, object: &dyn Object) -> Result<bool, StatusError> {
    let store = store.ok_or_else(|| StatusError::internal("this server has no store"))?;
    let meta = object.metadata();
    let key = match meta.namespace.as_str() {
        "" => format!("{prefix}/{resource}/{}", meta.name),
        namespace => format!("{prefix}/{resource}/{namespace}/{}", meta.name),
    };
    let revision = meta.resource_version.parse().map_err(|_| StatusError::internal("an object that was read has no revision"))?;
    match store.delete(key.into(), Expect::ModRevision(Revision(revision))).await {
        Ok(outcome) => Ok(matches!(outcome, DeleteOutcome::Deleted { .. })),
        Err(error) => Err(StatusError::internal(error)),
    }
}
