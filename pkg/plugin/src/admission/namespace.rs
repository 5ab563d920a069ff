//! NamespaceLifecycle: nothing is made in a namespace that does not exist or is going, and three namespaces stay.

use std::sync::Arc;

use api::core::v1::Namespace;
use apimachinery::gvk::GroupResource;
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, is};

/// Namespaces the cluster cannot do without.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub struct Lifecycle {
    objects: Arc<dyn Objects>,
}

impl Lifecycle {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }
}

/// The namespace from the cache; a cache that does not have it yet is no proof, so the store is asked.
async fn find(objects: &Arc<dyn Objects>, name: &str) -> Result<Option<Arc<dyn apimachinery::Object>>, StatusError> {
    match objects.get("", "namespaces", "", name).await? {
        Some(found) => Ok(Some(found)),
        None => objects.get_live("", "namespaces", "", name).await,
    }
}

#[async_trait]
impl Plugin for Lifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if review.operation == Operation::Delete && is(review, "", "namespaces") && IMMORTAL.contains(&review.name) {
            return Err(forbidden(review, "this namespace may not be deleted"));
        }
        let namespaced_write = !review.namespace.is_empty() && !(review.group.is_empty() && review.resource == "namespaces");
        // Access reviews ask about namespaces that need not exist; deletes are always fine.
        if !namespaced_write
            || review.operation == Operation::Delete
            || (review.group == "authorization.k8s.io" && review.resource == "localsubjectaccessreviews")
        {
            return Ok(());
        }
        let Some(found) = find(&self.objects, review.namespace).await? else {
            return Err(StatusError::not_found(&GroupResource::new("", "namespaces"), review.namespace));
        };
        if review.operation != Operation::Create {
            return Ok(());
        }
        let terminating = found
            .downcast_ref::<Namespace>()
            .is_some_and(|namespace| namespace.status.phase == "Terminating" || namespace.metadata.deletion_timestamp.is_some());
        if terminating {
            let why = format!("unable to create new content in namespace {} because it is being terminated", review.namespace);
            let cause = format!("namespace {} is being terminated", review.namespace);
            return Err(forbidden(review, why).with_cause("NamespaceTerminating", cause, "metadata.namespace"));
        }
        Ok(())
    }
}

/// NamespaceExists: the older, weaker form.
pub struct Exists {
    objects: Arc<dyn Objects>,
}

impl Exists {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }
}

#[async_trait]
impl Plugin for Exists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if review.namespace.is_empty() || (review.group.is_empty() && review.resource == "namespaces") {
            return Ok(());
        }
        match find(&self.objects, review.namespace).await? {
            Some(_) => Ok(()),
            None => Err(StatusError::not_found(&GroupResource::new("", "namespaces"), review.namespace)),
        }
    }
}
