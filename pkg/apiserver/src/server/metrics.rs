//! What the server counts about requests, by upstream's names. Upstream: apiserver/pkg/endpoints/metrics.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use component_base::http::{Body, BoxError, Response};
use component_base::metrics::{CounterFamily, Gauge, GaugeFamily, HistogramFamily, Registry, Stability};

use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

use crate::request::RequestInfo;

const DURATION_BUCKETS: &[f64] =
    &[0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];

#[derive(Debug)]
pub(super) struct Metrics {
    requests: CounterFamily,
    durations: HistogramFamily,
    inflight: GaugeFamily,
    long_running: GaugeFamily,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Metrics {
        Metrics {
            requests: registry.counter(
                "apiserver_request_total",
                "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
                Stability::Stable,
                &["code", "component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
            ),
            durations: registry.histogram(
                "apiserver_request_duration_seconds",
                "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
                Stability::Stable,
                &["component", "dry_run", "group", "resource", "scope", "subresource", "verb", "version"],
                DURATION_BUCKETS,
            ),
            inflight: registry.gauge(
                "apiserver_current_inflight_requests",
                "Maximal number of currently used inflight request limit of this apiserver per request kind in last second.",
                Stability::Stable,
                &["request_kind"],
            ),
            long_running: registry.gauge(
                "apiserver_longrunning_requests",
                "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component. Not all requests are tracked this way.",
                Stability::Stable,
                &["component", "group", "resource", "scope", "subresource", "verb", "version"],
            ),
        }
    }

    /// Counts a request as running until the answer is dropped.
    pub fn running(&self, info: &RequestInfo, long: bool, mutating: bool) -> Running {
        let gauge = match long {
            true => self.long_running.with(&[
                "apiserver",
                &info.group,
                &info.resource,
                scope(info),
                &info.subresource,
                verb(info),
                &info.version,
            ]),
            false => self.inflight.with(&[if mutating { "mutating" } else { "readOnly" }]),
        };
        gauge.inc();
        Running(gauge)
    }

    /// Enters a finished request.
    pub fn observe(&self, info: &RequestInfo, known: bool, dry_run: bool, code: u16, elapsed: Duration) {
        // Names nobody serves would be labels that clients invent.
        let name = |text: &'_ str| -> String { if known { text.to_owned() } else { String::new() } };
        let (group, version) = (name(&info.group), name(&info.version));
        let (resource, subresource) = (name(&info.resource), name(&info.subresource));
        let code = code.to_string();
        let dry_run = if dry_run { "All" } else { "" };
        let verb = verb(info);
        let scope = scope(info);
        self.requests.with(&[&code, "apiserver", dry_run, &group, &resource, scope, &subresource, verb, &version]).inc();
        self.durations.with(&["apiserver", dry_run, &group, &resource, scope, &subresource, verb, &version]).observe_duration(elapsed);
    }
}

/// The verb as metrics spell it.
pub(super) fn verb(info: &RequestInfo) -> &'static str {
    match info.verb {
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "list" => "LIST",
        "watch" => "WATCH",
        "get" => "GET",
        _ => "OTHER",
    }
}

/// What a request is about.
pub(super) fn scope(info: &RequestInfo) -> &'static str {
    match () {
        () if !info.is_resource => "",
        () if !info.name.is_empty() || info.verb == "create" => "resource",
        () if !info.namespace.is_empty() => "namespace",
        () => "cluster",
    }
}

/// The same answer, whose request counts as running until the body has been read or dropped.
pub(super) fn while_read(response: Response, running: Running) -> Response {
    response.map(|body| Guarded { body, _running: running }.boxed_unsync())
}

struct Guarded {
    body: Body,
    _running: Running,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request that counts as running.
#[derive(Debug)]
pub(super) struct Running(Arc<Gauge>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}
