//! certificatesigningrequest-signing-controller: signs what was approved, for the signers whose authority it was given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::certificates::v1::CertificateSigningRequest;
use apimachinery::Time;
use client::Api;
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use informer::{ObjectKey, Reconcile, Requeue, Store, WorkQueue};
use pki::{Ca, CertificateRequest, PkiError, San, Usages};

use super::approve::is_node_client;
use super::{ACCOUNT, APISERVER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY_UNKNOWN, condition, new_condition, usages_fit};
use crate::{ControllerContext, Registration, SignerFiles, StartError, Started, WriteError};

pub const SIGNER: Registration =
    Registration { name: "certificatesigningrequest-signing-controller", alias: Some("csrsigning"), default_on: true, start };

/// Certificates are valid from a little before now, for clocks differ.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// Whether this signer may sign such a request, or why not.
pub fn check(request: &CertificateSigningRequest, parsed: &CertificateRequest) -> Result<(), &'static str> {
    let subject = parsed.subject();
    let has = |wanted: fn(&San) -> bool| parsed.sans().iter().any(wanted);
    match request.spec.signer_name.as_str() {
        KUBELET_SERVING => {
            if subject.organizations != ["system:nodes"] {
                return Err("subject organization is not system:nodes");
            }
            if !subject.common_name.starts_with("system:node:") {
                return Err("subject common name does not begin with system:node:");
            }
            if !has(|san| matches!(san, San::Dns(_) | San::Ip(_))) {
                return Err("DNS or IP subjectAltName is required");
            }
            if has(|san| matches!(san, San::Email(_))) {
                return Err("Email subjectAltNames are not allowed");
            }
            if has(|san| matches!(san, San::Uri(_))) {
                return Err("URI subjectAltNames are not allowed");
            }
            match usages_fit(request, &["digital signature", "server auth"], &["key encipherment"]) {
                true => Ok(()),
                false => Err("usages did not match"),
            }
        }
        KUBELET_CLIENT if is_node_client(request, parsed) => Ok(()),
        KUBELET_CLIENT => Err("not a kubelet's client certificate"),
        APISERVER_CLIENT => match usages_fit(request, &["client auth"], &["signing", "digital signature", "key encipherment"]) {
            true => Ok(()),
            false => Err("usages did not match"),
        },
        LEGACY_UNKNOWN => Ok(()),
        _ => Err("unknown signer"),
    }
}

/// The certificate as PEM. What the requester asked for shortens its life, never prolongs it.
pub fn sign(
    ca: &Ca,
    request: &CertificateSigningRequest,
    parsed: &CertificateRequest,
    longest: Duration,
    now: SystemTime,
) -> Result<String, PkiError> {
    let asked = request.spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let life = asked.map_or(longest, |asked| asked.max(Duration::from_secs(600)).min(longest));
    let usages = Usages::from_names(request.spec.usages.iter().map(String::as_str))?;
    // Short lives are not made shorter by much: upstream's rule.
    let not_before = now - BACKDATE;
    let certificate = ca.sign_request(parsed, &usages, not_before, not_before + life)?;
    Ok(pki::pem::encode(pki::pem::CERTIFICATE, &certificate))
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let signers = &context.settings.signers;
    let named = [
        (KUBELET_SERVING, &signers.kubelet_serving),
        (KUBELET_CLIENT, &signers.kubelet_client),
        (APISERVER_CLIENT, &signers.kube_apiserver_client),
        (LEGACY_UNKNOWN, &signers.legacy_unknown),
    ];
    let files: BTreeMap<&'static str, SignerFiles> = named.into_iter().filter_map(|(name, files)| Some((name, files.clone()?))).collect();
    if files.is_empty() {
        return Ok(Started::Skipped("no signer has a certificate and a key"));
    }
    for (name, files) in &files {
        read(files).map_err(|err| StartError::Settings(format!("signer {name}: {err}")))?;
    }
    let mut sources = context.sources();
    let requests = sources.of::<CertificateSigningRequest>();
    let queue = WorkQueue::new("certificate_signer");
    requests.enqueue(&queue);
    let client = context.client(ACCOUNT)?;
    let reconciler =
        Signer { files, duration: signers.duration, requests: requests.store(), api: Api::all(&client), clock: context.clock.clone() };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 5);
    Ok(Started::Running)
}

fn read(files: &SignerFiles) -> Result<Ca, PkiError> {
    Ca::from_pem(&pki::files::read(&files.cert)?, &pki::files::read(&files.key)?)
}

struct Signer {
    files: BTreeMap<&'static str, SignerFiles>,
    duration: Duration,
    requests: Arc<Store<CertificateSigningRequest>>,
    api: Api<CertificateSigningRequest>,
    clock: Arc<dyn Clock>,
}

impl Reconcile for Signer {
    const NAME: &'static str = "certificatesigningrequest-signing-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(request) = self.requests.get(key) else { return Ok(Requeue::OnChange) };
        let is = |type_: &str| condition(&request, type_).is_some();
        if !is("Approved") || is("Denied") || is("Failed") || !request.status.certificate.is_empty() {
            return Ok(Requeue::OnChange);
        }
        let Some(files) = self.files.get(request.spec.signer_name.as_str()) else { return Ok(Requeue::OnChange) };
        let mut next = (*request).clone();
        let parsed = CertificateRequest::from_pem(request.spec.request.as_ref())
            .map_err(|err| WriteError::Invalid(format!("certificate signing request \"{key}\": {err}")))?;
        match check(&request, &parsed) {
            Err(problem) => {
                next.status.conditions.push(new_condition("Failed", "SignerValidationFailure", problem, Time::from(self.clock.now())));
            }
            Ok(()) => {
                // Read again each time: authorities are rotated under running programs.
                let pem = read(files).and_then(|ca| sign(&ca, &request, &parsed, self.duration, self.clock.now()));
                let pem = pem.map_err(|err| WriteError::Invalid(format!("cannot sign \"{key}\": {err}")))?;
                next.status.certificate = pem.into_bytes().into();
            }
        }
        match self.api.update_status(&next).await {
            Err(err) if !err.is_not_found() => {
                Err(WriteError::new("update the status of", format!("certificate signing request \"{key}\""), err))
            }
            _ => Ok(Requeue::OnChange),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::request;
    use super::*;

    #[track_caller]
    fn told(request: &CertificateSigningRequest) -> Result<(), &'static str> {
        check(request, &CertificateRequest::from_pem(request.spec.request.as_ref()).unwrap())
    }

    #[test]
    fn each_signer_has_its_rules() {
        let server = ["digital signature", "server auth"];
        let serving = |user: &str, groups: &[&str], names: &[&str]| request(KUBELET_SERVING, user, groups, names, &server);
        assert_eq!(told(&serving("system:node:a", &["system:nodes"], &["10.0.0.1", "a"])), Ok(()));
        assert!(told(&serving("system:node:a", &["system:nodes"], &[])).is_err());
        assert!(told(&serving("jane", &["system:nodes"], &["a"])).is_err());
        assert!(told(&serving("system:node:a", &["system:masters"], &["a"])).is_err());
        assert_eq!(told(&request(APISERVER_CLIENT, "jane", &["dev"], &[], &["client auth"])), Ok(()));
        assert!(told(&request(APISERVER_CLIENT, "jane", &["dev"], &[], &["client auth", "server auth"])).is_err());
    }

    #[test]
    fn lives_are_shortened_and_never_prolonged() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let day = Duration::from_secs(24 * 3600);
        let ca = Ca::create("ca", now - day, 100 * day).unwrap();
        let mut request = request(APISERVER_CLIENT, "jane", &["dev"], &[], &["client auth"]);
        let mut life = |asked: Option<i32>| {
            request.spec.expiration_seconds = asked;
            let parsed = CertificateRequest::from_pem(request.spec.request.as_ref()).unwrap();
            let pem = sign(&ca, &request, &parsed, day, now).unwrap();
            let certificate = &pki::pem::certificates(pem.as_bytes()).unwrap()[0];
            assert!(pki::cert::is_issued_by(certificate, &ca).unwrap());
            let (not_before, not_after) = pki::cert::validity(certificate).unwrap();
            not_after.duration_since(not_before).unwrap()
        };
        assert_eq!(life(None), day);
        assert_eq!(life(Some(3600)), Duration::from_secs(3600));
        assert_eq!(life(Some(1_000_000)), day);
    }
}
