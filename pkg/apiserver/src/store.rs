//! [`ObjectStore`]: objects on top of the key space and the watch cache. Knows kinds and revisions; no users, no admission.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::Object;
use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::meta::v1::ObjectMeta;
use apimachinery::status::{StatusError, reason};
use async_trait::async_trait;
use bytes::Bytes;
use storage::{DeleteOutcome, Expect, KeyRange, KeyValue, PutOutcome, Range, RangeResponse, Revision, Store};

use crate::cache::{Caches, ResourceCache};
use crate::kinds::Kind;
use crate::objects::{Handler, Objects, Update};
use crate::request::{RequestContext, RequestInfo, User};
use crate::rest::hooks::nothing_to_finish;

/// How often an internal update is tried against writers that are quicker.
const UPDATE_TRIES: usize = 100;

/// An object as it was read, and what is needed to replace exactly that state.
#[derive(Debug)]
pub struct Current {
    pub object: Box<dyn Object>,
    pub revision: u64,
    /// As stored: an update that would store the same is none.
    pub value: Bytes,
}

/// What became of a conditional write.
#[derive(Debug)]
pub enum Written {
    At(u64),
    /// The object is not as expected but as given here, read in the same transaction.
    Conflict(Option<Current>),
}

/// All stored objects of a server.
pub struct ObjectStore {
    store: Arc<dyn Store>,
    kinds: HashMap<&'static str, Vec<Arc<Kind>>>,
    caches: Arc<Caches>,
}

impl std::fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectStore").finish_non_exhaustive()
    }
}

impl ObjectStore {
    /// Objects of these kinds below `root` (`/registry`). The caches are filled by [`Caches::feed`].
    pub fn new(store: Arc<dyn Store>, root: &str, kinds: &[Arc<Kind>]) -> ObjectStore {
        let stored = kinds.iter().filter(|kind| kind.is_stored()).cloned();
        let caches = Caches::new(store.clone(), root, stored);
        let mut by_resource: HashMap<&'static str, Vec<Arc<Kind>>> = HashMap::new();
        for kind in kinds {
            by_resource.entry(kind.def.resource).or_default().push(kind.clone());
        }
        ObjectStore { store, kinds: by_resource, caches }
    }

    pub fn caches(&self) -> &Arc<Caches> {
        &self.caches
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The cache of a stored kind.
    pub fn cache(&self, kind: &Kind) -> &Arc<ResourceCache> {
        self.caches.of(kind).expect("every stored kind has a cache")
    }

    /// Reads from the store.
    pub async fn read(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Current>, StatusError> {
        let found = self.store.get(kind.store_key(namespace, name)).await.map_err(|error| store_error(&error))?;
        found.map(|item| current(kind, item)).transpose()
    }

    /// Reads from the cache, however old that is.
    pub fn cached(&self, kind: &Kind, namespace: &str, name: &str) -> Result<Option<Current>, StatusError> {
        let snapshot = self.cache(kind).snapshot();
        let Some(entry) = snapshot.entries.get(kind.key_of(namespace, name).as_bytes()) else { return Ok(None) };
        Ok(Some(Current { object: entry.object()?, revision: entry.revision, value: entry.value.clone() }))
    }

    /// Stores a new object; gives its revision, or `None` if there is one of that name.
    pub async fn insert(&self, kind: &Kind, object: &dyn Object) -> Result<Option<u64>, StatusError> {
        let metadata = object.metadata();
        let key = kind.store_key(&metadata.namespace, &metadata.name);
        let written = self.store.put(key, Expect::Absent, kind.encode_stored(object), ttl(kind, object)).await;
        match written.map_err(|error| store_error(&error))? {
            PutOutcome::Written { revision } => Ok(Some(revision.get())),
            PutOutcome::Conflict { .. } => Ok(None),
        }
    }

    /// Replaces an object if it is still at `revision`.
    pub async fn replace(&self, kind: &Kind, revision: u64, object: &dyn Object, value: Bytes) -> Result<Written, StatusError> {
        let metadata = object.metadata();
        let key = kind.store_key(&metadata.namespace, &metadata.name);
        let written = self.store.put(key, Expect::ModRevision(Revision(revision)), value, ttl(kind, object)).await;
        match written.map_err(|error| store_error(&error))? {
            PutOutcome::Written { revision } => Ok(Written::At(revision.get())),
            PutOutcome::Conflict { current: found, .. } => Ok(Written::Conflict(found.map(|item| current(kind, item)).transpose()?)),
        }
    }

    /// Removes an object if it is still at `revision`.
    pub async fn remove(&self, kind: &Kind, namespace: &str, name: &str, revision: u64) -> Result<Written, StatusError> {
        let removed = self.store.delete(kind.store_key(namespace, name), Expect::ModRevision(Revision(revision))).await;
        match removed.map_err(|error| store_error(&error))? {
            DeleteOutcome::Deleted { revision, .. } => Ok(Written::At(revision.get())),
            DeleteOutcome::Conflict { current: found, .. } => Ok(Written::Conflict(found.map(|item| current(kind, item)).transpose()?)),
        }
    }

    /// Reads a range of a kind's objects from the store.
    pub async fn range(&self, keys: KeyRange, limit: usize, at: Option<u64>) -> Result<RangeResponse, storage::Error> {
        let mut range = Range::of(keys).limit(limit);
        range.at = at.map(Revision);
        self.store.range(range).await
    }

    /// The store's revision, with the guarantee of a read.
    pub async fn current_revision(&self) -> Result<u64, StatusError> {
        Ok(self.store.current_revision().await.map_err(|error| store_error(&error))?.get())
    }

    async fn create_checked(
        &self,
        kind: &Kind,
        context: &RequestContext,
        mut object: Box<dyn Object>,
    ) -> Result<Box<dyn Object>, StatusError> {
        let strategy = kind.strategy();
        strategy.prepare_for_create(context, object.as_mut());
        let errors = strategy.validate(context, object.as_ref());
        let name = object.metadata().name.clone();
        if !errors.is_empty() {
            return Err(StatusError::invalid(&GroupKind::new(kind.def.group, kind.facts.kind), &name, &errors));
        }
        strategy.canonicalize(object.as_mut());
        match self.insert(kind, object.as_ref()).await? {
            Some(revision) => {
                object.metadata_mut().resource_version = revision.to_string();
                Ok(object)
            }
            None => Err(StatusError::already_exists(&GroupResource::new(kind.def.group, kind.def.resource), &name)),
        }
    }

    fn kind(&self, group: &str, resource: &str) -> Result<&Arc<Kind>, StatusError> {
        let found = self.kinds.get(resource).into_iter().flatten();
        found
            .filter(|kind| kind.is_stored())
            .find(|kind| kind.def.group == group)
            .ok_or_else(|| StatusError::internal(format!("resource {} is not stored by this server", GroupResource::new(group, resource))))
    }
}

fn ttl(kind: &Kind, object: &dyn Object) -> Option<Duration> {
    kind.strategy().ttl_seconds(object).filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

fn current(kind: &Kind, item: KeyValue) -> Result<Current, StatusError> {
    let revision = item.mod_revision.get();
    Ok(Current { object: kind.decode_stored(&item.value, revision)?, revision, value: item.value })
}

/// A store's failure as the API tells it.
pub fn store_error(error: &storage::Error) -> StatusError {
    tracing::warn!(err = %component_base::logs::chain(error), "The store failed");
    match error {
        storage::Error::TooLarge { .. } => StatusError::request_entity_too_large(&error.to_string()),
        storage::Error::Unavailable { .. } | storage::Error::DiskFull { .. } => {
            StatusError::new(503, reason::SERVICE_UNAVAILABLE, error.to_string()).with_retry_after(1)
        }
        storage::Error::OutcomeUnknown { .. } | storage::Error::DeadlineExceeded { .. } => StatusError::timeout(&error.to_string(), 0),
        storage::Error::Compacted { .. } => StatusError::resource_expired("The provided resource version is too old"),
        _ => StatusError::internal(error),
    }
}

/// The context of what the server does by itself.
fn own_context(kind: &Kind, verb: &'static str, metadata: &ObjectMeta) -> RequestContext {
    let user = User { name: "system:apiserver".to_owned(), groups: vec!["system:masters".to_owned()], ..User::default() };
    let info = RequestInfo {
        is_resource: true,
        verb,
        group: kind.facts.group.to_owned(),
        version: kind.facts.version.to_owned(),
        resource: kind.facts.resource.to_owned(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        ..RequestInfo::default()
    };
    let mut context = RequestContext::new(Arc::new(user), Arc::new(info));
    context.field_manager = "kube-apiserver".to_owned();
    context
}

#[async_trait]
impl Objects for ObjectStore {
    async fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<dyn Object>>, StatusError> {
        // Of what nobody serves there is nothing.
        let Ok(kind) = self.kind(group, resource) else { return Ok(None) };
        self.caches.filled().await;
        Ok(self.cached(kind, namespace, name)?.map(|current| current.object.into()))
    }

    async fn get_live(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<dyn Object>>, StatusError> {
        let Ok(kind) = self.kind(group, resource) else { return Ok(None) };
        Ok(self.read(kind, namespace, name).await?.map(|current| current.object.into()))
    }

    async fn list(&self, group: &str, resource: &str, namespace: &str) -> Result<Vec<Arc<dyn Object>>, StatusError> {
        let Ok(kind) = self.kind(group, resource) else { return Ok(Vec::new()) };
        self.caches.filled().await;
        let snapshot = self.cache(kind).snapshot();
        snapshot.in_namespace(namespace).map(|entry| entry.object().map(Into::into)).collect()
    }

    fn follow(&self, group: &str, resource: &str, handler: Handler) {
        match self.kind(group, resource) {
            Ok(kind) => self.cache(kind).follow(handler),
            // Nothing can ever change there.
            Err(error) => tracing::debug!(err = %error, "Nobody serves what a part of the server wants to follow"),
        }
    }

    async fn create(&self, mut object: Box<dyn Object>) -> Result<Arc<dyn Object>, StatusError> {
        let kind = self
            .kinds
            .values()
            .flatten()
            .find(|kind| {
                kind.is_stored()
                    && kind.def.hub.kind == object.kind()
                    && kind.def.hub.group == object.group()
                    && kind.def.hub.version == object.version()
            })
            .ok_or_else(|| StatusError::internal(format!("kind {} is not stored by this server", object.kind())))?;
        let context = own_context(kind, "create", object.metadata());
        let strategy = kind.strategy();
        strategy.default_object(object.as_mut());
        crate::handlers::create::fill_metadata(object.as_mut());
        crate::managed_fields::own(&context, kind, object.as_mut());
        let finish = match &kind.def.hooks {
            Some(hooks) => hooks.begin_create(&context, object.as_mut()).await?,
            None => nothing_to_finish(),
        };
        let stored = self.create_checked(kind, &context, object).await;
        finish(stored.is_ok()).await;
        stored.map(Into::into)
    }

    async fn update(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        update: Update<'_>,
    ) -> Result<Arc<dyn Object>, StatusError> {
        let kind = self.kind(group, resource)?;
        let not_found = || StatusError::not_found(&GroupResource::new(group, resource), name);
        let mut found = self.read(kind, namespace, name).await?.ok_or_else(not_found)?;
        for _ in 0..UPDATE_TRIES {
            let Some(mut object) = update(found.object.as_ref())? else { return Ok(found.object.into()) };
            let value = kind.encode_stored(object.as_ref());
            if value == found.value {
                return Ok(found.object.into());
            }
            match self.replace(kind, found.revision, object.as_ref(), value).await? {
                Written::At(revision) => {
                    object.metadata_mut().resource_version = revision.to_string();
                    return Ok(object.into());
                }
                Written::Conflict(fresh) => found = fresh.ok_or_else(not_found)?,
            }
        }
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Err(StatusError::conflict(&GroupResource::new(group, resource), name, why))
    }
}
