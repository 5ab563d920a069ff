//! `init phase kubeconfig`: kubeconfig files with client certificates inside.
//!
//! Upstream: cmd/kubeadm/app/phases/kubeconfig.

use std::io::{self, Write};
use std::path::Path;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pki::cert::CERTIFICATE_VALIDITY;
use pki::{Ca, PkiError, Subject, Template, Usages, files};
use thiserror::Error;

use crate::certs::{CLUSTER_ADMINS, CertError, load_authority};
use crate::network;
use crate::options::Options;

/// One file and whom it speaks for.
#[derive(Debug)]
pub struct File {
    pub phase: &'static str,
    name: &'static str,
    subject: fn(&Options) -> Subject,
    /// Goes to this machine's API server even where there is an address for all of them.
    local: bool,
}

/// In the order in which `all` makes them.
pub const FILES: [File; 5] = [
    File { phase: "admin", name: "admin.conf", subject: |_| Subject::new("kubernetes-admin", &[CLUSTER_ADMINS]), local: false },
    File {
        phase: "super-admin",
        name: "super-admin.conf",
        subject: |_| Subject::new("kubernetes-super-admin", &["system:masters"]),
        local: false,
    },
    File {
        phase: "kubelet",
        name: "kubelet.conf",
        subject: |options| Subject::new(&format!("system:node:{}", options.node_name), &["system:nodes"]),
        local: false,
    },
    File {
        phase: "controller-manager",
        name: "controller-manager.conf",
        subject: |_| Subject::new("system:kube-controller-manager", &[]),
        local: true,
    },
    File { phase: "scheduler", name: "scheduler.conf", subject: |_| Subject::new("system:kube-scheduler", &[]), local: true },
];

const CLUSTER: &str = "kubernetes";

/// Why a phase failed.
#[derive(Debug)]
pub struct PhaseError {
    /// As upstream names it: `kubeconfig/admin`.
    pub phase: String,
    pub cause: KubeconfigError,
}

#[derive(Debug, Error)]
pub enum KubeconfigError {
    #[error("couldn't create a kubeconfig")]
    Authority(#[from] CertError),
    #[error("couldn't create a kubeconfig")]
    Pki(#[from] PkiError),
    #[error("a kubeconfig file {path:?} exists already but has got the wrong {what}")]
    Existing { path: String, what: &'static str },
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

/// Runs one phase, or `all`.
pub fn run(name: &str, options: &Options, now: SystemTime, out: &mut dyn Write) -> Result<(), PhaseError> {
    let failed = |phase: &str| {
        let phase = format!("kubeconfig/{phase}");
        move |cause: KubeconfigError| PhaseError { phase, cause }
    };
    if name == "all" {
        writeln!(out, "[kubeconfig] Using kubeconfig folder {:?}", options.kubeconfig_dir)
            .map_err(|error| failed("all")(KubeconfigError::Output(error)))?;
    }
    let ca = load_authority(&options.cert_dir, "ca").map_err(|error| failed(name)(error.into()))?;
    for file in FILES.iter().filter(|file| name == "all" || file.phase == name) {
        let line = file.run(options, &ca, now).map_err(failed(file.phase))?;
        writeln!(out, "[kubeconfig] {line}").map_err(|error| failed(file.phase)(KubeconfigError::Output(error)))?;
    }
    Ok(())
}

impl File {
    fn run(&self, options: &Options, ca: &Ca, now: SystemTime) -> Result<String, KubeconfigError> {
        let path = options.kubeconfig_dir.join(self.name);
        let server = match &options.control_plane_endpoint {
            Some((host, port)) if !self.local => network::url(host, *port),
            _ => network::url(&options.advertise_address.to_string(), options.bind_port),
        };
        let ca_data = STANDARD.encode(ca.certificate_pem());
        if path.exists() {
            check_existing(&path, &ca_data, &server)?;
            return Ok(format!("Using existing kubeconfig file: {path:?}"));
        }
        let subject = (self.subject)(options);
        let user = subject.common_name.clone();
        let template = Template::new(subject, Vec::new(), Usages::client(), now, CERTIFICATE_VALIDITY);
        let (certificate, key) = ca.issue_with_key(&template)?;
        let (cert_data, key_data) = (STANDARD.encode(certificate), STANDARD.encode(key.pem()));
        files::write(&path, &render(&user, &server, &ca_data, &cert_data, &key_data), files::PRIVATE)?;
        Ok(format!("Writing {:?} kubeconfig file", self.name))
    }
}

fn render(user: &str, server: &str, ca_data: &str, cert_data: &str, key_data: &str) -> String {
    format!(
        "apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {ca_data}
    server: {server}
  name: {CLUSTER}
contexts:
- context:
    cluster: {CLUSTER}
    user: {user}
  name: {user}@{CLUSTER}
current-context: {user}@{CLUSTER}
kind: Config
users:
- name: {user}
  user:
    client-certificate-data: {cert_data}
    client-key-data: {key_data}
"
    )
}

/// A file that is there must lead to the same server and trust the same authority. Looks for the lines as kubeadm
/// writes them.
fn check_existing(path: &Path, ca_data: &str, server: &str) -> Result<(), KubeconfigError> {
    let text = files::read(path)?;
    let value = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim);
    let wrong = |what| Err(KubeconfigError::Existing { path: path.display().to_string(), what });
    if value("certificate-authority-data:") != Some(ca_data) {
        return wrong("CA cert");
    }
    if value("server:") != Some(server) {
        return wrong("API Server URL");
    }
    Ok(())
}

/// Reads the subject out of a `client-certificate-data`.
#[cfg(test)]
pub fn subject_of(data: &str) -> Result<Subject, PkiError> {
    let text = STANDARD.decode(data).map_err(|error| PkiError::Certificate(error.to_string()))?;
    pki::cert::subject(&pki::pem::certificates(&text)?[0])
}
