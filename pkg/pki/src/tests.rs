use std::time::{Duration, SystemTime};

use x509_parser::extensions::ParsedExtension;

use super::*;
use crate::cert::{CA_VALIDITY, CERTIFICATE_VALIDITY, is_issued_by, parse, self_signed_serving};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_232_570)
}

fn sans_of(certificate: &rustls_pki_types::CertificateDer<'_>) -> Vec<San> {
    cert::sans(certificate).unwrap()
}

fn names(texts: &[&str]) -> Vec<San> {
    texts.iter().map(|text| San::parse(text)).collect()
}

#[test]
fn an_authority_issues_certificates_that_others_can_read() {
    let ca = Ca::create("kubernetes", now(), CA_VALIDITY).unwrap();
    let subject = Subject::new("alice@example", &["system:masters", "devs"]);
    let sans = vec![San::parse("kubernetes.default"), San::parse("10.96.0.1"), San::parse("fd00::1")];
    let template = Template::new(subject, sans, Usages::server_and_client(), now(), CERTIFICATE_VALIDITY);
    let (text, key) = ca.issue_with_key(&template).unwrap();
    let certificate = pem::certificates(text.as_bytes()).unwrap().remove(0);
    assert!(is_issued_by(&certificate, &ca).unwrap());

    let parsed = parse(&certificate).unwrap();
    let organizations: Vec<_> = parsed.subject().iter_organization().map(|name| name.as_str().unwrap()).collect();
    // DER sorts the members of a set, the shorter first.
    assert_eq!(organizations, ["devs", "system:masters"]);
    assert_eq!(parsed.subject().iter_common_name().next().unwrap().as_str().unwrap(), "alice@example");
    assert_eq!(parsed.issuer().to_string(), "CN=kubernetes");
    assert!(!parsed.is_ca());
    assert_eq!(parsed.public_key().raw, key.spki());
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    let usage = parsed.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && usage.key_encipherment() && !usage.key_cert_sign());
    assert_eq!(parsed.validity().not_before.timestamp(), 1_795_232_570 - 300);
    assert_eq!(sans_of(&certificate), names(&["kubernetes.default", "10.96.0.1", "fd00::1"]));
    let known_authority = parsed.extensions().iter().any(|extension| {
        matches!(extension.parsed_extension(), ParsedExtension::AuthorityKeyIdentifier(id)
            if id.key_identifier.as_ref().is_some_and(|id| id.0.len() == 20))
    });
    assert!(known_authority);
}

#[test]
fn authorities_are_read_back_whatever_their_key() {
    for key in [Key::generate().unwrap(), Key::generate_rsa().unwrap()] {
        let ca = Ca::create_with_key("front-proxy-ca", key, now(), CA_VALIDITY).unwrap();
        let again = Ca::from_pem(&ca.certificate_pem(), ca.key().pem()).unwrap();
        let template = Template::new(Subject::new("x", &[]), Vec::new(), Usages::client(), now(), CA_VALIDITY * 2);
        let (text, _) = again.issue_with_key(&template).unwrap();
        let certificate = pem::certificates(text.as_bytes()).unwrap().remove(0);
        assert!(is_issued_by(&certificate, &ca).unwrap());
        // Nothing outlives its authority.
        assert_eq!(cert::validity(&certificate).unwrap().1, ca.not_after());
        let parsed = parse(ca.certificate()).unwrap();
        assert!(parsed.is_ca() && parsed.verify_signature(None).is_ok());
    }
}

#[test]
fn a_leaf_or_a_foreign_key_makes_no_authority() {
    let ca = Ca::create("a", now(), CA_VALIDITY).unwrap();
    let other = Key::generate().unwrap();
    assert!(matches!(Ca::from_pem(&ca.certificate_pem(), other.pem()), Err(PkiError::KeyMismatch)));
    let template = Template::new(Subject::new("x", &[]), Vec::new(), Usages::client(), now(), CERTIFICATE_VALIDITY);
    let (leaf, key) = ca.issue_with_key(&template).unwrap();
    assert!(matches!(Ca::from_pem(&leaf, key.pem()), Err(PkiError::NotCa)));
    assert!(matches!(Ca::from_pem("", ""), Err(PkiError::NoCertificate)));
}

#[test]
fn requests_are_made_read_checked_and_signed() {
    let ca = Ca::create("kubernetes", now(), CA_VALIDITY).unwrap();
    for key in [Key::generate().unwrap(), Key::generate_rsa().unwrap()] {
        let subject = Subject::new("system:node:n1", &["system:nodes"]);
        let text = csr::create(&key, &subject, &[San::parse("n1"), San::parse("10.0.0.1")]).unwrap();
        let request = CertificateRequest::from_pem(text.as_bytes()).unwrap();
        assert_eq!(request.subject(), &subject);
        assert_eq!(request.sans(), [San::parse("n1"), San::parse("10.0.0.1")]);
        let usages = Usages::from_names(["server auth", "digital signature"]).unwrap();
        let certificate = ca.sign_request(&request, &usages, now(), now() + Duration::from_secs(3600)).unwrap();
        let parsed = parse(&certificate).unwrap();
        assert_eq!(parsed.public_key().raw, key.spki());
        assert_eq!(parsed.subject().to_string(), "O=system:nodes, CN=system:node:n1");
        assert!(!parsed.key_usage().unwrap().unwrap().value.key_encipherment());
        assert_eq!(sans_of(&certificate), names(&["n1", "10.0.0.1"]));
    }
}

#[test]
fn forged_and_broken_requests_are_refused() {
    let key = Key::generate().unwrap();
    let text = csr::create(&key, &Subject::new("x", &[]), &[]).unwrap();
    let other = csr::create(&Key::generate().unwrap(), &Subject::new("x", &[]), &[]).unwrap();
    // The same length but for the signature: the content of one, the signature of the other.
    let decode = |text: &str| {
        use rustls_pki_types::pem::PemObject;
        rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).unwrap().to_vec()
    };
    let (mut mixed, other) = (decode(&text), decode(&other));
    let at = mixed.len() - 20;
    let end = other.len();
    mixed[at..].copy_from_slice(&other[end - 20..]);
    let forged = pem::encode(pem::CERTIFICATE_REQUEST, &mixed);
    assert!(matches!(CertificateRequest::from_pem(forged.as_bytes()), Err(PkiError::RequestSignature | PkiError::Request(_))));
    assert!(matches!(CertificateRequest::from_pem(b"nonsense"), Err(PkiError::NotRequest)));
    let garbage = pem::encode(pem::CERTIFICATE_REQUEST, b"garbage");
    assert!(matches!(CertificateRequest::from_pem(garbage.as_bytes()), Err(PkiError::Request(_))));
}

#[test]
fn usages_have_the_apis_names() {
    assert_eq!(Usages::from_names(["signing", "key encipherment", "client auth"]).unwrap(), Usages::client());
    assert_eq!(Usages::from_names(["bogus"]).unwrap_err().to_string(), "unrecognized key usage: bogus");
}

#[test]
fn a_self_signed_pair_serves_its_host() {
    let (text, key) = self_signed_serving("127.0.0.1", &[San::parse("localhost"), San::parse("127.0.0.1")], now()).unwrap();
    let chain = pem::certificates(text.as_bytes()).unwrap();
    assert_eq!(chain.len(), 2);
    assert_eq!(sans_of(&chain[0]), names(&["127.0.0.1", "localhost"]));
    assert!(key.pem().contains("BEGIN PRIVATE KEY"));
    assert!(key.public_pem().starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert!(spki_hash(&chain[0]).unwrap().starts_with("sha256:"));
}

#[test]
fn files_are_replaced_whole_with_their_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a/b.key");
    for content in ["one", "two"] {
        files::write(&path, content, files::PRIVATE).unwrap();
        assert_eq!(files::read(&path).unwrap(), content);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(std::fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
}
