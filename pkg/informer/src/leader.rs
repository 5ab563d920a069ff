//! One of several copies of a program does the work: leader election on a Lease. Upstream: `client-go/tools/leaderelection`.
//!
//! ```text
//!   waiting --lease free or run out--> leading --renewed every retry_period--> leading
//!                                         |--not renewed for renew_deadline--> lost: the process must end
//!                                         +--stop--> the work ends, then the lease is released
//! ```
//! Clocks of different machines are never compared: a lease has run out when *we* have seen it unchanged for its duration.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use api::coordination::v1::{Lease, LeaseSpec};
use apimachinery::MicroTime;
use client::{Api, Client, Error};
use component_base::backoff::jittered;
use component_base::metrics::{Stability, process};
use thiserror::Error as ThisError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::events::{Recorder, reference};

/// Which lease, as whom, and how patient. The defaults are upstream's.
#[derive(Clone, Debug)]
pub struct LeaderConfig {
    pub namespace: String,
    pub name: String,
    /// See [`identity`].
    pub identity: String,
    /// How long others wait after the last renewal they saw.
    pub lease_duration: Duration,
    /// How long the leader goes on without a renewal. Must be below `lease_duration`.
    pub renew_deadline: Duration,
    /// Pause between tries.
    pub retry_period: Duration,
    /// Give the lease up at the end, so that the next one need not wait.
    pub release_on_cancel: bool,
    /// Told when this process becomes leader or stops being it.
    pub recorder: Option<Recorder>,
}

impl LeaderConfig {
    pub fn new(namespace: &str, name: &str, identity: &str) -> LeaderConfig {
        LeaderConfig {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
            release_on_cancel: true,
            recorder: None,
        }
    }

    /// What is wrong with the periods, in upstream's words.
    pub fn validate(&self) -> Result<(), &'static str> {
        if self.lease_duration <= self.renew_deadline {
            return Err("leaseDuration must be greater than renewDeadline");
        }
        if self.renew_deadline <= self.retry_period.mul_f64(JITTER) {
            return Err("renewDeadline must be greater than retryPeriod*JitterFactor");
        }
        Ok(())
    }
}

/// Upstream's `JitterFactor`.
const JITTER: f64 = 1.2;

/// The lease was lost. Nothing of the past term may be used again: end the process.
#[derive(Debug, ThisError)]
#[error("leaderelection lost")]
pub struct LostLease;

/// `hostname_uuid`: unique per process.
pub fn identity(hostname: &str) -> String {
    let (high, low) = (RandomState::new().hash_one(hostname), RandomState::new().hash_one(std::process::id()));
    let (high, low) = (high & !0xf000 | 0x4000, low & !(3 << 62) | (2 << 62));
    format!(
        "{hostname}_{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Waits for the lease, then runs `work` for as long as it is held.
///
/// `work` gets a token that fires when its term ends; after `stop` it is awaited, with the lease still being renewed, and the
/// lease is released. Returns `None` if `stop` came before the lease. A lost lease abandons `work` and is an error.
pub async fn while_leading<F, W>(
    config: LeaderConfig,
    client: Client,
    stop: CancellationToken,
    work: F,
) -> Result<Option<W::Output>, LostLease>
where
    F: FnOnce(CancellationToken) -> W,
    W: Future,
{
    let mut elector = Elector::new(config, client);
    tracing::info!(lease = elector.lease_key(), identity = elector.config.identity, "attempting to acquire leader lease...");
    tokio::select! {
        () = stop.cancelled() => return Ok(None),
        // Cancel-safe: at worst a lease was just taken that runs out by itself.
        () = elector.acquire() => {}
    }
    tracing::info!(lease = elector.lease_key(), "successfully acquired lease");
    elector.announce("became leader");
    let term = stop.child_token();
    let output = {
        let work = work(term.clone());
        tokio::select! {
            output = work => Some(output),
            () = elector.renew() => None,
        }
    };
    let Some(output) = output else {
        term.cancel();
        elector.announce("stopped leading");
        tracing::error!(lease = elector.lease_key(), "leaderelection lost");
        return Err(LostLease);
    };
    if elector.config.release_on_cancel {
        elector.release().await;
    }
    elector.announce("stopped leading");
    Ok(Some(output))
}

struct Elector {
    config: LeaderConfig,
    leases: Api<Lease>,
    /// The lease as last seen, and when it was first seen like that.
    seen: Option<(Lease, Instant)>,
    told_holder: String,
}

impl Elector {
    fn new(config: LeaderConfig, client: Client) -> Elector {
        // A hanging request must not eat the whole deadline.
        let client = client.with_timeout(Some(config.renew_deadline / 2));
        let leases = Api::namespaced(&client, &config.namespace);
        Elector { config, leases, seen: None, told_holder: String::new() }
    }

    fn lease_key(&self) -> String {
        format!("{}/{}", self.config.namespace, self.config.name)
    }

    async fn acquire(&mut self) {
        loop {
            match self.try_once().await {
                Ok(true) => return self.set_status(true),
                Ok(false) => self.set_status(false),
                Err(err) => {
                    tracing::error!(lease = self.lease_key(), err = &err as &dyn std::error::Error, "error retrieving or updating lease")
                }
            }
            tokio::time::sleep(jittered(self.config.retry_period, JITTER)).await;
        }
    }

    /// Renews until that fails for too long.
    async fn renew(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.config.retry_period).await;
            let deadline = renewed + self.config.renew_deadline;
            match tokio::time::timeout_at(deadline, self.try_once()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Err(err)) => {
                    tracing::error!(lease = self.lease_key(), err = &err as &dyn std::error::Error, "failed to renew lease");
                }
                // Somebody else holds it, or the deadline passed during a request.
                Ok(Ok(false)) => tracing::error!(lease = self.lease_key(), "failed to renew lease: held by another"),
                Err(_) => {}
            }
            if Instant::now() >= deadline {
                return self.set_status(false);
            }
        }
    }

    /// True if the lease is ours and fresh afterwards.
    async fn try_once(&mut self) -> Result<bool, Error> {
        if let Some((lease, since)) = &self.seen
            && self.is_ours(lease)
            && since.elapsed() < self.config.lease_duration
        {
            // Usually nobody else has touched it: no need to read first.
            let renewed = self.claimed(lease);
            match self.leases.update(&renewed).await {
                Ok(lease) => {
                    self.note(lease);
                    return Ok(true);
                }
                Err(err) if err.is_conflict() || err.is_not_found() => {}
                Err(err) => return Err(err),
            }
        }
        let help = "Attempts that had to read the lease first.";
        process().counter("leader_election_slowpath_total", help, Stability::Alpha, &["name"]).with(&[&self.config.name]).inc();
        let Some(current) = self.leases.get_opt(&self.config.name).await? else {
            let mut lease = Lease::default();
            lease.metadata.name = self.config.name.clone();
            lease.metadata.namespace = self.config.namespace.clone();
            let created = self.leases.create(&self.claimed(&lease)).await?;
            self.note(created);
            return Ok(true);
        };
        self.note(current.clone());
        let since = self.seen.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        let seconds = current.spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(self.config.lease_duration, Duration::from_secs);
        if !holder(&current).is_empty() && !self.is_ours(&current) && since.elapsed() < duration {
            return Ok(false);
        }
        match self.leases.update(&self.claimed(&current)).await {
            Ok(lease) => {
                self.note(lease);
                Ok(true)
            }
            Err(err) if err.is_conflict() => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// `lease` with us as its holder, renewed now.
    fn claimed(&self, lease: &Lease) -> Lease {
        let (mut lease, now) = (lease.clone(), MicroTime::now());
        let (ours, fresh) = (self.is_ours(&lease), lease.metadata.resource_version.is_empty());
        let spec = &mut lease.spec;
        spec.holder_identity = Some(self.config.identity.clone());
        spec.lease_duration_seconds = i32::try_from(self.config.lease_duration.as_secs()).ok();
        spec.renew_time = Some(now);
        if !ours {
            spec.acquire_time = Some(now);
            spec.lease_transitions = Some(if fresh { 0 } else { spec.lease_transitions.unwrap_or_default() + 1 });
        }
        lease
    }

    fn is_ours(&self, lease: &Lease) -> bool {
        holder(lease) == self.config.identity
    }

    fn note(&mut self, lease: Lease) {
        if holder(&lease) != self.told_holder {
            self.told_holder = holder(&lease).to_string();
            tracing::info!(lease = self.lease_key(), identity = self.told_holder, "new leader elected");
        }
        let since = match &self.seen {
            // Only a change of the record restarts its time.
            Some((old, since)) if same_record(&old.spec, &lease.spec) => *since,
            _ => Instant::now(),
        };
        self.seen = Some((lease, since));
    }

    async fn release(&mut self) {
        let Some((lease, _)) = &self.seen else { return };
        if !self.is_ours(lease) {
            return;
        }
        let (mut lease, now) = (lease.clone(), MicroTime::now());
        lease.spec.holder_identity = Some(String::new());
        lease.spec.lease_duration_seconds = Some(1);
        lease.spec.renew_time = Some(now);
        lease.spec.acquire_time = Some(now);
        if let Err(err) = self.leases.update(&lease).await {
            tracing::error!(lease = self.lease_key(), err = &err as &dyn std::error::Error, "failed to release lease");
        }
        self.set_status(false);
    }

    fn announce(&self, what: &str) {
        if let (Some(recorder), Some((lease, _))) = (&self.config.recorder, &self.seen) {
            recorder.event(&reference(lease), "Normal", "LeaderElection", &format!("{} {what}", self.config.identity));
        }
    }

    fn set_status(&self, leading: bool) {
        let help = "1 while this process holds the lease, 0 while another does.";
        let family = process().gauge("leader_election_master_status", help, Stability::Alpha, &["name"]);
        family.with(&[&self.config.name]).set(if leading { 1.0 } else { 0.0 });
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.holder_identity.as_deref().unwrap_or_default()
}

fn same_record(left: &LeaseSpec, right: &LeaseSpec) -> bool {
    left.holder_identity == right.holder_identity && left.renew_time == right.renew_time && left.acquire_time == right.acquire_time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_host_and_uuid() {
        let (one, two) = (identity("host"), identity("host"));
        assert_ne!(one, two);
        let uuid = one.strip_prefix("host_").unwrap();
        assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }

    #[test]
    fn periods_must_fit_into_each_other() {
        let mut config = LeaderConfig::new("ns", "name", "me");
        assert_eq!(config.validate(), Ok(()));
        config.retry_period = Duration::from_secs(9);
        assert!(config.validate().is_err());
        config.renew_deadline = Duration::from_secs(15);
        assert!(config.validate().is_err());
    }
}
