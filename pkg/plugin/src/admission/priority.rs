//! Priority: the priority class of a pod becomes a number; at most one class is the default.

use std::sync::Arc;

use api::core::v1::Pod;
use api::scheduling::v1::PriorityClass;
use apimachinery::gvk::GroupResource;
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, is, list, object, object_mut, old};

const GROUP: &str = "scheduling.k8s.io";

pub struct Priority {
    objects: Arc<dyn Objects>,
}

impl Priority {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }

    async fn classes(&self) -> Result<Vec<PriorityClass>, StatusError> {
        list(&self.objects, GROUP, "priorityclasses", "").await
    }

    /// The default class: of several the one with the lowest value.
    async fn default_class(&self) -> Result<Option<PriorityClass>, StatusError> {
        Ok(self.classes().await?.into_iter().filter(|class| class.global_default).min_by_key(|class| class.value))
    }

    async fn admit_pod(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        let Some(pod) = object::<Pod>(review) else { return Ok(()) };
        if review.operation == Operation::Update {
            // Clients that do not know the field leave it out; it cannot change anyway.
            let before = old::<Pod>(review).map(|pod| (pod.spec.priority, pod.spec.preemption_policy.clone()));
            if let (Some((priority, policy)), Some(pod)) = (before, object_mut::<Pod>(review)) {
                pod.spec.priority = pod.spec.priority.or(priority);
                pod.spec.preemption_policy = pod.spec.preemption_policy.take().or(policy);
            }
            return Ok(());
        }
        let name = pod.spec.priority_class_name.clone();
        let class = if name.is_empty() {
            self.default_class().await?
        } else {
            let found = self.objects.get(GROUP, "priorityclasses", "", &name).await?;
            let found = match found {
                Some(found) => Some(found),
                None => self.objects.get_live(GROUP, "priorityclasses", "", &name).await?,
            };
            match found.as_deref().and_then(|class| class.downcast_ref::<PriorityClass>()) {
                Some(class) => Some(class.clone()),
                None => return Err(forbidden(review, format!("no PriorityClass with name {name} was found"))),
            }
        };
        let value = class.as_ref().map_or(0, |class| class.value);
        let policy = class.as_ref().and_then(|class| class.preemption_policy.clone()).unwrap_or_else(|| "PreemptLowerPriority".to_owned());
        let Some(pod) = object::<Pod>(review) else { return Ok(()) };
        if pod.spec.priority.is_some_and(|given| given != value) {
            let given = pod.spec.priority.unwrap_or(0);
            return Err(forbidden(
                review,
                format!(
                    "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
                ),
            ));
        }
        if pod.spec.preemption_policy.as_ref().is_some_and(|given| *given != policy) {
            let given = pod.spec.preemption_policy.clone().unwrap_or_default();
            return Err(forbidden(
                review,
                format!(
                    "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
                ),
            ));
        }
        if let Some(pod) = object_mut::<Pod>(review) {
            if let Some(class) = class.filter(|_| name.is_empty()) {
                pod.spec.priority_class_name = class.metadata.name;
            }
            pod.spec.priority = Some(value);
            pod.spec.preemption_policy = Some(policy);
        }
        Ok(())
    }
}

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if is(review, "", "pods") { self.admit_pod(review).await } else { Ok(()) }
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if !is(review, GROUP, "priorityclasses") {
            return Ok(());
        }
        let Some(class) = object::<PriorityClass>(review).filter(|class| class.global_default) else { return Ok(()) };
        match self.default_class().await? {
            Some(other) if other.metadata.name != class.metadata.name => {
                let resource = GroupResource::new(GROUP, "priorityclasses");
                let why = format!("PriorityClass {} is already marked as default. Only one default can exist", other.metadata.name);
                Err(StatusError::forbidden(&resource, &class.metadata.name, why))
            }
            _ => Ok(()),
        }
    }
}
