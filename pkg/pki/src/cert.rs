//! Certificate authorities and what they issue.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use crate::csr::CertificateRequest;
use crate::{Key, PkiError, Usages, der, pem, time};

/// Validity begins this much before the present, for machines whose clocks are behind.
pub const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// How long certificates of kubeadm are valid.
pub const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long authorities of kubeadm are valid.
pub const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The subject of a certificate: for clients, user and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
}

impl Subject {
    pub fn new(common_name: &str, organizations: &[&str]) -> Subject {
        let organizations = organizations.iter().map(|name| (*name).to_owned()).collect();
        Subject { common_name: common_name.to_owned(), organizations }
    }

    /// Reads a name of somebody else's certificate or request; other attributes are passed over.
    pub(crate) fn read(name: &X509Name<'_>) -> Subject {
        let mut subject = Subject::default();
        for attribute in name.iter_attributes() {
            let Ok(value) = attribute.as_str() else { continue };
            match attribute.attr_type().to_id_string().as_str() {
                // As Go does it: of several common names the last one counts.
                "2.5.4.3" => value.clone_into(&mut subject.common_name),
                "2.5.4.10" => subject.organizations.push(value.to_owned()),
                _ => {}
            }
        }
        subject
    }

    /// As Go encodes it: one set of all organizations, then the common name.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let attribute = |oid: &[u64], value: &str| der::sequence(&[&der::oid(oid), &der::text(value)]);
        let mut names = Vec::new();
        if !self.organizations.is_empty() {
            names.push(der::set_of(self.organizations.iter().map(|name| attribute(&[2, 5, 4, 10], name)).collect()));
        }
        if !self.common_name.is_empty() {
            names.push(der::set_of(vec![attribute(&[2, 5, 4, 3], &self.common_name)]));
        }
        der::value(der::SEQUENCE, &names.concat())
    }
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum San {
    Dns(String),
    Email(String),
    Ip(IpAddr),
    Uri(String),
}

impl San {
    /// An address where the text is one, else a DNS name.
    pub fn parse(text: &str) -> San {
        text.parse().map_or_else(|_| San::Dns(text.to_owned()), San::Ip)
    }

    /// A name of somebody else's certificate or request, if it is of a known kind and whole.
    pub(crate) fn read(name: &GeneralName<'_>) -> Option<San> {
        match name {
            GeneralName::DNSName(text) => Some(San::Dns((*text).to_owned())),
            GeneralName::RFC822Name(text) => Some(San::Email((*text).to_owned())),
            GeneralName::URI(text) => Some(San::Uri((*text).to_owned())),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
                v4.or(v6).ok().map(San::Ip)
            }
            _ => None,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            San::Email(text) => der::value(der::context(1), text.as_bytes()),
            San::Dns(text) => der::value(der::context(2), text.as_bytes()),
            San::Uri(text) => der::value(der::context(6), text.as_bytes()),
            San::Ip(IpAddr::V4(ip)) => der::value(der::context(7), &ip.octets()),
            San::Ip(IpAddr::V6(ip)) => der::value(der::context(7), &ip.octets()),
        }
    }
}

/// The content of the extension with these names.
pub(crate) fn encode_sans(sans: &[San]) -> Vec<u8> {
    der::value(der::SEQUENCE, &sans.iter().flat_map(San::encode).collect::<Vec<u8>>())
}

/// What to issue.
#[derive(Clone, Debug)]
pub struct Template {
    pub subject: Subject,
    pub sans: Vec<San>,
    pub usages: Usages,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Template {
    /// Valid from a little before `now` for `validity` from then on.
    pub fn new(subject: Subject, sans: Vec<San>, usages: Usages, now: SystemTime, validity: Duration) -> Template {
        Template { subject, sans, usages, not_before: now - BACKDATE, not_after: now + validity }
    }
}

/// An authority: certificate and key.
#[derive(Debug)]
pub struct Ca {
    certificate: CertificateDer<'static>,
    key: Key,
    /// The subject in DER, as every certificate issued repeats it.
    subject: Vec<u8>,
    key_id: Vec<u8>,
    not_after: SystemTime,
}

impl Ca {
    /// A new authority that vouches for itself.
    pub fn create(common_name: &str, now: SystemTime, validity: Duration) -> Result<Ca, PkiError> {
        Ca::create_with_key(common_name, Key::generate()?, now, validity)
    }

    /// A new authority with a key that exists already.
    pub fn create_with_key(common_name: &str, key: Key, now: SystemTime, validity: Duration) -> Result<Ca, PkiError> {
        let subject = Subject::new(common_name, &[]).encode();
        let spki = key.spki();
        let key_id = key_id(&spki)?;
        let parts = Parts {
            issuer: &subject,
            subject: &subject,
            spki: &spki,
            // Upstream gives authorities their name as a DNS name, since Go no longer looks at the common name.
            sans: &[San::Dns(common_name.to_owned())],
            usages: &Usages::authority(),
            authority: true,
            authority_key_id: None,
            subject_key_id: Some(&key_id),
            not_before: now - BACKDATE,
            not_after: now + validity,
        };
        let certificate = parts.sign(&key)?;
        Ok(Ca { certificate, key, subject, key_id, not_after: now + validity })
    }

    /// Reads an authority from PEM; the first certificate counts.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Ca, PkiError> {
        let certificate = pem::certificates(certificate.as_bytes())?.swap_remove(0);
        let key = Key::from_pem(key)?;
        let (subject, key_id, not_after) = {
            let parsed = parse(&certificate)?;
            if !parsed.is_ca() {
                return Err(PkiError::NotCa);
            }
            if parsed.public_key().raw != key.spki() {
                return Err(PkiError::KeyMismatch);
            }
            let stated = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            });
            let key_id = stated.map_or_else(|| key_id(parsed.public_key().raw), Ok)?;
            (parsed.subject().as_raw().to_vec(), key_id, system_time(parsed.validity().not_after.timestamp()))
        };
        Ok(Ca { certificate, key, subject, key_id, not_after })
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn certificate_pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.certificate)
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// When the authority itself runs out; nothing it issues is valid for longer.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Issues a certificate for a public key (a SubjectPublicKeyInfo in DER).
    pub fn issue(&self, template: &Template, spki: &[u8]) -> Result<CertificateDer<'static>, PkiError> {
        let subject = template.subject.encode();
        self.sign(&subject, &template.sans, &template.usages, (template.not_before, template.not_after), spki)
    }

    /// Issues a certificate with a new key: both as PEM.
    pub fn issue_with_key(&self, template: &Template) -> Result<(String, Key), PkiError> {
        let key = Key::generate()?;
        let certificate = self.issue(template, &key.spki())?;
        Ok((pem::encode(pem::CERTIFICATE, &certificate), key))
    }

    /// Signs a request as it stands: its subject, names and public key, with the usages and the time given here.
    pub fn sign_request(
        &self,
        request: &CertificateRequest,
        usages: &Usages,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<CertificateDer<'static>, PkiError> {
        self.sign(request.subject_der(), request.sans(), usages, (not_before, not_after), request.spki())
    }

    fn sign(
        &self,
        subject: &[u8],
        sans: &[San],
        usages: &Usages,
        (not_before, not_after): (SystemTime, SystemTime),
        spki: &[u8],
    ) -> Result<CertificateDer<'static>, PkiError> {
        let parts = Parts {
            issuer: &self.subject,
            subject,
            spki,
            sans,
            usages,
            authority: false,
            authority_key_id: Some(&self.key_id),
            subject_key_id: None,
            not_before,
            not_after: not_after.min(self.not_after),
        };
        parts.sign(&self.key)
    }
}

/// A serving certificate for a process that was given none: signed by an authority whose key is thrown away, as
/// upstream does it. The first text holds both certificates.
pub fn self_signed_serving(host: &str, sans: &[San], now: SystemTime) -> Result<(String, Key), PkiError> {
    let stamp = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let ca = Ca::create(&format!("{host}-ca@{stamp}"), now, CERTIFICATE_VALIDITY)?;
    let host_name = San::parse(host);
    let names = std::iter::once(&host_name).chain(sans.iter().filter(|san| **san != host_name)).cloned().collect();
    let subject = Subject::new(&format!("{host}@{stamp}"), &[]);
    let (certificate, key) = ca.issue_with_key(&Template::new(subject, names, Usages::server(), now, CERTIFICATE_VALIDITY))?;
    Ok((certificate + &ca.certificate_pem(), key))
}

/// A certificate's content before it is signed.
struct Parts<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    spki: &'a [u8],
    sans: &'a [San],
    usages: &'a Usages,
    authority: bool,
    authority_key_id: Option<&'a [u8]>,
    subject_key_id: Option<&'a [u8]>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl Parts<'_> {
    fn sign(&self, key: &Key) -> Result<CertificateDer<'static>, PkiError> {
        let version = der::value(der::context_constructed(0), &der::unsigned(&[2]));
        let algorithm = key.signature_algorithm();
        let validity = der::sequence(&[&time::encode(self.not_before), &time::encode(self.not_after)]);
        let extensions = der::value(der::context_constructed(3), &der::value(der::SEQUENCE, &self.extensions().concat()));
        let content = der::sequence(&[
            &version,
            &der::unsigned(&random_serial()),
            &algorithm,
            self.issuer,
            &validity,
            self.subject,
            self.spki,
            &extensions,
        ]);
        let signature = key.sign(&content)?;
        Ok(der::sequence(&[&content, &algorithm, &der::bit_string(&signature)]).into())
    }

    fn extensions(&self) -> Vec<Vec<u8>> {
        let mut extensions = Vec::new();
        if let Some(bits) = self.usages.key_usage() {
            extensions.push(extension(&[2, 5, 29, 15], true, &bits));
        }
        if let Some(oids) = self.usages.extended_key_usage() {
            extensions.push(extension(&[2, 5, 29, 37], false, &oids));
        }
        let yes = der::value(der::BOOLEAN, &[0xff]);
        let constraints = der::value(der::SEQUENCE, if self.authority { &yes } else { &[] });
        extensions.push(extension(&[2, 5, 29, 19], true, &constraints));
        if let Some(id) = self.subject_key_id {
            extensions.push(extension(&[2, 5, 29, 14], false, &der::value(der::OCTET_STRING, id)));
        }
        if let Some(id) = self.authority_key_id {
            extensions.push(extension(&[2, 5, 29, 35], false, &der::sequence(&[&der::value(der::context(0), id)])));
        }
        if !self.sans.is_empty() {
            // Where the subject says nothing, the names must be understood.
            let critical = self.subject == der::sequence(&[]);
            extensions.push(extension(&[2, 5, 29, 17], critical, &encode_sans(self.sans)));
        }
        extensions
    }
}

pub(crate) fn extension(oid: &[u64], critical: bool, content: &[u8]) -> Vec<u8> {
    let yes = der::value(der::BOOLEAN, &[0xff]);
    let critical: &[u8] = if critical { &yes } else { &[] };
    der::sequence(&[&der::oid(oid), critical, &der::value(der::OCTET_STRING, content)])
}

/// 63 random bits, not zero.
fn random_serial() -> [u8; 8] {
    let mut serial = [0; 8];
    aws_lc_rs::rand::fill(&mut serial).expect("the random source of a started process does not fail");
    serial[0] &= 0x7f;
    serial[7] |= 1;
    serial
}

/// The first 20 bytes of the public key's digest.
fn key_id(spki: &[u8]) -> Result<Vec<u8>, PkiError> {
    let (_, parsed) = x509_parser::x509::SubjectPublicKeyInfo::from_der(spki).map_err(|error| PkiError::Key(error.to_string()))?;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &parsed.subject_public_key.data);
    Ok(digest.as_ref()[..20].to_vec())
}

pub(crate) fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PkiError> {
    X509Certificate::from_der(certificate).map(|(_, parsed)| parsed).map_err(|error| PkiError::Certificate(error.to_string()))
}

fn system_time(seconds: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Common name and organizations of a certificate.
pub fn subject(certificate: &CertificateDer<'_>) -> Result<Subject, PkiError> {
    Ok(Subject::read(parse(certificate)?.subject()))
}

/// When a certificate begins and ceases to be valid.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime), PkiError> {
    let parsed = parse(certificate)?;
    Ok((system_time(parsed.validity().not_before.timestamp()), system_time(parsed.validity().not_after.timestamp())))
}

/// Whether the certificate was signed by the authority.
pub fn is_issued_by(certificate: &CertificateDer<'_>, ca: &Ca) -> Result<bool, PkiError> {
    let authority = parse(&ca.certificate)?;
    Ok(parse(certificate)?.verify_signature(Some(authority.public_key())).is_ok())
}

/// The subject alternative names of a certificate; kinds that [`San`] does not know are left out.
pub fn sans(certificate: &CertificateDer<'_>) -> Result<Vec<San>, PkiError> {
    let parsed = parse(certificate)?;
    let extension = parsed.subject_alternative_name().map_err(|error| PkiError::Certificate(error.to_string()))?;
    let names = extension.map(|extension| &extension.value.general_names);
    Ok(names.into_iter().flatten().filter_map(San::read).collect())
}
