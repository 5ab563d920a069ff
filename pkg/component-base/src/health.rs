//! `/healthz`, `/livez` and `/readyz`: named checks, in upstream's text form.
//!
//! Upstream: staging/src/k8s.io/apiserver/pkg/server/healthz/healthz.go.

use std::fmt::Write as _;
use std::sync::Arc;

use http::StatusCode;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::http::{Response, query_value, query_values, text};
use crate::metrics::{Registry, Stability};

/// The state of one thing. Must be quick and must not block; what takes time is looked at by a task and kept in a
/// [`Status`].
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// One of the three questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    Healthz,
    Livez,
    Readyz,
}

impl Probe {
    pub const ALL: &'static [Probe] = &[Probe::Healthz, Probe::Livez, Probe::Readyz];

    fn name(self) -> &'static str {
        match self {
            Probe::Healthz => "healthz",
            Probe::Livez => "livez",
            Probe::Readyz => "readyz",
        }
    }
}

/// A state that one part sets and a check reads. Begins as failed.
#[derive(Clone, Debug)]
pub struct Status {
    state: Arc<Mutex<Result<(), String>>>,
}

impl Status {
    /// A status that fails with `reason` until it is set.
    pub fn failing(reason: &str) -> Status {
        Status { state: Arc::new(Mutex::new(Err(reason.to_owned()))) }
    }

    pub fn set(&self, state: Result<(), String>) {
        *self.state.lock() = state;
    }

    /// From now on all is well.
    pub fn pass(&self) {
        self.set(Ok(()));
    }

    /// The check that reads it.
    pub fn check(&self) -> Check {
        let state = self.state.clone();
        Arc::new(move || state.lock().clone())
    }
}

#[derive(Clone)]
struct Named {
    name: String,
    probes: &'static [Probe],
    check: Check,
}

/// The checks of a process.
#[derive(Clone)]
pub struct Health {
    checks: Vec<Named>,
    slis: Registry,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_list().entries(self.checks.iter().map(|check| &check.name)).finish()
    }
}

impl Default for Health {
    fn default() -> Health {
        Health::new()
    }
}

impl Health {
    /// Checks that always hold, as upstream begins: `ping` and `log`.
    pub fn new() -> Health {
        let health = Health { checks: Vec::new(), slis: Registry::new() };
        health.with("ping", Probe::ALL, Arc::new(|| Ok(()))).with("log", Probe::ALL, Arc::new(|| Ok(())))
    }

    /// Adds a check to some of the questions. Checks are answered in the order they were added.
    pub fn with(mut self, name: &str, probes: &'static [Probe], check: Check) -> Health {
        self.checks.push(Named { name: name.to_owned(), probes, check });
        self
    }

    /// Adds upstream's `shutdown` check to `/readyz`: unready as soon as the process is told to stop.
    pub fn unready_on(self, stop: CancellationToken) -> Health {
        let check = move || if stop.is_cancelled() { Err("process is shutting down".to_owned()) } else { Ok(()) };
        self.with("shutdown", &[Probe::Readyz], Arc::new(check))
    }

    /// Whether all checks behind a question hold.
    pub fn holds(&self, probe: Probe) -> bool {
        self.of(probe).all(|named| self.run(named, probe).is_ok())
    }

    /// Answers `/healthz`, `/livez`, `/readyz` and a single check below one of them; nothing for any other path.
    pub fn answer(&self, path: &str, query: Option<&str>) -> Option<Response> {
        let rest = path.strip_prefix('/')?;
        let probe = *Probe::ALL
            .iter()
            .find(|probe| rest.strip_prefix(probe.name()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))?;
        match rest[probe.name().len()..].trim_start_matches('/') {
            "" => Some(self.answer_all(probe, query)),
            name => self.of(probe).find(|named| named.name == name).map(|named| match self.run(named, probe) {
                Ok(()) => text(StatusCode::OK, "ok"),
                Err(reason) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {reason}\n")),
            }),
        }
    }

    fn answer_all(&self, probe: Probe, query: Option<&str>) -> Response {
        let mut unmatched = query_values(query, "exclude");
        let excluded = unmatched.clone();
        let mut lines = String::new();
        let mut failed: Vec<String> = Vec::new();
        for named in self.of(probe) {
            let name = &named.name;
            if excluded.contains(name) {
                unmatched.retain(|other| other != name);
                let _ = writeln!(lines, "[+]{name} excluded: ok");
            } else if let Err(reason) = self.run(named, probe) {
                failed.push(format!("{name}: {reason}"));
                let _ = writeln!(lines, "[-]{name} failed: reason withheld");
            } else {
                let _ = writeln!(lines, "[+]{name} ok");
            }
        }
        if !unmatched.is_empty() {
            unmatched.sort();
            unmatched.dedup();
            let quoted: Vec<String> = unmatched.iter().map(|name| format!("{name:?}")).collect();
            let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {}", quoted.join(", "));
        }
        let name = probe.name();
        if !failed.is_empty() {
            tracing::debug!(probe = name, failed = failed.join(", "), "Health check failed");
            return text(StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{name} check failed\n"));
        }
        if query_value(query, "verbose").is_none() {
            return text(StatusCode::OK, "ok");
        }
        text(StatusCode::OK, format!("{lines}{name} check passed\n"))
    }

    fn of(&self, probe: Probe) -> impl Iterator<Item = &Named> {
        self.checks.iter().filter(move |named| named.probes.contains(&probe))
    }

    fn run(&self, named: &Named, probe: Probe) -> Result<(), String> {
        let result = (named.check)();
        let name = named.name.as_str();
        let status = if result.is_ok() { "success" } else { "error" };
        self.slis
            .gauge(
                "kubernetes_healthcheck",
                "This metric records the result of a single healthcheck.",
                Stability::Stable,
                &["name", "type"],
            )
            .with(&[name, probe.name()])
            .set(if result.is_ok() { 1.0 } else { 0.0 });
        self.slis
            .counter(
                "kubernetes_healthchecks_total",
                "This metric records the results of all healthcheck.",
                Stability::Stable,
                &["name", "type", "status"],
            )
            .with(&[name, probe.name(), status])
            .inc();
        result
    }

    /// What `/metrics/slis` shows: how the checks went.
    pub fn slis(&self) -> &Registry {
        &self.slis
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(health: &Health, path: &str, query: &str) -> (u16, String) {
        let Some(response) = health.answer(path, Some(query)) else { return (404, String::new()) };
        let status = response.status().as_u16();
        let body = crate::http::read_all(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn answers_are_upstreams() {
        let etcd = Status::failing("not yet");
        let stop = CancellationToken::new();
        let health = Health::new().with("etcd", &[Probe::Healthz, Probe::Readyz], etcd.check()).unready_on(stop.clone());
        for (path, query, status, body) in [
            ("/livez", "", 200, "ok"),
            ("/livez", "verbose", 200, "[+]ping ok\n[+]log ok\nlivez check passed\n"),
            ("/healthz", "", 500, "[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\nhealthz check failed\n"),
            ("/healthz", "exclude=etcd", 200, "ok"),
            (
                "/healthz",
                "verbose=true&exclude=etcd&exclude=b&exclude=a",
                200,
                "[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n\
                 warn: some health checks cannot be excluded: no matches for \"a\", \"b\"\nhealthz check passed\n",
            ),
            ("/healthz/ping", "", 200, "ok"),
            ("/healthz/etcd", "", 500, "internal server error: not yet\n"),
            ("/livez/etcd", "", 404, ""),
            ("/healthzz", "", 404, ""),
        ] {
            assert_eq!(ask(&health, path, query).await, (status, body.to_owned()), "{path}?{query}");
        }
        etcd.pass();
        assert_eq!(ask(&health, "/readyz", "").await.0, 200);
        stop.cancel();
        assert_eq!(
            ask(&health, "/readyz", "").await.1,
            "[+]ping ok\n[+]log ok\n[+]etcd ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n"
        );
        assert!(health.slis().text().contains("kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1\n"));
    }
}
