//! [`Watcher`]: one reader of a resource's changes.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::entry::{Entry, View};
use super::resource::ResourceCache;

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    /// `ADDED`, `MODIFIED`, `DELETED`.
    pub fn as_str(self) -> &'static str {
        match self {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        }
    }
}

/// One object's change at one revision.
pub struct CacheEvent {
    pub change: Change,
    pub revision: u64,
    /// The new state; of a removal the last one, at the removal's revision.
    pub entry: Arc<Entry>,
    pub previous: Option<Arc<Entry>>,
    /// The event as a frame of a watch, per view, for watchers to whom it is what it is (selectors may turn a change into an addition).
    frames: Mutex<Vec<(View, Bytes)>>,
}

impl std::fmt::Debug for CacheEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheEvent").field("change", &self.change).field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl CacheEvent {
    pub fn new(change: Change, revision: u64, entry: Arc<Entry>, previous: Option<Arc<Entry>>) -> CacheEvent {
        CacheEvent { change, revision, entry, previous, frames: Mutex::new(Vec::new()) }
    }

    /// The frame of a view, made by `make` the first time.
    pub fn frame<E>(&self, view: View, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        if let Some((_, frame)) = self.frames.lock().iter().find(|(found, _)| *found == view) {
            return Ok(frame.clone());
        }
        let frame = make()?;
        self.frames.lock().push((view, frame.clone()));
        Ok(frame)
    }

    /// Roughly what keeping the event costs.
    pub fn cost(&self) -> usize {
        self.entry.value.len() + 256
    }
}

/// Which events a watcher can be interested in at all. Others never reach its queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// Only objects of this namespace.
    pub namespace: Option<String>,
    /// Only this object.
    pub name: Option<String>,
    /// Only objects whose indexed field has this value, before or after the change.
    pub index: Option<String>,
}

/// The history a watch asked for is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooOld {
    /// Changes after this revision are still there.
    pub floor: u64,
}

/// What a watcher gets next.
#[derive(Debug)]
pub enum Next {
    Event(Arc<CacheEvent>),
    /// It fell behind and the history has moved on, or the cache began anew.
    Gone(TooOld),
}

/// A reader of changes. Dropping it ends the watch.
///
/// Its queue is bounded; when it overflows, the watcher is taken off the cache's list, and goes back on it once the queue is empty, with what it missed
/// from the ring. So a slow reader costs history, not memory, and is told when that has run out.
pub struct Watcher {
    pub(super) cache: Arc<ResourceCache>,
    pub(super) id: u64,
    pub(super) route: Route,
    pub(super) queue: mpsc::Receiver<Arc<CacheEvent>>,
    /// Events up to here have been handed out.
    pub(super) seen: u64,
    /// What the ring still had for it when it came.
    pub(super) backlog: std::collections::VecDeque<Arc<CacheEvent>>,
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").field("route", &self.route).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Watcher {
    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> Next {
        loop {
            if let Some(event) = self.backlog.pop_front() {
                self.seen = event.revision;
                return Next::Event(event);
            }
            match self.queue.recv().await {
                Some(event) => {
                    self.seen = event.revision;
                    return Next::Event(event);
                }
                // Taken off the list: go back on it from where we are.
                None => {
                    if let Err(gone) = self.rejoin() {
                        return Next::Gone(gone);
                    }
                }
            }
        }
    }

    /// What is there without waiting.
    pub fn try_next(&mut self) -> Option<Arc<CacheEvent>> {
        let event = self.backlog.pop_front().or_else(|| self.queue.try_recv().ok())?;
        self.seen = event.revision;
        Some(event)
    }

    /// Whether everything up to the watermark that was read before this call has been handed out.
    pub fn is_drained(&self) -> bool {
        self.backlog.is_empty() && self.queue.is_empty() && !self.queue.is_closed()
    }

    fn rejoin(&mut self) -> Result<(), TooOld> {
        let fresh = self.cache.clone().watch(self.seen, self.route.clone())?;
        *self = fresh;
        Ok(())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.cache.forget(self.id);
    }
}
