//! Who may approve and sign certificate requests, and what no request may ask for.

use std::sync::Arc;

use api::certificates::v1::CertificateSigningRequest;
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::authorization::{Attributes, Authorizer, Decision};
use async_trait::async_trait;

use super::{Parts, forbidden, object, old};

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";

/// True if the user may do `verb` on this signer, by its name or by its domain.
async fn authorized_for_signer(authorizer: &Arc<dyn Authorizer>, review: &Review<'_>, verb: &str, signer: &str) -> bool {
    let domain = format!("{}/*", signer.split_once('/').map_or(signer, |(domain, _)| domain));
    for name in [signer, &domain] {
        let attributes = Attributes {
            user: &review.context.user,
            verb,
            is_resource: true,
            group: GROUP,
            version: "*",
            namespace: "",
            resource: "signers",
            subresource: "",
            name,
            path: "",
            field_selector: "",
            label_selector: "",
        };
        if matches!(authorizer.authorize(&attributes).await, Decision::Allow(_)) {
            return true;
        }
    }
    false
}

fn is_csr(review: &Review<'_>, subresource: &str) -> bool {
    review.group == GROUP && review.resource == RESOURCE && review.subresource == subresource
}

/// CertificateApproval
pub struct Approval {
    authorizer: Arc<dyn Authorizer>,
}

impl Approval {
    pub fn new(parts: &Parts) -> Self {
        Self { authorizer: Arc::clone(&parts.authorizer) }
    }
}

#[async_trait]
impl Plugin for Approval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if !is_csr(review, "approval") {
            return Ok(());
        }
        let Some(request) = old::<CertificateSigningRequest>(review) else { return Ok(()) };
        let signer = &request.spec.signer_name;
        if authorized_for_signer(&self.authorizer, review, "approve", signer).await {
            return Ok(());
        }
        Err(forbidden(review, format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

/// CertificateSigning
pub struct Signing {
    authorizer: Arc<dyn Authorizer>,
}

impl Signing {
    pub fn new(parts: &Parts) -> Self {
        Self { authorizer: Arc::clone(&parts.authorizer) }
    }
}

#[async_trait]
impl Plugin for Signing {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if !is_csr(review, "status") {
            return Ok(());
        }
        let (Some(new), Some(before)) = (object::<CertificateSigningRequest>(review), old::<CertificateSigningRequest>(review)) else {
            return Ok(());
        };
        if new.status.certificate == before.status.certificate && new.status.conditions == before.status.conditions {
            return Ok(());
        }
        let signer = &before.spec.signer_name;
        if authorized_for_signer(&self.authorizer, review, "sign", signer).await {
            return Ok(());
        }
        Err(forbidden(review, format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

/// CertificateSubjectRestriction
pub struct SubjectRestriction;

#[async_trait]
impl Plugin for SubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if !is_csr(review, "") {
            return Ok(());
        }
        let Some(request) = object::<CertificateSigningRequest>(review) else { return Ok(()) };
        if request.spec.signer_name != "kubernetes.io/kube-apiserver-client" {
            return Ok(());
        }
        let parsed = pki::csr::CertificateRequest::from_pem(&request.spec.request)
            .map_err(|err| forbidden(review, format!("unable to parse CSR: {err}")))?;
        let masters = apiserver::authentication::names::MASTERS;
        if parsed.subject().organizations.iter().any(|organization| organization == masters) {
            return Err(forbidden(review, format!("use of {} signer with {masters} group is not allowed", request.spec.signer_name)));
        }
        Ok(())
    }
}
