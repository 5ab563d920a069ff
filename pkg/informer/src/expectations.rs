//! What a controller has written and not yet seen in its cache. Upstream: `ControllerExpectations` in
//! `pkg/controller/controller_utils.go`.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::key::ObjectKey;

/// After this long a write that never showed up is no longer waited for: an event must have been missed.
const TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Counts, per controlling object, of creations and deletions still to be seen.
///
/// A plan made while they are unmet would repeat them. Raise them before the write, lower them when the watch shows it or
/// when the write failed.
#[derive(Debug, Default)]
pub struct Expectations {
    pending: Mutex<HashMap<ObjectKey, Pending>>,
}

#[derive(Debug)]
struct Pending {
    creations: usize,
    /// By UID, so that a deletion seen twice counts once.
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    pub fn new() -> Expectations {
        Expectations::default()
    }

    /// `count` creations are about to be made for `key`.
    pub fn expect_creations(&self, key: &ObjectKey, count: usize) {
        self.raise(key, count, []);
    }

    /// The objects with these UIDs are about to be deleted for `key`.
    pub fn expect_deletions(&self, key: &ObjectKey, uids: impl IntoIterator<Item = String>) {
        self.raise(key, 0, uids);
    }

    fn raise(&self, key: &ObjectKey, creations: usize, deletions: impl IntoIterator<Item = String>) {
        let mut pending = self.pending.lock();
        let entry =
            pending.entry(key.clone()).or_insert_with(|| Pending { creations: 0, deletions: HashSet::new(), since: Instant::now() });
        entry.creations += creations;
        entry.deletions.extend(deletions);
        entry.since = Instant::now();
    }

    /// A creation for `key` was seen, or failed.
    pub fn creation_observed(&self, key: &ObjectKey) {
        self.creations_skipped(key, 1);
    }

    /// `count` creations for `key` will not be made after all.
    pub fn creations_skipped(&self, key: &ObjectKey, count: usize) {
        if let Some(entry) = self.pending.lock().get_mut(key) {
            entry.creations = entry.creations.saturating_sub(count);
        }
    }

    /// The deletion of `uid` was seen, or failed.
    pub fn deletion_observed(&self, key: &ObjectKey, uid: &str) {
        if let Some(entry) = self.pending.lock().get_mut(key) {
            entry.deletions.remove(uid);
        }
    }

    /// Whether everything written for `key` has been seen, or waited for too long.
    pub fn met(&self, key: &ObjectKey) -> bool {
        let pending = self.pending.lock();
        let Some(entry) = pending.get(key) else { return true };
        (entry.creations == 0 && entry.deletions.is_empty()) || entry.since.elapsed() > TIMEOUT
    }

    /// Whether the deletion of `uid` is still to be seen.
    pub fn expects_deletion(&self, key: &ObjectKey, uid: &str) -> bool {
        self.pending.lock().get(key).is_some_and(|entry| entry.deletions.contains(uid))
    }

    /// `key` itself is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.pending.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn are_met_when_seen_or_after_five_minutes() {
        let (all, key) = (Expectations::new(), ObjectKey::new("ns", "set"));
        assert!(all.met(&key));
        all.expect_creations(&key, 2);
        all.expect_deletions(&key, ["u1".to_string()]);
        all.creation_observed(&key);
        all.creation_observed(&key);
        assert!(!all.met(&key));
        all.deletion_observed(&key, "other");
        assert!(!all.met(&key) && all.expects_deletion(&key, "u1"));
        all.deletion_observed(&key, "u1");
        all.deletion_observed(&key, "u1");
        assert!(all.met(&key));
        all.expect_creations(&key, 1);
        tokio::time::sleep(Duration::from_secs(301)).await;
        assert!(all.met(&key));
        all.expect_creations(&key, 1);
        all.forget(&key);
        assert!(all.met(&key));
    }
}
