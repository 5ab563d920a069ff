//! Admission plugins. Upstream: plugin/pkg/admission.

mod certificates;
mod default_class;
mod limit_ranger;
mod namespace;
mod node_restriction;
mod pod_security;
mod pods;
mod priority;
mod quota;
mod runtime_class;
mod service_account;
mod storage_protection;

use std::sync::Arc;

use apimachinery::gvk::GroupResource;
use apimachinery::status::StatusError;
use apiserver::admission::{Plugin, Review};
use apiserver::authorization::Authorizer;
use apiserver::objects::Objects;

pub use quota::Usage;

/// What plugins are made of.
#[derive(Clone)]
pub struct Parts {
    pub objects: Arc<dyn Objects>,
    pub authorizer: Arc<dyn Authorizer>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

/// A plugin's name, whether it is on by default, and how it is made.
pub struct Registration {
    pub name: &'static str,
    pub on_by_default: bool,
    pub make: fn(&Parts) -> Arc<dyn Plugin>,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (on by default: {})", self.name, self.on_by_default)
    }
}

/// Every plugin there is, in upstream's order. Names of upstream's that are missing here are refused where a flag names them.
pub fn in_order() -> Vec<Registration> {
    let entry = |name, on_by_default, make| Registration { name, on_by_default, make };
    vec![
        entry("NamespaceLifecycle", true, |parts| Arc::new(namespace::Lifecycle::new(parts))),
        entry("NamespaceExists", false, |parts| Arc::new(namespace::Exists::new(parts))),
        entry("LimitRanger", true, |parts| Arc::new(limit_ranger::LimitRanger::new(parts))),
        entry("ServiceAccount", true, |parts| Arc::new(service_account::ServiceAccount::new(parts))),
        entry("NodeRestriction", false, |parts| Arc::new(node_restriction::NodeRestriction::new(parts))),
        entry("TaintNodesByCondition", true, |_| Arc::new(pods::TaintNodesByCondition)),
        entry("AlwaysPullImages", false, |_| Arc::new(pods::AlwaysPullImages)),
        entry("PodSecurity", true, |parts| Arc::new(pod_security::PodSecurity::new(parts))),
        entry("Priority", true, |parts| Arc::new(priority::Priority::new(parts))),
        entry("DefaultTolerationSeconds", true, |_| Arc::new(pods::DefaultTolerationSeconds)),
        entry("ExtendedResourceToleration", false, |_| Arc::new(pods::ExtendedResourceToleration)),
        entry("DefaultStorageClass", true, |parts| Arc::new(default_class::DefaultStorageClass::new(parts))),
        entry("StorageObjectInUseProtection", true, |_| Arc::new(storage_protection::StorageObjectInUseProtection)),
        entry("PersistentVolumeClaimResize", true, |parts| Arc::new(storage_protection::ClaimResize::new(parts))),
        entry("RuntimeClass", true, |parts| Arc::new(runtime_class::RuntimeClass::new(parts))),
        entry("CertificateApproval", true, |parts| Arc::new(certificates::Approval::new(parts))),
        entry("CertificateSigning", true, |parts| Arc::new(certificates::Signing::new(parts))),
        entry("CertificateSubjectRestriction", true, |_| Arc::new(certificates::SubjectRestriction)),
        entry("DefaultIngressClass", true, |parts| Arc::new(default_class::DefaultIngressClass::new(parts))),
        entry("DenyServiceExternalIPs", false, |_| Arc::new(pods::DenyServiceExternalIps)),
        entry("PodTopologyLabels", true, |parts| Arc::new(pods::PodTopologyLabels::new(parts))),
        entry("ResourceQuota", true, |parts| Arc::new(quota::ResourceQuota::new(parts))),
    ]
}

/// True for a write to this resource itself, not to a subresource.
fn is(review: &Review<'_>, group: &str, resource: &str) -> bool {
    review.group == group && review.resource == resource && review.subresource.is_empty()
}

/// 403 in the words of upstream's admission errors.
fn forbidden(review: &Review<'_>, why: impl std::fmt::Display) -> StatusError {
    let name = if review.name.is_empty() {
        review
            .object
            .as_deref()
            .map(|object| object.metadata())
            .map_or("Unknown", |meta| if meta.generate_name.is_empty() { "Unknown" } else { &meta.generate_name })
    } else {
        review.name
    };
    StatusError::forbidden(&GroupResource::new(review.group, review.resource), name, why)
}

/// The object as `T`.
fn object_mut<'r, T: 'static>(review: &'r mut Review<'_>) -> Option<&'r mut T> {
    review.object.as_deref_mut().and_then(|object| object.downcast_mut())
}

fn object<'r, T: 'static>(review: &'r Review<'_>) -> Option<&'r T> {
    review.object.as_deref().and_then(|object| object.downcast_ref())
}

fn old<'r, T: 'static>(review: &'r Review<'_>) -> Option<&'r T> {
    review.old.and_then(|object| object.downcast_ref())
}

/// Objects of one resource, as `T`.
async fn list<T: Clone + 'static>(objects: &Arc<dyn Objects>, group: &str, resource: &str, namespace: &str) -> Result<Vec<T>, StatusError> {
    let found = objects.list(group, resource, namespace).await?;
    Ok(found.iter().filter_map(|object| object.downcast_ref::<T>().cloned()).collect())
}
