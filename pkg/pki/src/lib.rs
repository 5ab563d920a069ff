//! Certificates and keys: making a CA, issuing serving and client certificates, making, reading and signing requests,
//! PEM files.
//!
//! Pure but for [`files`]. Keys and signatures are rcgen's (aws-lc-rs below); certificates are written by [`cert`]
//! itself, since a signer must copy foreign subjects and public keys as they are, which rcgen's builder cannot.
//! Verifying a client's chain is component-base's task (`serving::peer`). Upstream: client-go/util/cert and keyutil.

mod der;
mod time;

pub mod key;

pub mod usage;

pub mod cert;

pub mod csr;

pub mod files;

pub mod pem;

pub use cert::{Ca, San, Subject, Template};
pub use csr::CertificateRequest;
pub use key::Key;
pub use usage::Usages;

use thiserror::Error;

/// What can go wrong with keys and certificates.
#[derive(Debug, Error)]
pub enum PkiError {
    #[error("cannot generate a key: {0}")]
    Generate(rcgen::Error),
    #[error("data does not contain a valid RSA or ECDSA private key: {0}")]
    Key(String),
    #[error("cannot sign: {0}")]
    Sign(rcgen::Error),
    #[error("data does not contain any valid RSA or ECDSA certificates")]
    NoCertificate,
    #[error("malformed certificate: {0}")]
    Certificate(String),
    #[error("the certificate is not a certificate authority")]
    NotCa,
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    #[error("PEM block type must be CERTIFICATE REQUEST")]
    NotRequest,
    #[error("malformed certificate request: {0}")]
    Request(String),
    #[error("the certificate request's signature is invalid")]
    RequestSignature,
    #[error("unsupported subject alternative name in certificate request: {0}")]
    RequestSan(String),
    #[error("unrecognized key usage: {0}")]
    Usage(String),
    #[error("{}: {cause}", path.display())]
    File { path: std::path::PathBuf, cause: std::io::Error },
}

/// SHA-256 in lower-case hex.
pub fn sha256_hex(data: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of a public key (its SubjectPublicKeyInfo) that `kubeadm join --discovery-token-ca-cert-hash` takes:
/// `sha256:` and hex.
pub fn spki_hash(certificate: &[u8]) -> Result<String, PkiError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|error| PkiError::Certificate(error.to_string()))?;
    Ok(format!("sha256:{}", sha256_hex(parsed.public_key().raw)))
}

#[cfg(test)]
mod tests;
