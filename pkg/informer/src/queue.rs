//! The queue between "something changed" and "it has been dealt with". Upstream: `client-go/util/workqueue`.
//!
//! ```text
//!   add(a) --> dirty, queued --get--> processing --done--> gone
//!                                        |   add(a) meanwhile: dirty, but not queued:
//!                                        +---------------- done --> queued again
//! ```

mod metrics;

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::key::ObjectKey;
use crate::rate_limit::ItemBackoff;
use metrics::QueueMetrics;

/// A queue in which an item is at most once, and never with two workers at a time. Clones share it.
pub struct WorkQueue<T: Eq + Hash + Clone + Send + Sync + 'static = ObjectKey> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    state: Mutex<State<T>>,
    /// Something to get, an earlier deadline, or shutting down.
    news: Notify,
    /// An item was done: a drain may be over.
    idle: Notify,
    backoff: ItemBackoff<T>,
    metrics: QueueMetrics,
}

struct State<T> {
    queue: VecDeque<T>,
    dirty: HashSet<T>,
    processing: HashMap<T, Instant>,
    /// When each queued item was added, for the metrics.
    added: HashMap<T, Instant>,
    delayed: BinaryHeap<Delayed<T>>,
    /// The earliest time each delayed item is wanted; heap entries that disagree are stale.
    due: HashMap<T, Instant>,
    sequence: u64,
    shutting_down: bool,
}

struct Delayed<T> {
    at: Instant,
    sequence: u64,
    item: T,
}

impl<T> PartialEq for Delayed<T> {
    fn eq(&self, other: &Delayed<T>) -> bool {
        self.sequence == other.sequence
    }
}

impl<T> Eq for Delayed<T> {}

impl<T> PartialOrd for Delayed<T> {
    fn partial_cmp(&self, other: &Delayed<T>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Delayed<T> {
    /// Reversed: the heap's greatest is the earliest.
    fn cmp(&self, other: &Delayed<T>) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<T: Eq + Hash + Clone + Send + Sync + 'static> Clone for WorkQueue<T> {
    fn clone(&self) -> WorkQueue<T> {
        WorkQueue { inner: self.inner.clone() }
    }
}

impl<T: Eq + Hash + Clone + Send + Sync + 'static> WorkQueue<T> {
    /// A queue with upstream's backoff. `name` is the label of its metrics.
    pub fn new(name: &str) -> WorkQueue<T> {
        WorkQueue::with_backoff(name, ItemBackoff::default())
    }

    pub fn with_backoff(name: &str, backoff: ItemBackoff<T>) -> WorkQueue<T> {
        let state = State {
            queue: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashMap::new(),
            added: HashMap::new(),
            delayed: BinaryHeap::new(),
            due: HashMap::new(),
            sequence: 0,
            shutting_down: false,
        };
        let inner = Inner { state: Mutex::new(state), news: Notify::new(), idle: Notify::new(), backoff, metrics: QueueMetrics::new(name) };
        let inner = Arc::new(inner);
        let watched = Arc::downgrade(&inner);
        inner.metrics.each_scrape(move || {
            let inner = watched.upgrade()?;
            let state = inner.state.lock();
            Some(state.processing.values().map(Instant::elapsed).collect())
        });
        WorkQueue { inner }
    }

    /// Marks `item` as needing work. Does nothing if it is marked already, or after shutdown.
    pub fn add(&self, item: T) {
        let mut state = self.inner.state.lock();
        if self.inner.mark(&mut state, item) {
            drop(state);
            self.inner.news.notify_one();
        }
    }

    /// Marks `item` once `delay` has passed. Of several delays for one item the shortest counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        let at = Instant::now() + delay;
        let mut state = self.inner.state.lock();
        if state.shutting_down || state.due.get(&item).is_some_and(|due| *due <= at) {
            return;
        }
        self.inner.metrics.retries.inc();
        state.sequence += 1;
        let sequence = state.sequence;
        state.due.insert(item.clone(), at);
        state.delayed.push(Delayed { at, sequence, item });
        drop(state);
        self.inner.news.notify_one();
    }

    /// Marks `item` after a delay that grows with each call until [`forget`](Self::forget).
    pub fn add_rate_limited(&self, item: T) {
        let delay = self.inner.backoff.next(&item);
        self.add_after(item, delay);
    }

    /// Says that `item` succeeded: its next failure waits briefly again.
    pub fn forget(&self, item: &T) {
        self.inner.backoff.forget(item);
    }

    /// How often `item` failed since it was last forgotten.
    pub fn failures(&self, item: &T) -> u32 {
        self.inner.backoff.failures(item)
    }

    /// Items waiting for a worker.
    pub fn len(&self) -> usize {
        self.inner.state.lock().queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next item, which is then the caller's until [`done`](Self::done). `None` after shutdown, once nothing is queued.
    /// Cancel-safe.
    pub async fn get(&self) -> Option<T> {
        loop {
            let news = self.inner.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            let deadline = {
                let mut state = self.inner.state.lock();
                self.inner.mark_due(&mut state);
                if let Some(item) = self.inner.take(&mut state) {
                    if !state.queue.is_empty() {
                        self.inner.news.notify_one();
                    }
                    return Some(item);
                }
                if state.shutting_down {
                    drop(state);
                    // Each worker wakes the next.
                    self.inner.news.notify_one();
                    return None;
                }
                state.delayed.peek().map(|delayed| delayed.at)
            };
            match deadline {
                None => news.await,
                // Both arms are cancel-safe: a wake-up that is not used is passed on when `news` is dropped.
                Some(at) => tokio::select! {
                    () = news => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// Gives `item` back. If it was marked meanwhile, it is queued again.
    pub fn done(&self, item: &T) {
        let mut state = self.inner.state.lock();
        if let Some(since) = state.processing.remove(item) {
            self.inner.metrics.work_duration.observe_duration(since.elapsed());
        }
        if state.dirty.contains(item) {
            state.queue.push_back(item.clone());
            self.inner.metrics.depth.set(state.queue.len() as f64);
            drop(state);
            self.inner.news.notify_one();
        } else {
            drop(state);
        }
        self.inner.idle.notify_waiters();
    }

    /// Takes no more items; what is queued is still handed out, what is delayed is dropped.
    pub fn shut_down(&self) {
        let mut state = self.inner.state.lock();
        state.shutting_down = true;
        state.delayed.clear();
        state.due.clear();
        drop(state);
        self.inner.news.notify_one();
    }

    pub fn is_shutting_down(&self) -> bool {
        self.inner.state.lock().shutting_down
    }

    /// Shuts down and waits until every item handed out has been given back and none is queued.
    pub async fn drain(&self) {
        self.shut_down();
        loop {
            let idle = self.inner.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            {
                let state = self.inner.state.lock();
                if state.processing.is_empty() && state.queue.is_empty() {
                    return;
                }
            }
            idle.await;
        }
    }
}

impl<T: Eq + Hash + Clone> Inner<T> {
    /// True if a worker can take the item now.
    fn mark(&self, state: &mut State<T>, item: T) -> bool {
        if state.shutting_down || !state.dirty.insert(item.clone()) {
            return false;
        }
        self.metrics.adds.inc();
        state.added.insert(item.clone(), Instant::now());
        if state.processing.contains_key(&item) {
            return false;
        }
        state.queue.push_back(item);
        self.metrics.depth.set(state.queue.len() as f64);
        true
    }

    fn mark_due(&self, state: &mut State<T>) {
        let now = Instant::now();
        while state.delayed.peek().is_some_and(|delayed| delayed.at <= now) {
            let Some(Delayed { at, item, .. }) = state.delayed.pop() else { return };
            if state.due.get(&item) == Some(&at) {
                state.due.remove(&item);
                self.mark(state, item);
            }
        }
    }

    fn take(&self, state: &mut State<T>) -> Option<T> {
        let item = state.queue.pop_front()?;
        state.dirty.remove(&item);
        if let Some(added) = state.added.remove(&item) {
            self.metrics.queue_duration.observe_duration(added.elapsed());
        }
        state.processing.insert(item.clone(), Instant::now());
        self.metrics.depth.set(state.queue.len() as f64);
        Some(item)
    }
}

#[cfg(test)]
mod tests;
