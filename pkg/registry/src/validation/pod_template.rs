//! Pod templates of workloads. Upstream: ValidatePodTemplateSpec in pkg/apis/core/validation.

use api::core::v1::PodTemplateSpec;
use apimachinery::validation::field::{Error, ErrorList, Path};

use super::{annotations, labels};

/// Labels, annotations and the pod's spec.
pub fn validate(template: &PodTemplateSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let metadata = path.child("metadata");
    errors.extend(labels(&template.metadata.labels, &metadata.child("labels")));
    errors.extend(annotations(&template.metadata.annotations, &metadata.child("annotations")));
    let spec = path.child("spec");
    if template.spec.containers.is_empty() {
        errors.push(Error::required(&spec.child("containers"), ""));
    }
    if !template.spec.ephemeral_containers.is_empty() {
        errors.push(Error::forbidden(&spec.child("ephemeralContainers"), "ephemeral containers not allowed in pod template"));
    }
    errors
}
