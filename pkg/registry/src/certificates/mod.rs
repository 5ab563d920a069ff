//! The certificates.k8s.io group. Upstream: pkg/registry/certificates, pkg/apis/certificates.

use api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Map, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::{ResourceDef, Strategy};

use crate::printers::{age, human_duration};
use crate::validation::{object_meta, object_meta_update};

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![ResourceDef::stored(RequestStrategy).status(StatusStrategy).write("approval", ApprovalStrategy)]
}

/// Rules of CertificateSigningRequests.
#[derive(Clone, Copy, Debug)]
pub struct RequestStrategy;

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn content(request: &CertificateSigningRequest) -> ErrorList {
    let mut errors = object_meta(&request.metadata, false, |_, _| Vec::new(), &Path::new("metadata"));
    let path = Path::new("spec");
    let spec = &request.spec;
    if let Err(err) = pki::CertificateRequest::from_pem(&spec.request) {
        errors.push(Error::invalid(&path.child("request"), BadValue::json(base64_json(&spec.request)), err.to_string()));
    }
    let usages = path.child("usages");
    if spec.usages.is_empty() {
        errors.push(Error::required(&usages, ""));
    }
    let mut seen = std::collections::HashSet::new();
    for (index, usage) in spec.usages.iter().enumerate() {
        if !USAGES.contains(&usage.as_str()) {
            errors.push(Error::not_supported(&usages.index(index), usage, &USAGES));
        }
        if !seen.insert(usage) {
            errors.push(Error::duplicate(&usages.index(index), usage));
        }
    }
    let signer = path.child("signerName");
    if spec.signer_name == "kubernetes.io/legacy-unknown" {
        errors.push(Error::invalid(&signer, &spec.signer_name, "the legacy signerName is not allowed via this API version"));
    } else {
        errors.extend(signer_name(&spec.signer_name, &signer));
    }
    if let Some(seconds) = spec.expiration_seconds
        && seconds < 600
    {
        errors.push(Error::invalid(
            &path.child("expirationSeconds"),
            seconds,
            "may not specify a duration less than 600 seconds (10 minutes)",
        ));
    }
    errors.extend(conditions(&request.status.conditions));
    errors
}

fn base64_json(bytes: &[u8]) -> String {
    let list: Vec<String> = bytes.iter().map(ToString::to_string).collect();
    format!("[{}]", list.join(","))
}

/// `domain/path`: a DNS subdomain with a dot, and a name behind the slash.
fn signer_name(name: &str, path: &Path<'_>) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let segments: Vec<&str> = name.split('/').collect();
    let [domain, rest] = segments[..] else {
        return vec![Error::invalid(path, name, "must be a fully qualified domain and path of the form 'example.com/signer-name'")];
    };
    let mut errors: ErrorList = names::is_dns1123_subdomain(domain)
        .into_iter()
        .map(|message| Error::invalid(path, domain, format!("validating label {domain:?}: {message}")))
        .collect();
    if !domain.contains('.') {
        errors.push(Error::invalid(path, domain, "should be a domain with at least two segments separated by dots"));
    }
    errors.extend(
        names::is_dns1123_subdomain(rest)
            .into_iter()
            .map(|message| Error::invalid(path, rest, format!("validating label {rest:?}: {message}"))),
    );
    if name.len() > 571 {
        errors.push(Error::too_long(path, 571));
    }
    errors
}

fn conditions(conditions: &[CertificateSigningRequestCondition]) -> ErrorList {
    let status = Path::new("status");
    let path = status.child("conditions");
    let mut errors = ErrorList::new();
    let mut seen = std::collections::HashSet::new();
    let (mut approved, mut denied) = (false, false);
    for (index, condition) in conditions.iter().enumerate() {
        let at = path.index(index);
        let status = at.child("status");
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("", _) => errors.push(Error::required(&at.child("type"), "")),
            (_, "") => errors.push(Error::required(&status, "")),
            (APPROVED | DENIED | FAILED, "True") => {}
            (APPROVED | DENIED | FAILED, other) => errors.push(Error::not_supported(&status, other, &["True"])),
            (_, "True" | "False" | "Unknown") => {}
            (_, other) => errors.push(Error::not_supported(&status, other, &["True", "False", "Unknown"])),
        }
        approved |= condition.type_ == APPROVED;
        denied |= condition.type_ == DENIED;
        if approved && denied && matches!(condition.type_.as_str(), APPROVED | DENIED) {
            let other = if condition.type_ == APPROVED { DENIED } else { APPROVED };
            errors.push(Error::invalid(
                &at.child("type"),
                &condition.type_,
                format!("{APPROVED} and {DENIED} conditions are mutually exclusive, found also {other}"),
            ));
        }
        if !seen.insert(&condition.type_) {
            errors.push(Error::duplicate(&at.child("type"), &condition.type_));
        }
    }
    errors
}

/// Times and messages the server fills in.
fn stamp(new: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
    let now = Time::now();
    for condition in &mut new.status.conditions {
        let before = old.status.conditions.iter().find(|before| before.type_ == condition.type_);
        if condition.last_update_time.is_zero() {
            condition.last_update_time = now;
        }
        if condition.last_transition_time.is_zero() {
            condition.last_transition_time =
                before.filter(|before| before.status == condition.status).map_or(now, |before| before.last_transition_time);
        }
    }
}

/// Conditions of these types are not this endpoint's to add or remove.
fn unchanged(new: &CertificateSigningRequest, old: &CertificateSigningRequest, kinds: &[&str]) -> ErrorList {
    let status = Path::new("status");
    let path = status.child("conditions");
    let mut errors = ErrorList::new();
    for kind in kinds {
        let of = |request: &CertificateSigningRequest| {
            request.status.conditions.iter().filter(|c| c.type_ == *kind).map(|c| (c.status.clone(), c.reason.clone())).collect::<Vec<_>>()
        };
        let (now, before) = (of(new), of(old));
        if now == before {
            continue;
        }
        let what = if before.is_empty() {
            "add"
        } else if now.is_empty() {
            "remove"
        } else {
            "modify"
        };
        errors.push(Error::forbidden(&path, format!("updates may not {what} a condition of type {kind:?}")));
    }
    errors
}

fn cells(request: &CertificateSigningRequest, now: Time) -> Vec<Value> {
    let holds = |kind: &str| request.status.conditions.iter().any(|condition| condition.type_ == kind);
    let mut state = if holds(DENIED) {
        "Denied".to_owned()
    } else if holds(APPROVED) {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if holds(FAILED) {
        state.push_str(",Failed");
    }
    if !request.status.certificate.is_empty() {
        state.push_str(",Issued");
    }
    let duration = request.spec.expiration_seconds.map_or_else(|| "<none>".to_owned(), |seconds| human_duration(seconds.into()));
    vec![
        request.metadata.name.clone().into(),
        age(request.metadata.creation_timestamp, now),
        request.spec.signer_name.clone().into(),
        request.spec.username.clone().into(),
        duration.into(),
        state.into(),
    ]
}

fn selectable(request: &CertificateSigningRequest) -> Vec<(&'static str, String)> {
    vec![("spec.signerName", request.spec.signer_name.clone())]
}

impl Strategy for RequestStrategy {
    type Object = CertificateSigningRequest;

    fn prepare_for_create(&self, context: &RequestContext, request: &mut CertificateSigningRequest) {
        // Who asks is not for the one who asks to say.
        let user = &context.user;
        request.spec.username = user.name.clone();
        request.spec.uid = user.uid.clone();
        request.spec.groups = user.groups.clone().into();
        request.spec.extra = user.extra.iter().map(|(key, values)| (key.clone(), values.clone().into())).collect::<Map<_>>();
        if user.groups.is_empty() {
            request.spec.groups = apimachinery::List::nil();
        }
        if user.extra.is_empty() {
            request.spec.extra = Map::nil();
        }
        request.status = Default::default();
    }

    fn validate(&self, _: &RequestContext, request: &CertificateSigningRequest) -> ErrorList {
        content(request)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
        new.spec.clone_from(&old.spec);
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, _: &RequestContext, new: &CertificateSigningRequest, old: &CertificateSigningRequest) -> ErrorList {
        object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"))
    }

    fn selectable_fields(&self, request: &CertificateSigningRequest) -> Vec<(&'static str, String)> {
        selectable(request)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "status"]
    }

    fn table_cells(&self, request: &CertificateSigningRequest, now: Time) -> Option<Vec<Value>> {
        Some(cells(request, now))
    }

    fn validate_name(&self, _: &str, _: bool) -> Vec<String> {
        Vec::new()
    }
}

/// Rules of `status`: where signers put the certificate.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = CertificateSigningRequest;

    fn prepare_for_update(&self, _: &RequestContext, new: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
        new.spec.clone_from(&old.spec);
        stamp(new, old);
    }

    fn validate_update(&self, _: &RequestContext, new: &CertificateSigningRequest, old: &CertificateSigningRequest) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(conditions(&new.status.conditions));
        errors.extend(unchanged(new, old, &[APPROVED, DENIED]));
        let status = Path::new("status");
        let at = status.child("certificate");
        if !old.status.certificate.is_empty() && new.status.certificate != old.status.certificate {
            errors.push(Error::forbidden(&at, "updates may not set certificate content once it is issued"));
        } else if !new.status.certificate.is_empty()
            && pki::pem::certificates(&new.status.certificate).map_or(true, |found| found.is_empty())
        {
            errors.push(Error::invalid(&at, "<certificate data>", "must contain at least one CERTIFICATE PEM block"));
        }
        errors
    }

    fn selectable_fields(&self, request: &CertificateSigningRequest) -> Vec<(&'static str, String)> {
        selectable(request)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "status.conditions"]
    }

    fn table_cells(&self, request: &CertificateSigningRequest, now: Time) -> Option<Vec<Value>> {
        Some(cells(request, now))
    }
}

/// Rules of `approval`.
#[derive(Clone, Copy, Debug)]
pub struct ApprovalStrategy;

impl Strategy for ApprovalStrategy {
    type Object = CertificateSigningRequest;

    fn prepare_for_update(&self, _: &RequestContext, new: &mut CertificateSigningRequest, old: &CertificateSigningRequest) {
        let conditions = std::mem::take(&mut new.status.conditions);
        new.spec.clone_from(&old.spec);
        new.status.clone_from(&old.status);
        new.status.conditions = conditions;
        stamp(new, old);
    }

    fn validate_update(&self, _: &RequestContext, new: &CertificateSigningRequest, old: &CertificateSigningRequest) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(conditions(&new.status.conditions));
        errors.extend(unchanged(new, old, &[FAILED]));
        // A decision is not taken back.
        for kind in [APPROVED, DENIED] {
            let there = |request: &CertificateSigningRequest| request.status.conditions.iter().any(|condition| condition.type_ == kind);
            if there(old) && !there(new) {
                let status = Path::new("status");
                errors.push(Error::forbidden(&status.child("conditions"), format!("updates may not remove a condition of type {kind:?}")));
            }
        }
        errors
    }

    fn selectable_fields(&self, request: &CertificateSigningRequest) -> Vec<(&'static str, String)> {
        selectable(request)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "status.certificate"]
    }

    fn table_cells(&self, request: &CertificateSigningRequest, now: Time) -> Option<Vec<Value>> {
        Some(cells(request, now))
    }
}
