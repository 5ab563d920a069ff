//! [`Objects`]: how the server's own parts (authenticators, authorizers, admission, controllers) read and write what it stores.
//!
//! Implemented by the storage layer on top of the watch cache. Objects come in the resource's storage version.

use std::sync::Arc;

use apimachinery::Object;
use apimachinery::status::StatusError;
use async_trait::async_trait;

/// A change to one object, delivered in the order of revisions.
#[derive(Clone, Debug)]
pub enum Change {
    /// Added or changed.
    Set(Arc<dyn Object>),
    /// Gone; the last state.
    Removed(Arc<dyn Object>),
}

/// Called with every object there is and then with each change. Runs on the cache's task: it must be quick and must not block.
pub type Handler = Box<dyn Fn(&Change) + Send + Sync>;

/// Decides what an update stores, from the current object. Run again after a conflict. `Ok(None)` leaves the object as it is.
pub type Update<'a> = &'a (dyn Fn(&dyn Object) -> Result<Option<Box<dyn Object>>, StatusError> + Send + Sync);

/// Access to stored objects without authentication, authorization and admission. Resources are named by group and plural.
#[async_trait]
pub trait Objects: Send + Sync + 'static {
    /// From the watch cache. `None` if there is no such object. Namespace is empty for cluster-scoped resources.
    async fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<dyn Object>>, StatusError>;

    /// From the store, so that the answer includes every acknowledged write.
    async fn get_live(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<dyn Object>>, StatusError>;

    /// From the watch cache; all namespaces if `namespace` is empty.
    async fn list(&self, group: &str, resource: &str, namespace: &str) -> Result<Vec<Arc<dyn Object>>, StatusError>;

    /// Follows a resource.
    fn follow(&self, group: &str, resource: &str, handler: Handler);

    /// Stores a new object after its strategy prepared and validated it. Errors with AlreadyExists.
    async fn create(&self, object: Box<dyn Object>) -> Result<Arc<dyn Object>, StatusError>;

    /// Changes a stored object, whatever endpoint its fields belong to (status included), with optimistic concurrency and retries.
    async fn update(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        update: Update<'_>,
    ) -> Result<Arc<dyn Object>, StatusError>;
}
