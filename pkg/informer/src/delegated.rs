//! Who may ask a daemon about itself: client certificates are judged here, tokens and permissions by the API server.
//!
//! Every daemon with a secure port needs it (metrics, configz, profiles). Upstream: the `DelegatingAuthenticationOptions` and
//! `DelegatingAuthorizationOptions` of `apiserver/pkg/server/options`.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use api::authentication::v1::{TokenReview, UserInfo};
use api::authorization::v1::{NonResourceAttributes, SubjectAccessReview};
use api::core::v1::ConfigMap;
use apimachinery::{Map, StatusError};
use client::{Api, Client};
use component_base::flags::Flags;
use component_base::http::{Handler, Request, Response, handler, json, text};
use component_base::problems::Problems;
use component_base::reload::{ReloadError, Reloaded};
use component_base::serving::peer::{CaBundle, PeerCertificates};
use http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;

/// The flags that [`DelegatedOptions::from_flags`] reads, with their help texts.
pub const FLAGS: &[(&str, &str)] = &[
    ("authentication-kubeconfig", "kubeconfig file with enough rights to create tokenreviews. Without it client certificates alone count."),
    ("authentication-skip-lookup", "If true, the client CA is not looked up in the cluster where --client-ca-file is not given."),
    ("authentication-token-webhook-cache-ttl", "The duration to cache responses from the webhook token authenticator."),
    ("authorization-always-allow-paths", "A list of HTTP paths that are allowed without asking: /path, or /prefix/*."),
    (
        "authorization-kubeconfig",
        "kubeconfig file with enough rights to create subjectaccessreviews. Without it only allowed paths are served.",
    ),
    ("authorization-webhook-cache-authorized-ttl", "The duration to cache 'authorized' responses from the webhook authorizer."),
    ("authorization-webhook-cache-unauthorized-ttl", "The duration to cache 'unauthorized' responses from the webhook authorizer."),
    ("client-ca-file", "A request with a client certificate signed by one of these authorities is authenticated as its common name."),
    ("requestheader-allowed-names", "Common names of client certificates that may name users in headers. Empty: any the CA vouches for."),
    ("requestheader-client-ca-file", "Authorities that vouch for proxies, whose headers say who the user is."),
    ("requestheader-extra-headers-prefix", "List of request header prefixes to inspect. X-Remote-Extra- is suggested."),
    ("requestheader-group-headers", "List of request headers to inspect for groups. X-Remote-Group is suggested."),
    ("requestheader-uid-headers", "List of request headers to inspect for UIDs. X-Remote-Uid is suggested."),
    ("requestheader-username-headers", "List of request headers to inspect for usernames. X-Remote-User is common."),
];

/// Answers of the API server that are remembered at most.
const MAX_CACHED: usize = 4096;
/// How often the cluster's own client CA is looked up again.
const LOOKUP_TTL: Duration = Duration::from_secs(60);
/// Where the API server publishes it.
const LOOKUP: (&str, &str, &str) = ("kube-system", "extension-apiserver-authentication", "client-ca-file");

/// The values of the flags, checked.
#[derive(Clone, Debug)]
pub struct DelegatedOptions {
    pub authentication_kubeconfig: Option<PathBuf>,
    pub authorization_kubeconfig: Option<PathBuf>,
    skip_lookup: bool,
    client_ca: Option<PathBuf>,
    proxy_ca: Option<PathBuf>,
    proxy_names: Vec<String>,
    headers: UserHeaders,
    always_allow: Vec<String>,
    token_ttl: Duration,
    allowed_ttl: Duration,
    denied_ttl: Duration,
}

/// Which headers of a trusted proxy say who the user is.
#[derive(Clone, Debug)]
struct UserHeaders {
    name: Vec<String>,
    uid: Vec<String>,
    groups: Vec<String>,
    extra: Vec<String>,
}

impl DelegatedOptions {
    /// Reads and checks the flags of [`FLAGS`].
    pub fn from_flags(flags: &Flags, problems: &mut Problems) -> DelegatedOptions {
        let always_allow = flags.strings("authorization-always-allow-paths");
        for path in &always_allow {
            problems.require(path.find('*').is_none_or(|at| at == path.len() - 1), format!("only trailing * allowed in {path:?}"));
        }
        let headers = |name: &str| flags.strings(name).iter().map(|header| header.to_lowercase()).collect::<Vec<_>>();
        DelegatedOptions {
            authentication_kubeconfig: flags.path("authentication-kubeconfig"),
            authorization_kubeconfig: flags.path("authorization-kubeconfig"),
            skip_lookup: flags.bool("authentication-skip-lookup"),
            client_ca: flags.path("client-ca-file"),
            proxy_ca: flags.path("requestheader-client-ca-file"),
            proxy_names: flags.strings("requestheader-allowed-names"),
            headers: UserHeaders {
                name: headers("requestheader-username-headers"),
                uid: headers("requestheader-uid-headers"),
                groups: headers("requestheader-group-headers"),
                extra: headers("requestheader-extra-headers-prefix"),
            },
            always_allow,
            token_ttl: flags.duration("authentication-token-webhook-cache-ttl"),
            allowed_ttl: flags.duration("authorization-webhook-cache-authorized-ttl"),
            denied_ttl: flags.duration("authorization-webhook-cache-unauthorized-ttl"),
        }
    }
}

/// Answers that hold for a while.
struct Answers<K, V>(Mutex<HashMap<K, (V, Instant)>>);

impl<K: Hash + Eq, V: Clone> Answers<K, V> {
    fn new() -> Answers<K, V> {
        Answers(Mutex::default())
    }

    fn recall(&self, key: &K) -> Option<V> {
        self.0.lock().get(key).filter(|(_, until)| *until > Instant::now()).map(|(answer, _)| answer.clone())
    }

    fn remember(&self, key: K, answer: V, ttl: Duration) {
        let mut answers = self.0.lock();
        if answers.len() >= MAX_CACHED {
            let now = Instant::now();
            answers.retain(|_, (_, until)| *until > now);
            if answers.len() >= MAX_CACHED {
                answers.clear();
            }
        }
        answers.insert(key, (answer, Instant::now() + ttl));
    }
}

/// Stands before the handlers of a secure port.
pub struct Guard {
    options: DelegatedOptions,
    authentication: Option<Client>,
    authorization: Option<Client>,
    client_ca: Option<Arc<Reloaded<CaBundle>>>,
    proxy_ca: Option<Arc<Reloaded<CaBundle>>>,
    looked_up: Answers<(), Option<Arc<CaBundle>>>,
    tokens: Answers<String, Option<UserInfo>>,
    decisions: Answers<(String, Vec<String>, String, String), bool>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("options", &self.options).finish_non_exhaustive()
    }
}

fn bundle(path: &Path) -> Result<Arc<Reloaded<CaBundle>>, ReloadError> {
    Reloaded::load(vec![path.to_path_buf()], |files| Ok(CaBundle::from_pem(&files[0])?))
}

/// What of a request decides whether it may pass.
struct Asked {
    verb: String,
    path: String,
    peer: Option<PeerCertificates>,
    headers: HeaderMap,
}

impl Guard {
    /// Reads the CA files. The clients are those of the two kubeconfig files.
    pub fn new(options: DelegatedOptions, authentication: Option<Client>, authorization: Option<Client>) -> Result<Guard, ReloadError> {
        Ok(Guard {
            client_ca: options.client_ca.as_deref().map(bundle).transpose()?,
            proxy_ca: options.proxy_ca.as_deref().map(bundle).transpose()?,
            options,
            authentication,
            authorization,
            looked_up: Answers::new(),
            tokens: Answers::new(),
            decisions: Answers::new(),
        })
    }

    /// A handler that passes on to `inner` what may pass and answers the rest.
    pub fn protect(self, inner: Handler) -> Handler {
        let guard = Arc::new(self);
        handler(move |request: Request| {
            let (guard, inner) = (guard.clone(), inner.clone());
            let asked = Asked {
                verb: verb(request.method()).to_string(),
                path: request.uri().path().to_string(),
                peer: request.extensions().get::<PeerCertificates>().cloned(),
                headers: request.headers().clone(),
            };
            async move {
                match guard.check(asked).await {
                    Ok(()) => inner(request).await,
                    Err(response) => response,
                }
            }
        })
    }

    /// The CA files: whoever serves runs them, so that changes are seen.
    pub fn reloaders(&self) -> Vec<Arc<Reloaded<CaBundle>>> {
        self.client_ca.iter().chain(&self.proxy_ca).cloned().collect()
    }

    async fn check(&self, asked: Asked) -> Result<(), Response> {
        if is_allowed_path(&self.options.always_allow, &asked.path) {
            return Ok(());
        }
        let user = match self.authenticate(&asked).await {
            Ok(Some(user)) => user,
            Ok(None) => return Err(refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")),
            Err(err) => {
                tracing::error!(err = &err as &dyn std::error::Error, "unable to authenticate the request");
                return Err(refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized"));
            }
        };
        match self.allowed(&user, &asked).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let message = format!("forbidden: User {:?} cannot {} path {:?}", user.username, asked.verb, asked.path);
                Err(refusal(StatusCode::FORBIDDEN, "Forbidden", &message))
            }
            Err(err) => {
                tracing::error!(err = &err as &dyn std::error::Error, user = user.username, path = asked.path, "authorization failed");
                Err(text(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"))
            }
        }
    }

    async fn authenticate(&self, asked: &Asked) -> Result<Option<UserInfo>, client::Error> {
        let now = SystemTime::now();
        if let Some(peer) = asked.peer.as_ref().filter(|peer| !peer.chain().is_empty()) {
            if let Some(proxies) = &self.proxy_ca
                && let Ok(proxy) = peer.verify(&proxies.current(), now)
                && (self.options.proxy_names.is_empty() || self.options.proxy_names.contains(&proxy.cn))
                && let Some(user) = user_of_headers(&self.options.headers, &asked.headers)
            {
                return Ok(Some(user));
            }
            if let Some(clients) = self.clients().await {
                match peer.verify(&clients, now) {
                    Ok(cert) => {
                        let groups = cert.orgs.iter().cloned().chain(["system:authenticated".to_string()]).collect();
                        let uid = cert.uid.clone().unwrap_or_default();
                        return Ok(Some(UserInfo { username: cert.cn.clone(), uid, groups, ..UserInfo::default() }));
                    }
                    Err(err) => tracing::debug!(err = %err, "client certificate not accepted"),
                }
            }
        }
        match (bearer(&asked.headers), &self.authentication) {
            (Some(token), Some(client)) => self.review(client, token).await,
            // As upstream: an anonymous user exists, and authorization has the last word.
            (None, _) => Ok(Some(UserInfo {
                username: "system:anonymous".into(),
                groups: vec!["system:unauthenticated".to_string()].into(),
                ..UserInfo::default()
            })),
            (Some(_), None) => Ok(None),
        }
    }

    /// The authorities that vouch for clients: from the file, else from the cluster.
    async fn clients(&self) -> Option<Arc<CaBundle>> {
        if let Some(file) = &self.client_ca {
            return Some(file.current());
        }
        let client = self.authentication.as_ref().filter(|_| !self.options.skip_lookup)?;
        if let Some(known) = self.looked_up.recall(&()) {
            return known;
        }
        let (namespace, name, key) = LOOKUP;
        let found = match Api::<ConfigMap>::namespaced(client, namespace).get(name).await {
            Ok(map) => map.data.get(key).and_then(|pem| CaBundle::from_pem(pem.as_bytes()).ok()).map(Arc::new),
            Err(err) => {
                tracing::warn!(err = &err as &dyn std::error::Error, configmap = name, "unable to look up the cluster's client CA");
                None
            }
        };
        self.looked_up.remember((), found.clone(), LOOKUP_TTL);
        found
    }

    async fn review(&self, client: &Client, token: &str) -> Result<Option<UserInfo>, client::Error> {
        if let Some(known) = self.tokens.recall(&token.to_string()) {
            return Ok(known);
        }
        let mut review = TokenReview::default();
        review.spec.token = token.to_string();
        let answer = Api::<TokenReview>::all(client).create(&review).await?;
        let user = answer.status.authenticated.then_some(answer.status.user);
        self.tokens.remember(token.to_string(), user.clone(), self.options.token_ttl);
        Ok(user)
    }

    async fn allowed(&self, user: &UserInfo, asked: &Asked) -> Result<bool, client::Error> {
        if user.groups.iter().any(|group| group == "system:masters") {
            return Ok(true);
        }
        let Some(client) = &self.authorization else { return Ok(false) };
        let key = (user.username.clone(), user.groups.to_vec(), asked.verb.clone(), asked.path.clone());
        if let Some(known) = self.decisions.recall(&key) {
            return Ok(known);
        }
        let mut review = SubjectAccessReview::default();
        review.spec.user = user.username.clone();
        review.spec.uid = user.uid.clone();
        review.spec.groups = user.groups.clone();
        review.spec.extra = user.extra.clone();
        let attributes = NonResourceAttributes { path: asked.path.clone(), verb: asked.verb.clone() };
        review.spec.non_resource_attributes = Some(Box::new(attributes));
        let allowed = Api::<SubjectAccessReview>::all(client).create(&review).await?.status.allowed;
        let ttl = if allowed { self.options.allowed_ttl } else { self.options.denied_ttl };
        self.decisions.remember(key, allowed, ttl);
        Ok(allowed)
    }
}

fn refusal(code: StatusCode, reason: &str, message: &str) -> Response {
    json(code, StatusError::new(code.as_u16(), reason, message).to_value().to_vec())
}

/// How RBAC's rules about paths call the method.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

fn is_allowed_path(allowed: &[String], path: &str) -> bool {
    let path = path.trim_start_matches('/');
    allowed.iter().map(|pattern| pattern.trim_start_matches('/')).any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern,
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get("authorization")?.to_str().ok()?.trim().split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty()).then(|| token.trim())
}

fn user_of_headers(names: &UserHeaders, headers: &HeaderMap) -> Option<UserInfo> {
    let first = |wanted: &[String]| {
        let mut values = wanted.iter().filter_map(|name| headers.get(name.as_str()).and_then(|value| value.to_str().ok()));
        values.find(|value| !value.is_empty()).map(str::to_string)
    };
    let username = first(&names.name)?;
    let groups = names.groups.iter().flat_map(|name| headers.get_all(name.as_str())).filter_map(|value| value.to_str().ok());
    let mut extra: Map<Vec<String>> = Map::default();
    for (name, value) in headers {
        if let Some(key) = names.extra.iter().find_map(|prefix| name.as_str().strip_prefix(prefix.as_str()))
            && let Ok(value) = value.to_str()
        {
            extra.entry_or_default(key).push(value.to_string());
        }
    }
    Some(UserInfo {
        username,
        uid: first(&names.uid).unwrap_or_default(),
        groups: groups.map(str::to_string).chain(["system:authenticated".to_string()]).collect(),
        extra: extra.iter().map(|(key, values)| (key.to_string(), values.clone().into())).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_paths_may_end_in_a_star() {
        let allowed = ["/healthz".to_string(), "/debug/*".to_string()];
        for (path, expected) in [("/healthz", true), ("/healthz/ping", false), ("/debug/pprof", true), ("/metrics", false)] {
            assert_eq!(is_allowed_path(&allowed, path), expected, "{path}");
        }
    }

    #[test]
    fn a_proxy_names_the_user_in_headers() {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let wanted = UserHeaders {
            name: names(&["x-remote-user"]),
            uid: Vec::new(),
            groups: names(&["x-remote-group"]),
            extra: names(&["x-remote-extra-"]),
        };
        let mut headers = HeaderMap::new();
        assert!(user_of_headers(&wanted, &headers).is_none());
        headers.insert("x-remote-user", "jane".parse().unwrap());
        headers.append("x-remote-group", "dev".parse().unwrap());
        headers.append("x-remote-extra-scopes", "a".parse().unwrap());
        let user = user_of_headers(&wanted, &headers).unwrap();
        assert_eq!((user.username.as_str(), user.groups.to_vec()), ("jane", names(&["dev", "system:authenticated"])));
        assert_eq!(user.extra.len(), 1);
    }
}
