//! Sets of fields as JSON: the `fieldsV1` of a managedFields entry.

use super::path::PathElement;
use super::set::{Entry, FieldSet};
use crate::value::{Object, ParseError, Value, write_string};

impl FieldSet {
    /// Reads `{"f:spec":{"f:replicas":{}}}`. Elements of kinds that are not known are passed over.
    pub fn from_value(fields: &Value) -> FieldSet {
        let Value::Object(object) = fields else {
            return FieldSet::default();
        };
        let entries = object.iter().filter(|(key, _)| *key != ".").filter_map(|(key, below)| {
            let members = below.as_object().map_or(0, Object::len);
            Some(Entry {
                element: decode_element(key)?,
                member: members == 0 || below.get(".").is_some(),
                children: FieldSet::from_value(below),
            })
        });
        FieldSet::from_entries(entries.collect())
    }

    pub fn from_json(json: &[u8]) -> Result<FieldSet, ParseError> {
        Value::parse(json).map(|fields| FieldSet::from_value(&fields))
    }

    pub fn to_value(&self) -> Value {
        let members = self.entries().iter().map(|entry| {
            let mut below = Object::new();
            if entry.member && !entry.children.is_empty() {
                below.insert(".", Object::new());
            }
            if let Value::Object(children) = entry.children.to_value() {
                below.extend(children);
            }
            (encode_element(&entry.element), Value::Object(below))
        });
        Value::Object(members.collect())
    }

    /// As [`FieldSet::to_value`], written at once.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write_json(&mut out, false);
        out
    }

    fn write_json(&self, out: &mut Vec<u8>, member: bool) {
        out.push(b'{');
        let mut first = true;
        if member && !self.is_empty() {
            out.extend_from_slice(b"\".\":{}");
            first = false;
        }
        for entry in self.entries() {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            write_string(&encode_element(&entry.element), out);
            out.push(b':');
            entry.children.write_json(out, entry.member);
        }
        out.push(b'}');
    }
}

fn decode_element(text: &str) -> Option<PathElement> {
    let (kind, rest) = text.split_once(':')?;
    match kind {
        "f" => Some(PathElement::field(rest)),
        "v" => Some(PathElement::Value(Box::new(Value::parse(rest.as_bytes()).ok()?))),
        "i" => Some(PathElement::Index(rest.parse().ok()?)),
        "k" => match Value::parse(rest.as_bytes()).ok()? {
            Value::Object(members) => Some(PathElement::key(members.into_iter().map(|(name, value)| (name.into(), value)).collect())),
            _ => None,
        },
        _ => None,
    }
}

fn encode_element(element: &PathElement) -> String {
    match element {
        PathElement::Field(name) => format!("f:{name}"),
        PathElement::Value(value) => format!("v:{value}"),
        PathElement::Index(index) => format!("i:{index}"),
        PathElement::Key(members) => {
            let members: Object = members.iter().map(|(name, value)| (&**name, value.clone())).collect();
            format!("k:{}", Value::Object(members))
        }
    }
}
