//! What a command works with: its command line, the cluster it speaks to, and where it prints.

use std::io::Write;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use client::kubeconfig::{Overrides, Resolved, Sources};
use client::{ApiResource, Client, DynamicApi, RestMapper};
use component_base::duration;

use crate::discovery_cache;
use crate::failure::Failure;
use crate::flags::Line;

pub type Outcome = Result<(), Failure>;

/// Everything the environment tells. Read once, in `main`.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub kubeconfig: Option<String>,
    pub home: Option<PathBuf>,
    pub editor: Option<String>,
}

/// One run of one command.
pub struct Context {
    pub line: Line,
    pub environment: Environment,
    resolved: OnceLock<Resolved>,
    client: OnceLock<Client>,
    mapper: tokio::sync::Mutex<Option<std::sync::Arc<RestMapper>>>,
    fresh: std::sync::atomic::AtomicBool,
}

impl Context {
    pub fn new(line: Line, environment: Environment) -> Context {
        Context {
            line,
            environment,
            resolved: OnceLock::new(),
            client: OnceLock::new(),
            mapper: tokio::sync::Mutex::new(None),
            fresh: std::sync::atomic::AtomicBool::new(false),
        }
    }

    /// The kubeconfig files in force.
    pub fn sources(&self) -> Sources {
        Sources {
            explicit: self.line.text_opt("kubeconfig").map(PathBuf::from),
            env: self.environment.kubeconfig.clone(),
            default: self.environment.home.as_ref().map(|home| home.join(".kube/config")),
        }
    }

    /// Where to go and as whom.
    pub fn resolved(&self) -> Result<&Resolved, Failure> {
        if let Some(resolved) = self.resolved.get() {
            return Ok(resolved);
        }
        let line = &self.line;
        let global = |name: &str| line.text_opt(name).map(str::to_string);
        let mut extra: Vec<(String, Vec<String>)> = Vec::new();
        for pair in line.array("as-user-extra") {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Failure::text(format!("invalid --as-user-extra {pair:?}: expected key=value")))?;
            match extra.iter_mut().find(|(known, _)| known == key) {
                Some((_, values)) => values.push(value.to_string()),
                None => extra.push((key.to_string(), vec![value.to_string()])),
            }
        }
        let overrides = Overrides {
            context: global("context"),
            cluster: global("cluster"),
            user: global("user"),
            namespace: global("namespace"),
            server: global("server"),
            tls_server_name: global("tls-server-name"),
            insecure_skip_tls_verify: line.changed("insecure-skip-tls-verify").then(|| line.bool("insecure-skip-tls-verify")),
            certificate_authority: line.text_opt("certificate-authority").map(PathBuf::from),
            proxy_url: None,
            client_certificate: line.text_opt("client-certificate").map(PathBuf::from),
            client_key: line.text_opt("client-key").map(PathBuf::from),
            token: global("token"),
            username: global("username"),
            password: global("password"),
            impersonate: global("as"),
            impersonate_uid: global("as-uid"),
            impersonate_groups: line.array("as-group"),
            impersonate_extra: extra,
            timeout: request_timeout(line.text("request-timeout"))?,
            default_server: Some("http://localhost:8080".to_string()),
        };
        let mut resolved = self.sources().load()?.resolve(&overrides)?;
        // kubectl asks for much at once and then is gone.
        resolved.config.qps = -1.0;
        resolved.config = resolved.config.with_user_agent("kubectl");
        Ok(self.resolved.get_or_init(|| resolved))
    }

    /// The namespace in force, and whether a flag asked for it.
    pub fn namespace(&self) -> Result<(String, bool), Failure> {
        let resolved = self.resolved()?;
        let namespace = if resolved.namespace.is_empty() { "default" } else { &resolved.namespace };
        Ok((namespace.to_string(), resolved.namespace_overridden || self.line.changed("namespace")))
    }

    pub fn client(&self) -> Result<&Client, Failure> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let config = &self.resolved()?.config;
        let client = Client::new(config).map_err(|err| Failure::text(crate::failure::chain(&err)))?;
        let client = client.with_warnings(|text| self::warn(text));
        Ok(self.client.get_or_init(|| client))
    }

    /// What the server serves, from the cache if that is young enough.
    pub async fn mapper(&self) -> Result<std::sync::Arc<RestMapper>, Failure> {
        let mut slot = self.mapper.lock().await;
        if let Some(mapper) = slot.as_ref() {
            return Ok(mapper.clone());
        }
        let client = self.client()?;
        let dir = self.cache_dir();
        let discovery = match dir.as_deref().and_then(discovery_cache::load) {
            Some(cached) => cached,
            None => {
                self.fresh.store(true, std::sync::atomic::Ordering::Relaxed);
                let fetched = client::Discovery::fetch(client).await?;
                if let Some(dir) = dir.as_deref() {
                    discovery_cache::store(dir, &fetched);
                }
                fetched
            }
        };
        let mapper = std::sync::Arc::new(RestMapper::new(discovery));
        *slot = Some(mapper.clone());
        Ok(mapper)
    }

    /// Forgets what is cached, unless that came from the server just now. Says whether asking again may help.
    async fn forget(&self) -> bool {
        if self.fresh.load(std::sync::atomic::Ordering::Relaxed) {
            return false;
        }
        if let Some(dir) = self.cache_dir() {
            discovery_cache::forget(&dir);
        }
        *self.mapper.lock().await = None;
        true
    }

    /// Asks the server afresh what it serves.
    pub async fn fresh_mapper(&self) -> Result<std::sync::Arc<RestMapper>, Failure> {
        self.forget().await;
        self.mapper().await
    }

    fn cache_dir(&self) -> Option<PathBuf> {
        let flag = self.line.text("cache-dir");
        let base = match flag.strip_prefix("$HOME/") {
            Some(rest) => self.environment.home.as_ref()?.join(rest),
            None => PathBuf::from(flag),
        };
        let server = &self.resolved().ok()?.config.server;
        let host = server.split_once("://").map_or(server.as_str(), |(_, host)| host);
        let name: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.)(".contains(c) { c } else { '_' }).collect();
        Some(base.join("discovery").join(name))
    }

    /// The resource that a word names. A word the cache does not know is asked for afresh.
    pub async fn resource(&self, word: &str) -> Result<ApiResource, Failure> {
        if let Ok(found) = self.mapper().await?.resource(word) {
            return Ok(found.clone());
        }
        self.forget().await;
        Ok(self.mapper().await?.resource(word).cloned()?)
    }

    /// The resource of an object's kind.
    pub async fn resource_of_kind(&self, api_version: &str, kind: &str) -> Result<ApiResource, Failure> {
        if let Ok(found) = self.mapper().await?.kind(api_version, kind) {
            return Ok(found.clone());
        }
        self.forget().await;
        Ok(self.mapper().await?.kind(api_version, kind).cloned()?)
    }

    pub fn api(&self, resource: &ApiResource, namespace: &str) -> Result<DynamicApi, Failure> {
        let namespace = if resource.namespaced { namespace } else { "" };
        Ok(DynamicApi::new(self.client()?, resource.gvr(), namespace))
    }
}

/// Refuses flags that this build does not act upon, in case they were given.
pub fn refuse(line: &Line, flags: &[&str]) -> Outcome {
    for name in flags {
        if line.changed(name) {
            return Err(Failure::text(format!("flag --{name} is not supported yet by this build")));
        }
    }
    Ok(())
}

fn request_timeout(text: &str) -> Result<Option<Duration>, Failure> {
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let nanos = match text.parse::<i64>() {
        Ok(seconds) => seconds.saturating_mul(1_000_000_000),
        Err(_) => duration::parse_nanos(text).map_err(|_| {
            Failure::text(format!(
                "invalid timeout value {text:?}. Timeout must be a single integer in seconds, or an integer followed by a corresponding time unit (e.g. 1s | 2m | 3h)"
            ))
        })?,
    };
    Ok(u64::try_from(nanos).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos))
}

/// Prints to standard output. A reader that went away ends the output, not the command.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    drop(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

pub fn outln(text: &str) {
    out(&format!("{text}\n"));
}

pub fn errln(text: &str) {
    eprintln!("{text}");
}

pub fn warn(text: &str) {
    eprintln!("Warning: {text}");
}
