//! [`Config`]: what the resources need to know besides the objects they are given.

use std::sync::{Arc, OnceLock};

use apimachinery::Object;
use apimachinery::status::StatusError;
use apiserver::objects::{Handler, Objects, Update};
use async_trait::async_trait;

/// Settings of the built-in resources, from the API server's flags.
#[derive(Clone)]
pub struct Config {
    /// How resources with I/O (bindings, evictions, tokens, allocation, connections to nodes) reach stored objects.
    pub objects: Arc<LateObjects>,
    /// `--event-ttl`
    pub event_ttl_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { objects: Arc::default(), event_ttl_seconds: 3600 }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("event_ttl_seconds", &self.event_ttl_seconds).finish_non_exhaustive()
    }
}

/// [`Objects`] that are there a little later: the store is built from the resources' definitions, and some of those need the store.
///
/// The server calls [`LateObjects::set`] once, before it serves the first request; until then every call is answered with 503.
#[derive(Default)]
pub struct LateObjects(OnceLock<Arc<dyn Objects>>);

impl LateObjects {
    /// Hands over the objects. Later calls change nothing.
    pub fn set(&self, objects: Arc<dyn Objects>) {
        self.0.get_or_init(|| objects);
    }

    fn there(&self) -> Result<&Arc<dyn Objects>, StatusError> {
        self.0.get().ok_or_else(|| StatusError::service_unavailable("the server is starting"))
    }
}

#[async_trait]
impl Objects for LateObjects {
    async fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<dyn Object>>, StatusError> {
        self.there()?.get(group, resource, namespace, name).await
    }

    async fn get_live(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<dyn Object>>, StatusError> {
        self.there()?.get_live(group, resource, namespace, name).await
    }

    async fn list(&self, group: &str, resource: &str, namespace: &str) -> Result<Vec<Arc<dyn Object>>, StatusError> {
        self.there()?.list(group, resource, namespace).await
    }

    fn follow(&self, group: &str, resource: &str, handler: Handler) {
        self.0.get().expect("nothing is followed before the server starts").follow(group, resource, handler);
    }

    async fn create(&self, object: Box<dyn Object>) -> Result<Arc<dyn Object>, StatusError> {
        self.there()?.create(object).await
    }

    async fn update(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        update: Update<'_>,
    ) -> Result<Arc<dyn Object>, StatusError> {
        self.there()?.update(group, resource, namespace, name, update).await
    }
}
