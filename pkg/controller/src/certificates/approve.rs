//! certificatesigningrequest-approving-controller: approves client certificates that kubelets ask for themselves.

use std::sync::Arc;

use api::authorization::v1::{ResourceAttributes, SubjectAccessReview};
use api::certificates::v1::CertificateSigningRequest;
use apimachinery::Time;
use client::Api;
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use informer::{ObjectKey, Reconcile, Requeue, Store, WorkQueue};
use pki::CertificateRequest;

use super::{ACCOUNT, KUBELET_CLIENT, condition, new_condition, usages_fit};
use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const APPROVER: Registration =
    Registration { name: "certificatesigningrequest-approving-controller", alias: Some("csrapproving"), default_on: true, start };

/// A right that the requester must have, and what is said once it was approved for that.
#[derive(Debug, PartialEq)]
pub struct Recognized {
    pub subresource: &'static str,
    pub message: &'static str,
}

const RENEWAL: Recognized =
    Recognized { subresource: "selfnodeclient", message: "Auto approving self kubelet client certificate after SubjectAccessReview." };
const FIRST: Recognized =
    Recognized { subresource: "nodeclient", message: "Auto approving kubelet client certificate after SubjectAccessReview." };

/// Whether this is a kubelet's request for a client certificate: its own next one, or a new node's first.
pub fn recognize(request: &CertificateSigningRequest) -> Vec<Recognized> {
    if request.spec.signer_name != KUBELET_CLIENT {
        return Vec::new();
    }
    let Ok(parsed) = CertificateRequest::from_pem(request.spec.request.as_ref()) else { return Vec::new() };
    if !is_node_client(request, &parsed) {
        return Vec::new();
    }
    let renewal = request.spec.username == parsed.subject().common_name;
    if renewal { vec![RENEWAL, FIRST] } else { vec![FIRST] }
}

pub(super) fn is_node_client(request: &CertificateSigningRequest, parsed: &CertificateRequest) -> bool {
    let subject = parsed.subject();
    subject.organizations == ["system:nodes"]
        && subject.common_name.starts_with("system:node:")
        && parsed.sans().is_empty()
        && usages_fit(request, &["digital signature", "client auth"], &["key encipherment"])
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let requests = sources.of::<CertificateSigningRequest>();
    let queue = WorkQueue::new("certificate_approver");
    requests.enqueue(&queue);
    let client = context.client(ACCOUNT)?;
    let reconciler =
        Approver { requests: requests.store(), api: Api::all(&client), reviews: Api::all(&client), clock: context.clock.clone() };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 5);
    Ok(Started::Running)
}

struct Approver {
    requests: Arc<Store<CertificateSigningRequest>>,
    api: Api<CertificateSigningRequest>,
    reviews: Api<SubjectAccessReview>,
    clock: Arc<dyn Clock>,
}

impl Reconcile for Approver {
    const NAME: &'static str = "certificatesigningrequest-approving-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(request) = self.requests.get(key) else { return Ok(Requeue::OnChange) };
        let decided = condition(&request, "Approved").is_some() || condition(&request, "Denied").is_some();
        if decided || !request.status.certificate.is_empty() {
            return Ok(Requeue::OnChange);
        }
        let recognized = recognize(&request);
        for found in &recognized {
            if !self.may(&request, found.subresource).await? {
                continue;
            }
            let mut next = (*request).clone();
            next.status.conditions.push(new_condition("Approved", "AutoApproved", found.message, Time::from(self.clock.now())));
            return match self.api.update_subresource::<_, CertificateSigningRequest>(key.name(), "approval", &next).await {
                Err(err) if !err.is_not_found() => Err(WriteError::new("approve", format!("certificate signing request \"{key}\""), err)),
                _ => Ok(Requeue::OnChange),
            };
        }
        match recognized.is_empty() {
            true => Ok(Requeue::OnChange),
            // The right may be granted later, of which nothing here would tell: ask again, ever more rarely.
            false => Err(WriteError::Invalid(format!(
                "recognized csr \"{key}\" as {:?} but subject access review was not approved",
                recognized.iter().map(|found| found.subresource).collect::<Vec<_>>()
            ))),
        }
    }
}

impl Approver {
    async fn may(&self, request: &CertificateSigningRequest, subresource: &str) -> Result<bool, WriteError> {
        let mut review = SubjectAccessReview::default();
        review.spec.user = request.spec.username.clone();
        review.spec.uid = request.spec.uid.clone();
        review.spec.groups = request.spec.groups.clone();
        review.spec.extra = request.spec.extra.clone();
        review.spec.resource_attributes = Some(Box::new(ResourceAttributes {
            group: "certificates.k8s.io".into(),
            version: "*".into(),
            resource: "certificatesigningrequests".into(),
            verb: "create".into(),
            subresource: subresource.into(),
            ..ResourceAttributes::default()
        }));
        let answer = self.reviews.create(&review).await;
        Ok(answer.map_err(|err| WriteError::new("create", "subject access review", err))?.status.allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::request;
    use super::*;

    #[test]
    fn kubelets_are_recognized() {
        let client = ["digital signature", "client auth", "key encipherment"];
        let renewal = request(KUBELET_CLIENT, "system:node:a", &["system:nodes"], &[], &client);
        assert_eq!(recognize(&renewal), [RENEWAL, FIRST]);
        let mut first = renewal.clone();
        first.spec.username = "system:bootstrap:abcdef".into();
        assert_eq!(recognize(&first), [FIRST]);
        for other in [
            request("example.com/x", "system:node:a", &["system:nodes"], &[], &client),
            request(KUBELET_CLIENT, "jane", &["system:nodes"], &[], &client),
            request(KUBELET_CLIENT, "system:node:a", &["system:masters"], &[], &client),
            request(KUBELET_CLIENT, "system:node:a", &["system:nodes"], &["a.example"], &client),
            request(KUBELET_CLIENT, "system:node:a", &["system:nodes"], &[], &["client auth"]),
            request(KUBELET_CLIENT, "system:node:a", &["system:nodes"], &[], &["digital signature", "client auth", "server auth"]),
        ] {
            assert_eq!(recognize(&other), []);
        }
    }
}
