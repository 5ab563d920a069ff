//! RuntimeClass: overhead and scheduling constraints of a pod's runtime class are written into the pod.

use std::sync::Arc;

use api::core::v1::Pod;
use api::node::v1::RuntimeClass as Class;
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, is, object, object_mut};

pub struct RuntimeClass {
    objects: Arc<dyn Objects>,
}

impl RuntimeClass {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }

    async fn class_of(&self, review: &Review<'_>) -> Result<Option<Class>, StatusError> {
        let Some(name) = object::<Pod>(review).and_then(|pod| pod.spec.runtime_class_name.clone()).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let found = match self.objects.get("node.k8s.io", "runtimeclasses", "", &name).await? {
            Some(found) => Some(found),
            None => self.objects.get_live("node.k8s.io", "runtimeclasses", "", &name).await?,
        };
        match found.as_deref().and_then(|class| class.downcast_ref::<Class>()) {
            Some(class) => Ok(Some(class.clone())),
            None => Err(forbidden(review, format!("pod rejected: RuntimeClass {name:?} not found"))),
        }
    }
}

#[async_trait]
impl Plugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "pods") {
            return Ok(());
        }
        let Some(class) = self.class_of(review).await? else { return Ok(()) };
        let Some(pod) = object::<Pod>(review) else { return Ok(()) };
        if let Some(overhead) = &class.overhead {
            if !pod.spec.overhead.is_empty() && pod.spec.overhead != overhead.pod_fixed {
                return Err(forbidden(review, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
            }
            if let Some(pod) = object_mut::<Pod>(review) {
                pod.spec.overhead = overhead.pod_fixed.clone();
            }
        }
        let Some(scheduling) = &class.scheduling else { return Ok(()) };
        let conflict = object::<Pod>(review).is_some_and(|pod| {
            scheduling.node_selector.iter().any(|(key, value)| pod.spec.node_selector.get(key).is_some_and(|have| have != value))
        });
        if conflict {
            return Err(forbidden(review, "conflict: runtimeClass.scheduling.nodeSelector"));
        }
        if let Some(pod) = object_mut::<Pod>(review) {
            for (key, value) in &scheduling.node_selector {
                pod.spec.node_selector.insert(key, value.clone());
            }
            for toleration in &scheduling.tolerations {
                if !pod.spec.tolerations.contains(toleration) {
                    pod.spec.tolerations.push(toleration.clone());
                }
            }
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "pods") {
            return Ok(());
        }
        let class = self.class_of(review).await?;
        let Some(pod) = object::<Pod>(review) else { return Ok(()) };
        let defined = class.and_then(|class| class.overhead).map(|overhead| overhead.pod_fixed).unwrap_or_default();
        if pod.spec.overhead.is_empty() == defined.is_empty() && (pod.spec.overhead.is_empty() || pod.spec.overhead == defined) {
            return Ok(());
        }
        let why = if pod.spec.runtime_class_name.is_none() {
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        } else {
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        };
        Err(forbidden(review, why))
    }
}
