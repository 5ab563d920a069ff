//! Pods: what is new, what may change.

use api::core::v1::Pod;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;

use crate::validation::{object_meta, object_meta_update};

/// A new Pod.
pub fn validate(pod: &Pod) -> ErrorList {
    let mut errors = object_meta(&pod.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
    let spec = Path::new("spec");
    if pod.spec.containers.is_empty() {
        errors.push(Error::required(&spec.child("containers"), ""));
    }
    errors
}

/// A changed Pod.
pub fn validate_update(new: &Pod, old: &Pod) -> ErrorList {
    object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"))
}

/// A changed status.
pub fn validate_status_update(new: &Pod, old: &Pod) -> ErrorList {
    object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"))
}

/// Changed ephemeral containers.
pub fn validate_ephemeral_containers_update(new: &Pod, old: &Pod) -> ErrorList {
    object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"))
}
