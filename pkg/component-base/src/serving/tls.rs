//! The server's side of TLS: certificates by name, kept up to date; clients asked for a certificate, never refused for it.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, SupportedProtocolVersion};
use thiserror::Error;

use crate::http::BoxError;
use crate::reload::{ReloadError, Reloaded};

/// What is wrong with the TLS settings.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A certificate or key file is missing or broken.
    #[error(transparent)]
    Files(#[from] ReloadError),
    /// A certificate and key that were made in memory do not fit.
    #[error("unusable certificate: {0}")]
    Certificate(BoxError),
    /// A `--tls-min-version` that upstream does not know either.
    #[error("unknown tls version {0:?}")]
    UnknownVersion(String),
    /// A `--tls-min-version` below what this build speaks.
    #[error("tls version {0:?} is not supported by this build: use VersionTLS12 or VersionTLS13")]
    OldVersion(String),
    /// A `--tls-cipher-suites` entry that this build does not have.
    #[error("Cipher suite {0} not supported or doesn't exist")]
    CipherSuite(String),
    /// No suite is left for TLS 1.2.
    #[error("no usable TLS settings: {0}")]
    Settings(#[from] rustls::Error),
}

/// A certificate chain with its key.
#[derive(Clone, Debug)]
pub enum CertSource {
    /// PEM files, read again when they change.
    Files { cert: PathBuf, key: PathBuf },
    /// PEM text.
    Pem { cert: String, key: String },
}

/// A certificate for some host names: `--tls-sni-cert-key`.
#[derive(Clone, Debug)]
pub struct SniCert {
    pub source: CertSource,
    /// Names (`a.b.c`) and wildcards (`*.b.c`). Empty: the names in the certificate.
    pub names: Vec<String>,
}

/// TLS settings of one listener.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    pub cert: CertSource,
    pub sni: Vec<SniCert>,
    /// Upstream's name: `VersionTLS12` or `VersionTLS13`; empty for the default (1.2).
    pub min_version: String,
    /// Upstream's names for TLS 1.2 suites; empty for the default. TLS 1.3's are always on, as in upstream.
    pub cipher_suites: Vec<String>,
    /// Asks clients for a certificate. Whatever they send reaches the handler unverified.
    pub ask_client_cert: bool,
    pub http2: bool,
}

impl TlsOptions {
    /// Default settings with one certificate: TLS 1.2 and 1.3, HTTP/2, client certificates asked for.
    pub fn new(cert: CertSource) -> TlsOptions {
        TlsOptions { cert, sni: Vec::new(), min_version: String::new(), cipher_suites: Vec::new(), ask_client_cert: true, http2: true }
    }

    /// Reads the certificates and makes rustls' settings. The second part must be run to keep them up to date.
    pub fn build(&self) -> Result<(Arc<ServerConfig>, Arc<Certificates>), TlsError> {
        let provider = Arc::new(provider(&self.cipher_suites)?);
        let certificates = Arc::new(Certificates::load(&self.cert, &self.sni)?);
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&versions(&self.min_version)?)?;
        let builder = match self.ask_client_cert {
            true => builder.with_client_cert_verifier(Arc::new(AcceptAny { provider })),
            false => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(certificates.clone());
        if self.http2 {
            config.alpn_protocols.push(b"h2".to_vec());
        }
        config.alpn_protocols.push(b"http/1.1".to_vec());
        Ok((Arc::new(config), certificates))
    }

    /// Checks names of versions and suites without touching a file, for config validation.
    pub fn check_names(min_version: &str, cipher_suites: &[String]) -> Result<(), TlsError> {
        versions(min_version)?;
        provider(cipher_suites).map(drop)
    }
}

fn versions(min: &str) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    match min {
        "" | "VersionTLS12" => Ok(vec![&rustls::version::TLS13, &rustls::version::TLS12]),
        "VersionTLS13" => Ok(vec![&rustls::version::TLS13]),
        "VersionTLS10" | "VersionTLS11" => Err(TlsError::OldVersion(min.to_owned())),
        _ => Err(TlsError::UnknownVersion(min.to_owned())),
    }
}

/// The crypto provider with the TLS 1.2 suites of that list. Names are IANA's, as in upstream's flag.
fn provider(cipher_suites: &[String]) -> Result<CryptoProvider, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    if cipher_suites.is_empty() {
        return Ok(provider);
    }
    let name = |suite: &rustls::SupportedCipherSuite| {
        let name = format!("{:?}", suite.suite());
        // rustls marks TLS 1.3 suites in its own way.
        name.replace("TLS13_", "TLS_")
    };
    for wanted in cipher_suites {
        if !provider.cipher_suites.iter().any(|suite| name(suite) == *wanted) {
            return Err(TlsError::CipherSuite(wanted.clone()));
        }
    }
    provider.cipher_suites.retain(|suite| suite.tls13().is_some() || cipher_suites.contains(&name(suite)));
    Ok(provider)
}

/// A certified key that stays as it is, or follows its files.
#[derive(Debug)]
enum Slot {
    Fixed(Arc<CertifiedKey>),
    Files(Arc<Reloaded<CertifiedKey>>),
}

impl Slot {
    fn load(source: &CertSource) -> Result<Slot, TlsError> {
        Ok(match source {
            CertSource::Files { cert, key } => {
                Slot::Files(Reloaded::load(vec![cert.clone(), key.clone()], |files| certified_key(&files[0], &files[1]))?)
            }
            CertSource::Pem { cert, key } => {
                Slot::Fixed(Arc::new(certified_key(cert.as_bytes(), key.as_bytes()).map_err(TlsError::Certificate)?))
            }
        })
    }

    fn current(&self) -> Arc<CertifiedKey> {
        match self {
            Slot::Fixed(key) => key.clone(),
            Slot::Files(files) => files.current(),
        }
    }
}

fn certified_key(cert: &[u8], key: &[u8]) -> Result<CertifiedKey, BoxError> {
    let chain = CertificateDer::pem_slice_iter(cert).collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err("no certificate in the PEM data".into());
    }
    let key = PrivateKeyDer::from_pem_slice(key)?;
    Ok(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?)
}

/// The certificates of a listener, chosen by the name that the client asks for.
#[derive(Debug)]
pub struct Certificates {
    default: Slot,
    sni: Vec<Slot>,
    /// Lower-case name or wildcard to an index in `sni`. The first entry of a name wins.
    names: HashMap<String, usize>,
}

impl Certificates {
    fn load(default: &CertSource, sni: &[SniCert]) -> Result<Certificates, TlsError> {
        let mut certificates = Certificates { default: Slot::load(default)?, sni: Vec::new(), names: HashMap::new() };
        for (index, cert) in sni.iter().enumerate() {
            let slot = Slot::load(&cert.source)?;
            let names = if cert.names.is_empty() { names_in(&slot.current()) } else { cert.names.clone() };
            for name in names {
                certificates.names.entry(name.to_ascii_lowercase()).or_insert(index);
            }
            certificates.sni.push(slot);
        }
        Ok(certificates)
    }

    /// The chain presented to clients that ask for no particular name.
    pub fn default_chain(&self) -> Vec<CertificateDer<'static>> {
        self.default.current().cert.clone()
    }

    /// Everything that follows files and wants [`Reloaded::run`].
    pub fn reloaders(&self) -> Vec<Arc<Reloaded<CertifiedKey>>> {
        std::iter::once(&self.default)
            .chain(&self.sni)
            .filter_map(|slot| match slot {
                Slot::Fixed(_) => None,
                Slot::Files(files) => Some(files.clone()),
            })
            .collect()
    }

    fn by_name(&self, name: Option<&str>) -> Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = || name.split_once('.').and_then(|(_, parent)| self.names.get(&format!("*.{parent}")));
            self.names.get(&name).or_else(wildcard)
        });
        found.map_or(&self.default, |index| &self.sni[*index]).current()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.by_name(hello.server_name()))
    }
}

/// The DNS names of a certificate, or its common name where it has none.
fn names_in(key: &CertifiedKey) -> Vec<String> {
    let Some(leaf) = key.cert.first() else { return Vec::new() };
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(leaf) else { return Vec::new() };
    let mut names = Vec::new();
    if let Ok(Some(extension)) = parsed.subject_alternative_name() {
        for name in &extension.value.general_names {
            if let x509_parser::extensions::GeneralName::DNSName(name) = name {
                names.push((*name).to_owned());
            }
        }
    }
    if names.is_empty() {
        names.extend(parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(str::to_owned));
    }
    names
}

/// Lets any client certificate through the handshake, once the client has proven that it holds the key.
///
/// Whom it speaks for is the authenticator's question: a bad certificate is a 401 in HTTP, not a broken connection.
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for AcceptAny {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("AcceptAny")
    }
}

impl ClientCertVerifier for AcceptAny {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: a client with a certificate then offers it whoever issued it.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_versions_and_suites() {
        let check = |version: &str, suites: &[&str]| {
            let suites: Vec<String> = suites.iter().map(|suite| (*suite).to_owned()).collect();
            TlsOptions::check_names(version, &suites).map_err(|error| error.to_string())
        };
        assert_eq!(check("", &[]), Ok(()));
        assert_eq!(check("VersionTLS13", &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"]), Ok(()));
        assert_eq!(check("TLS1", &[]), Err("unknown tls version \"TLS1\"".to_owned()));
        assert_eq!(
            check("VersionTLS10", &[]),
            Err("tls version \"VersionTLS10\" is not supported by this build: use VersionTLS12 or VersionTLS13".to_owned())
        );
        assert_eq!(
            check("", &["TLS_RSA_WITH_RC4_128_SHA"]),
            Err("Cipher suite TLS_RSA_WITH_RC4_128_SHA not supported or doesn't exist".to_owned())
        );
    }
}
