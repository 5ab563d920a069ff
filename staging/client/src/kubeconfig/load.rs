//! Finding and reading files.

use std::path::{Path, PathBuf};

use apimachinery::{Value, yaml};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Cluster, Context, Exec, Kubeconfig, KubeconfigError, User};

/// Where kubeconfig files may be, as the program's environment and flags say.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `--kubeconfig`: this file only, and it must be there.
    pub explicit: Option<PathBuf>,
    /// The value of `KUBECONFIG`: a list of files.
    pub env: Option<String>,
    /// `~/.kube/config`.
    pub default: Option<PathBuf>,
}

impl Sources {
    /// The one file a daemon was given.
    pub fn file(path: impl Into<PathBuf>) -> Sources {
        Sources { explicit: Some(path.into()), ..Sources::default() }
    }

    /// The files looked at, first wins.
    pub fn paths(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.explicit {
            return vec![path.clone()];
        }
        let mut paths: Vec<PathBuf> = Vec::new();
        for path in self.env.as_deref().unwrap_or_default().split(':').filter(|path| !path.is_empty()) {
            if !paths.iter().any(|known| known == Path::new(path)) {
                paths.push(path.into());
            }
        }
        if paths.is_empty() {
            paths.extend(self.default.clone());
        }
        paths
    }

    /// Reads and merges the files. Missing ones are passed over, except the explicit one; all broken ones are told of at once.
    pub fn load(&self) -> Result<Kubeconfig, KubeconfigError> {
        let mut merged = Kubeconfig::default();
        for path in self.paths() {
            match Kubeconfig::read(&path) {
                Ok(config) => merged.merge(config),
                Err(KubeconfigError::Read { path, source }) if source.kind() == std::io::ErrorKind::NotFound => {
                    if self.explicit.is_some() {
                        return Err(KubeconfigError::Missing { path, source });
                    }
                    tracing::debug!(path = %path.display(), "kubeconfig file not found");
                }
                Err(err) => return Err(err),
            }
        }
        Ok(merged)
    }

    /// The file to write new entries to: the first that exists, or else the last.
    pub fn file_for_new(&self) -> Option<PathBuf> {
        let paths = self.paths();
        paths.iter().find(|path| path.exists()).or(paths.last()).cloned()
    }
}

impl Kubeconfig {
    /// Reads one file.
    pub fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
        let text = std::fs::read(path).map_err(|source| KubeconfigError::Read { path: path.to_path_buf(), source })?;
        Kubeconfig::parse(&text, path)
    }

    /// Reads `text`, as if found at `path`, which relative paths in it start from.
    pub fn parse(text: &[u8], path: &Path) -> Result<Kubeconfig, KubeconfigError> {
        let wrong = |message: String| KubeconfigError::Parse { path: path.to_path_buf(), message };
        let document = yaml::parse(text).map_err(|err| wrong(err.to_string()))?;
        Reader { path }.config(&document).map_err(wrong)
    }
}

/// Turns a document into a [`Kubeconfig`]; errors name the field.
struct Reader<'a> {
    path: &'a Path,
}

type Read<T> = Result<T, String>;

impl Reader<'_> {
    fn config(&self, document: &Value) -> Read<Kubeconfig> {
        if document.is_null() {
            return Ok(Kubeconfig::default());
        }
        if document.as_object().is_none() {
            return Err(format!("json: cannot unmarshal {} into Go value of type v1.Config", document.kind_name()));
        }
        for (field, wanted) in [("kind", "Config"), ("apiVersion", "v1")] {
            let found = text(document, field)?;
            if !found.is_empty() && found != wanted {
                return Err(format!("no kind {:?} is registered for version {:?}", text(document, "kind")?, text(document, "apiVersion")?));
            }
        }
        Ok(Kubeconfig {
            current_context: text(document, "current-context")?,
            contexts: named(document, "contexts", "context", |value| self.context(value))?,
            clusters: named(document, "clusters", "cluster", |value| self.cluster(value))?,
            users: named(document, "users", "user", |value| self.user(value))?,
        })
    }

    fn context(&self, value: &Value) -> Read<Context> {
        Ok(Context {
            cluster: text(value, "cluster")?,
            user: text(value, "user")?,
            namespace: text(value, "namespace")?,
            origin: self.path.to_path_buf(),
        })
    }

    fn cluster(&self, value: &Value) -> Read<Cluster> {
        let extensions = value["extensions"].as_array().unwrap_or_default();
        let exec_config = extensions.iter().find(|extension| extension.str_at(&["name"]) == Some("client.authentication.k8s.io/exec"));
        Ok(Cluster {
            server: text(value, "server")?,
            tls_server_name: text(value, "tls-server-name")?,
            insecure_skip_tls_verify: boolean(value, "insecure-skip-tls-verify")?,
            certificate_authority: self.file(value, "certificate-authority")?,
            certificate_authority_data: data(value, "certificate-authority-data")?,
            proxy_url: text(value, "proxy-url")?,
            disable_compression: boolean(value, "disable-compression")?,
            exec_config: exec_config.map(|extension| extension["extension"].clone()).unwrap_or_default(),
            origin: self.path.to_path_buf(),
        })
    }

    fn user(&self, value: &Value) -> Read<User> {
        let mut extra = Vec::new();
        for (key, values) in value["as-user-extra"].as_object().into_iter().flat_map(|object| object.iter()) {
            extra.push((key.to_string(), strings(values, "as-user-extra")?));
        }
        let provider = &value["auth-provider"];
        Ok(User {
            client_certificate: self.file(value, "client-certificate")?,
            client_certificate_data: data(value, "client-certificate-data")?,
            client_key: self.file(value, "client-key")?,
            client_key_data: data(value, "client-key-data")?,
            token: text(value, "token")?,
            token_file: self.file(value, "tokenFile")?,
            username: text(value, "username")?,
            password: text(value, "password")?,
            impersonate: text(value, "as")?,
            impersonate_uid: text(value, "as-uid")?,
            impersonate_groups: strings(&value["as-groups"], "as-groups")?,
            impersonate_extra: extra,
            auth_provider: if provider.is_null() { None } else { Some(text(provider, "name")?) },
            exec: if value["exec"].is_null() { None } else { Some(exec(&value["exec"])?) },
            origin: self.path.to_path_buf(),
        })
    }

    /// A path, relative to the file it stands in.
    fn file(&self, value: &Value, field: &str) -> Read<Option<PathBuf>> {
        let path = text(value, field)?;
        if path.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.path.parent().unwrap_or(Path::new("")).join(path)))
    }
}

fn exec(value: &Value) -> Read<Exec> {
    let mut env = Vec::new();
    for pair in value["env"].as_array().unwrap_or_default() {
        env.push((text(pair, "name")?, text(pair, "value")?));
    }
    Ok(Exec {
        api_version: text(value, "apiVersion")?,
        command: text(value, "command")?,
        args: strings(&value["args"], "args")?,
        env,
        install_hint: text(value, "installHint")?,
        provide_cluster_info: boolean(value, "provideClusterInfo")?,
        interactive_mode: text(value, "interactiveMode")?,
    })
}

fn named<T>(document: &Value, list: &str, member: &str, read: impl Fn(&Value) -> Read<T>) -> Read<Vec<(String, T)>> {
    let entries = match &document[list] {
        Value::Null => return Ok(Vec::new()),
        Value::Array(entries) => entries,
        other => return Err(mismatch(other, list, "list")),
    };
    let mut all: Vec<(String, T)> = Vec::new();
    for entry in entries {
        let name = text(entry, "name")?;
        if all.iter().any(|(known, _)| *known == name) {
            return Err(format!(
                "error converting *[]Named{0} into *map[string]*api.{0}: duplicate name \"{name}\" in list",
                capitalised(member)
            ));
        }
        all.push((name, read(&entry[member])?));
    }
    Ok(all)
}

fn capitalised(member: &str) -> &'static str {
    match member {
        "context" => "Context",
        "cluster" => "Cluster",
        _ => "AuthInfo",
    }
}

fn mismatch(value: &Value, field: &str, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go struct field {field} of type {wanted}", value.kind_name())
}

fn text(value: &Value, field: &str) -> Read<String> {
    match &value[field] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        other => Err(mismatch(other, field, "string")),
    }
}

fn boolean(value: &Value, field: &str) -> Read<bool> {
    match &value[field] {
        Value::Null => Ok(false),
        Value::Bool(value) => Ok(*value),
        other => Err(mismatch(other, field, "bool")),
    }
}

fn strings(value: &Value, field: &str) -> Read<Vec<String>> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(str::to_string).ok_or_else(|| mismatch(item, field, "string"))).collect()
        }
        other => Err(mismatch(other, field, "[]string")),
    }
}

/// Base64, in which line breaks are allowed.
fn data(value: &Value, field: &str) -> Read<Vec<u8>> {
    let mut encoded = text(value, field)?;
    encoded.retain(|c| c != '\n' && c != '\r');
    STANDARD.decode(encoded).map_err(|_| format!("illegal base64 data in {field}"))
}
