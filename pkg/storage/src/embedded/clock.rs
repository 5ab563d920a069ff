//! Time as the engine sees it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the engine reads the time that keys expire by.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970. Never goes back while the store is open.
    fn now_ms(&self) -> u64;
}

/// The machine's time of day when it was made, then steady: setting the machine's clock expires nothing early.
#[derive(Debug)]
pub struct SystemClock {
    opened_at_ms: u64,
    since: Instant,
}

impl SystemClock {
    pub fn new() -> SystemClock {
        let today = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        SystemClock { opened_at_ms: today.as_millis() as u64, since: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        self.opened_at_ms + self.since.elapsed().as_millis() as u64
    }
}
