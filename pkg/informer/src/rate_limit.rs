//! How long a key that failed has to wait. Upstream: `client-go/util/workqueue/default_rate_limiters.go`.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use client::RateLimiter;
use parking_lot::Mutex;

/// Upstream's first delay of a failed item.
const BASE: Duration = Duration::from_millis(5);
/// Upstream's longest delay of a failed item.
const MAX: Duration = Duration::from_secs(1000);
/// Upstream's limit on retries of all items together.
const QPS: f32 = 10.0;
const BURST: u32 = 100;

/// Exponential per item, and a token bucket over all items; the longer of the two counts.
#[derive(Debug)]
pub struct ItemBackoff<T> {
    base: Duration,
    max: Duration,
    failures: Mutex<HashMap<T, u32>>,
    overall: RateLimiter,
}

impl<T: Eq + Hash + Clone> Default for ItemBackoff<T> {
    /// Upstream's `DefaultTypedControllerRateLimiter`.
    fn default() -> ItemBackoff<T> {
        ItemBackoff::new(BASE, MAX, QPS, BURST)
    }
}

impl<T: Eq + Hash + Clone> ItemBackoff<T> {
    /// A negative `qps` lifts the limit over all items.
    pub fn new(base: Duration, max: Duration, qps: f32, burst: u32) -> ItemBackoff<T> {
        ItemBackoff { base, max, failures: Mutex::default(), overall: RateLimiter::new(qps, burst) }
    }

    /// The delay after one more failure of `item`.
    pub(crate) fn next(&self, item: &T) -> Duration {
        let failed = {
            let mut failures = self.failures.lock();
            let failed = failures.entry(item.clone()).or_default();
            *failed += 1;
            *failed - 1
        };
        let own = self.base.checked_mul(1u32.checked_shl(failed).unwrap_or(u32::MAX)).unwrap_or(self.max).min(self.max);
        own.max(self.overall.reserve())
    }

    pub(crate) fn forget(&self, item: &T) {
        self.failures.lock().remove(item);
    }

    pub(crate) fn failures(&self, item: &T) -> u32 {
        self.failures.lock().get(item).copied().unwrap_or_default()
    }
}
