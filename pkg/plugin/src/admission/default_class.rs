//! DefaultStorageClass and DefaultIngressClass: what is left unsaid goes to the class that is marked as the default.

use std::sync::Arc;

use api::core::v1::PersistentVolumeClaim;
use api::networking::v1::{Ingress, IngressClass};
use api::storage::v1::StorageClass;
use apimachinery::meta::v1::ObjectMeta;
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, is, list, object, object_mut};

pub struct DefaultStorageClass {
    objects: Arc<dyn Objects>,
}

impl DefaultStorageClass {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }
}

fn marked(meta: &ObjectMeta, keys: &[&str]) -> bool {
    keys.iter().any(|key| meta.annotations.get_str(key) == "true")
}

/// Of several defaults the newest counts, then the first by name.
fn newest_first(a: &ObjectMeta, b: &ObjectMeta) -> std::cmp::Ordering {
    b.creation_timestamp.cmp(&a.creation_timestamp).then_with(|| a.name.cmp(&b.name))
}

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "persistentvolumeclaims") {
            return Ok(());
        }
        let unset = object::<PersistentVolumeClaim>(review).is_some_and(|claim| {
            claim.spec.storage_class_name.is_none() && !claim.metadata.annotations.contains_key("volume.beta.kubernetes.io/storage-class")
        });
        if !unset {
            return Ok(());
        }
        const MARKS: [&str; 2] = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
        let mut classes: Vec<StorageClass> = list(&self.objects, "storage.k8s.io", "storageclasses", "").await?;
        classes.retain(|class| marked(&class.metadata, &MARKS));
        classes.sort_by(|a, b| newest_first(&a.metadata, &b.metadata));
        if let (Some(class), Some(claim)) = (classes.into_iter().next(), object_mut::<PersistentVolumeClaim>(review)) {
            claim.spec.storage_class_name = Some(class.metadata.name);
        }
        Ok(())
    }
}

pub struct DefaultIngressClass {
    objects: Arc<dyn Objects>,
}

impl DefaultIngressClass {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }
}

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !is(review, "networking.k8s.io", "ingresses") {
            return Ok(());
        }
        let unset = object::<Ingress>(review).is_some_and(|ingress| {
            ingress.spec.ingress_class_name.is_none() && !ingress.metadata.annotations.contains_key("kubernetes.io/ingress.class")
        });
        if !unset {
            return Ok(());
        }
        let mut classes: Vec<IngressClass> = list(&self.objects, "networking.k8s.io", "ingressclasses", "").await?;
        classes.retain(|class| marked(&class.metadata, &["ingressclass.kubernetes.io/is-default-class"]));
        if classes.len() > 1 {
            classes.sort_by(|a, b| newest_first(&a.metadata, &b.metadata));
        }
        match classes.into_iter().next() {
            Some(class) => {
                let Some(ingress) = object_mut::<Ingress>(review) else { return Err(forbidden(review, "no Ingress")) };
                ingress.spec.ingress_class_name = Some(class.metadata.name);
                Ok(())
            }
            None => Ok(()),
        }
    }
}
