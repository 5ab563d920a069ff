//! `init phase certs`: the certificates of a control plane. What is there already is checked and kept.
//!
//! Upstream: cmd/kubeadm/app/phases/certs. Keys are of the curve P-256, where upstream's default is RSA.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::SystemTime;

use pki::cert::{CA_VALIDITY, CERTIFICATE_VALIDITY, is_issued_by, sans, validity};
use pki::{Ca, Key, PkiError, San, Subject, Template, Usages, files, pem};
use thiserror::Error;

use crate::options::Options;

/// One phase: one pair of files.
#[derive(Debug)]
pub struct Phase {
    pub name: &'static str,
    /// The files' name without ending, under the certificate directory.
    base: &'static str,
    make: Make,
}

#[derive(Debug)]
enum Make {
    Authority { common_name: &'static str },
    Leaf { authority: &'static str, describe: fn(&Options) -> Leaf },
    KeyPair,
}

struct Leaf {
    subject: Subject,
    usages: Usages,
    sans: Vec<San>,
}

/// The group that admin.conf belongs to; a ClusterRoleBinding of that name makes it an administrator's.
pub const CLUSTER_ADMINS: &str = "kubeadm:cluster-admins";

/// In the order in which `all` makes them: an authority before what it issues.
pub const PHASES: [Phase; 11] = [
    Phase { name: "ca", base: "ca", make: Make::Authority { common_name: "kubernetes" } },
    leaf("apiserver", "apiserver", "ca", |options| Leaf {
        subject: Subject::new("kube-apiserver", &[]),
        usages: Usages::server(),
        sans: api_server_names(options),
    }),
    leaf("apiserver-kubelet-client", "apiserver-kubelet-client", "ca", |_| client("kube-apiserver-kubelet-client", &[CLUSTER_ADMINS])),
    Phase { name: "front-proxy-ca", base: "front-proxy-ca", make: Make::Authority { common_name: "front-proxy-ca" } },
    leaf("front-proxy-client", "front-proxy-client", "front-proxy-ca", |_| client("front-proxy-client", &[])),
    Phase { name: "etcd-ca", base: "etcd/ca", make: Make::Authority { common_name: "etcd-ca" } },
    leaf("etcd-server", "etcd/server", "etcd/ca", etcd_member),
    leaf("etcd-peer", "etcd/peer", "etcd/ca", etcd_member),
    leaf("etcd-healthcheck-client", "etcd/healthcheck-client", "etcd/ca", |_| client("kube-etcd-healthcheck-client", &[])),
    leaf("apiserver-etcd-client", "apiserver-etcd-client", "etcd/ca", |_| client("kube-apiserver-etcd-client", &[])),
    Phase { name: "sa", base: "sa", make: Make::KeyPair },
];

const fn leaf(name: &'static str, base: &'static str, authority: &'static str, describe: fn(&Options) -> Leaf) -> Phase {
    Phase { name, base, make: Make::Leaf { authority, describe } }
}

fn client(common_name: &str, organizations: &[&str]) -> Leaf {
    Leaf { subject: Subject::new(common_name, organizations), usages: Usages::client(), sans: Vec::new() }
}

fn etcd_member(options: &Options) -> Leaf {
    let addresses = [options.advertise_address, Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    Leaf {
        subject: Subject::new(&options.node_name, &[]),
        usages: Usages::server_and_client(),
        sans: names(["localhost".to_owned(), options.node_name.clone()], addresses),
    }
}

fn api_server_names(options: &Options) -> Vec<San> {
    let mut dns = vec![
        options.node_name.clone(),
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        format!("kubernetes.default.svc.{}", options.dns_domain),
    ];
    let mut addresses = vec![options.service_ip, options.advertise_address];
    let endpoint = options.control_plane_endpoint.iter().map(|(host, _)| host);
    for name in endpoint.chain(&options.extra_sans) {
        match name.parse() {
            Ok(ip) => addresses.push(ip),
            Err(_) => dns.push(name.clone()),
        }
    }
    names(dns, addresses)
}

/// DNS names sorted, then addresses as they come; each once.
fn names(dns: impl IntoIterator<Item = String>, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<San> {
    let mut dns: Vec<String> = dns.into_iter().collect();
    dns.sort();
    dns.dedup();
    let mut names: Vec<San> = dns.into_iter().map(San::Dns).collect();
    for address in addresses {
        if !names.contains(&San::Ip(address)) {
            names.push(San::Ip(address));
        }
    }
    names
}

/// Why a phase failed.
#[derive(Debug)]
pub struct PhaseError {
    /// As upstream names it: `certs/apiserver`.
    pub phase: String,
    pub cause: CertError,
}

/// What is wrong with a certificate, made or found.
#[derive(Debug, Error)]
pub enum CertError {
    #[error("couldn't load {base} certificate authority from {folder}")]
    Authority { base: String, folder: String, source: PkiError },
    #[error("failed to write or validate certificate {base:?}")]
    Certificate { base: String, source: PkiError },
    #[error("couldn't load certificate {base}: only one of {base}.crt and {base}.key exists")]
    HalfPair { base: String },
    #[error("certificate {base} is not signed by corresponding CA")]
    WrongIssuer { base: String },
    #[error("certificate {base} is invalid: it is not valid for {missing}")]
    MissingName { base: String, missing: String },
    #[error("certificate {base} has expired or is not valid yet")]
    Expired { base: String },
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

/// Runs one phase, or `all`.
pub fn run(name: &str, options: &Options, now: SystemTime, out: &mut dyn Write) -> Result<(), PhaseError> {
    if name == "all" {
        writeln!(out, "[certs] Using certificateDir folder {:?}", options.cert_dir)
            .map_err(|error| PhaseError { phase: "certs".to_owned(), cause: CertError::Output(error) })?;
    }
    for phase in PHASES.iter().filter(|phase| name == "all" || phase.name == name) {
        let lines = phase
            .run(options, now)
            .and_then(|lines| lines.iter().try_for_each(|line| writeln!(out, "[certs] {line}")).map_err(CertError::Output));
        lines.map_err(|cause| PhaseError { phase: format!("certs/{}", phase.name), cause })?;
    }
    Ok(())
}

impl Phase {
    /// Makes or checks the files; returns what to tell the user.
    fn run(&self, options: &Options, now: SystemTime) -> Result<Vec<String>, CertError> {
        let pair = Pair::new(&options.cert_dir, self.base);
        match &self.make {
            Make::Authority { common_name } => authority_phase(&pair, common_name, now),
            Make::Leaf { authority, describe } => {
                let ca = load_authority(&options.cert_dir, authority)?;
                leaf_phase(&pair, &ca, describe(options), now)
            }
            Make::KeyPair => key_pair_phase(&pair),
        }
    }
}

/// The two files of a phase.
struct Pair {
    base: &'static str,
    folder: String,
    public: std::path::PathBuf,
    private: std::path::PathBuf,
}

impl Pair {
    fn new(folder: &Path, base: &'static str) -> Pair {
        let public = folder.join(format!("{base}.{}", if base == "sa" { "pub" } else { "crt" }));
        Pair { base, folder: folder.display().to_string(), public, private: folder.join(format!("{base}.key")) }
    }

    /// Whether both files exist; one without the other is an error.
    fn exists(&self) -> Result<bool, CertError> {
        match (self.public.exists(), self.private.exists()) {
            (true, true) => Ok(true),
            (false, false) => Ok(false),
            _ => Err(CertError::HalfPair { base: self.base.to_owned() }),
        }
    }

    fn write(&self, public: &str, private: &str) -> Result<(), PkiError> {
        // The key first: a certificate without its key would be taken for an authority kept elsewhere.
        files::write(&self.private, private, files::PRIVATE)?;
        let mode = if self.base == "sa" { files::PRIVATE } else { files::PUBLIC };
        files::write(&self.public, public, mode)
    }

    fn certificate_error(&self, source: PkiError) -> CertError {
        CertError::Certificate { base: self.base.to_owned(), source }
    }
}

/// Reads an authority that an earlier phase made.
pub fn load_authority(folder: &Path, base: &str) -> Result<Ca, CertError> {
    let read = || {
        let certificate = files::read(&folder.join(format!("{base}.crt")))?;
        Ca::from_pem(&certificate, &files::read(&folder.join(format!("{base}.key")))?)
    };
    read().map_err(|source| CertError::Authority { base: base.to_owned(), folder: folder.display().to_string(), source })
}

fn authority_phase(pair: &Pair, common_name: &str, now: SystemTime) -> Result<Vec<String>, CertError> {
    let base = pair.base;
    if pair.public.exists() {
        // An authority whose key is kept elsewhere is fine, as long as nothing must be signed here.
        let keyless = if pair.private.exists() { "" } else { " keyless" };
        let check = || {
            let text = files::read(&pair.public)?;
            if keyless.is_empty() {
                Ca::from_pem(&text, &files::read(&pair.private)?)?;
            }
            pem::certificates(text.as_bytes())
        };
        let loaded = check().map_err(|source| CertError::Authority { base: base.to_owned(), folder: pair.folder.clone(), source })?;
        check_time(pair, &loaded[0], now)?;
        return Ok(vec![format!("Using existing {base}{keyless} certificate authority")]);
    }
    pair.exists()?;
    let ca = Ca::create(common_name, now, CA_VALIDITY).map_err(|error| pair.certificate_error(error))?;
    pair.write(&ca.certificate_pem(), ca.key().pem()).map_err(|error| pair.certificate_error(error))?;
    Ok(vec![format!("Generating {base:?} certificate and key")])
}

fn leaf_phase(pair: &Pair, ca: &Ca, leaf: Leaf, now: SystemTime) -> Result<Vec<String>, CertError> {
    let base = pair.base;
    if pair.exists()? {
        check_leaf(pair, ca, &leaf, now)?;
        return Ok(vec![format!("Using existing {base} certificate and key on disk")]);
    }
    let signed_for = (!leaf.sans.is_empty()).then(|| {
        let (dns, addresses): (Vec<&San>, Vec<&San>) = leaf.sans.iter().partition(|name| matches!(name, San::Dns(_)));
        format!("{base} serving cert is signed for DNS names [{}] and IPs [{}]", list(&dns), list(&addresses))
    });
    let template = Template::new(leaf.subject, leaf.sans, leaf.usages, now, CERTIFICATE_VALIDITY);
    let (certificate, key) = ca.issue_with_key(&template).map_err(|error| pair.certificate_error(error))?;
    pair.write(&certificate, key.pem()).map_err(|error| pair.certificate_error(error))?;
    Ok(std::iter::once(format!("Generating {base:?} certificate and key")).chain(signed_for).collect())
}

fn check_leaf(pair: &Pair, ca: &Ca, leaf: &Leaf, now: SystemTime) -> Result<(), CertError> {
    let base = || pair.base.to_owned();
    let load = || {
        let certificate = pem::certificates(files::read(&pair.public)?.as_bytes())?.swap_remove(0);
        Key::from_pem(&files::read(&pair.private)?)?;
        let (issued, present) = (is_issued_by(&certificate, ca)?, sans(&certificate)?);
        Ok((certificate, issued, present))
    };
    let (certificate, issued, present) = load().map_err(|error| pair.certificate_error(error))?;
    check_time(pair, &certificate, now)?;
    if !issued {
        return Err(CertError::WrongIssuer { base: base() });
    }
    let missing: Vec<&San> = leaf.sans.iter().filter(|name| !present.contains(name)).collect();
    if !missing.is_empty() {
        return Err(CertError::MissingName { base: base(), missing: list(&missing) });
    }
    Ok(())
}

fn check_time(pair: &Pair, certificate: &rustls_pki_types::CertificateDer<'_>, now: SystemTime) -> Result<(), CertError> {
    let (from, until) = validity(certificate).map_err(|error| pair.certificate_error(error))?;
    if from <= now && now < until { Ok(()) } else { Err(CertError::Expired { base: pair.base.to_owned() }) }
}

fn key_pair_phase(pair: &Pair) -> Result<Vec<String>, CertError> {
    let base = pair.base;
    if pair.private.exists() {
        let key = files::read(&pair.private).and_then(|text| Key::from_pem(&text)).map_err(|error| pair.certificate_error(error))?;
        // The public half can always be had again.
        if !pair.public.exists() {
            files::write(&pair.public, &key.public_pem(), files::PRIVATE).map_err(|error| pair.certificate_error(error))?;
        }
        return Ok(vec![format!("Using the existing {base:?} key")]);
    }
    let key = Key::generate().map_err(|error| pair.certificate_error(error))?;
    pair.write(&key.public_pem(), key.pem()).map_err(|error| pair.certificate_error(error))?;
    Ok(vec![format!("Generating {base:?} key and public key")])
}

fn list(names: &[&San]) -> String {
    let texts: Vec<String> = names
        .iter()
        .map(|name| match name {
            San::Dns(text) | San::Email(text) | San::Uri(text) => text.clone(),
            San::Ip(ip) => ip.to_string(),
        })
        .collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests;
