//! Certificate requests: making them, and reading those of others.

use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use crate::cert::{encode_sans, extension};
use crate::{Key, PkiError, San, Subject, der, pem};

/// Makes a request for a certificate for `key`, as PEM.
pub fn create(key: &Key, subject: &Subject, sans: &[San]) -> Result<String, PkiError> {
    let attributes = match sans {
        [] => Vec::new(),
        sans => {
            let extensions = der::sequence(&[&extension(&[2, 5, 29, 17], false, &encode_sans(sans))]);
            der::sequence(&[&der::oid(&[1, 2, 840, 113_549, 1, 9, 14]), &der::value(der::SET, &extensions)])
        }
    };
    let content =
        der::sequence(&[&der::unsigned(&[0]), &subject.encode(), &key.spki(), &der::value(der::context_constructed(0), &attributes)]);
    let signature = key.sign(&content)?;
    let request = der::sequence(&[&content, &key.signature_algorithm(), &der::bit_string(&signature)]);
    Ok(pem::encode(pem::CERTIFICATE_REQUEST, &request))
}

/// A request whose signature proves that its sender holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    subject: Subject,
    subject_der: Vec<u8>,
    spki: Vec<u8>,
    sans: Vec<San>,
}

impl CertificateRequest {
    /// Reads a PEM request and checks its signature.
    pub fn from_pem(text: &[u8]) -> Result<CertificateRequest, PkiError> {
        let der = CertificateSigningRequestDer::from_pem_slice(text).map_err(|_| PkiError::NotRequest)?;
        let (rest, parsed) = X509CertificationRequest::from_der(&der).map_err(|error| PkiError::Request(error.to_string()))?;
        if !rest.is_empty() {
            return Err(PkiError::Request("trailing data".to_owned()));
        }
        parsed.verify_signature().map_err(|_| PkiError::RequestSignature)?;
        let info = &parsed.certification_request_info;
        let mut sans = Vec::new();
        for extension in parsed.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                for name in &names.general_names {
                    sans.push(San::read(name).ok_or_else(|| PkiError::RequestSan(name.to_string()))?);
                }
            }
        }
        let subject = Subject::read(&info.subject);
        Ok(CertificateRequest { subject, subject_der: info.subject.as_raw().to_vec(), spki: info.subject_pki.raw.to_vec(), sans })
    }

    /// Common name and organizations.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The names asked for.
    pub fn sans(&self) -> &[San] {
        &self.sans
    }

    /// The public key in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    pub(crate) fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }
}
