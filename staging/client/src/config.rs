//! Which server, as whom, over what: the resolved settings a [`Client`](crate::Client) is made from.
//!
//! Upstream: `client-go/rest/config.go`. A kubeconfig resolves to this; so do the files a pod finds in its own file system.

use std::path::{Path, PathBuf};
use std::time::Duration;

use component_base::version;
use thiserror::Error;

use crate::exec::ExecSettings;

/// Everything needed to reach one API server as one identity.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://host:port` with an optional path prefix, no trailing slash.
    pub server: String,
    pub tls: TlsSettings,
    pub auth: Auth,
    pub impersonate: Impersonation,
    /// `http://`, `https://` or `socks5://` URL of a proxy that opens the connections.
    pub proxy_url: Option<String>,
    /// Sent as `User-Agent`; see [`default_user_agent`].
    pub user_agent: String,
    /// Requests per second this client allows itself. Zero means upstream's default of 5, negative means no limit.
    pub qps: f32,
    /// How many requests may go out at once before `qps` applies. Zero means upstream's default of 10.
    pub burst: u32,
    /// Longest a request (not a watch) may take, its body included.
    pub timeout: Option<Duration>,
    /// Protobuf on the wire instead of JSON. Daemons want it; people reading traces do not.
    pub protobuf: bool,
}

impl Config {
    /// Settings with upstream's defaults for `server`, with no identity.
    pub fn new(server: impl Into<String>) -> Config {
        Config {
            server: server.into().trim_end_matches('/').to_string(),
            tls: TlsSettings::default(),
            auth: Auth::None,
            impersonate: Impersonation::default(),
            proxy_url: None,
            user_agent: default_user_agent("ferrokube"),
            qps: 0.0,
            burst: 0,
            timeout: None,
            protobuf: false,
        }
    }

    /// The same settings under the user agent of `component`, as upstream's `AddUserAgent` makes them for each controller.
    pub fn with_user_agent(mut self, component: &str) -> Config {
        self.user_agent = default_user_agent(component);
        self
    }
}

/// `component/v1.36.2 (linux/amd64) kubernetes/1234567`, the shape upstream sends and audit logs are searched by.
pub fn default_user_agent(component: &str) -> String {
    let commit = version::git_commit();
    format!("{component}/{} ({}) kubernetes/{}", version::GIT_VERSION, version::platform(), commit.get(..7).unwrap_or(commit))
}

/// PEM text given inline or by file. A file is looked at again now and then, so that a rotated certificate is picked up.
#[derive(Clone, Debug, PartialEq)]
pub enum Pem {
    Data(Vec<u8>),
    File(PathBuf),
}

/// How the server proves itself, and the certificate we prove ourselves with.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// Roots to trust; the system's when absent.
    pub ca: Option<Pem>,
    pub insecure_skip_verify: bool,
    /// Name to ask for and to check, instead of the host in the URL.
    pub server_name: Option<String>,
    pub client_cert: Option<Pem>,
    pub client_key: Option<Pem>,
    /// A certificate that the program itself rotates (the kubelet's). Wins over `client_cert`.
    pub identity: Option<crate::transport::ClientIdentity>,
}

/// What is sent in the `Authorization` header.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    #[default]
    None,
    Token(String),
    /// Read again each minute; the given token is used until the first successful read.
    TokenFile {
        path: PathBuf,
        initial: Option<String>,
    },
    Basic {
        username: String,
        password: String,
    },
    /// An external program that hands out tokens or client certificates.
    Exec(Box<ExecSettings>),
}

/// Whom to act as (`--as`, `--as-group`, `--as-uid`, `as-user-extra`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Impersonation {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
}

/// Settings from which no client can be made.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined")]
    NotInCluster,
    #[error("host must be a URL or a host:port pair: {0:?}")]
    Server(String),
    #[error("unable to read {what} {path}")]
    Read {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("unable to load root certificates: unable to parse bytes as PEM block")]
    NoRoots,
    #[error("tls: failed to find any PEM data in {0} input")]
    NoPem(&'static str),
    #[error("specifying a root certificates file with the insecure flag is not allowed")]
    InsecureWithRoots,
    #[error("tls: private key does not match public key")]
    Identity(#[source] rustls::Error),
    #[error("client-key-data or client-key must be specified to use the clientCert authentication method")]
    CertWithoutKey,
    #[error("client-cert-data or client-cert must be specified to use the clientCert authentication method")]
    KeyWithoutCert,
    #[error("proxy URL {0:?} is not supported: it must start with http://, https:// or socks5://")]
    Proxy(String),
    #[error("requesting uid, groups or user-extra without impersonating a user")]
    ImpersonationWithoutUser,
    #[error("invalid {what}: not allowed in a header")]
    Header { what: &'static str },
}

/// Where a pod finds its service account, below the root of its file system.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The configuration of a program that runs in a pod, and the pod's namespace.
///
/// `host` and `port` are the values of `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`, read by the caller.
pub fn in_cluster(host: Option<&str>, port: Option<&str>) -> Result<(Config, String), ConfigError> {
    in_cluster_at(Path::new(SERVICE_ACCOUNT), host, port)
}

fn in_cluster_at(dir: &Path, host: Option<&str>, port: Option<&str>) -> Result<(Config, String), ConfigError> {
    let (Some(host), Some(port)) = (host.filter(|h| !h.is_empty()), port.filter(|p| !p.is_empty())) else {
        return Err(ConfigError::NotInCluster);
    };
    let token_path = dir.join("token");
    let token =
        std::fs::read_to_string(&token_path).map_err(|source| ConfigError::Read { what: "token", path: token_path.clone(), source })?;
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let mut config = Config::new(format!("https://{host}:{port}"));
    config.tls.ca = Some(Pem::File(dir.join("ca.crt")));
    config.auth = Auth::TokenFile { path: token_path, initial: Some(token.trim().to_string()) };
    let namespace = std::fs::read_to_string(dir.join("namespace")).map(|text| text.trim().to_string()).unwrap_or_default();
    Ok((config, namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_finds_its_own_account() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(in_cluster_at(dir.path(), None, Some("443")), Err(ConfigError::NotInCluster)));
        assert!(matches!(in_cluster_at(dir.path(), Some("10.0.0.1"), Some("443")), Err(ConfigError::Read { what: "token", .. })));
        std::fs::write(dir.path().join("token"), "abc\n").unwrap();
        std::fs::write(dir.path().join("namespace"), "team").unwrap();
        let (config, namespace) = in_cluster_at(dir.path(), Some("fd00::1"), Some("443")).unwrap();
        assert_eq!((config.server.as_str(), namespace.as_str()), ("https://[fd00::1]:443", "team"));
        assert!(matches!(config.auth, Auth::TokenFile { initial: Some(token), .. } if token == "abc"));
    }
}
