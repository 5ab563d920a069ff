//! Parts of objects as upstream's errors show them: the JSON of its internal types, which have Go's field names and leave nothing out.

use apimachinery::schema::{Schema, Type};
use apimachinery::validation::field::BadValue;
use apimachinery::value::{Object, Value};
use apimachinery::wire::Message;

/// Words that Go writes in capitals.
const CAPITALS: &[&str] =
    &["ip", "uid", "api", "id", "ips", "url", "fs", "csi", "nfs", "tcp", "http", "grpc", "dns", "cidr", "cidrs", "pid", "ipc", "os"];

/// A part as errors show it where upstream checks an internal type.
pub fn go_value<M: Message>(part: &M) -> BadValue {
    let json = apimachinery::json::part_to_vec(part);
    let value = Value::parse(&json).unwrap_or_default();
    BadValue::json(object(M::SCHEMA, &value).to_string())
}

/// A list of parts, as [`go_value`].
pub fn go_list<M: Message>(parts: &[M]) -> BadValue {
    let items = parts.iter().map(|part| {
        let value = Value::parse(&apimachinery::json::part_to_vec(part)).unwrap_or_default();
        object(M::SCHEMA, &value)
    });
    BadValue::json(Value::Array(items.collect()).to_string())
}

fn object(schema: &Schema, value: &Value) -> Value {
    let mut members = Object::with_capacity(schema.fields.len());
    for field in schema.fields {
        if field.inline {
            if let Type::Struct(inner) = field.ty {
                match object(inner, value) {
                    // Embedded structs without a name of their own are flattened by Go as well.
                    Value::Object(inner) => members.extend(inner),
                    other => {
                        members.insert(field.json, other);
                    }
                }
            }
            continue;
        }
        let found = value.get(field.json).filter(|found| !found.is_null());
        let shown = match found {
            Some(found) => typed(field.ty, found),
            None if field.pointer => Value::Null,
            None => zero(field.ty),
        };
        members.insert(go_name(field.json), shown);
    }
    Value::Object(members)
}

fn typed(ty: Type, value: &Value) -> Value {
    match (ty, value) {
        (Type::Struct(schema), Value::Object(_)) => object(schema, value),
        (Type::List(item), Value::Array(items)) => Value::Array(items.iter().map(|value| typed(*item, value)).collect()),
        (Type::Map(item), Value::Object(members)) => {
            Value::Object(members.iter().map(|(key, value)| (key.to_owned(), typed(*item, value))).collect())
        }
        _ => value.clone(),
    }
}

fn zero(ty: Type) -> Value {
    match ty {
        Type::Struct(schema) => object(schema, &Value::object()),
        Type::String => Value::from(""),
        Type::Bool => Value::from(false),
        Type::Int32 | Type::Int64 => Value::from(0i64),
        Type::Double => Value::from(0.0),
        Type::IntOrString => Value::from(0i64),
        Type::Quantity => Value::from("0"),
        _ => Value::Null,
    }
}

/// `apiVersion` -> `APIVersion`, `podIP` -> `PodIP`, `storageClassName` -> `StorageClassName`.
fn go_name(json: &str) -> String {
    let first_word = json.find(|letter: char| letter.is_ascii_uppercase()).unwrap_or(json.len());
    let (word, rest) = json.split_at(first_word);
    if CAPITALS.contains(&word) {
        return format!("{}{rest}", word.to_ascii_uppercase());
    }
    let mut name = String::with_capacity(json.len());
    let mut letters = json.chars();
    name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
    name.extend(letters);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_internal_types() {
        let reference = api::core::v1::ObjectReference { kind: "Pod".into(), name: "p".into(), ..Default::default() };
        let error =
            apimachinery::validation::field::Error::invalid(&apimachinery::validation::field::Path::new("x"), go_value(&reference), "no");
        assert_eq!(
            error.body(),
            r#"Invalid value: {"Kind":"Pod","Namespace":"","Name":"p","UID":"","APIVersion":"","ResourceVersion":"","FieldPath":""}: no"#
        );
    }
}
