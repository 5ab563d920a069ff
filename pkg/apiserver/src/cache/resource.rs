//! [`ResourceCache`]: the objects of one resource, their recent changes, and who follows them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use apimachinery::Object;
use arc_swap::ArcSwap;
use bytes::Bytes;
use imbl::OrdMap;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::entry::Entry;
use super::watcher::{CacheEvent, Change, Route, TooOld, Watcher};
use crate::kinds::Kind;
use crate::objects;

/// Events that may wait for one watcher. A burst (a rolling update of some hundred pods) fits; who falls further behind reads the ring.
const QUEUE: usize = 256;
/// Bytes of past changes kept per resource.
const RING_BYTES: usize = 8 << 20;
/// Past changes kept per resource at most.
const RING_EVENTS: usize = 20_000;

/// The objects of a resource as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The last revision that changed anything here, or the one the cache was filled at.
    pub revision: u64,
    pub entries: OrdMap<Bytes, Arc<Entry>>,
    /// By the resource's indexed field.
    pub index: OrdMap<(String, Bytes), Arc<Entry>>,
}

impl Snapshot {
    /// The objects of a namespace (all if it is empty), in order.
    pub fn in_namespace<'a>(&'a self, namespace: &str) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + Send + 'a> {
        if namespace.is_empty() {
            return Box::new(self.entries.values());
        }
        let start = Bytes::from(format!("{namespace}/"));
        let end = Bytes::from(format!("{namespace}0"));
        Box::new(self.entries.range(start..end).map(|(_, entry)| entry))
    }

    /// The objects whose indexed field has this value.
    pub fn indexed<'a>(&'a self, value: &str) -> impl Iterator<Item = &'a Arc<Entry>> + Send + 'a {
        let start = (value.to_owned(), Bytes::new());
        let end = (format!("{value}\0"), Bytes::new());
        self.index.range(start..end).map(|(_, entry)| entry)
    }
}

/// The cache of one resource. See the module's drawing.
pub struct ResourceCache {
    pub kind: Arc<Kind>,
    /// The field label whose values have an index of their own.
    pub index_field: Option<&'static str>,
    snapshot: ArcSwap<Snapshot>,
    /// Lock order: nothing else is locked while this is held, but an entry's bodies.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ring: VecDeque<Arc<CacheEvent>>,
    ring_bytes: usize,
    /// Changes after this revision are in the ring.
    floor: u64,
    next_id: u64,
    watchers: HashMap<u64, Slot>,
    /// Watchers that only follow one value of the indexed field.
    routed: HashMap<String, Vec<u64>>,
    /// All others.
    unrouted: Vec<u64>,
    followers: Vec<objects::Handler>,
}

struct Slot {
    sender: mpsc::Sender<Arc<CacheEvent>>,
    route: Route,
    after: u64,
}

impl std::fmt::Debug for ResourceCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResourceCache").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl ResourceCache {
    pub fn new(kind: Arc<Kind>) -> Arc<ResourceCache> {
        let index_field = match (kind.def.group, kind.def.resource) {
            ("", "pods") | ("resource.k8s.io", "resourceslices") => Some("spec.nodeName"),
            _ => None,
        };
        Arc::new(ResourceCache { kind, index_field, snapshot: ArcSwap::default(), state: Mutex::default() })
    }

    /// The objects as they are now. A snapshot loaded later is never older.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Bytes and number of the objects, and number of watchers, for metrics.
    pub fn watcher_count(&self) -> usize {
        self.state.lock().watchers.len()
    }

    /// Starts over with these objects. All watchers are ended: they would miss changes.
    pub(super) fn replace(&self, revision: u64, loaded: Vec<(Arc<Entry>, Arc<dyn Object>)>) {
        let mut state = self.state.lock();
        let old = self.snapshot.load_full();
        let mut fresh = Snapshot { revision, ..Snapshot::default() };
        let mut gone = old.entries.clone();
        for (entry, object) in &loaded {
            gone.remove(&entry.key);
            self.insert(&mut fresh, entry.clone());
            for follower in &state.followers {
                follower(&objects::Change::Set(object.clone()));
            }
        }
        for entry in gone.values() {
            if let Ok(object) = entry.object() {
                let object: Arc<dyn Object> = object.into();
                for follower in &state.followers {
                    follower(&objects::Change::Removed(object.clone()));
                }
            }
        }
        self.snapshot.store(Arc::new(fresh));
        state.ring.clear();
        state.ring_bytes = 0;
        state.floor = revision;
        state.watchers.clear();
        state.routed.clear();
        state.unrouted.clear();
    }

    fn insert(&self, snapshot: &mut Snapshot, entry: Arc<Entry>) {
        if let Some(value) = self.index_field.and_then(|field| entry.field(field)) {
            snapshot.index.insert((value.to_owned(), entry.key.clone()), entry.clone());
        }
        snapshot.entries.insert(entry.key.clone(), entry);
    }

    fn remove(&self, snapshot: &mut Snapshot, key: &Bytes) -> Option<Arc<Entry>> {
        let entry = snapshot.entries.remove(key)?;
        if let Some(value) = self.index_field.and_then(|field| entry.field(field)) {
            snapshot.index.remove(&(value.to_owned(), key.clone()));
        }
        Some(entry)
    }

    /// Applies what one revision changed here, and tells watchers and followers. Called by the feed alone, in the order of revisions.
    pub(super) fn apply(&self, revision: u64, changes: Vec<(Bytes, Option<(Arc<Entry>, Arc<dyn Object>)>)>) {
        let mut state = self.state.lock();
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        snapshot.revision = revision;
        let mut events = Vec::with_capacity(changes.len());
        for (key, new) in changes {
            let previous = self.remove(&mut snapshot, &key);
            let event = match (new, previous) {
                (Some((entry, object)), previous) => {
                    self.insert(&mut snapshot, entry.clone());
                    for follower in &state.followers {
                        follower(&objects::Change::Set(object.clone()));
                    }
                    let change = if previous.is_some() { Change::Modified } else { Change::Added };
                    CacheEvent::new(change, revision, entry, previous)
                }
                (None, Some(previous)) => {
                    let entry = previous.removed_at(revision);
                    if !state.followers.is_empty()
                        && let Ok(object) = entry.object()
                    {
                        let object: Arc<dyn Object> = object.into();
                        for follower in &state.followers {
                            follower(&objects::Change::Removed(object.clone()));
                        }
                    }
                    CacheEvent::new(Change::Deleted, revision, Arc::new(entry), Some(previous))
                }
                (None, None) => continue,
            };
            events.push(Arc::new(event));
        }
        self.snapshot.store(Arc::new(snapshot));
        for event in events {
            state.remember(event.clone());
            state.dispatch(&event, self.index_field);
        }
    }

    /// Calls `handler` with every object, and with each change from then on.
    pub fn follow(&self, handler: objects::Handler) {
        let mut state = self.state.lock();
        for entry in self.snapshot.load().entries.values() {
            match entry.object() {
                Ok(object) => handler(&objects::Change::Set(object.into())),
                Err(error) => tracing::error!(err = %error, key = ?entry.key, "A cached object cannot be decoded"),
            }
        }
        state.followers.push(handler);
    }

    /// Follows all changes after a revision.
    pub fn watch(self: Arc<Self>, after: u64, route: Route) -> Result<Watcher, TooOld> {
        let mut state = self.state.lock();
        if after < state.floor {
            return Err(TooOld { floor: state.floor });
        }
        let start = state.ring.partition_point(|event| event.revision <= after);
        let index_field = self.index_field;
        let backlog = state.ring.range(start..).filter(|event| concerns(&route, event, index_field)).cloned().collect();
        let seen = state.ring.back().map_or(after, |event| event.revision.max(after));
        let (id, queue) = state.join(route.clone(), seen);
        drop(state);
        Ok(Watcher { cache: self, id, route, queue, seen: after, backlog })
    }

    /// The objects as they are now, and all changes after that.
    pub fn watch_from_now(self: Arc<Self>, route: Route) -> (Arc<Snapshot>, Watcher) {
        let mut state = self.state.lock();
        let snapshot = self.snapshot.load_full();
        let seen = snapshot.revision;
        let (id, queue) = state.join(route.clone(), seen);
        drop(state);
        (snapshot, Watcher { cache: self, id, route, queue, seen, backlog: VecDeque::new() })
    }

    pub(super) fn forget(&self, id: u64) {
        self.state.lock().leave(id);
    }
}

impl State {
    fn join(&mut self, route: Route, after: u64) -> (u64, mpsc::Receiver<Arc<CacheEvent>>) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let id = self.next_id;
        self.next_id += 1;
        match &route.index {
            Some(value) => self.routed.entry(value.clone()).or_default().push(id),
            None => self.unrouted.push(id),
        }
        self.watchers.insert(id, Slot { sender, route, after });
        (id, queue)
    }

    fn leave(&mut self, id: u64) {
        let Some(slot) = self.watchers.remove(&id) else { return };
        match &slot.route.index {
            Some(value) => {
                if let Some(ids) = self.routed.get_mut(value) {
                    ids.retain(|other| *other != id);
                    if ids.is_empty() {
                        self.routed.remove(value);
                    }
                }
            }
            None => self.unrouted.retain(|other| *other != id),
        }
    }

    fn remember(&mut self, event: Arc<CacheEvent>) {
        self.ring_bytes += event.cost();
        self.ring.push_back(event);
        while self.ring.len() > RING_EVENTS || (self.ring_bytes > RING_BYTES && self.ring.len() > 1) {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.ring_bytes -= oldest.cost();
            self.floor = oldest.revision;
        }
    }

    fn dispatch(&mut self, event: &Arc<CacheEvent>, index_field: Option<&'static str>) {
        let mut full = Vec::new();
        let mut offer = |watchers: &HashMap<u64, Slot>, id: u64| {
            let Some(slot) = watchers.get(&id) else { return };
            if event.revision > slot.after && concerns(&slot.route, event, index_field) && slot.sender.try_send(event.clone()).is_err() {
                full.push(id);
            }
        };
        for id in &self.unrouted {
            offer(&self.watchers, *id);
        }
        if let Some(field) = index_field
            && !self.routed.is_empty()
        {
            let new = event.entry.field(field);
            let old = event.previous.as_ref().and_then(|entry| entry.field(field)).filter(|old| Some(*old) != new);
            for value in new.into_iter().chain(old) {
                for id in self.routed.get(value).into_iter().flatten() {
                    offer(&self.watchers, *id);
                }
            }
        }
        for id in full {
            self.leave(id);
        }
    }
}

/// Whether an event can matter to a watcher with this route.
fn concerns(route: &Route, event: &CacheEvent, index_field: Option<&'static str>) -> bool {
    if route.namespace.as_ref().is_some_and(|namespace| event.entry.namespace() != namespace) {
        return false;
    }
    if route.name.as_ref().is_some_and(|name| event.entry.name() != name) {
        return false;
    }
    match (&route.index, index_field) {
        (Some(value), Some(field)) => {
            event.entry.field(field) == Some(value) || event.previous.as_ref().is_some_and(|entry| entry.field(field) == Some(value))
        }
        _ => true,
    }
}
