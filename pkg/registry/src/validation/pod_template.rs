//! Pod templates of workloads. Upstream: ValidatePodTemplateSpec in pkg/apis/core/validation.

use api::core::v1::PodTemplateSpec;
use apimachinery::validation::field::{Error, ErrorList, Path};

use super::{annotations, labels};
use crate::core::validation::pod_spec::pod_spec;

/// Labels, annotations and the pod's spec.
pub fn validate(template: &PodTemplateSpec, path: &Path<'_>) -> ErrorList {
    // Upstream leaves `metadata` out of these two paths.
    let mut errors = labels(&template.metadata.labels, &path.child("labels"));
    errors.extend(annotations(&template.metadata.annotations, &path.child("annotations")));
    let spec = path.child("spec");
    errors.extend(pod_spec(&template.spec, false, &spec));
    if !template.spec.ephemeral_containers.is_empty() {
        errors.push(Error::forbidden(&spec.child("ephemeralContainers"), "ephemeral containers not allowed in pod template"));
    }
    errors
}
