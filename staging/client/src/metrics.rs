//! The `rest_client_*` metrics, by upstream's names. Upstream: `component-base/metrics/prometheus/restclient`.

use std::time::Duration;

use component_base::metrics::{CounterFamily, HistogramFamily, Stability, process};
use http::Method;

/// Upstream's buckets for requests and for waiting, in seconds.
const BOUNDS: &[f64] = &[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

pub(crate) struct ClientMetrics {
    host: String,
    requests: CounterFamily,
    durations: HistogramFamily,
    waits: HistogramFamily,
    retries: CounterFamily,
}

impl ClientMetrics {
    pub(crate) fn new(host: &str) -> ClientMetrics {
        let registry = process();
        let histogram = |name, help| registry.histogram(name, help, Stability::Alpha, &["host", "verb"], BOUNDS);
        ClientMetrics {
            host: host.to_string(),
            requests: registry.counter(
                "rest_client_requests_total",
                "Requests sent, by answer.",
                Stability::Alpha,
                &["code", "host", "method"],
            ),
            durations: histogram("rest_client_request_duration_seconds", "Time until the head of the answer."),
            waits: histogram("rest_client_rate_limiter_duration_seconds", "Time spent waiting for the client's own rate limit."),
            retries: registry.counter(
                "rest_client_request_retries_total",
                "Requests sent again.",
                Stability::Alpha,
                &["code", "host", "verb"],
            ),
        }
    }

    /// `code` is a status or `<error>`.
    pub(crate) fn answered(&self, method: &Method, code: &str, took: Duration) {
        self.requests.with(&[code, &self.host, method.as_str()]).inc();
        self.durations.with(&[&self.host, method.as_str()]).observe_duration(took);
    }

    pub(crate) fn throttled(&self, method: &Method, waited: Duration) {
        self.waits.with(&[&self.host, method.as_str()]).observe_duration(waited);
    }

    pub(crate) fn retried(&self, method: &Method, code: &str) {
        self.retries.with(&[code, &self.host, method.as_str()]).inc();
    }
}
