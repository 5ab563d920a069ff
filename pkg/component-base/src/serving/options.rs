//! The secure serving flags that upstream's daemons share.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pki::{San, files};

use super::ServingConfig;
use super::tls::{CertSource, SniCert, TlsOptions};
use crate::flags::Flags;
use crate::problems::Problems;

/// The flags that [`SecureServing::from_flags`] reads, with their help texts.
pub const FLAGS: &[(&str, &str)] = &[
    ("bind-address", "The IP address on which to listen for --secure-port. Unspecified (0.0.0.0 or ::): all interfaces and IP families."),
    ("secure-port", "The port on which to serve HTTPS with authentication and authorization."),
    ("cert-dir", "The directory where the TLS certs are located. Ignored if --tls-cert-file and --tls-private-key-file are given."),
    (
        "tls-cert-file",
        "File with the x509 certificate for HTTPS, followed by its CA certificates, if any. Without it a self-signed pair is made.",
    ),
    ("tls-private-key-file", "File with the x509 private key that matches --tls-cert-file."),
    ("tls-min-version", "Minimum TLS version supported: VersionTLS12 or VersionTLS13."),
    ("tls-cipher-suites", "Comma-separated list of cipher suites for TLS 1.2. Those of TLS 1.3 are not configurable."),
    (
        "tls-sni-cert-key",
        "A pair of x509 certificate and private key file paths, optionally followed by a colon and domain patterns. May be repeated.",
    ),
    ("http2-max-streams-per-connection", "The limit of streams that a client may open in one HTTP/2 connection. Zero: the default, 100."),
    ("disable-http2-serving", "If true, only HTTP/1.1 is served."),
    ("permit-port-sharing", "If true, SO_REUSEPORT is set, so that several processes can listen on one port."),
    ("permit-address-sharing", "If true, SO_REUSEADDR is set. This build always sets it."),
];

/// The values of the secure serving flags, checked.
#[derive(Clone, Debug)]
pub struct SecureServing {
    address: SocketAddr,
    files: Option<(PathBuf, PathBuf)>,
    cert_dir: Option<PathBuf>,
    sni: Vec<SniCert>,
    min_version: String,
    cipher_suites: Vec<String>,
    max_streams: u32,
    http2: bool,
    share_port: bool,
}

impl SecureServing {
    /// Reads and checks the flags of [`FLAGS`].
    pub fn from_flags(flags: &Flags, problems: &mut Problems) -> SecureServing {
        let (cert, key) = (flags.path("tls-cert-file"), flags.path("tls-private-key-file"));
        problems.require(cert.is_some() == key.is_some(), "--tls-cert-file and --tls-private-key-file must be specified together");
        let cipher_suites = flags.strings("tls-cipher-suites");
        let min_version = flags.text("tls-min-version").to_owned();
        problems.take(TlsOptions::check_names(&min_version, &cipher_suites));
        let max_streams = u32::try_from(flags.int("http2-max-streams-per-connection"));
        problems.require(max_streams.is_ok(), "--http2-max-streams-per-connection can not be a negative value");
        let sni = flags.strings("tls-sni-cert-key").iter().filter_map(|text| problems.take(parse_sni(text))).collect();
        let ip = flags.ip("bind-address").unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        SecureServing {
            address: SocketAddr::new(ip, flags.port("secure-port", problems)),
            files: cert.zip(key),
            cert_dir: flags.path("cert-dir"),
            sni,
            min_version,
            cipher_suites,
            max_streams: max_streams.unwrap_or(0),
            http2: !flags.bool("disable-http2-serving"),
            share_port: flags.bool("permit-port-sharing"),
        }
    }

    /// Where it will listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Settings for a server. Without certificate files a self-signed pair for `host` is made: kept in `--cert-dir`
    /// as `PAIR.crt` and `PAIR.key` (and found there again), or in memory if there is no such directory.
    pub fn config(&self, pair: &str, host: &str, also: &[San]) -> Result<ServingConfig, pki::PkiError> {
        let cert = match (&self.files, &self.cert_dir) {
            (Some((cert, key)), _) => CertSource::Files { cert: cert.clone(), key: key.clone() },
            (None, Some(folder)) => kept_pair(folder, pair, host, also)?,
            (None, None) => self_signed(host, also)?,
        };
        let tls = TlsOptions {
            cert,
            sni: self.sni.clone(),
            min_version: self.min_version.clone(),
            cipher_suites: self.cipher_suites.clone(),
            ask_client_cert: true,
            http2: self.http2,
        };
        let config = ServingConfig::secure(self.address, tls);
        Ok(ServingConfig { max_streams: self.max_streams, share_port: self.share_port, ..config })
    }
}

/// A self-signed pair that lives as long as the process.
pub fn self_signed(host: &str, also: &[San]) -> Result<CertSource, pki::PkiError> {
    let (cert, key) = pki::cert::self_signed_serving(host, also, SystemTime::now())?;
    Ok(CertSource::Pem { cert, key: key.pem().to_owned() })
}

/// A self-signed pair `PAIR.crt` and `PAIR.key` in a directory: the one that is there, else a new one.
pub fn kept_pair(folder: &Path, pair: &str, host: &str, also: &[San]) -> Result<CertSource, pki::PkiError> {
    let (cert_path, key_path) = (folder.join(format!("{pair}.crt")), folder.join(format!("{pair}.key")));
    if !(cert_path.exists() && key_path.exists()) {
        let (cert, key) = pki::cert::self_signed_serving(host, also, SystemTime::now())?;
        files::write(&cert_path, &cert, files::PUBLIC)?;
        files::write(&key_path, key.pem(), files::PRIVATE)?;
        tracing::info!(cert = %cert_path.display(), key = %key_path.display(), "Generated self-signed cert");
    }
    Ok(CertSource::Files { cert: cert_path, key: key_path })
}

/// `cert,key` or `cert,key:name,name`.
fn parse_sni(text: &str) -> Result<SniCert, String> {
    let bad =
        || format!("invalid argument {text:?} for \"--tls-sni-cert-key\" flag: expected comma separated certificate and key file paths");
    let (files, names) = text.split_once(':').unwrap_or((text, ""));
    let (cert, key) = files.split_once(',').ok_or_else(bad)?;
    if cert.is_empty() || key.is_empty() || key.contains(',') {
        return Err(bad());
    }
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Ok(SniCert { source: CertSource::Files { cert: cert.trim().into(), key: key.trim().into() }, names })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::FlagSet;

    fn read(arguments: &str) -> Result<SecureServing, String> {
        let flags = FlagSet::of("kube-scheduler").honour(FLAGS).parse(arguments.split_whitespace()).unwrap();
        let mut problems = Problems::new();
        let serving = SecureServing::from_flags(&flags, &mut problems);
        problems.finish(Some(serving)).map_err(|problems| problems.to_string())
    }

    #[test]
    fn flags_become_a_config() {
        let serving = read("--bind-address=127.0.0.1 --tls-min-version=VersionTLS13 --tls-sni-cert-key=a.crt,a.key:*.x,y").unwrap();
        assert_eq!(serving.address().to_string(), "127.0.0.1:10259");
        assert_eq!(serving.sni[0].names, ["*.x", "y"]);
        let config = serving.config("kube-scheduler", "localhost", &[]).unwrap();
        assert!(matches!(config.tls.unwrap().cert, CertSource::Pem { .. }));
    }

    #[test]
    fn a_made_pair_is_kept_in_the_directory() {
        let folder = tempfile::tempdir().unwrap();
        let serving = read(&format!("--cert-dir={}", folder.path().display())).unwrap();
        let read_cert = || std::fs::read_to_string(folder.path().join("it.crt")).unwrap();
        serving.config("it", "localhost", &[]).unwrap();
        let first = read_cert();
        serving.config("it", "localhost", &[]).unwrap();
        assert_eq!(first, read_cert());
    }

    #[test]
    fn bad_values_are_refused_together() {
        let problems = read("--secure-port=0 --tls-cert-file=a --tls-min-version=x --tls-sni-cert-key=a").unwrap_err();
        for part in ["must be specified together", "unknown tls version", "expected comma separated", "--secure-port 0 must be"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
    }
}
