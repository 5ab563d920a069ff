//! Where commits are published, and how a watch follows them.
//!
//! Watches pull: the committer only moves the published revision, and each watch reads what it lacks, from a short ring
//! of recent revisions or, when it is further behind, from the database. So a slow watch holds no memory and stops nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Shared;
use super::read::{self, History};
use crate::{Error, Events, KeyRange, Result, Revision, WatchStream, Watched};

/// Recent revisions kept in memory, by weight. Watches that keep up never read the disk.
const RING_BYTES: usize = 2 << 20;

/// How much history a watch that is behind reads at once.
const CATCH_UP_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Published {
    revision: Revision,
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Hub {
    published: watch::Sender<Published>,
    /// Never locked while anything else is.
    ring: Mutex<Ring>,
    watches: AtomicU64,
}

/// Revisions without a gap, the latest published one last.
#[derive(Debug, Default)]
struct Ring {
    revisions: VecDeque<Arc<Events>>,
    bytes: usize,
}

impl Hub {
    pub(super) fn new(revision: Revision) -> Hub {
        let (published, _) = watch::channel(Published { revision, closed: false });
        Hub { published, ring: Mutex::default(), watches: AtomicU64::new(0) }
    }

    pub(super) fn revision(&self) -> Revision {
        self.published.borrow().revision
    }

    pub(super) fn watches(&self) -> u64 {
        self.watches.load(Ordering::Relaxed)
    }

    /// Makes what a commit made visible to watches. `made` ends at `revision`.
    pub(super) fn publish(&self, made: Vec<Events>, revision: Revision) {
        {
            let mut ring = self.ring.lock();
            for events in made {
                ring.push(events);
            }
            if ring.revisions.back().is_some_and(|last| last.revision != revision) {
                // The revision was raised, or the changes were lost with a failed commit that happened after all.
                *ring = Ring::default();
            }
        }
        self.published.send_if_modified(|published| {
            let moved = published.revision != revision;
            published.revision = revision;
            moved
        });
    }

    /// Ends all watches.
    pub(super) fn close(&self) {
        self.published.send_modify(|published| published.closed = true);
    }

    /// The revisions after `after`, if all of them are in memory.
    fn recent(&self, after: Revision) -> Option<Vec<Arc<Events>>> {
        let ring = self.ring.lock();
        let first = ring.revisions.front()?.revision;
        let skip = after.next().0.checked_sub(first.0)? as usize;
        Some(ring.revisions.iter().skip(skip).cloned().collect())
    }
}

impl Ring {
    fn push(&mut self, events: Events) {
        if self.revisions.back().is_some_and(|last| last.revision.next() != events.revision) {
            *self = Ring::default();
        }
        self.bytes += weight(&events);
        self.revisions.push_back(Arc::new(events));
        while self.bytes > RING_BYTES
            && let Some(oldest) = self.revisions.pop_front()
        {
            self.bytes -= weight(&oldest);
        }
    }
}

fn weight(events: &Events) -> usize {
    events.events.iter().map(read::weight).sum::<usize>()
}

/// One watch. It is a task of whoever polls its stream.
struct Watcher {
    shared: Arc<Shared>,
    published: watch::Receiver<Published>,
    keys: KeyRange,
    /// Everything up to here is in `ready` or has been taken from it.
    at: Revision,
    ready: VecDeque<Watched>,
    /// Whether the first watermark has been given.
    announced: bool,
    ended: bool,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.hub.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) fn watch(shared: Arc<Shared>, keys: KeyRange, after: Revision) -> WatchStream {
    shared.hub.watches.fetch_add(1, Ordering::Relaxed);
    let published = shared.hub.published.subscribe();
    let watcher = Watcher { shared, published, keys, at: after, ready: VecDeque::new(), announced: false, ended: false };
    Box::pin(stream::unfold(watcher, async |mut watcher| {
        let item = watcher.next().await?;
        Some((item, watcher))
    }))
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Watched>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            if self.ended {
                return None;
            }
            let Published { revision, closed } = *self.published.borrow_and_update();
            if closed {
                self.ended = true;
                return Some(Err(closed_error()));
            }
            if self.at < revision {
                if let Err(error) = self.catch_up(revision).await {
                    self.ended = true;
                    return Some(Err(error));
                }
            } else if self.at == revision && !self.announced {
                self.announced = true;
                return Some(Ok(Watched::Watermark(revision)));
            } else if self.published.changed().await.is_err() {
                self.ended = true;
                return Some(Err(closed_error()));
            }
        }
    }

    async fn catch_up(&mut self, to: Revision) -> Result<()> {
        if let Some(recent) = self.shared.hub.recent(self.at)
            && let Some(last) = recent.last().map(|events| events.revision)
        {
            for events in &recent {
                self.select(events);
            }
            self.advance(last);
            return Ok(());
        }
        let after = self.at;
        let shared = self.shared.clone();
        let history = tokio::task::spawn_blocking(move || {
            shared.read("read history for a watch", |txn, deadline| read::history(txn, after, to, CATCH_UP_BYTES, deadline))
        });
        match history.await.map_err(|_| closed_error())?? {
            History::Compacted(compacted) => {
                self.ready.push_back(Watched::Compacted(compacted));
                self.ended = true;
            }
            History::Revisions { events, upto } => {
                for events in &events {
                    self.select(events);
                }
                self.advance(upto);
            }
        }
        Ok(())
    }

    /// Queues what this watch is to see of a revision.
    fn select(&mut self, made: &Events) {
        let events: Vec<_> = made.events.iter().filter(|event| self.keys.contains(&event.key)).cloned().collect();
        if !events.is_empty() {
            self.ready.push_back(Watched::Events(Events { revision: made.revision, events }));
        }
    }

    /// Notes that everything up to `revision` is queued, and says so if the queue itself does not.
    fn advance(&mut self, revision: Revision) {
        self.at = revision;
        let said = matches!(self.ready.back(), Some(Watched::Events(events)) if events.revision == revision);
        if self.announced && !said {
            self.ready.push_back(Watched::Watermark(revision));
        }
    }
}

fn closed_error() -> Error {
    Error::Unavailable { attempted: "watch a store that has been closed".to_owned(), source: None }
}
