//! Who owns which field: entries of `metadata.managedFields` for every write. Upstream: apimachinery/pkg/util/managedfields.

use apimachinery::status::{StatusError, reason};
use apimachinery::{Object, Value};

use crate::handlers::Call;
use crate::handlers::query::FieldValidation;
use crate::handlers::write::Changed;

/// Enters the fields of a new object as its creator's.
pub fn on_create(_call: &Call, _object: &mut dyn Object) {}

/// Enters the fields an update changed as its author's.
pub fn on_update(_call: &Call, _new: &mut dyn Object, _old: &dyn Object) {}

/// Puts back the times of entries if nothing else would be written.
pub fn keep_time_if_nothing_changed(_new: &mut dyn Object, _old: &dyn Object) {}

/// An object as the tree that patches and ownership are computed on, with kind and apiVersion in front.
pub fn tree(object: &dyn Object) -> Value {
    Value::parse(&object.to_json()).unwrap_or_default()
}

/// Server-side apply.
pub(crate) async fn apply(_call: &Call, _body: &[u8], _validation: FieldValidation) -> Result<Changed, StatusError> {
    Err(StatusError::new(415, reason::UNSUPPORTED_MEDIA_TYPE, "server-side apply is not served by this build"))
}
