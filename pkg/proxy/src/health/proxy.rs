//! Whether the rules in the kernel keep up with the API server.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use apimachinery::MicroTime;
use component_base::http::{Response, with_type};
use component_base::metrics::CounterFamily;
use http::header::{HeaderName, HeaderValue};
use http::{Method, StatusCode};
use parking_lot::Mutex;

use crate::service::Family;

/// Name of the header that keeps browsers from guessing types.
pub(super) const NO_SNIFF: (HeaderName, HeaderValue) = (http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

/// The state of one family.
#[derive(Clone, Copy, Debug)]
struct Progress {
    last_updated: SystemTime,
    /// Since when changes wait to be applied.
    oldest_pending: Option<SystemTime>,
}

/// Health as load balancers and the kubelet see it.
#[derive(Debug)]
pub struct ProxyHealth {
    /// Changes may wait this long before the proxy counts as sick.
    timeout: Duration,
    progress: Mutex<BTreeMap<Family, Progress>>,
    /// The node is known and is not about to be deleted.
    is_node_eligible: AtomicBool,
    healthz: CounterFamily,
    livez: CounterFamily,
}

impl ProxyHealth {
    /// The counters are those of the answers by status code.
    pub fn new(timeout: Duration, healthz: CounterFamily, livez: CounterFamily) -> Self {
        let (progress, is_node_eligible) = (Mutex::default(), AtomicBool::new(false));
        Self { timeout, progress, is_node_eligible, healthz, livez }
    }

    pub fn set_node_eligible(&self, is_eligible: bool) {
        self.is_node_eligible.store(is_eligible, Ordering::Relaxed);
    }

    /// Changes of this family have come.
    pub fn queued(&self, family: Family, now: SystemTime) {
        if let Some(progress) = self.progress.lock().get_mut(&family) {
            progress.oldest_pending.get_or_insert(now);
        }
    }

    /// The kernel is up to date.
    pub fn updated(&self, family: Family, now: SystemTime) {
        self.progress.lock().insert(family, Progress { last_updated: now, oldest_pending: None });
    }

    /// Do all families keep up? A proxy that is still starting does.
    pub fn is_healthy(&self, now: SystemTime) -> bool {
        self.progress.lock().values().all(|progress| self.keeps_up(progress, now))
    }

    /// Answers `/healthz` and `/livez`.
    pub fn answer(&self, method: &Method, path: &str, now: SystemTime) -> Option<Response> {
        if method != Method::GET && method != Method::HEAD {
            return None;
        }
        let (healthy, eligible, counter) = match path {
            "/healthz" => {
                let eligible = self.is_node_eligible.load(Ordering::Relaxed);
                (self.is_healthy(now) && eligible, Some(eligible), &self.healthz)
            }
            "/livez" => (self.is_healthy(now), None, &self.livez),
            _ => return None,
        };
        let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        counter.with(&[status.as_str()]).inc();
        let mut response = with_type(status, "application/json", self.document(now, healthy, eligible));
        response.headers_mut().insert(NO_SNIFF.0, NO_SNIFF.1);
        Some(response)
    }

    fn keeps_up(&self, progress: &Progress, now: SystemTime) -> bool {
        let waiting = progress.oldest_pending.and_then(|since| now.duration_since(since).ok());
        waiting.is_none_or(|waiting| waiting < self.timeout)
    }

    fn document(&self, now: SystemTime, is_answer_good: bool, eligible: Option<bool>) -> String {
        let progress = self.progress.lock();
        let latest = progress.values().map(|progress| progress.last_updated).max();
        // A good answer carries a recent time even if nothing has changed for long: load balancers look at it.
        let last_updated = if is_answer_good { now } else { latest.unwrap_or(SystemTime::UNIX_EPOCH) };
        let mut out = format!("{{\"lastUpdated\":\"{}\",\"currentTime\":\"{}\"", time(last_updated), time(now));
        if let Some(eligible) = eligible {
            let _ = write!(out, ",\"nodeEligible\":{eligible}");
        }
        let healthy = progress.values().all(|progress| self.keeps_up(progress, now));
        let _ = write!(out, ",\"healthy\":{healthy}");
        for (index, (family, progress)) in progress.iter().enumerate() {
            out.push_str(if index == 0 { ",\"status\":{" } else { "," });
            let (name, updated) = (family.as_str(), time(progress.last_updated));
            let healthy = self.keeps_up(progress, now);
            let _ = write!(out, "\"{name}\":{{\"lastUpdated\":\"{updated}\",\"healthy\":{healthy}}}");
        }
        if !progress.is_empty() {
            out.push('}');
        }
        out.push('}');
        out
    }
}

fn time(time: SystemTime) -> MicroTime {
    MicroTime::from(time)
}

#[cfg(test)]
mod tests {
    use component_base::metrics::{Registry, Stability};

    use super::*;

    fn health() -> ProxyHealth {
        let registry = Registry::new();
        let counter = |name| registry.counter(name, "", Stability::Alpha, &["code"]);
        ProxyHealth::new(Duration::from_secs(60), counter("healthz"), counter("livez"))
    }

    #[test]
    fn late_changes_and_a_leaving_node_are_told() {
        let (health, start) = (health(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000));
        let status = |path, now| health.answer(&Method::GET, path, now).unwrap().status().as_u16();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((status("/healthz", start), status("/livez", start)), (503, 200), "the node is not known yet");
        health.set_node_eligible(true);
        health.updated(Family::V4, start);
        health.updated(Family::V6, start);
        assert_eq!(status("/healthz", at(3600)), 200, "nothing has changed for long");
        health.queued(Family::V6, at(3600));
        health.queued(Family::V6, at(3650));
        assert_eq!(status("/healthz", at(3659)), 200);
        assert_eq!((status("/healthz", at(3660)), status("/livez", at(3660))), (503, 503));
        health.updated(Family::V6, at(3661));
        health.set_node_eligible(false);
        assert_eq!((status("/healthz", at(3662)), status("/livez", at(3662))), (503, 200));
    }

    #[test]
    fn the_document_is_upstreams() {
        let (health, now) = (health(), SystemTime::UNIX_EPOCH + Duration::from_secs(1));
        health.updated(Family::V4, now);
        assert_eq!(
            health.document(now, true, Some(true)),
            "{\"lastUpdated\":\"1970-01-01T00:00:01.000000Z\",\"currentTime\":\"1970-01-01T00:00:01.000000Z\",\
             \"nodeEligible\":true,\"healthy\":true,\
             \"status\":{\"IPv4\":{\"lastUpdated\":\"1970-01-01T00:00:01.000000Z\",\"healthy\":true}}}"
        );
    }
}
