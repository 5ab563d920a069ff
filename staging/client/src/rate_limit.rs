//! The client's own brake: a token bucket in front of every request.
//!
//! Upstream: `client-go/util/flowcontrol/throttle.go`, with `rest.DefaultQPS` and `rest.DefaultBurst`.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// `rest.DefaultQPS`.
const DEFAULT_QPS: f32 = 5.0;
/// `rest.DefaultBurst`.
const DEFAULT_BURST: u32 = 10;

/// A token bucket: `burst` requests at once, refilled at `qps`. Waiters are served in the order they asked.
#[derive(Debug)]
pub struct RateLimiter {
    bucket: Option<Mutex<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    /// May fall below zero: each waiter takes its token at once and sleeps until it would have been there.
    tokens: f64,
    filled_at: Instant,
}

impl RateLimiter {
    /// `qps` 0 means 5 and `burst` 0 means 10, as upstream; a negative `qps` lifts the limit.
    pub fn new(qps: f32, burst: u32) -> RateLimiter {
        if qps < 0.0 {
            return RateLimiter { bucket: None };
        }
        let per_second = f64::from(if qps == 0.0 { DEFAULT_QPS } else { qps });
        let burst = f64::from(if burst == 0 { DEFAULT_BURST } else { burst });
        RateLimiter { bucket: Some(Mutex::new(Bucket { per_second, burst, tokens: burst, filled_at: Instant::now() })) }
    }

    /// Waits for a turn and returns how long that took. Dropping the future before it ends gives the turn up for good.
    pub async fn acquire(&self) -> Duration {
        let wait = self.reserve();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        wait
    }

    /// Takes a token only if one is there now.
    pub fn try_acquire(&self) -> bool {
        let Some(bucket) = &self.bucket else { return true };
        let mut bucket = bucket.lock();
        bucket.refill();
        let there = bucket.tokens >= 1.0;
        if there {
            bucket.tokens -= 1.0;
        }
        there
    }

    /// Takes a token, now or in advance, and returns how long until it is valid.
    pub fn reserve(&self) -> Duration {
        let Some(bucket) = &self.bucket else { return Duration::ZERO };
        let mut bucket = bucket.lock();
        bucket.refill();
        bucket.tokens -= 1.0;
        if bucket.tokens >= 0.0 { Duration::ZERO } else { Duration::from_secs_f64(-bucket.tokens / bucket.per_second) }
    }
}

impl Bucket {
    fn refill(&mut self) {
        let now = Instant::now();
        let earned = now.duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + earned).min(self.burst);
        self.filled_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let limiter = RateLimiter::new(10.0, 3);
        for _ in 0..3 {
            assert_eq!(limiter.acquire().await, Duration::ZERO);
        }
        let before = Instant::now();
        limiter.acquire().await;
        limiter.acquire().await;
        assert_eq!(before.elapsed().as_millis(), 200);
        assert!(!limiter.try_acquire());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(limiter.try_acquire());
    }

    #[tokio::test(start_paused = true)]
    async fn zero_means_the_default_and_negative_no_limit() {
        let limiter = RateLimiter::new(0.0, 0);
        assert_eq!((0..11).filter(|_| limiter.try_acquire()).count(), 10);
        let free = RateLimiter::new(-1.0, 0);
        assert!((0..1000).all(|_| free.try_acquire()));
    }
}
