//! The paths that every daemon answers about itself: health, metrics, version, `/statusz`, `/flagz`, `/configz`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};

use crate::features::FeatureGates;
use crate::flags::Flags;
use crate::health::Health;
use crate::http::{Handler, Request, Response, handler, json, read_all, text, with_type};
use crate::metrics::{CONTENT_TYPE, Registry, Stability};
use crate::version;

const WARNING: &str = "Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and \
                       is for debugging purposes only.";

type Configz = Arc<dyn Fn() -> String + Send + Sync>;

/// What a process tells about itself over HTTP.
#[derive(Clone)]
pub struct Endpoints {
    component: &'static str,
    health: Health,
    metrics: Registry,
    flags: Option<Arc<Flags>>,
    configz: Option<Configz>,
    debug_flags: bool,
    started: SystemTime,
}

impl std::fmt::Debug for Endpoints {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Endpoints").field("component", &self.component).finish_non_exhaustive()
    }
}

impl Endpoints {
    /// Health, metrics and version of a component. `started` is shown by `/statusz`.
    pub fn new(component: &'static str, health: Health, metrics: Registry, started: SystemTime) -> Endpoints {
        Endpoints { component, health, metrics, flags: None, configz: None, debug_flags: false, started }
    }

    /// Adds `/flagz`.
    pub fn with_flags(mut self, flags: Arc<Flags>) -> Endpoints {
        self.flags = Some(flags);
        self
    }

    /// Adds `/configz`: `config` gives a JSON object, by upstream one member per config group.
    pub fn with_configz(mut self, config: impl Fn() -> String + Send + Sync + 'static) -> Endpoints {
        self.configz = Some(Arc::new(config));
        self
    }

    /// Adds `/debug/flags/v`: a PUT sets the verbosity of logs, `4` say. The caller sees to who may.
    pub fn with_debug_flags(mut self) -> Endpoints {
        self.debug_flags = true;
        self
    }

    /// Shows the state of the feature gates among the metrics.
    pub fn with_gates(self, gates: &FeatureGates) -> Endpoints {
        let enabled = self.metrics.gauge(
            "kubernetes_feature_enabled",
            "This metric records the data about the stage and enablement of a k8s feature.",
            Stability::Beta,
            &["name", "stage"],
        );
        for (gate, on) in gates.all() {
            enabled.with(&[gate.name, gate.stage.as_str()]).set(if on { 1.0 } else { 0.0 });
        }
        self
    }

    /// Answers a GET of one of the paths, or nothing.
    pub fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Option<Response> {
        if let Some(response) = self.health.answer(path, query) {
            return Some(response);
        }
        if method != Method::GET && method != Method::HEAD {
            return None;
        }
        Some(match path {
            "/metrics" => with_type(StatusCode::OK, CONTENT_TYPE, self.metrics.text()),
            "/metrics/slis" => with_type(StatusCode::OK, CONTENT_TYPE, self.health.slis().text()),
            "/version" | "/version/" => json(StatusCode::OK, version::json()),
            "/statusz" => text(StatusCode::OK, self.statusz()),
            "/flagz" => text(StatusCode::OK, self.flagz(self.flags.as_ref()?)),
            "/configz" => json(StatusCode::OK, self.configz.as_ref()?()),
            _ => return None,
        })
    }

    /// A handler that answers these paths and 404 to all others.
    pub fn handler(self) -> Handler {
        let endpoints = Arc::new(self);
        handler(move |request: Request| {
            let endpoints = endpoints.clone();
            async move {
                match endpoints.answer_debug(request).await {
                    Ok(response) => response,
                    Err(request) => {
                        endpoints.answer(request.method(), request.uri().path(), request.uri().query()).unwrap_or_else(not_found)
                    }
                }
            }
        })
    }

    /// Answers a PUT to `/debug/flags/v`, if that was asked for; gives any other request back.
    pub async fn answer_debug(&self, request: Request) -> Result<Response, Request> {
        if !self.debug_flags || request.uri().path() != "/debug/flags/v" {
            return Err(request);
        }
        if request.method() != Method::PUT {
            return Ok(text(StatusCode::NOT_ACCEPTABLE, "unrecognized http method\n"));
        }
        let body = read_all(request.into_body(), 100).await.unwrap_or_default();
        let value = String::from_utf8_lossy(&body);
        Ok(match value.trim().parse() {
            Ok(verbosity) => {
                crate::logs::set_verbosity(verbosity);
                text(StatusCode::OK, format!("successfully set klog.logging.verbosity to {verbosity}"))
            }
            Err(_) => text(
                StatusCode::BAD_REQUEST,
                format!("failed set klog.logging.verbosity {value}: strconv.ParseInt: parsing {value:?}: invalid syntax\n"),
            ),
        })
    }

    fn statusz(&self) -> String {
        let up = SystemTime::now().duration_since(self.started).unwrap_or(Duration::ZERO).as_secs();
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut paths = vec!["/healthz", "/livez", "/metrics", "/metrics/slis", "/readyz", "/statusz", "/version"];
        if self.flags.is_some() {
            paths.push("/flagz");
        }
        if self.configz.is_some() {
            paths.push("/configz");
        }
        paths.sort_unstable();
        let mut out = format!("\n{} statusz\n{WARNING}\n\n", self.component);
        let _ = writeln!(out, "Started: {}", crate::logs::date(started));
        let _ = writeln!(out, "Up: {} hr {:02} min {:02} sec", up / 3600, up / 60 % 60, up % 60);
        let _ = writeln!(out, "Go version: {}", version::COMPILER);
        let _ = writeln!(out, "Binary version: {}", version::GIT_VERSION.trim_start_matches('v'));
        let _ = writeln!(out, "Emulation version: {}.{}", version::MAJOR, version::MINOR);
        let _ = writeln!(out, "Paths: {}", paths.join(" "));
        out
    }

    fn flagz(&self, flags: &Flags) -> String {
        let mut out = format!("\n{} flagz\n{WARNING}\n\n", self.component);
        for (name, value) in flags.all() {
            let _ = writeln!(out, "{name}={value}");
        }
        out
    }
}

/// What Go's multiplexer answers to a path it does not know.
pub fn not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::FlagSet;

    async fn ask(endpoints: &Endpoints, path: &str) -> Option<String> {
        let response = endpoints.answer(&Method::GET, path, None)?;
        let body = crate::http::read_all(response.into_body(), 1 << 20).await.unwrap();
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_process_tells_about_itself() {
        let flags = FlagSet::of("kube-proxy").parse(["-v=2"]).unwrap();
        let endpoints = Endpoints::new("kube-proxy", Health::new(), Registry::new(), SystemTime::UNIX_EPOCH)
            .with_gates(&FeatureGates::default())
            .with_flags(Arc::new(flags));
        assert_eq!(ask(&endpoints, "/healthz").await.unwrap(), "ok");
        assert!(ask(&endpoints, "/version").await.unwrap().contains("\"gitVersion\": \"v1.36.2\""));
        let status = ask(&endpoints, "/statusz").await.unwrap();
        assert!(status.contains("\nStarted: Thu Jan  1 00:00:00 UTC 1970\n"), "{status}");
        let flagz = ask(&endpoints, "/flagz").await.unwrap();
        assert!(flagz.contains("\nv=2\n") && flagz.contains("\nmetrics-bind-address=127.0.0.1:10249\n"), "{flagz}");
        let metrics = ask(&endpoints, "/metrics").await.unwrap();
        assert!(metrics.contains("kubernetes_feature_enabled{name=\"APIServerTracing\",stage=\"\"} 1\n"), "{metrics}");
        assert!(ask(&endpoints, "/configz").await.is_none());
        assert!(endpoints.answer(&Method::POST, "/metrics", None).is_none());
    }

    #[tokio::test]
    async fn verbosity_can_be_put() {
        let put = |method: Method, value: &'static str| {
            let request = Request::new(crate::http::full(value));
            let (mut parts, body) = request.into_parts();
            (parts.method, parts.uri) = (method, "/debug/flags/v".parse().unwrap());
            Request::from_parts(parts, body)
        };
        let closed = Endpoints::new("x", Health::new(), Registry::new(), SystemTime::UNIX_EPOCH);
        assert!(closed.answer_debug(put(Method::PUT, "4")).await.is_err());
        let open = closed.with_debug_flags();
        for (method, value, status) in [(Method::PUT, "0", 200), (Method::PUT, "x", 400), (Method::GET, "", 406)] {
            assert_eq!(open.answer_debug(put(method, value)).await.unwrap().status().as_u16(), status, "{value}");
        }
    }
}
