//! Credential plugins: programs that print a token or a client certificate.
//!
//! Upstream: `client-go/plugin/pkg/client/auth/exec`. Protocol: `client.authentication.k8s.io` v1 and v1beta1.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::SystemTime;

use apimachinery::Value;
use apimachinery::value::{Object, ParseError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use tokio::process::Command;

/// The `exec` section of a kubeconfig user.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecSettings {
    pub api_version: String,
    pub command: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Shown when the command is not there.
    pub install_hint: String,
    pub interactive_mode: InteractiveMode,
    /// What the plugin is told of the cluster, when `provideClusterInfo` is set.
    pub cluster: Option<ExecCluster>,
    /// Relative commands with a slash are looked up from here: the kubeconfig's folder.
    pub base_dir: Option<PathBuf>,
}

/// Whether the plugin may talk to the user.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum InteractiveMode {
    Never,
    #[default]
    IfAvailable,
    Always,
}

/// `ExecCredential.spec.cluster`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecCluster {
    pub server: String,
    pub tls_server_name: String,
    pub insecure_skip_tls_verify: bool,
    pub certificate_authority_data: Vec<u8>,
    pub proxy_url: String,
    pub disable_compression: bool,
    /// The `client.authentication.k8s.io/exec` extension of the cluster, or null.
    pub config: Value,
}

/// Why there are no credentials to send.
#[derive(Debug, Error)]
pub enum AuthError {
    #[error("asking for a token")]
    Source(#[source] crate::credentials::TokenError),
    #[error("reading token file {path}")]
    TokenFile {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("token file {0} is empty")]
    EmptyTokenFile(PathBuf),
    #[error("exec: executable {command} not found{hint}")]
    NotFound { command: String, hint: String },
    #[error("exec: executable {command} failed with exit code {code}")]
    Failed { command: String, code: i32 },
    #[error("exec: cannot run {command}")]
    Run {
        command: String,
        #[source]
        source: std::io::Error,
    },
    #[error("exec plugin: invalid apiVersion {0:?}")]
    ApiVersion(String),
    #[error("exec plugin is configured to use API version {wanted}, plugin returned version {got}")]
    OtherVersion { wanted: String, got: String },
    #[error("exec plugin cannot support interactive mode: {0}")]
    NotInteractive(&'static str),
    #[error("decoding stdout of {command}")]
    Output {
        command: String,
        #[source]
        source: ParseError,
    },
    #[error("{0}")]
    Incomplete(&'static str),
    #[error("exec plugin returned a certificate that cannot be used")]
    Certificate(#[source] crate::config::ConfigError),
    #[error("credentials hold characters that are not allowed in a header")]
    Header,
}

/// What a plugin handed out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ExecCredential {
    pub(crate) token: Option<String>,
    pub(crate) certificate: Option<(String, String)>,
    pub(crate) expires: Option<SystemTime>,
}

impl ExecCredential {
    pub(crate) fn is_valid(&self, now: SystemTime) -> bool {
        self.expires.is_none_or(|end| now < end)
    }
}

const GROUP: &str = "client.authentication.k8s.io/";

/// Runs the plugin once.
pub(crate) async fn run(settings: &ExecSettings) -> Result<ExecCredential, AuthError> {
    if !matches!(settings.api_version.strip_prefix(GROUP), Some("v1" | "v1beta1")) {
        return Err(AuthError::ApiVersion(settings.api_version.clone()));
    }
    let interactive = match (settings.interactive_mode, std::io::stdin().is_terminal()) {
        (InteractiveMode::Never, _) => false,
        (InteractiveMode::IfAvailable, terminal) => terminal,
        (InteractiveMode::Always, true) => true,
        (InteractiveMode::Always, false) => return Err(AuthError::NotInteractive("standard input is not a terminal")),
    };
    let mut command = Command::new(program(settings));
    command.args(&settings.args).envs(settings.env.iter().map(|(name, value)| (name, value)));
    command.env("KUBERNETES_EXEC_INFO", exec_info(settings, interactive));
    command
        .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    let output = command.output().await.map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => AuthError::NotFound { command: settings.command.clone(), hint: hint(settings) },
        _ => AuthError::Run { command: settings.command.clone(), source },
    })?;
    if !output.status.success() {
        return Err(AuthError::Failed { command: settings.command.clone(), code: output.status.code().unwrap_or(-1) });
    }
    parse(settings, &output.stdout)
}

fn program(settings: &ExecSettings) -> OsString {
    match &settings.base_dir {
        Some(dir) if settings.command.contains('/') => dir.join(&settings.command).into(),
        _ => settings.command.clone().into(),
    }
}

fn hint(settings: &ExecSettings) -> String {
    let mut hint = "\n\nIt looks like you are trying to use a client-go credential plugin that is not installed.\n\n\
                    To learn more about this feature, consult the documentation available at:\n      \
                    https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins"
        .to_string();
    if !settings.install_hint.is_empty() {
        hint.push_str("\n\n");
        hint.push_str(&settings.install_hint);
    }
    hint
}

/// The `ExecCredential` that tells the plugin what is wanted.
fn exec_info(settings: &ExecSettings, interactive: bool) -> String {
    let mut spec = Object::new();
    if let Some(cluster) = &settings.cluster {
        let mut told = Object::new();
        told.insert("server", cluster.server.as_str());
        let mut put = |key: &str, set: bool, value: Value| {
            if set {
                told.insert(key, value);
            }
        };
        put("tls-server-name", !cluster.tls_server_name.is_empty(), cluster.tls_server_name.as_str().into());
        put("insecure-skip-tls-verify", cluster.insecure_skip_tls_verify, true.into());
        let ca = &cluster.certificate_authority_data;
        put("certificate-authority-data", !ca.is_empty(), STANDARD.encode(ca).into());
        put("proxy-url", !cluster.proxy_url.is_empty(), cluster.proxy_url.as_str().into());
        put("disable-compression", cluster.disable_compression, true.into());
        put("config", true, cluster.config.clone());
        spec.insert("cluster", told);
    }
    spec.insert("interactive", interactive);
    let mut info = Object::new();
    info.insert("kind", "ExecCredential");
    info.insert("apiVersion", settings.api_version.as_str());
    info.insert("spec", spec);
    Value::from(info).to_string()
}

fn parse(settings: &ExecSettings, stdout: &[u8]) -> Result<ExecCredential, AuthError> {
    let answer = Value::parse(stdout).map_err(|source| AuthError::Output { command: settings.command.clone(), source })?;
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_string);
    let version = text(&answer["apiVersion"]).unwrap_or_default();
    if version != settings.api_version {
        return Err(AuthError::OtherVersion { wanted: settings.api_version.clone(), got: version });
    }
    let status = &answer["status"];
    if status.as_object().is_none() {
        return Err(AuthError::Incomplete("exec plugin didn't return a status field"));
    }
    let certificate = match (text(&status["clientCertificateData"]), text(&status["clientKeyData"])) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        _ => return Err(AuthError::Incomplete("exec plugin returned only certificate or key, not both")),
    };
    let token = text(&status["token"]);
    if token.is_none() && certificate.is_none() {
        return Err(AuthError::Incomplete("exec plugin didn't return a token or cert/key pair"));
    }
    let expires = match text(&status["expirationTimestamp"]) {
        None => None,
        Some(stamp) => {
            let time: jiff::Timestamp =
                stamp.parse().map_err(|_| AuthError::Incomplete("exec plugin returned an expirationTimestamp that is no RFC 3339 time"))?;
            Some(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(time.as_second().max(0).unsigned_abs()))
        }
    };
    Ok(ExecCredential { token, certificate, expires })
}
