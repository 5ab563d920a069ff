//! Leases for keys that expire, each shared by many keys.
//!
//! A lease costs etcd a consensus round and memory, and events (nearly the only keys that expire) come by the thousand. So
//! a lease lives a little longer than asked for and takes in everybody who comes early enough, up to a limit, for a
//! lease's keys all expire in one revision.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Client;
use super::fault::Kind;
use crate::{LeaseId, Result};

/// How much longer than asked for a key may live: this much, or a twentieth of the time if that is less.
const REUSE_WINDOW: Duration = Duration::from_secs(60);

/// Keys per lease.
const KEYS_PER_LEASE: u32 = 1000;

pub(super) struct Leases {
    client: Arc<Client>,
    /// Held while a lease is granted, so that those who come at once share it.
    open: Mutex<Option<Lease>>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: i64,
    expires_at: Instant,
    keys: u32,
}

impl Lease {
    /// Whether a key put now may live until this lease ends.
    fn suits(&self, ttl: Duration, now: Instant) -> bool {
        let left = self.expires_at.saturating_duration_since(now);
        self.keys < KEYS_PER_LEASE && left >= ttl && left <= ttl + slack(ttl)
    }
}

fn slack(ttl: Duration) -> Duration {
    REUSE_WINDOW.min(ttl / 20)
}

/// etcd counts whole seconds.
fn whole_seconds(duration: Duration) -> i64 {
    duration.as_millis().div_ceil(1000).max(1) as i64
}

impl Leases {
    pub(super) fn new(client: Arc<Client>) -> Leases {
        Leases { client, open: Mutex::new(None) }
    }

    /// A lease that keeps a key for at least `ttl`.
    pub(super) async fn for_ttl(&self, ttl: Duration) -> Result<i64> {
        let mut open = self.open.lock().await;
        let now = Instant::now();
        if let Some(lease) = open.as_mut().filter(|lease| lease.suits(ttl, now)) {
            lease.keys += 1;
            return Ok(lease.id);
        }
        let seconds = whole_seconds(ttl + slack(ttl));
        let grant = || {
            let mut leases = self.client.etcd.lease_client();
            async move { leases.grant(seconds, None).await }
        };
        // A lease that was granted without an answer ends by itself.
        let granted = self.client.call(Kind::Read, "ask etcd for a lease", grant).await?;
        // Counted from before the request, so that the lease never ends earlier than believed here.
        let expires_at = now + Duration::from_secs(granted.ttl().max(0) as u64);
        *open = Some(Lease { id: granted.id(), expires_at, keys: 1 });
        Ok(granted.id())
    }

    /// Shares the open lease with nobody else.
    pub(super) async fn forget(&self) {
        *self.open.lock().await = None;
    }

    pub(super) async fn time_to_live(&self, lease: LeaseId) -> Result<Duration> {
        let ask = || {
            let mut leases = self.client.etcd.lease_client();
            async move { leases.time_to_live(lease.0 as i64, None).await }
        };
        let answer = self.client.call(Kind::Read, "ask etcd how long a lease lasts", ask).await?;
        // A lease that is gone has -1 seconds left.
        Ok(Duration::from_secs(answer.ttl().max(0) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_takes_in_who_lives_about_as_long() {
        let now = Instant::now();
        let hour = Duration::from_secs(3600);
        let lease = Lease { id: 1, expires_at: now + hour + slack(hour), keys: 1 };
        assert!(lease.suits(hour, now));
        assert!(lease.suits(hour, now + slack(hour)));
        assert!(!lease.suits(hour, now + slack(hour) + Duration::from_secs(1)), "it would end too early");
        assert!(!lease.suits(hour / 2, now), "it would end much too late");
        assert!(!Lease { keys: KEYS_PER_LEASE, ..lease }.suits(hour, now), "too many keys would expire at once");
    }

    #[test]
    fn a_short_time_is_not_rounded_away() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
        assert_eq!(slack(Duration::from_secs(10)), Duration::from_millis(500));
    }
}
