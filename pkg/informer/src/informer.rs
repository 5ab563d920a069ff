//! One kind's cache and whoever wants to hear of its changes. Upstream: `client-go/tools/cache/shared_informer.go`.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::wire::Resource;
use client::Api;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::key::ObjectKey;
use crate::queue::WorkQueue;
use crate::reflector::{self, Step};
use crate::store::Store;

/// A change that the store already shows.
#[derive(Debug)]
pub enum Event<K> {
    /// New to the cache: just created, or there when the informer started.
    Added(Arc<K>),
    /// Changed; or, when the informer resyncs, the same object as old and new.
    Updated { old: Arc<K>, new: Arc<K> },
    /// Gone. The last state known; after a missed watch that may not be the very last it had.
    Deleted(Arc<K>),
}

impl<K> Clone for Event<K> {
    fn clone(&self) -> Event<K> {
        match self {
            Event::Added(object) => Event::Added(object.clone()),
            Event::Updated { old, new } => Event::Updated { old: old.clone(), new: new.clone() },
            Event::Deleted(object) => Event::Deleted(object.clone()),
        }
    }
}

impl<K: Resource> Event<K> {
    /// The newest state.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Event::Added(object) | Event::Updated { new: object, .. } | Event::Deleted(object) => object,
        }
    }

    pub fn key(&self) -> ObjectKey {
        ObjectKey::of_metadata(self.object().metadata())
    }
}

pub(crate) type Handler<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;
pub(crate) type Transform<K> = Box<dyn Fn(&mut K) + Send + Sync>;

/// What to cache, and how.
pub struct InformerOptions<K> {
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    /// Tell handlers of every object again this often.
    pub resync: Option<Duration>,
    /// Make objects smaller before they are kept. The default drops `metadata.managedFields`, often half an object.
    pub transform: Option<Transform<K>>,
    /// Let the server stream the initial state instead of listing it, where it can.
    pub streaming_list: bool,
}

impl<K: Resource> Default for InformerOptions<K> {
    fn default() -> InformerOptions<K> {
        let transform: Transform<K> = Box::new(|object| object.metadata_mut().managed_fields.clear());
        InformerOptions { label_selector: None, field_selector: None, resync: None, transform: Some(transform), streaming_list: false }
    }
}

/// A cache of one kind that follows the server, and its handlers. Clones are handles on the same cache.
///
/// # Guarantees
/// Handlers are called one event at a time, in the server's order per object, after the store shows the event. Of several
/// changes between two looks at the server only the last is told. What vanished while no watch was open is told as deleted.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

pub(crate) struct Shared<K> {
    pub(crate) api: Api<K>,
    pub(crate) options: InformerOptions<K>,
    pub(crate) store: Arc<Store<K>>,
    /// Held while an event is applied and told, so that a handler added late misses and repeats nothing.
    /// Taken before the store's lock.
    handlers: Mutex<Vec<Handler<K>>>,
    pub(crate) synced: watch::Sender<bool>,
    pub(crate) history: Mutex<reflector::History>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Informer<K> {
        Informer { shared: self.shared.clone() }
    }
}

impl<K: Resource> Informer<K> {
    /// Follows nothing until [`run`](Self::run).
    pub fn new(api: Api<K>) -> Informer<K> {
        Informer::with(api, InformerOptions::default())
    }

    pub fn with(api: Api<K>, options: InformerOptions<K>) -> Informer<K> {
        let shared = Shared {
            api,
            options,
            store: Store::new(),
            handlers: Mutex::default(),
            synced: watch::Sender::new(false),
            history: Mutex::default(),
        };
        Informer { shared: Arc::new(shared) }
    }

    /// Follows the server until `stop`. Runs once per informer; whoever made it by hand runs it.
    pub async fn run(&self, stop: CancellationToken) {
        reflector::run(&self.shared, stop).await;
    }

    /// The cache. Empty until synced.
    pub fn store(&self) -> Arc<Store<K>> {
        self.shared.store.clone()
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.shared.store.get(key)
    }

    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.store.list()
    }

    /// Calls `handler` for each event from now on, and first with `Added` for each object already cached.
    ///
    /// It runs inside the informer's loop: it must be quick, must not block, and must not add handlers. Usually it puts a key
    /// into a queue.
    pub fn on_event(&self, handler: impl Fn(&Event<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock();
        for object in self.shared.store.list() {
            handler(&Event::Added(object));
        }
        handlers.push(Box::new(handler));
    }

    /// Puts the key of each changed object into `queue`.
    pub fn enqueue(&self, queue: &WorkQueue) {
        let queue = queue.clone();
        self.on_event(move |event| queue.add(event.key()));
    }

    /// Whether the initial state has arrived and handlers have heard of it.
    pub fn has_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Waits for [`has_synced`](Self::has_synced). Cancel-safe.
    pub async fn wait_for_sync(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives as long as `self`.
        drop(synced.wait_for(|synced| *synced).await);
    }

    /// The revision up to which the cache is complete.
    pub fn resource_version(&self) -> String {
        self.shared.history.lock().resource_version.clone()
    }

    /// The last lists and watches, oldest first: shows whether a resumed watch left a gap.
    pub fn history(&self) -> Vec<Step> {
        self.shared.history.lock().steps.iter().cloned().collect()
    }
}

impl<K: Resource> Shared<K> {
    fn tell(handlers: &[Handler<K>], event: &Event<K>) {
        for handler in handlers {
            handler(event);
        }
    }

    /// Applies one object from a watch.
    pub(crate) fn apply(&self, mut object: K) {
        if let Some(transform) = &self.options.transform {
            transform(&mut object);
        }
        self.put(&self.handlers.lock(), Arc::new(object));
    }

    fn put(&self, handlers: &[Handler<K>], object: Arc<K>) {
        let event = match self.store.put(object.clone()) {
            None => Event::Added(object),
            Some(old) => Event::Updated { old, new: object },
        };
        Self::tell(handlers, &event);
    }

    pub(crate) fn delete(&self, mut object: K) {
        if let Some(transform) = &self.options.transform {
            transform(&mut object);
        }
        let handlers = self.handlers.lock();
        if self.store.remove(&ObjectKey::of_metadata(object.metadata())).is_some() {
            Self::tell(&handlers, &Event::Deleted(Arc::new(object)));
        }
    }

    /// Makes the cache equal to a list: what is unchanged is not told, what is not in it is told as deleted.
    pub(crate) fn replace(&self, items: Vec<K>) {
        let handlers = self.handlers.lock();
        let mut gone: std::collections::HashSet<ObjectKey> = self.store.keys().into_iter().collect();
        for mut object in items {
            let key = ObjectKey::of_metadata(object.metadata());
            gone.remove(&key);
            let known = self.store.get(&key);
            if known.is_some_and(|known| is_same(known.metadata(), object.metadata())) {
                continue;
            }
            if let Some(transform) = &self.options.transform {
                transform(&mut object);
            }
            self.put(&handlers, Arc::new(object));
        }
        for key in gone {
            if let Some(last) = self.store.remove(&key) {
                Self::tell(&handlers, &Event::Deleted(last));
            }
        }
    }

    pub(crate) fn resync(&self) {
        let handlers = self.handlers.lock();
        for object in self.store.list() {
            Self::tell(&handlers, &Event::Updated { old: object.clone(), new: object });
        }
    }
}

fn is_same(left: &apimachinery::meta::v1::ObjectMeta, right: &apimachinery::meta::v1::ObjectMeta) -> bool {
    left.uid == right.uid && left.resource_version == right.resource_version && !left.resource_version.is_empty()
}
