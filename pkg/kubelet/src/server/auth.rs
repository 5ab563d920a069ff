//! Who asks, and whether they may: client certificates here, tokens and permissions by the API server's word.
//!
//! Upstream: pkg/kubelet/server/auth.go, cmd/kubelet/app/auth.go.

use crate::api_server::ApiServer;
use api::authentication::v1::{TokenReview, UserInfo};
use api::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use api_config::kubelet::v1beta1::KubeletConfiguration;
use component_base::http::{Request, Response, text};
use component_base::serving::peer::{CaBundle, PeerCertificates};
use http::{Method, StatusCode};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// Answers that are remembered at most; then the oldest half goes.
const MAX_CACHED: usize = 4096;

#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    #[error("cannot read client CA file {path}")]
    Read { path: String, source: std::io::Error },
    #[error("cannot use client CA file {path}")]
    Bundle { path: String, source: component_base::serving::peer::BundleError },
}

/// An answer of the API server, for as long as it is taken to hold.
struct Cached<T> {
    answer: T,
    until: Instant,
}

type Answers<K, T> = Mutex<HashMap<K, Cached<T>>>;

fn recall<K: std::hash::Hash + Eq, T: Clone>(answers: &Answers<K, T>, key: &K) -> Option<T> {
    let answers = answers.lock().expect("no holder panics");
    answers.get(key).filter(|cached| cached.until > Instant::now()).map(|cached| cached.answer.clone())
}

fn remember<K: std::hash::Hash + Eq, T>(answers: &Answers<K, T>, key: K, answer: T, ttl: Duration) {
    let mut answers = answers.lock().expect("no holder panics");
    if answers.len() >= MAX_CACHED {
        let now = Instant::now();
        answers.retain(|_, cached| cached.until > now);
        if answers.len() >= MAX_CACHED {
            answers.clear();
        }
    }
    answers.insert(key, Cached { answer, until: Instant::now() + ttl });
}

/// What of a request decides whether it may pass.
pub struct Asked {
    method: Method,
    path: String,
    peer: Option<PeerCertificates>,
    token: Option<String>,
}

impl Asked {
    pub fn of(request: &Request) -> Self {
        let header = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
        let peer = request.extensions().get::<PeerCertificates>().cloned();
        Asked { method: request.method().clone(), path: request.uri().path().to_owned(), peer, token }
    }
}

pub struct Guard {
    server: Arc<dyn ApiServer>,
    node: String,
    clients: Option<Arc<CaBundle>>,
    anonymous: bool,
    tokens: bool,
    always_allow: bool,
    token_ttl: Duration,
    allowed_ttl: Duration,
    denied_ttl: Duration,
    users: Answers<String, Option<UserInfo>>,
    decisions: Answers<(String, String, &'static str, &'static str), bool>,
}

/// The subresources of nodes that stand for a path, the most specific first: any of them is enough.
fn subresources(path: &str) -> &'static [&'static str] {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "spec" => &["spec"],
        "healthz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        "statusz" => &["statusz", "proxy"],
        "flagz" => &["flagz", "proxy"],
        "pods" | "runningpods" => &["pods", "proxy"],
        _ => &["proxy"],
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

impl Guard {
    pub fn new(file: &KubeletConfiguration, server: Arc<dyn ApiServer>, node: &str) -> Result<Self, SetUpError> {
        let path = &file.authentication.x509.client_ca_file;
        let clients = match path.as_str() {
            "" => None,
            path => {
                let pem = std::fs::read(path).map_err(|source| SetUpError::Read { path: path.to_owned(), source })?;
                let bundle = CaBundle::from_pem(&pem).map_err(|source| SetUpError::Bundle { path: path.to_owned(), source })?;
                Some(Arc::new(bundle))
            }
        };
        let ttl = |duration: apimachinery::Duration, default| crate::options::std_duration(duration, Duration::from_secs(default));
        Ok(Guard {
            server,
            node: node.to_owned(),
            clients,
            anonymous: file.authentication.anonymous.enabled == Some(true),
            tokens: file.authentication.webhook.enabled != Some(false),
            always_allow: file.authorization.mode == "AlwaysAllow",
            token_ttl: ttl(file.authentication.webhook.cache_ttl, 120),
            allowed_ttl: ttl(file.authorization.webhook.cache_authorized_ttl, 300),
            denied_ttl: ttl(file.authorization.webhook.cache_unauthorized_ttl, 30),
            users: Mutex::default(),
            decisions: Mutex::default(),
        })
    }

    /// Lets the request pass, or answers it.
    pub async fn check(&self, request: Asked) -> Result<(), Response> {
        let unauthorized = || text(StatusCode::UNAUTHORIZED, "Unauthorized");
        let user = match self.authenticate(&request).await {
            Ok(Some(user)) => user,
            Ok(None) => return Err(unauthorized()),
            Err(err) => {
                tracing::error!(err, "Unable to authenticate the request due to an error");
                return Err(unauthorized());
            }
        };
        if self.always_allow {
            return Ok(());
        }
        let verb = verb(&request.method);
        for subresource in subresources(&request.path) {
            match self.allowed(&user, verb, subresource).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(err) => {
                    let subject = &user.username;
                    let message = format!("Authorization error (user={subject}, verb={verb}, resource=nodes, subresource={subresource})");
                    tracing::error!(err, message, "authorization failed");
                    return Err(text(StatusCode::INTERNAL_SERVER_ERROR, message));
                }
            }
        }
        let subresource = subresources(&request.path).join(",");
        let message = format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{subresource}])", user.username);
        Err(text(StatusCode::FORBIDDEN, message))
    }

    async fn authenticate(&self, request: &Asked) -> Result<Option<UserInfo>, String> {
        if let (Some(clients), Some(peer)) = (&self.clients, &request.peer)
            && !peer.chain().is_empty()
        {
            match peer.verify(clients, SystemTime::now()) {
                Ok(certificate) => {
                    let mut groups = certificate.orgs.clone();
                    groups.push("system:authenticated".to_owned());
                    return Ok(Some(UserInfo { username: certificate.cn.clone(), groups: groups.into(), ..Default::default() }));
                }
                Err(err) => tracing::debug!(err = %err, "client certificate not accepted"),
            }
        }
        match &request.token {
            Some(token) if self.tokens && !token.is_empty() => self.review(token.clone()).await,
            Some(_) => Ok(None),
            None if self.anonymous => {
                let groups = vec!["system:unauthenticated".to_owned()].into();
                Ok(Some(UserInfo { username: "system:anonymous".into(), groups, ..Default::default() }))
            }
            None => Ok(None),
        }
    }

    async fn review(&self, token: String) -> Result<Option<UserInfo>, String> {
        if let Some(user) = recall(&self.users, &token) {
            return Ok(user);
        }
        let mut review = TokenReview::default();
        review.spec.token = token.clone();
        let answer = self.server.review_token(&review).await.map_err(|err| err.to_string())?;
        let user = answer.status.authenticated.then_some(answer.status.user);
        remember(&self.users, token, user.clone(), self.token_ttl);
        Ok(user)
    }

    async fn allowed(&self, user: &UserInfo, verb: &'static str, subresource: &'static str) -> Result<bool, String> {
        let key = (user.username.clone(), user.groups.join(","), verb, subresource);
        if let Some(allowed) = recall(&self.decisions, &key) {
            return Ok(allowed);
        }
        let mut review = SubjectAccessReview::default();
        review.spec.user = user.username.clone();
        review.spec.groups = user.groups.clone();
        review.spec.uid = user.uid.clone();
        review.spec.resource_attributes = Some(Box::new(ResourceAttributes {
            verb: verb.into(),
            version: "v1".into(),
            resource: "nodes".into(),
            subresource: subresource.into(),
            name: self.node.clone(),
            ..Default::default()
        }));
        let answer = self.server.review_access(&review).await.map_err(|err| err.to_string())?;
        let ttl = if answer.status.allowed { self.allowed_ttl } else { self.denied_ttl };
        remember(&self.decisions, key, answer.status.allowed, ttl);
        Ok(answer.status.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_for_subresources() {
        for (path, expected) in [
            ("/metrics/resource", &["metrics"][..]),
            ("/stats/summary", &["stats"]),
            ("/pods", &["pods", "proxy"]),
            ("/exec/a/b/c", &["proxy"]),
            ("/healthz", &["healthz", "proxy"]),
        ] {
            assert_eq!(subresources(path), expected, "{path}");
        }
        assert_eq!((verb(&Method::POST), verb(&Method::GET)), ("create", "get"));
    }
}
