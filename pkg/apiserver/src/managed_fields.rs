//! Who owns which field: entries of `metadata.managedFields` for every write, and server-side apply on top of them.
//! Upstream: apimachinery/pkg/util/managedfields, endpoints/handlers/fieldmanager.

use apimachinery::apply::{FieldManager, FieldSet, Managed};
use apimachinery::gvk::GroupVersion;
use apimachinery::status::StatusError;
use apimachinery::typed::TypeRef;
use apimachinery::wire::{TypeInfo, join_api_version};
use apimachinery::{Object, Time, Value};

use crate::apply_versions::KindVersions;
use crate::handlers::Call;
use crate::handlers::write::{Change, Changed, change, check_name};
use crate::kinds::{HUB, Kind, VersionId};
use crate::request::RequestContext;

/// Enters the fields of a new object (hub version) as its creator's.
pub(crate) fn on_create(call: &Call, object: &mut dyn Object) {
    let empty = (call.kind.versions[call.version].info.new)();
    enter(&call.kind, call.version, &call.context, reset_fields(call), &tree(empty.as_ref()), object);
}

/// Enters the fields an update changed as its author's.
pub(crate) fn on_update(call: &Call, new: &mut dyn Object, old: &dyn Object) {
    let live = tree(call.kind.from_hub(old.clone_object(), call.version).as_ref());
    enter(&call.kind, call.version, &call.context, reset_fields(call), &live, new);
}

/// Enters the fields of an object that the server makes by itself.
pub(crate) fn own(context: &RequestContext, kind: &Kind, object: &mut dyn Object) {
    let empty = (kind.versions[HUB].info.new)();
    enter(kind, HUB, context, FieldSet::of_fields(&[]), &tree(empty.as_ref()), object);
}

/// Enters the fields of an object that is answered and not kept, which shows them all the same.
pub(crate) fn on_answered(call: &Call, info: &TypeInfo, object: &mut dyn Object) {
    let manager = FieldManager {
        ty: TypeRef::of(info.schema),
        api_version: &join_api_version(info.group, info.version),
        subresource: "",
        reset_fields: &FieldSet::of_fields(&[]),
        now: Time::now(),
        versions: None,
    };
    let mut new = tree(object);
    manager.update(&tree((info.new)().as_ref()), &mut new, &call.context.field_manager);
    let record = new.at(&["metadata", "managedFields"]).and_then(Managed::from_value).unwrap_or_default();
    object.metadata_mut().managed_fields = record.to_meta();
}

fn enter(kind: &Kind, id: VersionId, context: &RequestContext, reset: FieldSet, live: &Value, object: &mut dyn Object) {
    let version = &kind.versions[id];
    let versions = KindVersions { kind, from: id };
    let manager = FieldManager {
        ty: TypeRef::of(version.info.schema),
        api_version: &version.api_version,
        subresource: &context.info.subresource,
        reset_fields: &reset,
        now: Time::now(),
        versions: Some(&versions),
    };
    let mut new = tree(kind.from_hub(object.clone_object(), id).as_ref());
    manager.update(live, &mut new, &context.field_manager);
    let record = new.at(&["metadata", "managedFields"]).and_then(Managed::from_value).unwrap_or_default();
    object.metadata_mut().managed_fields = record.to_meta();
}

/// What writes to this endpoint cannot set.
fn reset_fields(call: &Call) -> FieldSet {
    let paths: Vec<Vec<&str>> = call.strategy().reset_fields().iter().map(|path| path.split('.').collect()).collect();
    let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
    FieldSet::of_fields(&paths)
}

/// Puts the old times of entries back if nothing but them would change, so that nothing is written.
pub(crate) fn keep_time_if_nothing_changed(new: &mut dyn Object, old: &dyn Object) {
    let (fresh, stored) = (&new.metadata().managed_fields, &old.metadata().managed_fields);
    if fresh == stored || fresh.len() != stored.len() {
        return;
    }
    let same_but_time = fresh.iter().zip(stored.iter()).all(|(a, b)| {
        a.manager == b.manager
            && a.operation == b.operation
            && a.api_version == b.api_version
            && a.subresource == b.subresource
            && a.fields_v1 == b.fields_v1
    });
    if !same_but_time {
        return;
    }
    let entries = std::mem::replace(&mut new.metadata_mut().managed_fields, stored.clone());
    if !new.eq_object(old) {
        new.metadata_mut().managed_fields = entries;
    }
}

/// An object as the tree that patches and ownership are computed on, with kind and apiVersion in front.
pub(crate) fn tree(object: &dyn Object) -> Value {
    Value::parse(&object.to_json()).expect("what the server encodes is JSON")
}

/// Server-side apply. Upstream: `applyPatcher` in endpoints/handlers/patch.go.
pub(crate) async fn apply(call: &Call, body: &[u8]) -> Result<Changed, StatusError> {
    let config = apimachinery::yaml::parse(body)
        .map_err(|error| StatusError::bad_request(format!("error decoding YAML: error converting YAML to JSON: {error}")))?;
    check_type(call, &config)?;
    let version = &call.kind.versions[call.version];
    let reset = reset_fields(call);
    let versions = KindVersions { kind: &call.kind, from: call.version };
    let force = call.query.bool("force").unwrap_or_default();
    let namespaced = call.facts.namespaced;

    let make = |current: Option<&dyn Object>| {
        let live = match current {
            Some(current) => tree(call.kind.from_hub(current.clone_object(), call.version).as_ref()),
            None => Value::object(),
        };
        let manager = FieldManager {
            ty: TypeRef::of(version.info.schema),
            api_version: &version.api_version,
            subresource: &call.context.info.subresource,
            reset_fields: &reset,
            now: Time::now(),
            versions: Some(&versions),
        };
        let mut merged = manager.apply(&live, &config, &call.context.field_manager, force).map_err(|error| error.to_status())?;
        if current.is_none() {
            // The template's null times and statuses are no wishes of the client.
            merged.set_at(&["kind"], version.info.kind);
            merged.set_at(&["apiVersion"], version.api_version.as_str());
        }
        let (mut object, _) = (version.info.from_json)(&merged.to_vec(), false).map_err(|error| StatusError::unknown(error.to_string()))?;
        *object.type_meta_mut() = Default::default();
        check_name(call, object.as_mut())?;
        if namespaced {
            call.namespace().clone_into(&mut object.metadata_mut().namespace);
        }
        Ok(call.kind.to_hub(object, call.version))
    };
    let retry = config.at(&["metadata", "resourceVersion"]).is_none();
    let create = call.context.info.subresource.is_empty();
    change(call, &Change { make: &make, track: false, create, retry, same_uid: true }).await
}

/// An applied configuration has to name the type of the URL.
fn check_type(call: &Call, config: &Value) -> Result<(), StatusError> {
    let version = &call.kind.versions[call.version];
    let kind = config.str_at(&["kind"]).unwrap_or_default();
    let api_version = config.str_at(&["apiVersion"]).unwrap_or_default();
    if kind == version.info.kind && api_version == version.api_version {
        return Ok(());
    }
    let found: GroupVersion = api_version.parse().unwrap_or_default();
    Err(StatusError::bad_request(format!("invalid object type: {}/{}, Kind={kind}", found.group, found.version)))
}
