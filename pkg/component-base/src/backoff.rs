//! Waiting longer after each failure, with jitter, so that many clients of one broken server do not return at once.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::time::Duration;

use crate::clock::Clock;

/// A growing series of delays. The default is 200 ms, doubled up to 30 s, each lengthened by up to a tenth.
#[derive(Clone, Debug)]
pub struct Backoff {
    initial: Duration,
    longest: Duration,
    factor: f64,
    jitter: f64,
    next: Duration,
    random: u64,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff::new(Duration::from_millis(200), Duration::from_secs(30))
    }
}

impl Backoff {
    /// Delays that start at `initial`, double each time and never exceed `longest` (before jitter).
    pub fn new(initial: Duration, longest: Duration) -> Backoff {
        // The hasher's keys are random per process and instance: enough for spreading retries.
        let random = RandomState::new().hash_one(initial) | 1;
        Backoff { initial, longest, factor: 2.0, jitter: 0.1, next: initial, random }
    }

    /// Multiplies each delay by `factor` to get the next one.
    pub fn with_factor(mut self, factor: f64) -> Backoff {
        self.factor = factor;
        self
    }

    /// Lengthens each delay by a random part of up to `share` of itself. Zero switches jitter off.
    pub fn with_jitter(mut self, share: f64) -> Backoff {
        self.jitter = share;
        self
    }

    /// How long to wait after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next.min(self.longest);
        self.next = delay.mul_f64(self.factor).min(self.longest);
        delay.mul_f64(1.0 + self.jitter * self.random_share())
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.next = self.initial;
    }

    /// Evenly spread over [0, 1): xorshift64.
    fn random_share(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Lengthens `period` by a random part of up to `share` of itself.
pub fn jittered(period: Duration, share: f64) -> Duration {
    Backoff::new(period, period).with_jitter(share).next_delay()
}

/// Calls `attempt` until it succeeds, fails with an error not worth another try, or `tries` are used up.
///
/// `again` decides whether an error is worth another try. Returns the last error.
pub async fn retry<T, E, F, R>(
    clock: &dyn Clock,
    mut backoff: Backoff,
    tries: usize,
    again: impl Fn(&E) -> bool,
    mut attempt: F,
) -> Result<T, E>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, E>>,
{
    let mut left = tries.max(1);
    loop {
        left -= 1;
        match attempt().await {
            Err(error) if left > 0 && again(&error) => clock.sleep(backoff.next_delay()).await,
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350)).with_jitter(0.0);
        let delays: Vec<u128> = (0..4).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [100, 200, 350, 350]);
        backoff.reset();
        assert_eq!(backoff.next_delay().as_millis(), 100);
    }

    #[test]
    fn jitter_only_lengthens_and_stays_in_bounds() {
        for _ in 0..100 {
            let delay = jittered(Duration::from_secs(10), 0.5);
            assert!((10.0..15.0).contains(&delay.as_secs_f64()), "{delay:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn retry_gives_up_on_errors_not_worth_it() {
        let mut calls = 0;
        let result = retry(
            &SystemClock,
            Backoff::default(),
            5,
            |error| *error < 3,
            || {
                calls += 1;
                std::future::ready(Err::<(), i32>(calls))
            },
        )
        .await;
        assert_eq!(result, Err(3));
    }
}
