//! The three controllers of CertificateSigningRequests: one approves what kubelets ask for themselves, one signs what was
//! approved, one deletes what is over.
//!
//! Read and write CertificateSigningRequests; the approver asks by SubjectAccessReview whether a requester may have what it
//! asks for. Upstream: pkg/controller/certificates.

mod approve;
mod clean;
mod sign;

use api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use apimachinery::Time;

pub use approve::APPROVER;
pub use clean::CLEANER;
pub use sign::SIGNER;

const ACCOUNT: &str = "certificate-controller";

const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const APISERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";

fn condition<'a>(request: &'a CertificateSigningRequest, type_: &str) -> Option<&'a CertificateSigningRequestCondition> {
    request.status.conditions.iter().find(|condition| condition.type_ == type_)
}

fn new_condition(type_: &str, reason: &str, message: &str, now: Time) -> CertificateSigningRequestCondition {
    CertificateSigningRequestCondition {
        type_: type_.into(),
        status: "True".into(),
        reason: reason.into(),
        message: message.into(),
        last_update_time: now,
        last_transition_time: now,
    }
}

/// Whether the usages asked for are among `allowed` and all of `required`.
fn usages_fit(request: &CertificateSigningRequest, required: &[&str], allowed: &[&str]) -> bool {
    let usages = &request.spec.usages;
    required.iter().all(|usage| usages.iter().any(|asked| asked == usage))
        && usages.iter().all(|asked| required.contains(&asked.as_str()) || allowed.contains(&asked.as_str()))
}

#[cfg(test)]
mod fixtures {
    use pki::{Key, San, Subject};

    use super::*;

    pub fn request(signer: &str, user: &str, groups: &[&str], names: &[&str], usages: &[&str]) -> CertificateSigningRequest {
        let key = Key::generate().unwrap();
        let sans: Vec<San> = names.iter().map(|name| San::parse(name)).collect();
        let mut request = CertificateSigningRequest::default();
        request.metadata.name = "csr".into();
        request.spec.signer_name = signer.into();
        request.spec.username = user.into();
        request.spec.usages = usages.iter().map(ToString::to_string).collect();
        request.spec.request = pki::csr::create(&key, &Subject::new(user, groups), &sans).unwrap().into_bytes().into();
        request
    }
}
