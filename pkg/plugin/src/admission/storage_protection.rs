//! Volumes and claims in use are not deleted under their users; claims grow only where their class allows it.

use std::sync::Arc;

use api::core::v1::PersistentVolumeClaim;
use api::storage::v1::StorageClass;
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, is, object, old};

/// StorageObjectInUseProtection: new volumes and claims get the finalizer that their protection controllers take away.
pub struct StorageObjectInUseProtection;

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !review.subresource.is_empty() {
            return Ok(());
        }
        let finalizer = match (review.group, review.resource) {
            ("", "persistentvolumes") => "kubernetes.io/pv-protection",
            ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
            ("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
            _ => return Ok(()),
        };
        if let Some(object) = review.object.as_deref_mut() {
            let finalizers = &mut object.metadata_mut().finalizers;
            if !finalizers.iter().any(|have| have == finalizer) {
                finalizers.push(finalizer.to_owned());
            }
        }
        Ok(())
    }
}

/// PersistentVolumeClaimResize
pub struct ClaimResize {
    objects: Arc<dyn Objects>,
}

impl ClaimResize {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }
}

#[async_trait]
impl Plugin for ClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "persistentvolumeclaims") {
            return Ok(());
        }
        let (Some(new), Some(before)) = (object::<PersistentVolumeClaim>(review), old::<PersistentVolumeClaim>(review)) else {
            return Ok(());
        };
        let (Some(wanted), Some(had)) = (new.spec.resources.requests.get("storage"), before.spec.resources.requests.get("storage")) else {
            return Ok(());
        };
        if wanted.cmp(had).is_le() {
            return Ok(());
        }
        if before.status.phase != "Bound" {
            return Err(forbidden(review, "Only bound persistent volume claims can be expanded"));
        }
        let class = new.spec.storage_class_name.as_deref().unwrap_or("");
        let found = self.objects.get("storage.k8s.io", "storageclasses", "", class).await?;
        let expands = found
            .as_deref()
            .and_then(|class| class.downcast_ref::<StorageClass>())
            .is_some_and(|class| class.allow_volume_expansion == Some(true));
        if expands {
            Ok(())
        } else {
            Err(forbidden(
                review,
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            ))
        }
    }
}
