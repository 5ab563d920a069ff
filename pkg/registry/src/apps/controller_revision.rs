//! ControllerRevisions: snapshots of what a StatefulSet or DaemonSet wanted.

use api::apps::v1::ControllerRevision;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::printers::{age, or_none};
use crate::validation::{non_negative, object_meta, object_meta_update};

/// Rules of ControllerRevisions.
#[derive(Clone, Copy, Debug)]
pub struct ControllerRevisionStrategy;

fn revision(revision: &ControllerRevision) -> ErrorList {
    non_negative(revision.revision, &Path::new("revision"))
}

impl Strategy for ControllerRevisionStrategy {
    type Object = ControllerRevision;

    fn validate(&self, _: &RequestContext, object: &ControllerRevision) -> ErrorList {
        let mut errors = object_meta(&object.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(revision(object));
        if object.data.is_nil() {
            errors.push(Error::required(&Path::new("data"), "data is mandatory"));
        }
        errors
    }

    fn validate_update(&self, _: &RequestContext, new: &ControllerRevision, old: &ControllerRevision) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(revision(new));
        // Compared as values: white space and the order of keys are nobody's intention.
        let value = |object: &ControllerRevision| {
            Value::parse(object.data.as_bytes()).map(|mut value| {
                value.sort_keys();
                value
            })
        };
        if value(new) != value(old) {
            let shown = match new.data.is_nil() {
                true => BadValue::json("null"),
                false => BadValue::json(String::from_utf8_lossy(new.data.as_bytes())),
            };
            errors.push(Error::invalid(&Path::new("data"), shown, "field is immutable"));
        }
        errors
    }

    fn table_cells(&self, object: &ControllerRevision, now: Time) -> Option<Vec<Value>> {
        let controller = component_helpers::owners::controller_of(&object.metadata).map(|owner| {
            let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
            let kind = owner.kind.to_lowercase();
            if group.is_empty() { format!("{kind}/{}", owner.name) } else { format!("{kind}.{group}/{}", owner.name) }
        });
        Some(vec![
            object.metadata.name.clone().into(),
            or_none(controller.unwrap_or_default()).into(),
            Value::Int(object.revision),
            age(object.metadata.creation_timestamp, now),
        ])
    }
}
