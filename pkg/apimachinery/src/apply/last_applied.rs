//! The annotation of client-side `kubectl apply`, which server-side apply by kubectl takes over from.

use super::compare::compare;
use super::extract::field_set;
use super::set::FieldSet;
use crate::typed::TypeRef;
use crate::value::Value;

/// kubectl's manager name for server-side apply.
pub(super) const KUBECTL: &str = "kubectl";

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Most bytes that all annotations of an object may have.
const MAX_ANNOTATIONS: usize = 256 * 1024;

/// The fields that the last client-side apply set and nobody has changed since.
pub(super) fn fields(live: &Value, ty: TypeRef<'_>) -> FieldSet {
    let Some(applied) = live.str_at(&["metadata", "annotations", ANNOTATION]).and_then(|text| Value::parse(text.as_bytes()).ok()) else {
        return FieldSet::EMPTY;
    };
    let changed = compare(&applied, live, ty);
    field_set(&applied, ty).difference(&changed.modified).difference(&changed.removed)
}

/// Keeps the annotation up to date, if the object has it.
pub(super) fn refresh(live: &Value, object: &mut Value, config: &Value) {
    if live.str_at(&["metadata", "annotations", ANNOTATION]).is_none() {
        return;
    }
    let mut config = config.clone();
    config.remove_at(&["metadata", "managedFields"]);
    config.remove_at(&["metadata", "annotations", ANNOTATION]);
    config.sort_keys();
    let text = format!("{config}\n");
    let others = object.at(&["metadata", "annotations"]).and_then(Value::as_object).into_iter().flat_map(|annotations| annotations.iter());
    let size: usize = others.filter(|(key, _)| *key != ANNOTATION).map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size + ANNOTATION.len() + text.len() <= MAX_ANNOTATIONS {
        object.set_at(&["metadata", "annotations", ANNOTATION], text);
    } else {
        object.remove_at(&["metadata", "annotations", ANNOTATION]);
    }
}
