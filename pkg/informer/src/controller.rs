//! The loop around a reconciler.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::key::ObjectKey;
use crate::queue::WorkQueue;

/// When to look at a key again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Requeue {
    /// When something about it changes.
    OnChange,
    /// When something changes, and after this long in any case.
    After(Duration),
}

/// Makes the world agree with one object.
///
/// # Assumptions
/// Idempotent: called for a key whenever anything about it may have changed, and again after an error. Never called for
/// the same key twice at a time. Reads caches and writes through a client; retries nothing itself.
pub trait Reconcile: Send + Sync + 'static {
    /// Upstream's name of the controller: in logs and metrics.
    const NAME: &'static str;
    /// After how many failures in a row a key is given up until it changes again; upstream's many controllers say 15.
    const MAX_RETRIES: Option<u32> = None;
    type Error: std::error::Error + Send + Sync + 'static;

    /// An error puts the key back with backoff.
    fn reconcile(&self, key: &ObjectKey) -> impl Future<Output = Result<Requeue, Self::Error>> + Send;
}

/// Workers that take keys from a queue and reconcile them.
pub struct Controller<R> {
    reconciler: Arc<R>,
    queue: WorkQueue,
}

impl<R: Reconcile> Controller<R> {
    pub fn new(reconciler: Arc<R>, queue: WorkQueue) -> Controller<R> {
        Controller { reconciler, queue }
    }

    /// Works until `stop`, then finishes the keys in hand.
    pub async fn run(self, workers: usize, stop: CancellationToken) {
        tracing::info!(controller = R::NAME, workers, "starting workers");
        let mut tasks = JoinSet::new();
        for _ in 0..workers.max(1) {
            tasks.spawn(work(self.reconciler.clone(), self.queue.clone(), stop.clone()));
        }
        stop.cancelled().await;
        self.queue.shut_down();
        while tasks.join_next().await.is_some() {}
        tracing::info!(controller = R::NAME, "workers stopped");
    }
}

async fn work<R: Reconcile>(reconciler: Arc<R>, queue: WorkQueue, stop: CancellationToken) {
    while let Some(key) = queue.get().await {
        // What is left in the queue at the end is for the next start.
        if !stop.is_cancelled() {
            one(&*reconciler, &queue, &key).await;
        }
        queue.done(&key);
    }
}

async fn one<R: Reconcile>(reconciler: &R, queue: &WorkQueue, key: &ObjectKey) {
    match contained(reconciler.reconcile(key)).await {
        Some(Ok(requeue)) => {
            queue.forget(key);
            if let Requeue::After(delay) = requeue {
                queue.add_after(key.clone(), delay);
            }
        }
        Some(Err(err)) => {
            let failures = queue.failures(key) + 1;
            if R::MAX_RETRIES.is_some_and(|most| failures > most) {
                tracing::error!(controller = R::NAME, object = %key, failures, err = &err as &dyn std::error::Error, "giving up until the object changes");
                queue.forget(key);
            } else {
                tracing::warn!(controller = R::NAME, object = %key, failures, err = &err as &dyn std::error::Error, "reconciling failed");
                queue.add_rate_limited(key.clone());
            }
        }
        None => {
            tracing::error!(controller = R::NAME, object = %key, "reconciling panicked");
            queue.add_rate_limited(key.clone());
        }
    }
}

/// Runs `future`; `None` if it panicked. A broken invariant in one object must not stop the work on all others.
async fn contained<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Some(output)),
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use parking_lot::Mutex;

    use super::*;

    #[derive(Default)]
    struct Scripted {
        seen: Mutex<Vec<String>>,
        calls: AtomicUsize,
    }

    impl Reconcile for Scripted {
        const NAME: &'static str = "scripted";
        const MAX_RETRIES: Option<u32> = Some(3);
        type Error = std::io::Error;

        async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, std::io::Error> {
            self.seen.lock().push(key.to_string());
            match (key.name(), self.calls.fetch_add(1, Ordering::SeqCst)) {
                ("panics", 0) => panic!("a broken invariant (expected by the test)"),
                ("fails", _) => Err(std::io::Error::other("no")),
                ("later", 0) => Ok(Requeue::After(Duration::from_secs(60))),
                _ => Ok(Requeue::OnChange),
            }
        }
    }

    async fn check(key: &str, expected_calls: usize) {
        let reconciler = Arc::new(Scripted::default());
        let (queue, stop) = (WorkQueue::new("scripted"), CancellationToken::new());
        queue.add(key.parse().unwrap());
        let running = tokio::spawn(Controller::new(reconciler.clone(), queue).run(2, stop.clone()));
        tokio::time::sleep(Duration::from_secs(600)).await;
        stop.cancel();
        running.await.unwrap();
        assert_eq!(*reconciler.seen.lock(), vec![key; expected_calls]);
    }

    #[tokio::test(start_paused = true)]
    async fn outcomes_decide_what_comes_next() {
        check("ns/fine", 1).await;
        check("ns/later", 2).await;
        check("ns/panics", 2).await;
        check("ns/fails", 4).await;
    }
}
