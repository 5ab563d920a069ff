//! Client certificates after the handshake: the chain a client sent, and whether a CA bundle vouches for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};

/// The object identifier of the subject field that carries a user's UID.
const UID_OID: &str = "1.3.6.1.4.1.57683.2";

/// Why a certificate is not accepted as a client's identity. Worded as Go words it where clients see it.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The chain is empty.
    #[error("no client certificate")]
    Missing,
    /// The certificate cannot be read.
    #[error("x509: malformed certificate")]
    Malformed,
    /// The current time is outside the certificate's validity.
    #[error("x509: certificate has expired or is not yet valid")]
    Expired,
    /// No certificate of the bundle vouches for it.
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    /// The certificate is for something else than a client.
    #[error("x509: certificate specifies an incompatible key usage")]
    Usage,
    /// Anything else that makes the chain invalid.
    #[error("x509: {0}")]
    Invalid(webpki::Error),
}

/// Why a CA bundle cannot be used.
#[derive(Debug, Error)]
pub enum BundleError {
    #[error("data does not contain any valid RSA or ECDSA certificates")]
    Empty,
    #[error("cannot read a certificate of the bundle: {0}")]
    Pem(String),
    #[error("cannot use a certificate of the bundle as an authority: {0}")]
    Anchor(webpki::Error),
}

/// Certificate authorities that are trusted for one purpose.
#[derive(Clone, Debug)]
pub struct CaBundle {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<CertificateDer<'static>>,
    pem: Vec<u8>,
}

impl CaBundle {
    /// Reads a bundle of PEM certificates; other PEM blocks are passed over.
    pub fn from_pem(pem: &[u8]) -> Result<CaBundle, BundleError> {
        let certificates = CertificateDer::pem_slice_iter(pem)
            .map(|certificate| certificate.map_err(|error| BundleError::Pem(error.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        if certificates.is_empty() {
            return Err(BundleError::Empty);
        }
        let anchors = certificates
            .iter()
            .map(|certificate| webpki::anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(BundleError::Anchor)?;
        Ok(CaBundle { anchors, certificates, pem: pem.to_vec() })
    }

    /// The bundle as it was read.
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// The certificates of the bundle.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }
}

/// Whom a verified client certificate speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCert {
    /// The subject's common name: the user name.
    pub cn: String,
    /// The subject's organizations: the user's groups.
    pub orgs: Vec<String>,
    /// The subject's UID field (OID 1.3.6.1.4.1.57683.2), where there is one.
    pub uid: Option<String>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    /// SHA-256 of the certificate, in lower-case hex: what upstream's credential id holds after `X509SHA256=`.
    pub sha256: String,
}

/// Verifies a chain (leaf first) for use by a client and reads the subject of its leaf.
pub fn verify_client_chain(chain: &[CertificateDer<'_>], cas: &CaBundle, now: SystemTime) -> Result<VerifiedCert, VerifyError> {
    let (leaf, intermediates) = chain.split_first().ok_or(VerifyError::Missing)?;
    let end_entity = EndEntityCert::try_from(leaf).map_err(|_| VerifyError::Malformed)?;
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    end_entity
        .verify_for_usage(
            algorithms,
            &cas.anchors,
            intermediates,
            UnixTime::since_unix_epoch(since_epoch),
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(sort_error)?;
    describe(leaf)
}

fn sort_error(error: webpki::Error) -> VerifyError {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } | Error::CertNotValidYet { .. } => VerifyError::Expired,
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey => VerifyError::UnknownAuthority,
        Error::RequiredEkuNotFoundContext(_) => VerifyError::Usage,
        Error::BadDer | Error::TrailingData(_) => VerifyError::Malformed,
        other => VerifyError::Invalid(other),
    }
}

/// Reads the identity from a certificate without verifying anything.
fn describe(leaf: &CertificateDer<'_>) -> Result<VerifiedCert, VerifyError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| VerifyError::Malformed)?;
    let subject = parsed.subject();
    let mut cn = String::new();
    let mut orgs = Vec::new();
    let mut uid = None;
    for attribute in subject.iter_attributes() {
        let Ok(value) = attribute.as_str() else { continue };
        match attribute.attr_type().to_id_string().as_str() {
            // As Go does it: of several common names the last one counts.
            "2.5.4.3" => value.clone_into(&mut cn),
            "2.5.4.10" => orgs.push(value.to_owned()),
            UID_OID => uid = Some(value.to_owned()),
            _ => {}
        }
    }
    let time = |seconds: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Ok(VerifiedCert {
        cn,
        orgs,
        uid,
        not_before: time(parsed.validity().not_before.timestamp()),
        not_after: time(parsed.validity().not_after.timestamp()),
        sha256: pki::sha256_hex(leaf),
    })
}

/// The certificates that the client sent, leaf first, among the extensions of a request that came over TLS.
///
/// One value is shared by all requests of a connection and remembers its last verification.
#[derive(Clone, Debug)]
pub struct PeerCertificates {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    chain: Vec<CertificateDer<'static>>,
    last: Mutex<Option<Verdict>>,
}

/// A verification that went well, and until when it need not be repeated.
#[derive(Debug)]
struct Verdict {
    bundle: Arc<CaBundle>,
    from: SystemTime,
    until: SystemTime,
    verified: Arc<VerifiedCert>,
}

impl PeerCertificates {
    /// Wraps a chain as it came from the handshake.
    pub fn new(chain: Vec<CertificateDer<'static>>) -> PeerCertificates {
        PeerCertificates { inner: Arc::new(Inner { chain, last: Mutex::new(None) }) }
    }

    /// The chain, leaf first. Not verified.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.inner.chain
    }

    /// [`verify_client_chain`], done once per connection and bundle and repeated only when the time runs out.
    pub fn verify(&self, cas: &Arc<CaBundle>, now: SystemTime) -> Result<Arc<VerifiedCert>, VerifyError> {
        if let Some(verdict) = &*self.inner.last.lock()
            && Arc::ptr_eq(&verdict.bundle, cas)
            && (verdict.from..verdict.until).contains(&now)
        {
            return Ok(verdict.verified.clone());
        }
        let verified = Arc::new(verify_client_chain(&self.inner.chain, cas, now)?);
        // An intermediate may run out before the leaf does.
        let ends = self.inner.chain.iter().map(|certificate| describe(certificate).map(|it| it.not_after));
        let until = ends.collect::<Result<Vec<_>, _>>()?.into_iter().min().unwrap_or(now);
        let verdict = Verdict { bundle: cas.clone(), from: now, until, verified: verified.clone() };
        *self.inner.last.lock() = Some(verdict);
        Ok(verified)
    }
}
