//! From a merged kubeconfig and the command line to one server and one identity.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Cluster, Kubeconfig, KubeconfigError, Sources, User};
use crate::config::{Auth, Config, Impersonation, Pem};
use crate::exec::{ExecCluster, ExecSettings, InteractiveMode};

/// What flags say: each wins over the files.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub context: Option<String>,
    pub cluster: Option<String>,
    pub user: Option<String>,
    pub namespace: Option<String>,
    pub server: Option<String>,
    pub tls_server_name: Option<String>,
    pub insecure_skip_tls_verify: Option<bool>,
    pub certificate_authority: Option<PathBuf>,
    pub proxy_url: Option<String>,
    pub client_certificate: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    pub token: Option<String>,
    pub username: Option<String>,
    pub password: Option<String>,
    pub impersonate: Option<String>,
    pub impersonate_uid: Option<String>,
    pub impersonate_groups: Vec<String>,
    pub impersonate_extra: Vec<(String, Vec<String>)>,
    /// `--request-timeout`.
    pub timeout: Option<Duration>,
    /// Used when nothing names a server: kubectl's `http://localhost:8080`. Without it that is an error.
    pub default_server: Option<String>,
}

/// One server, one identity.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub config: Config,
    /// `default` unless something says otherwise.
    pub namespace: String,
    /// Whether a flag named the namespace.
    pub namespace_overridden: bool,
    /// The context in use; empty if none.
    pub context: String,
}

impl Kubeconfig {
    /// Picks context, cluster and user, applies `overrides`, checks the result and makes a [`Config`] of it.
    pub fn resolve(&self, overrides: &Overrides) -> Result<Resolved, KubeconfigError> {
        let chosen = overrides.context.as_deref().filter(|name| !name.is_empty());
        let context_name = chosen.unwrap_or(&self.current_context).to_string();
        let context = self.context(&context_name);
        if context.is_none() && chosen.is_some() {
            return Err(KubeconfigError::NoContext(context_name));
        }
        let mut problems = Vec::new();
        if context.is_none() && !context_name.is_empty() {
            problems.push(KubeconfigError::ContextNotFound(context_name.clone()).to_string());
        }
        let context = context.cloned().unwrap_or_default();

        let cluster = self.pick_cluster(overrides, &context.cluster)?;
        let user = self.pick_user(overrides, &context.user)?;
        if cluster.server.is_empty() && self.is_empty() {
            return Err(KubeconfigError::Empty);
        }
        let cluster_name = overrides.cluster.as_deref().unwrap_or(&context.cluster);
        check_cluster(cluster_name, &cluster, &mut problems);
        check_user(overrides.user.as_deref().unwrap_or(&context.user), &user, &mut problems);
        if !problems.is_empty() {
            return Err(KubeconfigError::Invalid(problems));
        }

        let mut config = Config::new(cluster.server.clone());
        config.tls.ca = pem(&cluster.certificate_authority_data, cluster.certificate_authority.as_ref());
        config.tls.insecure_skip_verify = cluster.insecure_skip_tls_verify;
        config.tls.server_name = Some(cluster.tls_server_name.clone()).filter(|name| !name.is_empty());
        config.tls.client_cert = pem(&user.client_certificate_data, user.client_certificate.as_ref());
        config.tls.client_key = pem(&user.client_key_data, user.client_key.as_ref());
        config.proxy_url = Some(cluster.proxy_url.clone()).filter(|url| !url.is_empty());
        config.timeout = overrides.timeout.filter(|timeout| !timeout.is_zero());
        config.impersonate = Impersonation {
            user: user.impersonate.clone(),
            uid: user.impersonate_uid.clone(),
            groups: user.impersonate_groups.clone(),
            extra: user.impersonate_extra.clone(),
        };
        config.auth = auth(&cluster, &user)?;

        let flag = overrides.namespace.clone().filter(|namespace| !namespace.is_empty());
        let namespace_overridden = flag.is_some();
        let namespace = flag.unwrap_or(context.namespace);
        let namespace = if namespace.is_empty() { "default".to_string() } else { namespace };
        Ok(Resolved { config, namespace, namespace_overridden, context: context_name })
    }

    fn pick_cluster(&self, overrides: &Overrides, from_context: &str) -> Result<Cluster, KubeconfigError> {
        let mut cluster = match overrides.cluster.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => self.cluster(name).cloned().ok_or_else(|| KubeconfigError::NoCluster(name.into()))?,
            None => self.cluster(from_context).cloned().unwrap_or_default(),
        };
        if let Some(server) = overrides.server.clone().filter(|server| !server.is_empty()) {
            cluster.server = server;
        }
        if cluster.server.is_empty()
            && let Some(server) = &overrides.default_server
        {
            cluster.server = server.clone();
        }
        if let Some(name) = &overrides.tls_server_name {
            cluster.tls_server_name = name.clone();
        }
        if let Some(url) = &overrides.proxy_url {
            cluster.proxy_url = url.clone();
        }
        if let Some(path) = &overrides.certificate_authority {
            (cluster.certificate_authority, cluster.certificate_authority_data) = (Some(path.clone()), Vec::new());
        }
        if let Some(insecure) = overrides.insecure_skip_tls_verify {
            cluster.insecure_skip_tls_verify = insecure;
            // The flag says not to look: roots from the file must not stand against it.
            if insecure && overrides.certificate_authority.is_none() {
                (cluster.certificate_authority, cluster.certificate_authority_data) = (None, Vec::new());
            }
        }
        Ok(cluster)
    }

    fn pick_user(&self, overrides: &Overrides, from_context: &str) -> Result<User, KubeconfigError> {
        let mut user = match overrides.user.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => self.user(name).cloned().ok_or_else(|| KubeconfigError::NoUser(name.into()))?,
            None => self.user(from_context).cloned().unwrap_or_default(),
        };
        if let Some(path) = &overrides.client_certificate {
            (user.client_certificate, user.client_certificate_data) = (Some(path.clone()), Vec::new());
        }
        if let Some(path) = &overrides.client_key {
            (user.client_key, user.client_key_data) = (Some(path.clone()), Vec::new());
        }
        if let Some(token) = overrides.token.clone().filter(|token| !token.is_empty()) {
            (user.token, user.token_file, user.exec) = (token, None, None);
        }
        if overrides.username.is_some() || overrides.password.is_some() {
            user.username = overrides.username.clone().unwrap_or(user.username);
            user.password = overrides.password.clone().unwrap_or(user.password);
        }
        if let Some(who) = overrides.impersonate.clone().filter(|who| !who.is_empty()) {
            user.impersonate = who;
        }
        if let Some(uid) = &overrides.impersonate_uid {
            user.impersonate_uid = uid.clone();
        }
        if !overrides.impersonate_groups.is_empty() {
            user.impersonate_groups = overrides.impersonate_groups.clone();
        }
        if !overrides.impersonate_extra.is_empty() {
            user.impersonate_extra = overrides.impersonate_extra.clone();
        }
        Ok(user)
    }
}

/// What a daemon gets from `--kubeconfig` and `--master`, or without either from the pod it runs in (`BuildConfigFromFlags`).
///
/// `host` and `port` are the values of `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`, read by the caller.
pub fn for_daemon(
    kubeconfig: Option<&Path>,
    master: Option<&str>,
    host: Option<&str>,
    port: Option<&str>,
) -> Result<Config, KubeconfigError> {
    let master = master.filter(|master| !master.is_empty());
    let kubeconfig = kubeconfig.filter(|path| !path.as_os_str().is_empty());
    if kubeconfig.is_none() && master.is_none() {
        tracing::warn!("neither --kubeconfig nor --master was specified, using the in-cluster configuration");
        return Ok(crate::in_cluster(host, port)?.0);
    }
    let files = kubeconfig.map(Sources::file).unwrap_or_default().load()?;
    let overrides = Overrides { server: master.map(str::to_string), ..Overrides::default() };
    Ok(files.resolve(&overrides)?.config)
}

fn pem(data: &[u8], file: Option<&PathBuf>) -> Option<Pem> {
    if data.is_empty() { file.cloned().map(Pem::File) } else { Some(Pem::Data(data.to_vec())) }
}

fn check_cluster(name: &str, cluster: &Cluster, problems: &mut Vec<String>) {
    if cluster.server.is_empty() {
        problems.push(match name.is_empty() {
            true => "default cluster has no server defined".to_string(),
            false => format!("no server found for cluster {name:?}"),
        });
    }
    if !cluster.certificate_authority_data.is_empty() && cluster.certificate_authority.is_some() {
        problems.push(format!(
            "certificate-authority-data and certificate-authority are both specified for {name}. certificate-authority-data will override."
        ));
    }
    if let Some(path) = &cluster.certificate_authority {
        check_readable("certificate-authority", path, name, problems);
    }
    if cluster.insecure_skip_tls_verify && (cluster.certificate_authority.is_some() || !cluster.certificate_authority_data.is_empty()) {
        problems.push("specifying a root certificates file with the insecure flag is not allowed".to_string());
    }
}

fn check_readable(what: &str, path: &PathBuf, name: &str, problems: &mut Vec<String>) {
    if let Err(err) = std::fs::File::open(path) {
        problems.push(format!("unable to read {what} {0} for {name} due to open {0}: {1}", path.display(), super::go_words(&err)));
    }
}

fn check_user(name: &str, user: &User, problems: &mut Vec<String>) {
    let mut methods = Vec::new();
    if !user.token.is_empty() {
        methods.push("token");
    }
    if !user.username.is_empty() || !user.password.is_empty() {
        methods.push("basicAuth");
    }
    let has_cert = user.client_certificate.is_some() || !user.client_certificate_data.is_empty();
    let has_key = user.client_key.is_some() || !user.client_key_data.is_empty();
    if has_cert || has_key {
        for (what, data, file) in
            [("cert", &user.client_certificate_data, &user.client_certificate), ("key", &user.client_key_data, &user.client_key)]
        {
            if !data.is_empty() && file.is_some() {
                problems
                    .push(format!("client-{what}-data and client-{what} are both specified for {name}; client-{what}-data will override"));
            }
            if let (true, Some(path)) = (data.is_empty(), file) {
                check_readable(&format!("client-{what}"), path, name, problems);
            }
        }
        if has_cert && !has_key {
            problems
                .push(format!("client-key-data or client-key must be specified for {name} to use the clientCert authentication method"));
        }
        if has_key && !has_cert {
            problems
                .push(format!("client-cert-data or client-cert must be specified for {name} to use the clientCert authentication method"));
        }
    }
    if let Some(exec) = &user.exec {
        if user.auth_provider.is_some() {
            problems.push(format!("authProvider cannot be provided in combination with an exec plugin for {name}"));
        }
        for (what, value) in [("command", &exec.command), ("apiVersion", &exec.api_version)] {
            if value.is_empty() {
                problems.push(format!("{what} must be specified for {name} to use exec authentication plugin"));
            }
        }
        if exec.env.iter().any(|(variable, _)| variable.is_empty()) {
            problems.push(format!("env variable name must be specified for {name} to use exec authentication plugin"));
        }
        match exec.interactive_mode.as_str() {
            "Never" | "IfAvailable" | "Always" => {}
            // The field came with v1; before that it could be left out.
            "" if exec.api_version.ends_with("/v1beta1") => {}
            "" => problems.push(format!("interactiveMode must be specified for {name} to use exec authentication plugin")),
            other => problems.push(format!("invalid interactiveMode for {name}: {other:?}")),
        }
    }
    if methods.len() > 1 {
        problems.push(format!("more than one authentication method found for {name}; found [{}], only one is allowed", methods.join(" ")));
    }
    let who = [&user.impersonate_groups.is_empty(), &user.impersonate_uid.is_empty(), &user.impersonate_extra.is_empty()];
    if user.impersonate.is_empty() && who.contains(&&false) {
        problems.push(format!("requesting uid, groups or user-extra for {name} without impersonating a user"));
    }
}

fn auth(cluster: &Cluster, user: &User) -> Result<Auth, KubeconfigError> {
    if let Some(provider) = &user.auth_provider {
        // Upstream's message for a provider that was taken out of the tree.
        return Err(KubeconfigError::Invalid(vec![format!("no Auth Provider found for name {provider:?}")]));
    }
    if let Some(path) = &user.token_file {
        let initial = Some(user.token.clone()).filter(|token| !token.is_empty());
        return Ok(Auth::TokenFile { path: path.clone(), initial });
    }
    if !user.token.is_empty() {
        return Ok(Auth::Token(user.token.clone()));
    }
    if !user.username.is_empty() || !user.password.is_empty() {
        return Ok(Auth::Basic { username: user.username.clone(), password: user.password.clone() });
    }
    let Some(exec) = &user.exec else { return Ok(Auth::None) };
    let told = match exec.provide_cluster_info {
        false => None,
        true => {
            let mut ca = cluster.certificate_authority_data.clone();
            if let (true, Some(path)) = (ca.is_empty(), &cluster.certificate_authority) {
                ca = std::fs::read(path).map_err(|source| KubeconfigError::Read { path: path.clone(), source })?;
            }
            Some(ExecCluster {
                server: cluster.server.clone(),
                tls_server_name: cluster.tls_server_name.clone(),
                insecure_skip_tls_verify: cluster.insecure_skip_tls_verify,
                certificate_authority_data: ca,
                proxy_url: cluster.proxy_url.clone(),
                disable_compression: cluster.disable_compression,
                config: cluster.exec_config.clone(),
            })
        }
    };
    Ok(Auth::Exec(Box::new(ExecSettings {
        api_version: exec.api_version.clone(),
        command: exec.command.clone(),
        args: exec.args.clone(),
        env: exec.env.clone(),
        install_hint: exec.install_hint.clone(),
        interactive_mode: match exec.interactive_mode.as_str() {
            "Never" => InteractiveMode::Never,
            "Always" => InteractiveMode::Always,
            _ => InteractiveMode::IfAvailable,
        },
        cluster: told,
        base_dir: user.origin.parent().map(PathBuf::from),
    })))
}
