//! Time as a value: libraries ask a [`Clock`] and never the system, so that a test can hold time still.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::http::BoxFuture;

/// Tells the time and waits for it.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The wall clock.
    fn now(&self) -> SystemTime;
    /// A clock that never goes backwards, for measuring.
    fn instant(&self) -> Instant;
    /// Completes once `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;
}

/// The machine's own clock. `sleep` needs a tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until a test moves it.
#[derive(Clone, Debug)]
pub struct TestClock {
    state: Arc<TestState>,
}

#[derive(Debug)]
struct TestState {
    start: SystemTime,
    origin: Instant,
    passed: Mutex<Duration>,
    moved: Notify,
}

impl TestClock {
    /// A clock that shows `start`.
    pub fn at(start: SystemTime) -> TestClock {
        TestClock { state: Arc::new(TestState { start, origin: Instant::now(), passed: Mutex::default(), moved: Notify::new() }) }
    }

    /// Moves the time on and wakes every sleeper whose time has come.
    pub fn advance(&self, duration: Duration) {
        *self.state.passed.lock() += duration;
        self.state.moved.notify_waiters();
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        self.state.start + *self.state.passed.lock()
    }

    fn instant(&self) -> Instant {
        self.state.origin + *self.state.passed.lock()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        let state = self.state.clone();
        let due = *state.passed.lock() + duration;
        Box::pin(async move {
            loop {
                // Enrolled before the look at the time, so that a move between the two is not missed.
                let moved = state.moved.notified();
                if *state.passed.lock() >= due {
                    return;
                }
                moved.await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_test_clock_wakes_sleepers_in_time() {
        let clock = TestClock::at(SystemTime::UNIX_EPOCH);
        let sleeper = tokio::spawn(clock.sleep(Duration::from_secs(3)));
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(2));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(3));
    }
}
