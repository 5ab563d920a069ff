//! Removing fields from an object.

use super::extract::{granular_object, item_element, list_identity};
use super::path::PathElement;
use super::set::FieldSet;
use crate::typed::TypeRef;
use crate::value::{Object, Value};

/// The object without the fields of the set and what is behind them. What becomes empty by that becomes null.
pub fn remove(value: &Value, fields: &FieldSet, ty: TypeRef<'_>) -> Value {
    if fields.is_empty() {
        return value.clone();
    }
    if let Some(object) = granular_object(value, ty) {
        let members = object.iter().filter_map(|(name, value)| {
            let element = PathElement::field(name);
            if fields.has(&element) {
                return None;
            }
            let field = ty.field(name).unwrap_or(TypeRef::DEDUCED);
            Some((name.to_owned(), remove(value, fields.behind(&element), field)))
        });
        let members: Object = members.collect();
        return if members.is_empty() && !object.is_empty() { Value::Null } else { members.into() };
    }
    if let (Value::Array(items), Some(identity)) = (value, list_identity(ty)) {
        let item_type = ty.item();
        let kept = items.iter().filter_map(|item| match item_element(item, item_type, identity) {
            Ok(element) if fields.has(&element) => None,
            Ok(element) => Some(remove(item, fields.behind(&element), item_type)),
            Err(_) => Some(item.clone()),
        });
        let kept: Vec<Value> = kept.collect();
        return if kept.is_empty() && !items.is_empty() { Value::Null } else { kept.into() };
    }
    value.clone()
}
