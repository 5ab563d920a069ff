//! ReplicationControllers, their status and scale.

use api::core::v1::{ReplicationController, ReplicationControllerStatus};
use apimachinery::labels::Selector;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::value::Object as Members;
use apimachinery::{Map, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::scale::Replicas;
use apiserver::rest::{ResourceDef, ScaleAccess, Strategy};

use super::pod::normalize;
use crate::printers::{age, labels_text};
use crate::validation::fields::supported;
use crate::validation::pod_template::validate as pod_template_spec;
use crate::validation::{non_negative, object_meta, object_meta_update};
use crate::workloads::containers_and_images;

/// ReplicationControllers and what is below them.
pub fn resource() -> ResourceDef {
    ResourceDef::stored(ReplicationControllerStrategy).status(StatusStrategy).scale(ScaleAccess::of(
        |controller: &ReplicationController| Replicas {
            wanted: controller.spec.replicas.unwrap_or(0),
            current: controller.status.replicas,
            selector: selector(controller).to_string(),
        },
        |controller, replicas| controller.spec.replicas = Some(replicas),
    ))
}

fn selector(controller: &ReplicationController) -> Selector {
    Selector::from_set(controller.spec.selector.iter().map(|(key, value)| (key, value.as_str())))
}

/// Rules of ReplicationControllers.
#[derive(Clone, Copy, Debug)]
pub struct ReplicationControllerStrategy;

impl Strategy for ReplicationControllerStrategy {
    type Object = ReplicationController;

    fn default_object(&self, controller: &mut ReplicationController) {
        crate::defaults::generated::core_v1_replication_controller(controller);
        if let Some(template) = &mut controller.spec.template {
            normalize::pod_spec(&mut template.spec);
        }
    }

    fn prepare_for_create(&self, _: &RequestContext, controller: &mut ReplicationController) {
        controller.status = ReplicationControllerStatus::default();
        controller.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, controller: &ReplicationController) -> ErrorList {
        validate(controller)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut ReplicationController, old: &ReplicationController) {
        new.status.clone_from(&old.status);
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &ReplicationController, old: &ReplicationController) -> ErrorList {
        let mut errors = validate(new);
        errors.extend(object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata")));
        errors
    }

    fn orphans_by_default(&self) -> bool {
        true
    }

    fn selectable_fields(&self, controller: &ReplicationController) -> Vec<(&'static str, String)> {
        vec![("status.replicas", controller.status.replicas.to_string())]
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, controller: &ReplicationController, now: Time) -> Option<Vec<Value>> {
        Some(cells(controller, now))
    }
}

/// Rules of the status.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = ReplicationController;

    fn default_object(&self, controller: &mut ReplicationController) {
        ReplicationControllerStrategy.default_object(controller);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut ReplicationController, old: &ReplicationController) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &ReplicationController, old: &ReplicationController) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("status");
        let status = &new.status;
        for (name, value) in [
            ("replicas", i64::from(status.replicas)),
            ("fullyLabeledReplicas", status.fully_labeled_replicas.into()),
            ("readyReplicas", status.ready_replicas.into()),
            ("availableReplicas", status.available_replicas.into()),
            ("observedGeneration", status.observed_generation),
        ] {
            errors.extend(non_negative(value, &path.child(name)));
        }
        let total = "cannot be greater than status.replicas";
        for (name, value) in [
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            if value > status.replicas {
                errors.push(Error::invalid(&path.child(name), value, total));
            }
        }
        if status.available_replicas > status.ready_replicas {
            errors.push(Error::invalid(
                &path.child("availableReplicas"),
                status.available_replicas,
                "cannot be greater than readyReplicas",
            ));
        }
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, controller: &ReplicationController, now: Time) -> Option<Vec<Value>> {
        Some(cells(controller, now))
    }
}

fn cells(controller: &ReplicationController, now: Time) -> Vec<Value> {
    let empty = api::core::v1::PodSpec::default();
    let spec = controller.spec.template.as_ref().map_or(&empty, |template| &template.spec);
    let (containers, images) = containers_and_images(spec);
    vec![
        controller.metadata.name.clone().into(),
        controller.spec.replicas.unwrap_or(0).into(),
        controller.status.replicas.into(),
        controller.status.ready_replicas.into(),
        age(controller.metadata.creation_timestamp, now),
        containers.into(),
        images.into(),
        labels_text(&controller.spec.selector).into(),
    ]
}

fn map_value(map: &Map<String>) -> BadValue {
    if map.is_nil() {
        return BadValue::json("null");
    }
    let members: Members = map.iter().map(|(key, value)| (key.to_owned(), Value::from(value.clone()))).collect();
    BadValue::json(Value::Object(members).to_string())
}

fn validate(controller: &ReplicationController) -> ErrorList {
    let mut errors = object_meta(&controller.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
    let path = Path::new("spec");
    let spec = &controller.spec;
    errors.extend(non_negative(spec.min_ready_seconds.into(), &path.child("minReadySeconds")));
    if spec.selector.is_empty() {
        errors.push(Error::required(&path.child("selector"), ""));
    }
    match spec.replicas {
        None => errors.push(Error::required(&path.child("replicas"), "")),
        Some(replicas) => errors.extend(non_negative(replicas.into(), &path.child("replicas"))),
    }
    let path = path.child("template");
    let Some(template) = &spec.template else {
        errors.push(Error::required(&path, ""));
        return errors;
    };
    if !spec.selector.is_empty() && !selector(controller).matches(&template.metadata.labels) {
        let (meta, detail) = (path.child("metadata"), "`selector` does not match template `labels`");
        errors.push(Error::invalid(&meta.child("labels"), map_value(&template.metadata.labels), detail));
    }
    errors.extend(pod_template_spec(template, &path));
    let spec_path = path.child("spec");
    errors.extend(supported(&template.spec.restart_policy, &["Always"], &spec_path.child("restartPolicy")));
    if template.spec.active_deadline_seconds.is_some() {
        let detail = "activeDeadlineSeconds in ReplicationController is not Supported";
        errors.push(Error::forbidden(&spec_path.child("activeDeadlineSeconds"), detail));
    }
    errors
}
