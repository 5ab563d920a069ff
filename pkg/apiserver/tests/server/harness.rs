//! A server, and a client that speaks to its handler.

use std::sync::Arc;
use std::time::Duration;

use api::core::v1::{ConfigMap, Pod};
use apimachinery::Value;
use apimachinery::meta::v1::DeleteOptions;
use apiserver::authentication::{Authenticated, Authenticator, Credentials};
use apiserver::authorization::union::AlwaysAllow;
use apiserver::authorization::{Attributes, Authorizer, Decision};
use apiserver::request::{RequestContext, User};
use apiserver::rest::{Graceful, ResourceDef, Strategy};
use apiserver::server::{Access, Config, Server, ServerBuilder};
use async_trait::async_trait;
use component_base::http::{Body, full, read_all};
use component_base::metrics::Registry;
use futures_util::StreamExt;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use storage::Store;
use storage::embedded::EmbeddedStore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Any time a test waits for something is bounded by this.
pub const PATIENCE: Duration = Duration::from_secs(20);

struct ConfigMaps;

impl Strategy for ConfigMaps {
    type Object = ConfigMap;
}

struct Pods;

impl Strategy for Pods {
    type Object = Pod;

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Pod, old: &Pod) {
        new.status = old.status.clone();
    }

    fn graceful_deletion(&self, _: &Pod, options: &DeleteOptions) -> Graceful {
        Graceful::Seconds(options.grace_period_seconds.unwrap_or(30))
    }

    fn selectable_fields(&self, pod: &Pod) -> Vec<(&'static str, String)> {
        vec![("spec.nodeName", pod.spec.node_name.clone())]
    }
}

struct PodStatus;

impl Strategy for PodStatus {
    type Object = Pod;

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Pod, old: &Pod) {
        new.spec = old.spec.clone();
    }
}

/// Lets everybody in, as whoever the `User` header names.
struct Named;

#[async_trait]
impl Authenticator for Named {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String> {
        let name = credentials.headers.get("user").and_then(|value| value.to_str().ok()).unwrap_or("admin");
        if name == "nobody" {
            return Ok(None);
        }
        let user = User { name: name.to_owned(), groups: vec!["system:authenticated".to_owned()], ..User::default() };
        Ok(Some(Authenticated { user: Arc::new(user), audiences: Vec::new() }))
    }
}

/// `admin` may do anything, others nothing.
struct OnlyAdmin;

#[async_trait]
impl Authorizer for OnlyAdmin {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.name == "admin" { AlwaysAllow.authorize(attributes).await } else { Decision::NoOpinion(String::new()) }
    }
}

/// A running server. Dropping it stops it.
pub struct Api {
    pub server: Arc<Server>,
    pub store: Arc<dyn Store>,
    _stop: DropGuard,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        Value::parse(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A string of the body, by its path with dots.
    pub fn text(&self, path: &str) -> String {
        let path: Vec<&str> = path.split('.').collect();
        self.json().str_at(&path).unwrap_or_default().to_owned()
    }

    /// `409 Conflict`: code and reason of a Status.
    pub fn refusal(&self) -> String {
        format!("{} {}", self.status.as_u16(), self.text("reason"))
    }
}

impl Api {
    pub fn start() -> Api {
        Api::over(Arc::new(EmbeddedStore::in_memory()))
    }

    /// A server over a store that may have objects already.
    pub fn over(store: Arc<dyn Store>) -> Api {
        let definitions = vec![ResourceDef::stored(ConfigMaps), ResourceDef::stored(Pods).status(PodStatus)];
        let builder = ServerBuilder::new(Config::default(), store.clone(), definitions).unwrap();
        let access = Access { authenticator: Arc::new(Named), authorizer: Arc::new(OnlyAdmin), admission: Vec::new() };
        let server = builder.build(access, Vec::new(), &Registry::new());
        let stop = CancellationToken::new();
        tokio::spawn(server.clone().run(stop.clone()));
        Api { server, store, _stop: stop.drop_guard() }
    }

    pub async fn send(&self, method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let (status, headers, body) = self.open(method, url, headers, body).await;
        let body = tokio::time::timeout(PATIENCE, read_all(body, usize::MAX)).await.expect("the answer ends").unwrap();
        Answer { status, headers, body: body.to_vec() }
    }

    async fn open(&self, method: Method, url: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, HeaderMap, Body) {
        let mut request = Request::builder().method(method).uri(url).header("user-agent", "test/1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answering = self.server.handler()(request.body(full(body.to_owned())).unwrap());
        let response = tokio::time::timeout(PATIENCE, answering).await.expect("the server answers");
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body)
    }

    pub async fn get(&self, url: &str) -> Answer {
        self.send(Method::GET, url, &[], "").await
    }

    pub async fn post(&self, url: &str, body: &str) -> Answer {
        self.send(Method::POST, url, &[], body).await
    }

    pub async fn put(&self, url: &str, body: &str) -> Answer {
        self.send(Method::PUT, url, &[], body).await
    }

    pub async fn delete(&self, url: &str, body: &str) -> Answer {
        self.send(Method::DELETE, url, &[], body).await
    }

    /// `kind`: `merge-patch+json` and the like.
    pub async fn patch(&self, url: &str, kind: &str, body: &str) -> Answer {
        self.send(Method::PATCH, url, &[("content-type", &format!("application/{kind}"))], body).await
    }

    /// A config map in namespace `a`; gives its resource version.
    pub async fn make(&self, name: &str) -> String {
        let answer = self.post("/api/v1/namespaces/a/configmaps", &format!(r#"{{"metadata":{{"name":"{name}"}}}}"#)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.text("metadata.resourceVersion")
    }

    pub async fn watch(&self, url: &str) -> Watch {
        let (status, _, body) = self.open(Method::GET, url, &[], "").await;
        assert_eq!(status, 200);
        Watch { body, rest: Vec::new() }
    }
}

/// A running watch, read event by event.
pub struct Watch {
    body: Body,
    rest: Vec<u8>,
}

impl Watch {
    /// The next event; `None` at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(Value::parse(&line).unwrap());
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an event comes")?.unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    /// `ADDED x`: what happened to whom.
    pub async fn line(&mut self) -> String {
        match self.next().await {
            Some(event) => {
                let name = event.str_at(&["object", "metadata", "name"]).or(event.str_at(&["object", "reason"])).unwrap_or_default();
                format!("{} {name}", event.str_at(&["type"]).unwrap_or_default()).trim_end().to_owned()
            }
            None => "end".to_owned(),
        }
    }

    pub async fn lines(&mut self, count: usize) -> Vec<String> {
        futures_util::stream::unfold(self, |watch| async move { Some((watch.line().await, watch)) }).take(count).collect().await
    }
}
