//! ReplicaSets, their `status` and `scale`.

use api::apps::v1::ReplicaSet;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::scale::Replicas;
use apiserver::rest::{ResourceDef, ScaleAccess, Strategy};

use super::validation::selector_and_template;
use crate::printers::age;
use crate::validation::{go_value, immutable, non_negative, object_meta, object_meta_update};
use crate::workloads::{containers_and_images, label_selector_text, selector_text};

/// The resource with its subresources.
pub fn resource() -> ResourceDef {
    ResourceDef::stored(ReplicaSetStrategy).status(StatusStrategy).scale(ScaleAccess::of(
        |set: &ReplicaSet| Replicas {
            wanted: set.spec.replicas.unwrap_or(0),
            current: set.status.replicas,
            selector: selector_text(set.spec.selector.as_deref()),
        },
        |set, replicas| set.spec.replicas = Some(replicas),
    ))
}

/// Rules of ReplicaSets.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaSetStrategy;

fn spec(set: &ReplicaSet) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = non_negative(set.spec.replicas.unwrap_or(0).into(), &path.child("replicas"));
    errors.extend(non_negative(set.spec.min_ready_seconds.into(), &path.child("minReadySeconds")));
    errors.extend(selector_and_template("replicaset", set.spec.selector.as_deref(), &set.spec.template, &path, &["Always"]));
    errors
}

impl Strategy for ReplicaSetStrategy {
    type Object = ReplicaSet;

    fn default_object(&self, set: &mut ReplicaSet) {
        crate::defaults::generated::apps_v1_replica_set(set);
    }

    fn prepare_for_create(&self, _: &RequestContext, set: &mut ReplicaSet) {
        set.status = Default::default();
        set.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, set: &ReplicaSet) -> ErrorList {
        let mut errors = object_meta(&set.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(spec(set));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut ReplicaSet, old: &ReplicaSet) {
        new.status.clone_from(&old.status);
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &ReplicaSet, old: &ReplicaSet) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        let path = Path::new("spec");
        let selector = new.spec.selector.as_deref().map_or_else(|| BadValue::json("null"), go_value);
        errors.extend(immutable(&new.spec.selector, &old.spec.selector, &path.child("selector"), selector));
        errors
    }

    fn selectable_fields(&self, set: &ReplicaSet) -> Vec<(&'static str, String)> {
        vec![("status.replicas", set.status.replicas.to_string())]
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, set: &ReplicaSet, now: Time) -> Option<Vec<Value>> {
        let (containers, images) = containers_and_images(&set.spec.template.spec);
        Some(vec![
            set.metadata.name.clone().into(),
            i64::from(set.spec.replicas.unwrap_or(0)).into(),
            i64::from(set.status.replicas).into(),
            i64::from(set.status.ready_replicas).into(),
            age(set.metadata.creation_timestamp, now),
            containers.into(),
            images.into(),
            label_selector_text(set.spec.selector.as_deref()).into(),
        ])
    }
}

/// Rules of a ReplicaSet's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = ReplicaSet;

    fn default_object(&self, set: &mut ReplicaSet) {
        ReplicaSetStrategy.default_object(set);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut ReplicaSet, old: &ReplicaSet) {
        new.spec.clone_from(&old.spec);
        new.metadata.generation = old.metadata.generation;
    }

    fn validate_update(&self, _: &RequestContext, new: &ReplicaSet, old: &ReplicaSet) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("status");
        let status = &new.status;
        for (name, value) in [
            ("replicas", status.replicas),
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            errors.extend(non_negative(value.into(), &path.child(name)));
        }
        errors.extend(non_negative(status.observed_generation, &path.child("observedGeneration")));
        const MORE: &str = "cannot be greater than status.replicas";
        for (name, value) in [
            ("fullyLabeledReplicas", status.fully_labeled_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            if value > status.replicas {
                errors.push(Error::invalid(&path.child(name), value, MORE));
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

    fn selectable_fields(&self, set: &ReplicaSet) -> Vec<(&'static str, String)> {
        ReplicaSetStrategy.selectable_fields(set)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, set: &ReplicaSet, now: Time) -> Option<Vec<Value>> {
        ReplicaSetStrategy.table_cells(set, now)
    }
}
