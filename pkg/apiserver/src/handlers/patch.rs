//! PATCH: JSON patch, merge patch, strategic merge patch and apply. Upstream: endpoints/handlers/patch.go.

use apimachinery::gvk::GroupKind;
use apimachinery::status::{StatusError, reason};
use apimachinery::typed::TypeRef;
use apimachinery::validation::field::{self, BadValue, Path};
use apimachinery::wire::{TypeInfo, join_api_version};
use apimachinery::{Object, Value, patch};
use component_base::http::{Request, Response};
use http::StatusCode;

use super::decode::{content_type, read_body};
use super::negotiate::Offer;
use super::query::FieldValidation;
use super::write::{Change, change, check_name};
use super::{Call, output};
use crate::managed_fields;

/// Operations a JSON patch may have. Upstream's number.
const MAX_OPERATIONS: usize = 10_000;

/// The kinds of patch.
enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
}

pub(super) async fn patch(call: &Call, request: Request) -> Result<Response, StatusError> {
    let output = output::negotiate(call, Offer::Objects { list: false })?;
    let validation = call.query.field_validation("PatchOptions")?;
    let media_type = content_type(&call.headers).to_owned();
    if !matches!(
        media_type.as_str(),
        "application/json-patch+json"
            | "application/merge-patch+json"
            | "application/strategic-merge-patch+json"
            | "application/apply-patch+yaml"
    ) {
        return Err(StatusError::new(415, reason::UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type").with_details(Default::default()));
    }
    check_options(call, media_type == "application/apply-patch+yaml")?;
    let body = read_body(request.into_body()).await?;
    if media_type == "application/apply-patch+yaml" {
        let changed = managed_fields::apply(call, &body).await?;
        let status = if changed.created { StatusCode::CREATED } else { StatusCode::OK };
        return output::object(call, output, status, changed.object);
    }
    let patch = read_patch(&media_type, &body)?;
    let make = |current: Option<&dyn Object>| {
        let current = current.ok_or_else(|| call.not_found())?;
        apply(call, &patch, current, validation)
    };
    let retry = !names_resource_version(&patch);
    let changed = change(call, &Change { make: &make, track: true, create: false, retry, same_uid: false }).await?;
    output::object(call, output, StatusCode::OK, changed.object)
}

/// `force` and `fieldManager` as PatchOptions want them.
fn check_options(call: &Call, apply: bool) -> Result<(), StatusError> {
    let mut errors = field::ErrorList::new();
    if apply {
        if call.query.get("fieldManager").is_empty() {
            errors.push(field::Error::required(&Path::new("fieldManager"), "is required for apply patch"));
        }
    } else if call.query.opt("force").is_some() {
        errors.push(field::Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(StatusError::invalid(&GroupKind::new("meta.k8s.io", "PatchOptions"), "", &errors)),
    }
}

fn read_patch(media_type: &str, body: &[u8]) -> Result<Patch, StatusError> {
    let fail = |why: String| StatusError::bad_request(format!("error decoding patch: {why}"));
    let value = Value::parse(body).map_err(|error| fail(error.to_string()))?;
    if media_type == "application/json-patch+json" {
        let Some(operations) = value.as_array() else {
            return Err(fail(format!("json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp", value.kind_name())));
        };
        if operations.len() > MAX_OPERATIONS {
            let message = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", operations.len());
            return Err(StatusError::request_entity_too_large(&message));
        }
        return Ok(Patch::Json(value));
    }
    if value.as_object().is_none() {
        return Err(fail(format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", value.kind_name())));
    }
    Ok(match media_type {
        "application/merge-patch+json" => Patch::Merge(value),
        _ => Patch::Strategic(value),
    })
}

fn names_resource_version(patch: &Patch) -> bool {
    match patch {
        Patch::Json(operations) => operations
            .as_array()
            .unwrap_or_default()
            .iter()
            .any(|operation| operation.str_at(&["path"]) == Some("/metadata/resourceVersion")),
        Patch::Merge(value) | Patch::Strategic(value) => value.at(&["metadata", "resourceVersion"]).is_some(),
    }
}

/// The patched object in the hub version.
fn apply(call: &Call, patch: &Patch, current: &dyn Object, validation: FieldValidation) -> Result<Box<dyn Object>, StatusError> {
    let served = call.kind.from_hub(current.clone_object(), call.version);
    let mut object = patched(call, patch, served.as_ref(), &call.kind.versions[call.version].info, validation)?;
    check_name(call, object.as_mut())?;
    Ok(call.kind.to_hub(object, call.version))
}

/// Patches an object that is made up from another one (a Scale).
pub(super) fn patch_other(
    call: &Call,
    media_type: &str,
    body: &[u8],
    current: &dyn Object,
    info: &TypeInfo,
    validation: FieldValidation,
) -> Result<Box<dyn Object>, StatusError> {
    match media_type {
        "application/json-patch+json" | "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
            patched(call, &read_patch(media_type, body)?, current, info, validation)
        }
        _ => Err(StatusError::new(415, reason::UNSUPPORTED_MEDIA_TYPE, "415: Unsupported Media Type").with_details(Default::default())),
    }
}

fn patched(
    call: &Call,
    patch: &Patch,
    current: &dyn Object,
    info: &TypeInfo,
    validation: FieldValidation,
) -> Result<Box<dyn Object>, StatusError> {
    let document = managed_fields::tree(current);
    let rejected = || StatusError::generic(422, "", &Default::default(), "", "", 0, false);
    let patched = match patch {
        Patch::Json(operations) => patch::json::apply(document, operations).map_err(|error| {
            tracing::debug!(err = %error, "JSON patch rejected");
            rejected()
        })?,
        Patch::Merge(value) => patch::merge::apply(document, value.clone()).map_err(StatusError::unknown)?,
        Patch::Strategic(value) => {
            patch::strategic::apply(document, value.clone(), TypeRef::of(info.schema)).map_err(StatusError::unknown)?
        }
    };
    from_tree(call, &patched, info, validation)
}

/// A tree as an object; complaints name the whole document, as upstream's do.
fn from_tree(call: &Call, tree: &Value, info: &TypeInfo, validation: FieldValidation) -> Result<Box<dyn Object>, StatusError> {
    let expected = join_api_version(info.group, info.version);
    let invalid = |why: String| {
        let text = tree.to_string();
        let error = field::Error::invalid(&Path::new("patch"), BadValue::from(text.as_str()), why);
        StatusError::invalid(&GroupKind::default(), "", &[error])
    };
    let kind = tree.str_at(&["kind"]).unwrap_or_default();
    let api_version = tree.str_at(&["apiVersion"]).unwrap_or_default();
    if (!kind.is_empty() && kind != info.kind) || (!api_version.is_empty() && api_version != expected) {
        let quote = apimachinery::gotext::quote;
        return Err(invalid(format!(
            "no kind {} is registered for version {} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            quote(kind),
            quote(api_version)
        )));
    }
    let strict = validation != FieldValidation::Ignore;
    let (mut object, complaints) = (info.from_json)(&tree.to_vec(), strict).map_err(|error| invalid(error.to_string()))?;
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            return Err(invalid(format!("strict decoding error: {}", complaints.join(", "))));
        }
        _ => {
            for complaint in complaints {
                call.context.warn(complaint);
            }
        }
    }
    *object.type_meta_mut() = Default::default();
    Ok(object)
}
