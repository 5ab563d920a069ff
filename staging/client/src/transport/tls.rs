//! The TLS configuration, and looking again at the files it came from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::time::Instant;

use super::identity::ClientIdentity;
use crate::config::{ConfigError, Pem, TlsSettings};

/// How long a change of a certificate file may go unnoticed. Upstream looks every five minutes; a look costs one `stat`.
const RECHECK: Duration = Duration::from_secs(60);

/// Where distributions keep the system's roots, in the order Go looks.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// Hands out TLS configurations, made again when the files behind them have changed.
pub(crate) struct TlsSource {
    settings: TlsSettings,
    identity: ClientIdentity,
    state: Mutex<State>,
}

struct State {
    h2: Arc<ClientConfig>,
    h1: Arc<ClientConfig>,
    /// Counts exchanges of the roots.
    roots_generation: u64,
    stamps: Vec<(PathBuf, Option<SystemTime>)>,
    checked_at: Instant,
}

impl TlsSource {
    pub(crate) fn new(settings: &TlsSettings) -> Result<TlsSource, ConfigError> {
        let identity = settings.identity.clone().unwrap_or_default();
        if settings.identity.is_none() {
            load_identity(settings, &identity)?;
        }
        let (h2, h1) = build(settings, &identity)?;
        let state = State { h2, h1, roots_generation: 0, stamps: stamps(settings), checked_at: Instant::now() };
        Ok(TlsSource { settings: settings.clone(), identity, state: Mutex::new(state) })
    }

    /// The certificate to present; an exec plugin may put one in.
    pub(crate) fn identity(&self) -> &ClientIdentity {
        &self.identity
    }

    pub(crate) fn server_name(&self) -> Option<&str> {
        self.settings.server_name.as_deref()
    }

    /// A number that changes when connections made before should no longer be used.
    pub(crate) fn generation(&self) -> u64 {
        let mut state = self.state.lock();
        if state.checked_at.elapsed() >= RECHECK {
            state.checked_at = Instant::now();
            let now = stamps(&self.settings);
            if now != state.stamps {
                // A file caught half-way through a rotation stays unused: its stamp is kept old, so the next look tries again.
                match self.reload() {
                    Ok((h2, h1)) => {
                        (state.h2, state.h1, state.stamps) = (h2, h1, now);
                        state.roots_generation += 1;
                    }
                    Err(err) => tracing::warn!(err = &err as &dyn std::error::Error, "changed TLS files are not usable yet"),
                }
            }
        }
        state.roots_generation + self.identity.generation()
    }

    fn reload(&self) -> Result<(Arc<ClientConfig>, Arc<ClientConfig>), ConfigError> {
        if self.settings.identity.is_none() {
            load_identity(&self.settings, &self.identity)?;
        }
        build(&self.settings, &self.identity)
    }

    /// Offers HTTP/2 and HTTP/1.1, or (`http1_only`, for upgrades) HTTP/1.1 alone.
    pub(crate) fn config(&self, http1_only: bool) -> Arc<ClientConfig> {
        let state = self.state.lock();
        if http1_only { state.h1.clone() } else { state.h2.clone() }
    }
}

fn load_identity(settings: &TlsSettings, identity: &ClientIdentity) -> Result<(), ConfigError> {
    match (&settings.client_cert, &settings.client_key) {
        (None, None) => Ok(()),
        (Some(_), None) => Err(ConfigError::CertWithoutKey),
        (None, Some(_)) => Err(ConfigError::KeyWithoutCert),
        (Some(cert), Some(key)) => identity.set(&read("client-cert", cert)?, &read("client-key", key)?),
    }
}

fn read(what: &'static str, pem: &Pem) -> Result<Vec<u8>, ConfigError> {
    match pem {
        Pem::Data(data) => Ok(data.clone()),
        Pem::File(path) => std::fs::read(path).map_err(|source| ConfigError::Read { what, path: path.clone(), source }),
    }
}

fn stamps(settings: &TlsSettings) -> Vec<(PathBuf, Option<SystemTime>)> {
    let stamp = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    [&settings.ca, &settings.client_cert, &settings.client_key]
        .into_iter()
        .filter_map(|pem| match pem {
            Some(Pem::File(path)) => Some((path.clone(), stamp(path))),
            _ => None,
        })
        .collect()
}

fn build(settings: &TlsSettings, identity: &ClientIdentity) -> Result<(Arc<ClientConfig>, Arc<ClientConfig>), ConfigError> {
    if settings.insecure_skip_verify && settings.ca.is_some() {
        return Err(ConfigError::InsecureWithRoots);
    }
    let provider = Arc::new(provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the provider has TLS 1.2 and 1.3 suites");
    let builder = if settings.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone(provider)))
    } else {
        builder.with_root_certificates(roots(settings.ca.as_ref())?)
    };
    let mut h2 = builder.with_client_cert_resolver(Arc::new(identity.clone()));
    let mut h1 = h2.clone();
    h2.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    h1.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(h2), Arc::new(h1)))
}

fn roots(ca: Option<&Pem>) -> Result<RootCertStore, ConfigError> {
    let mut store = RootCertStore::empty();
    let Some(ca) = ca else {
        // Without any system roots every handshake fails with "unknown issuer", which says what is wrong.
        if let Some(pem) = SYSTEM_ROOTS.iter().find_map(|path| std::fs::read(path).ok()) {
            store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        }
        return Ok(store);
    };
    let pem = read("certificate-authority", ca)?;
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
    if store.is_empty() { Err(ConfigError::NoRoots) } else { Ok(store) }
}

/// `insecure-skip-tls-verify`: any certificate will do, but the handshake itself must still be sound.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
