//! [`Feed`]: fills the caches from the store and keeps them up to date.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apimachinery::Object;
use apimachinery::status::StatusError;
use bytes::Bytes;
use futures_util::StreamExt;
use storage::{EventKind, Events, KeyRange, Range, Revision, Store, Watched};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::entry::Entry;
use super::resource::ResourceCache;
use crate::kinds::Kind;

/// How long a reader waits for a revision that the cache has not seen yet. Upstream's number.
const WAIT: Duration = Duration::from_secs(3);
/// Keys per read while the caches are filled.
const PAGE: usize = 5_000;
/// Rest between attempts to reach a store that fails.
const REST: Duration = Duration::from_millis(200);

/// All caches of a server and how far they are.
pub struct Caches {
    store: Arc<dyn Store>,
    root: String,
    by_prefix: HashMap<String, Arc<ResourceCache>>,
    /// Every cache holds all changes up to here. 0 until they have been filled.
    watermark: AtomicU64,
    moved: watch::Sender<u64>,
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caches").field("watermark", &self.watermark).finish_non_exhaustive()
    }
}

/// The task behind [`Caches`].
#[derive(Debug)]
pub struct Feed {
    caches: Arc<Caches>,
}

impl Caches {
    /// Caches for stored kinds below `root` (`/registry`), still empty.
    pub fn new(store: Arc<dyn Store>, root: &str, kinds: impl IntoIterator<Item = Arc<Kind>>) -> Arc<Caches> {
        let by_prefix = kinds.into_iter().map(|kind| (kind.prefix.clone(), ResourceCache::new(kind))).collect();
        let root = format!("{}/", root.trim_end_matches('/'));
        Arc::new(Caches { store, root, by_prefix, watermark: AtomicU64::new(0), moved: watch::Sender::new(0) })
    }

    /// The task that fills them and keeps them up to date.
    pub fn feed(self: &Arc<Self>) -> Feed {
        Feed { caches: self.clone() }
    }

    /// The cache of a kind.
    pub fn of(&self, kind: &Kind) -> Option<&Arc<ResourceCache>> {
        self.by_prefix.get(&kind.prefix)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<ResourceCache>> {
        self.by_prefix.values()
    }

    /// Whether the caches have been filled.
    pub fn is_filled(&self) -> bool {
        self.watermark() > 0
    }

    /// Whether the caches can prove how far they are.
    pub fn proves_freshness(&self) -> bool {
        self.store.supports_watermark()
    }

    /// Every snapshot loaded after this call holds all changes up to the answer.
    pub fn watermark(&self) -> u64 {
        self.watermark.load(Ordering::Acquire)
    }

    /// Waits until the caches have been filled.
    pub async fn filled(&self) {
        let _ = self.moved.subscribe().wait_for(|at| *at > 0).await;
    }

    /// Waits until the caches hold everything up to `revision`; 504 if they do not get there in time.
    pub async fn wait_for(&self, revision: u64) -> Result<(), StatusError> {
        if self.watermark() >= revision {
            return Ok(());
        }
        let mut moved = self.moved.subscribe();
        let reached = tokio::time::timeout(WAIT, moved.wait_for(|at| *at >= revision)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => Err(StatusError::too_large_resource_version(revision, self.watermark())),
        }
    }

    fn advance(&self, revision: u64) {
        if revision > self.watermark.load(Ordering::Relaxed) {
            self.watermark.store(revision, Ordering::Release);
            self.moved.send_replace(revision);
        }
    }

    /// The cache a key belongs to, and the key below its prefix.
    fn place(&self, key: &Bytes) -> Option<(&Arc<ResourceCache>, Bytes)> {
        let rest = key.strip_prefix(self.root.as_bytes())?;
        let mut end = self.root.len();
        // Prefixes have one or two segments (`pods/`, `services/specs/`, `group/plural/`).
        for part in rest.split(|byte| *byte == b'/').take(2) {
            end += part.len() + 1;
            if end > key.len() {
                return None;
            }
            let prefix = std::str::from_utf8(&key[..end]).ok()?;
            if let Some(cache) = self.by_prefix.get(prefix) {
                return Some((cache, key.slice(end..)));
            }
        }
        None
    }
}

type Loaded = (Arc<Entry>, Arc<dyn Object>);

impl Feed {
    /// Fills the caches, then follows the store until told to stop. Starts over when history was lost.
    pub async fn run(self, stop: CancellationToken) {
        // The whole body is cancel-safe: dropping it leaves the caches as of their last revision.
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        loop {
            match self.fill().await {
                Ok(revision) => {
                    self.caches.advance(revision.get());
                    self.stream(revision).await;
                }
                Err(error) => tracing::warn!(err = %component_base::logs::chain(&error), "Cannot read the store; trying again"),
            }
            tokio::time::sleep(REST).await;
        }
    }

    /// Reads everything as of one revision.
    async fn fill(&self) -> storage::Result<Revision> {
        let mut range = Range::of(KeyRange::prefix(self.caches.root.clone())).limit(PAGE);
        let mut loaded: HashMap<String, Vec<Loaded>> = HashMap::new();
        let mut revision = None;
        loop {
            let page = self.caches.store.range(range.clone()).await?;
            let at = *revision.get_or_insert(page.revision);
            let last = page.items.last().map(|item| item.key.clone());
            for item in page.items {
                let Some((cache, key)) = self.caches.place(&item.key) else { continue };
                if let Some(found) = decode(cache, key, item.value, item.mod_revision.get()) {
                    loaded.entry(cache.kind.prefix.clone()).or_default().push(found);
                }
            }
            match last {
                Some(last) if page.more => {
                    range.keys = range.keys.after(&last);
                    range.at = Some(at);
                }
                _ => break,
            }
        }
        let revision = revision.unwrap_or(Revision(1));
        for (prefix, cache) in &self.caches.by_prefix {
            cache.replace(revision.get(), loaded.remove(prefix).unwrap_or_default());
        }
        // A store that nothing was ever written to is at revision 0, which means "not filled" here.
        Ok(if revision.is_zero() { Revision(1) } else { revision })
    }

    async fn stream(&self, after: Revision) {
        let keys = KeyRange::prefix(self.caches.root.clone());
        let mut changes = match self.caches.store.watch(keys.clone(), after).await {
            Ok(changes) => changes,
            // An empty store: nothing has happened yet, so all history is what there is to come.
            Err(storage::Error::FutureRevision { .. }) => match self.caches.store.watch(keys, Revision::ZERO).await {
                Ok(changes) => changes,
                Err(error) => return tracing::warn!(err = %component_base::logs::chain(&error), "Cannot watch the store; starting over"),
            },
            Err(error) => return tracing::warn!(err = %component_base::logs::chain(&error), "Cannot watch the store; starting over"),
        };
        while let Some(item) = changes.next().await {
            match item {
                Ok(Watched::Events(events)) => {
                    let revision = events.revision.get();
                    self.apply(events);
                    self.caches.advance(revision);
                }
                Ok(Watched::Watermark(revision)) => self.caches.advance(revision.get()),
                Ok(Watched::Compacted(revision)) => {
                    return tracing::warn!(revision = revision.get(), "The watch cache fell behind compaction; starting over");
                }
                Err(error) => {
                    return tracing::warn!(err = %component_base::logs::chain(&error), "The watch of the store broke; starting over");
                }
            }
        }
    }

    fn apply(&self, events: Events) {
        let revision = events.revision.get();
        let mut by_cache: BTreeMap<&str, (&Arc<ResourceCache>, Vec<(Bytes, Option<Loaded>)>)> = BTreeMap::new();
        for event in events.events {
            let Some((cache, key)) = self.caches.place(&event.key) else { continue };
            let change = match event.kind {
                EventKind::Put => match decode(cache, key.clone(), event.value, revision) {
                    Some(loaded) => Some(loaded),
                    None => continue,
                },
                EventKind::Delete => None,
            };
            by_cache.entry(cache.kind.prefix.as_str()).or_insert_with(|| (cache, Vec::new())).1.push((key, change));
        }
        for (cache, changes) in by_cache.into_values() {
            cache.apply(revision, changes);
        }
    }
}

/// A stored object that cannot be read is left out, loudly: one broken object must not stop the others.
fn decode(cache: &ResourceCache, key: Bytes, value: Bytes, revision: u64) -> Option<Loaded> {
    match Entry::decode(&cache.kind, key.clone(), value, revision) {
        Ok((entry, object)) => Some((Arc::new(entry), object.into())),
        Err(error) => {
            tracing::error!(err = %error, kind = cache.kind.facts.kind, key = ?key, "A stored object cannot be decoded");
            None
        }
    }
}
