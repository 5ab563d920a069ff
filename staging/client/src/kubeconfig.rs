//! kubeconfig files: found, merged, overridden, checked, and made into a [`Config`](crate::Config).
//!
//! ```text
//!   files --load--> Kubeconfig (merged; first file wins) --Overrides--> resolve --> Resolved { config, namespace }
//!   one file --edit--> File --save     (keeps what it does not know)
//! ```
//! Upstream: `client-go/tools/clientcmd`. The caller reads `KUBECONFIG` and `HOME` and hands them to [`Sources`].

mod edit;
mod load;
mod resolve;

use std::path::PathBuf;

use apimachinery::Value;
use thiserror::Error;

pub use edit::{File, Section};
pub use load::Sources;
pub use resolve::{Overrides, Resolved, for_daemon};

/// What one or more files say, merged. Paths in it are absolute.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kubeconfig {
    pub current_context: String,
    /// In the order of the files.
    pub contexts: Vec<(String, Context)>,
    pub clusters: Vec<(String, Cluster)>,
    pub users: Vec<(String, User)>,
}

/// A cluster, a user and a namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    pub cluster: String,
    pub user: String,
    pub namespace: String,
    pub origin: PathBuf,
}

/// How to reach a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cluster {
    pub server: String,
    pub tls_server_name: String,
    pub insecure_skip_tls_verify: bool,
    pub certificate_authority: Option<PathBuf>,
    pub certificate_authority_data: Vec<u8>,
    pub proxy_url: String,
    pub disable_compression: bool,
    /// What the `client.authentication.k8s.io/exec` extension tells plugins.
    pub exec_config: Value,
    pub origin: PathBuf,
}

/// Who to be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    pub client_certificate: Option<PathBuf>,
    pub client_certificate_data: Vec<u8>,
    pub client_key: Option<PathBuf>,
    pub client_key_data: Vec<u8>,
    pub token: String,
    pub token_file: Option<PathBuf>,
    pub username: String,
    pub password: String,
    pub impersonate: String,
    pub impersonate_uid: String,
    pub impersonate_groups: Vec<String>,
    pub impersonate_extra: Vec<(String, Vec<String>)>,
    /// Name of a plugin compiled into old clients; refused when used.
    pub auth_provider: Option<String>,
    pub exec: Option<Exec>,
    pub origin: PathBuf,
}

/// A credential plugin, as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exec {
    pub api_version: String,
    pub command: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    pub install_hint: String,
    pub provide_cluster_info: bool,
    pub interactive_mode: String,
}

/// A kubeconfig that cannot be used, in kubectl's words.
#[derive(Debug, Error)]
pub enum KubeconfigError {
    #[error("stat {path}: {}", go_words(.source))]
    Missing { path: PathBuf, source: std::io::Error },
    #[error("open {path}: {}", go_words(.source))]
    Read { path: PathBuf, source: std::io::Error },
    #[error("error loading config file \"{path}\": {message}")]
    Parse { path: PathBuf, message: String },
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("invalid configuration: no configuration has been provided, try setting KUBERNETES_MASTER environment variable")]
    Empty,
    #[error("context \"{0}\" does not exist")]
    NoContext(String),
    #[error("context was not found for specified context: {0}")]
    ContextNotFound(String),
    #[error("cluster \"{0}\" does not exist")]
    NoCluster(String),
    #[error("auth info \"{0}\" does not exist")]
    NoUser(String),
    #[error("invalid configuration: {}", joined(.0))]
    Invalid(Vec<String>),
    #[error(transparent)]
    Config(#[from] crate::ConfigError),
}

/// Go's texts for the two errors people meet.
fn go_words(err: &std::io::Error) -> String {
    match err.kind() {
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => err.to_string(),
    }
}

fn joined(problems: &[String]) -> String {
    match problems {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

impl Kubeconfig {
    pub fn context(&self, name: &str) -> Option<&Context> {
        named(&self.contexts, name)
    }

    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        named(&self.clusters, name)
    }

    pub fn user(&self, name: &str) -> Option<&User> {
        named(&self.users, name)
    }

    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty() && self.clusters.is_empty() && self.users.is_empty() && self.current_context.is_empty()
    }

    /// Adds what `other` has and this lacks. Entries are taken whole: never half of a user from each of two files.
    pub fn merge(&mut self, other: Kubeconfig) {
        if self.current_context.is_empty() {
            self.current_context = other.current_context;
        }
        add_missing(&mut self.contexts, other.contexts);
        add_missing(&mut self.clusters, other.clusters);
        add_missing(&mut self.users, other.users);
    }
}

fn named<'a, T>(entries: &'a [(String, T)], name: &str) -> Option<&'a T> {
    entries.iter().find(|(known, _)| known == name).map(|(_, entry)| entry)
}

fn add_missing<T>(entries: &mut Vec<(String, T)>, more: Vec<(String, T)>) {
    for (name, entry) in more {
        if named(entries, &name).is_none() {
            entries.push((name, entry));
        }
    }
}

#[cfg(test)]
mod tests;
