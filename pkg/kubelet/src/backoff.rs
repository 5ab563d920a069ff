//! Delays that double with each failure, kept per key: crashing containers, images that cannot be pulled.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

struct Entry {
    delay: Duration,
    last: Instant,
    message: String,
}

/// A key that has been quiet for twice the longest delay starts again from the first.
pub struct Backoffs {
    initial: Duration,
    longest: Duration,
    entries: Mutex<HashMap<String, Entry>>,
}

impl Backoffs {
    pub fn new(initial: Duration, longest: Duration) -> Self {
        Backoffs { initial, longest, entries: Mutex::default() }
    }

    /// How long the key has to wait yet, and what it failed with.
    pub fn waiting(&self, key: &str) -> Option<(Duration, String)> {
        let entries = self.entries.lock().expect("no holder panics");
        let entry = entries.get(key)?;
        let left = entry.delay.checked_sub(entry.last.elapsed())?;
        (!left.is_zero()).then(|| (left, entry.message.clone()))
    }

    /// How long the key has to wait if it failed `since` ago. Unlike [`Self::waiting`] it counts from the failure and not
    /// from the last try.
    pub fn waiting_since(&self, key: &str, since: Duration) -> Option<(Duration, Duration)> {
        let entries = self.entries.lock().expect("no holder panics");
        let entry = entries.get(key)?;
        if entry.last.elapsed() > self.longest * 2 {
            return None;
        }
        let left = entry.delay.checked_sub(since)?;
        (!left.is_zero()).then_some((left, entry.delay))
    }

    /// Counts a failure (or a restart after one).
    pub fn failed(&self, key: &str, message: &str) {
        let mut entries = self.entries.lock().expect("no holder panics");
        let delay = match entries.get(key) {
            Some(entry) if entry.last.elapsed() <= self.longest * 2 => (entry.delay * 2).min(self.longest),
            _ => self.initial,
        };
        entries.insert(key.to_owned(), Entry { delay, last: Instant::now(), message: message.to_owned() });
    }

    pub fn forget(&self, key: &str) {
        self.entries.lock().expect("no holder panics").remove(key);
    }

    pub fn forget_prefix(&self, prefix: &str) {
        self.entries.lock().expect("no holder panics").retain(|key, _| !key.starts_with(prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let backoffs = Backoffs::new(Duration::from_secs(10), Duration::from_secs(30));
        assert_eq!(backoffs.waiting("a"), None);
        for seconds in [10, 20, 30, 30] {
            backoffs.failed("a", "why");
            let (left, delay) = backoffs.waiting_since("a", Duration::from_secs(1)).unwrap();
            assert_eq!((left, delay), (Duration::from_secs(seconds - 1), Duration::from_secs(seconds)));
            assert!(backoffs.waiting("a").unwrap().0 > Duration::from_secs(seconds - 1));
        }
        assert_eq!(backoffs.waiting_since("a", Duration::from_secs(30)), None);
        backoffs.forget_prefix("a");
        assert_eq!(backoffs.waiting("a"), None);
    }
}
