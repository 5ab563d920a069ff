//! `pods/NAME/binding`, and the old `bindings`: the scheduler's decision. Upstream: BindingREST of pkg/registry/core/pod/storage.

use std::sync::Arc;

use api::core::v1::{Binding, Pod, PodCondition};
use apimachinery::gvk::GroupResource;
use apimachinery::status::StatusError;
use apimachinery::validation::field::{self, Error, ErrorList, Path};
use apimachinery::{Object, Time};
use apiserver::objects::Objects;
use apiserver::request::RequestContext;
use apiserver::rest::{Answer, Creater};
use async_trait::async_trait;
use component_helpers::pod as pods;
use http::StatusCode;

use crate::config::LateObjects;

/// Binds Pods to nodes.
#[derive(Clone)]
pub struct BindingCreater {
    pub objects: Arc<LateObjects>,
}

/// The label keys that a binding hands on to the Pod: where the node is.
const TOPOLOGY_LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

#[async_trait]
impl Creater for BindingCreater {
    async fn create(&self, context: &RequestContext, body: Box<dyn Object>) -> Result<Answer, StatusError> {
        let binding: &Binding = body.downcast_ref().ok_or_else(|| StatusError::bad_request("not a Binding object"))?;
        let in_url = context.info.name.as_str();
        if !in_url.is_empty() && binding.metadata.name != in_url {
            return Err(StatusError::bad_request("name in URL does not match name in Binding object"));
        }
        let errors = validate(binding);
        if !errors.is_empty() {
            return Err(StatusError::unknown(field::aggregate(&errors)));
        }
        let (namespace, name) = (context.info.namespace.as_str(), binding.metadata.name.as_str());
        let now = Time::now();
        let bind = |object: &dyn Object| {
            let pod: &Pod = object.downcast_ref().expect("pods are Pods");
            assign(pod, binding, now).map(|pod| Some(Box::new(pod) as Box<dyn Object>))
        };
        if context.dry_run {
            let found = self.objects.get_live("", "pods", namespace, name).await?;
            let found = found.ok_or_else(|| StatusError::not_found(&GroupResource::new("", "pods"), name))?;
            bind(found.as_ref())?;
        } else {
            self.objects.update("", "pods", namespace, name, &bind).await?;
        }
        Ok(Answer::Success(StatusCode::CREATED))
    }
}

fn validate(binding: &Binding) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("target");
    if !matches!(binding.target.kind.as_str(), "" | "Node") {
        errors.push(Error::not_supported(&path.child("kind"), &binding.target.kind, &["Node", "<empty>"]));
    }
    if binding.target.name.is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    errors
}

/// The Pod with its node.
fn assign(pod: &Pod, binding: &Binding, now: Time) -> Result<Pod, StatusError> {
    let name = &pod.metadata.name;
    let conflict = |why: String| Err(StatusError::conflict(&GroupResource::new("", "pods/binding"), name, why));
    if !binding.metadata.uid.is_empty() && binding.metadata.uid != pod.metadata.uid {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/pods/{}/{name}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             UID in precondition: {}, UID in object meta: {}",
            pod.metadata.namespace, binding.metadata.uid, pod.metadata.uid
        );
        return Err(StatusError::conflict(&GroupResource::new("", "pods"), name, why));
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    if !pod.spec.node_name.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {}", apimachinery::gotext::quote(&pod.spec.node_name)));
    }
    if !pod.spec.scheduling_gates.is_empty() {
        return conflict(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut bound = pod.clone();
    bound.spec.node_name.clone_from(&binding.target.name);
    for (key, value) in &binding.metadata.annotations {
        bound.metadata.annotations.insert(key, value.clone());
    }
    for key in TOPOLOGY_LABELS {
        if let Some(value) = binding.metadata.labels.get(key) {
            bound.metadata.labels.insert(key, value.clone());
        }
    }
    let condition = PodCondition { type_: "PodScheduled".to_owned(), status: "True".to_owned(), ..PodCondition::default() };
    pods::set_condition(&mut bound.status, condition, now);
    Ok(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_bound_once() {
        let pod: Pod = apimachinery::json::from_slice(br#"{"metadata":{"name":"a"}}"#).unwrap();
        let binding: Binding =
            apimachinery::json::from_slice(br#"{"metadata":{"name":"a","annotations":{"x":"y"}},"target":{"name":"n1"}}"#).unwrap();
        assert!(validate(&binding).is_empty());
        let bound = assign(&pod, &binding, Time::from_unix(1)).unwrap();
        assert_eq!((bound.spec.node_name.as_str(), bound.metadata.annotations.get_str("x")), ("n1", "y"));
        assert_eq!(bound.status.conditions[0].status, "True");
        let error = assign(&bound, &binding, Time::from_unix(1)).unwrap_err();
        assert_eq!(error.message, "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\"");
    }
}
