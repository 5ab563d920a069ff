//! The fields of a configuration, and whether it fits its schema.

use std::collections::BTreeSet;
use std::fmt;

use super::path::PathElement;
use super::set::{Entry, FieldSet};
use crate::schema::Type;
use crate::typed::{ListKeys, Shape, TypeRef};
use crate::value::{Object, Value};

/// Where and how a configuration does not fit its schema: `.spec.replicas: expected numeric (int or float), got string`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedError {
    pub path: String,
    pub message: String,
}

impl fmt::Display for TypedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

impl std::error::Error for TypedError {}

/// Whether a value is an object that is taken member by member.
pub(super) fn granular_object<'v>(value: &'v Value, ty: TypeRef<'_>) -> Option<&'v Object> {
    match (value, ty.shape()) {
        (Value::Object(object), Shape::Struct | Shape::Map | Shape::Deduced) => Some(object),
        _ => None,
    }
}

/// How the items of a list are told apart, if the list is taken item by item.
#[derive(Clone, Copy)]
pub(super) enum ListIdentity<'a> {
    Values,
    Keys(ListKeys<'a>),
}

pub(super) fn list_identity(ty: TypeRef<'_>) -> Option<ListIdentity<'_>> {
    match ty.shape() {
        Shape::Set => Some(ListIdentity::Values),
        Shape::MapList(keys) => Some(ListIdentity::Keys(keys)),
        _ => None,
    }
}

/// The path element of an item; a key it lacks has its default.
pub(super) fn item_element(item: &Value, ty: TypeRef<'_>, identity: ListIdentity<'_>) -> Result<PathElement, String> {
    let keys = match identity {
        ListIdentity::Values => {
            return match item {
                Value::Array(_) => Err("not supporting associative list with lists as elements".into()),
                Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
                Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
                scalar => Ok(PathElement::Value(Box::new(scalar.clone()))),
            };
        }
        ListIdentity::Keys(keys) => keys,
    };
    let members = match item {
        Value::Object(object) => object,
        Value::Null => return Err("associative list with keys has an element that is null".into()),
        _ => return Err("associative list with keys has an element that is not a map".into()),
    };
    let mut key = Vec::with_capacity(2);
    for name in keys.iter() {
        let value = members.get(name).cloned().or_else(|| ty.field(name)?.default());
        let Some(value) = value else {
            let quoted = crate::gotext::quote(name);
            return Err(format!(
                "associative list with keys has an element that omits key field {quoted} (and doesn't have default value)"
            ));
        };
        key.push((name.into(), value));
    }
    Ok(PathElement::key(key))
}

/// The fields that a configuration sets.
pub fn field_set(value: &Value, ty: TypeRef<'_>) -> FieldSet {
    node(value, ty).1
}

/// Whether the value itself counts as a field, and the fields inside.
fn node(value: &Value, ty: TypeRef<'_>) -> (bool, FieldSet) {
    if let Some(object) = granular_object(value, ty) {
        let declared = matches!(ty.shape(), Shape::Struct);
        let entries = object.iter().map(|(name, value)| {
            let (leaf, children) = ty.field(name).map_or((true, FieldSet::default()), |field| node(value, field));
            let empty = value.is_null() || value.as_object().is_some_and(Object::is_empty);
            Entry { element: PathElement::field(name), member: leaf || empty || !(declared && is_declared(ty, name)), children }
        });
        return (false, FieldSet::from_entries(entries.collect()));
    }
    if let (Value::Array(items), Some(identity)) = (value, list_identity(ty)) {
        let item_type = ty.item();
        let entries = items.iter().filter_map(|item| {
            let element = item_element(item, item_type, identity).ok()?;
            Some(Entry { element, member: true, children: node(item, item_type).1 })
        });
        return (false, FieldSet::from_entries(entries.collect()));
    }
    (true, FieldSet::default())
}

fn is_declared(ty: TypeRef<'_>, name: &str) -> bool {
    ty.field(name).is_some_and(TypeRef::is_declared)
}

/// Whether a configuration fits its schema: known members, right types, list items that can be told apart.
pub fn check(value: &Value, ty: TypeRef<'_>) -> Vec<TypedError> {
    let mut errors = Vec::new();
    check_node(value, ty, &mut String::new(), &mut errors);
    errors
}

fn check_node(value: &Value, ty: TypeRef<'_>, path: &mut String, errors: &mut Vec<TypedError>) {
    let mut report = |message: String, path: &str| errors.push(TypedError { path: path.into(), message });
    match (ty.shape(), value) {
        (_, Value::Null) => {}
        (Shape::Struct | Shape::Map | Shape::Deduced | Shape::AtomicObject, Value::Object(object)) => {
            for (name, value) in object.iter() {
                let length = path.len();
                path.push('.');
                path.push_str(name);
                match ty.field(name) {
                    Some(field) => check_node(value, field, path, errors),
                    None => errors.push(TypedError { path: path.clone(), message: "field not declared in schema".into() }),
                }
                path.truncate(length);
            }
        }
        (Shape::Struct | Shape::Map | Shape::AtomicObject, other) => report(format!("expected map, got {}", shown(other)), path),
        (Shape::AtomicList, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                check_node(item, ty.item(), path, errors);
                path.truncate(length);
            }
        }
        (Shape::Set | Shape::MapList(_), Value::Array(items)) => {
            let Some(identity) = list_identity(ty) else { return };
            let item_type = ty.item();
            let mut seen = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let element = match item_element(item, item_type, identity) {
                    Ok(element) => element,
                    Err(message) => {
                        errors.push(TypedError { path: path.clone(), message: format!("element {index}: {message}") });
                        continue;
                    }
                };
                if seen.contains(&element) {
                    errors.push(TypedError { path: path.clone(), message: format!("duplicate entries for key {element}") });
                }
                let length = path.len();
                path.push_str(&element.to_string());
                check_node(item, item_type, path, errors);
                path.truncate(length);
                seen.insert(element);
            }
        }
        (Shape::AtomicList | Shape::Set | Shape::MapList(_), other) => report(format!("expected list, got {}", shown(other)), path),
        (Shape::Scalar, other) => {
            if let Some(expected) = ty.static_type().and_then(|expected| mismatch(expected, other)) {
                report(format!("expected {expected}, got {}", shown(other)), path);
            }
        }
        (Shape::Deduced, _) => {}
    }
}

/// What is expected instead, if a value is of the wrong kind.
fn mismatch(expected: Type, value: &Value) -> Option<&'static str> {
    let number = matches!(value, Value::Int(_) | Value::Float(_));
    let text = value.as_str().is_some();
    match expected {
        Type::String | Type::Bytes | Type::Time | Type::MicroTime | Type::Duration if !text => Some("string"),
        Type::Int32 | Type::Int64 | Type::Double if !number => Some("numeric (int or float)"),
        Type::Bool if value.as_bool().is_none() => Some("boolean"),
        Type::Quantity | Type::IntOrString if !number && !text => Some("string or numeric"),
        _ => None,
    }
}

/// A value as upstream's messages show it.
fn shown(value: &Value) -> String {
    format!("&value.valueUnstructured{{Value:{}}}", go_syntax(value))
}

/// `%#v` of a decoded JSON value.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".into(),
        Value::String(text) => crate::gotext::quote(text),
        Value::Array(items) => format!("[]interface {{}}{{{}}}", items.iter().map(go_syntax).collect::<Vec<_>>().join(", ")),
        Value::Object(object) => {
            let members = object.sorted().into_iter().map(|(key, value)| format!("{}:{}", crate::gotext::quote(key), go_syntax(value)));
            format!("map[string]interface {{}}{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        value => crate::gotext::display(value),
    }
}
