//! Errors about one field of an object. Upstream: apimachinery `pkg/util/validation/field`.

use std::fmt;

use crate::gotext::quote;
use crate::value::Value;

/// Where a field is: `spec.containers[0].name`, `metadata.labels[app]`.
///
/// A path borrows its parent and costs nothing until an error is made of it:
/// `validate_ports(&container.ports, &path.child("ports"), errors)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy, Debug, Default)]
enum Segment<'a> {
    /// The object itself. As the path of an error, upstream's nil path.
    #[default]
    Root,
    Name(&'a str),
    Index(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The object itself: its children are named without a prefix.
    pub const ROOT: Path<'static> = Path { parent: None, segment: Segment::Root };

    pub const fn new(name: &'a str) -> Path<'a> {
        Path { parent: None, segment: Segment::Name(name) }
    }

    /// A member; the name may hold dots to name a field further down.
    pub fn child(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Name(name) }
    }

    /// An item of a list.
    pub fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Index(index) }
    }

    /// A member of a map.
    pub fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), segment: Segment::Key(key) }
    }

    fn write(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(out);
        }
        match self.segment {
            Segment::Root => {}
            Segment::Name(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Segment::Index(index) => out.push_str(&format!("[{index}]")),
            Segment::Key(key) => {
                out.push('[');
                out.push_str(key);
                out.push(']');
            }
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        f.write_str(if text.is_empty() { "<nil>" } else { &text })
    }
}

/// What is wrong with a field. The code is the `reason` of a cause in a Status, the text opens its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl ErrorType {
    pub fn reason(self) -> &'static str {
        match self {
            ErrorType::NotFound => "FieldValueNotFound",
            ErrorType::Required => "FieldValueRequired",
            ErrorType::Duplicate => "FieldValueDuplicate",
            ErrorType::Invalid => "FieldValueInvalid",
            ErrorType::NotSupported => "FieldValueNotSupported",
            ErrorType::Forbidden => "FieldValueForbidden",
            ErrorType::TooLong => "FieldValueTooLong",
            ErrorType::TooMany => "FieldValueTooMany",
            ErrorType::Internal => "InternalError",
            ErrorType::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            ErrorType::NotFound => "Not found",
            ErrorType::Required => "Required value",
            ErrorType::Duplicate => "Duplicate value",
            ErrorType::Invalid | ErrorType::TypeInvalid => "Invalid value",
            ErrorType::NotSupported => "Unsupported value",
            ErrorType::Forbidden => "Forbidden",
            ErrorType::TooLong => "Too long",
            ErrorType::TooMany => "Too many",
            ErrorType::Internal => "Internal error",
        }
    }
}

/// The offending value, in the form messages show it: texts quoted, everything else as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadValue(Option<String>);

impl BadValue {
    /// The message has no value.
    pub const OMITTED: BadValue = BadValue(None);

    /// A value that is shown as JSON: structs, lists, maps.
    pub fn json(text: impl Into<String>) -> Self {
        BadValue(Some(text.into()))
    }
}

impl From<&str> for BadValue {
    fn from(text: &str) -> Self {
        BadValue(Some(quote(text)))
    }
}

impl From<&String> for BadValue {
    fn from(text: &String) -> Self {
        BadValue(Some(quote(text)))
    }
}

impl From<String> for BadValue {
    fn from(text: String) -> Self {
        BadValue(Some(quote(&text)))
    }
}

macro_rules! plain_bad_value {
    ($($type:ty)*) => {
        $(impl From<$type> for BadValue {
            fn from(value: $type) -> Self {
                BadValue(Some(value.to_string()))
            }
        })*
    };
}

plain_bad_value!(bool i32 i64 u16 u32 u64 usize f64);

impl From<&Value> for BadValue {
    fn from(value: &Value) -> Self {
        match value {
            Value::String(text) => text.into(),
            value => BadValue(Some(value.to_string())),
        }
    }
}

impl<T: Into<BadValue>> From<Option<T>> for BadValue {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(|| BadValue::json("null"), Into::into)
    }
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorType,
    pub field: String,
    pub value: BadValue,
    pub detail: String,
}

/// Everything that is wrong with an object.
pub type ErrorList = Vec<Error>;

impl Error {
    fn new(kind: ErrorType, path: &Path<'_>, value: BadValue, detail: impl Into<String>) -> Self {
        Error { kind, field: path.to_string(), value, detail: detail.into() }
    }

    /// The value does not do.
    pub fn invalid(path: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Invalid, path, value.into(), detail)
    }

    /// The value is of a wrong type.
    pub fn type_invalid(path: &Path<'_>, value: impl Into<BadValue>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::TypeInvalid, path, value.into(), detail)
    }

    /// The value is missing; the detail may be empty.
    pub fn required(path: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Required, path, BadValue::OMITTED, detail)
    }

    /// There must be no value here.
    pub fn forbidden(path: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Forbidden, path, BadValue::OMITTED, detail)
    }

    /// The value refers to what does not exist.
    pub fn not_found(path: &Path<'_>, value: impl Into<BadValue>) -> Self {
        Self::new(ErrorType::NotFound, path, value.into(), "")
    }

    /// The value must be unique and is not.
    pub fn duplicate(path: &Path<'_>, value: impl Into<BadValue>) -> Self {
        Self::new(ErrorType::Duplicate, path, value.into(), "")
    }

    /// The value is none of those allowed.
    pub fn not_supported(path: &Path<'_>, value: impl Into<BadValue>, supported: &[&str]) -> Self {
        let supported: Vec<_> = supported.iter().map(|value| quote(value)).collect();
        let detail = match supported.is_empty() {
            true => String::new(),
            false => format!("supported values: {}", supported.join(", ")),
        };
        Self::new(ErrorType::NotSupported, path, value.into(), detail)
    }

    /// The text has more bytes than `max`.
    pub fn too_long(path: &Path<'_>, max: usize) -> Self {
        Self::new(ErrorType::TooLong, path, BadValue::OMITTED, format!("may not be more than {max} byte{}", plural(max)))
    }

    /// The list has more items than `max`.
    pub fn too_many(path: &Path<'_>, actual: usize, max: usize) -> Self {
        Self::new(ErrorType::TooMany, path, actual.into(), format!("must have at most {max} item{}", plural(max)))
    }

    /// The check itself failed.
    pub fn internal(path: &Path<'_>, detail: impl Into<String>) -> Self {
        Self::new(ErrorType::Internal, path, BadValue::OMITTED, detail)
    }

    /// The message without the field, as a cause in a Status has it.
    pub fn body(&self) -> String {
        let mut body = String::from(self.kind.text());
        let shows_value = !matches!(self.kind, ErrorType::Required | ErrorType::Forbidden | ErrorType::TooLong | ErrorType::Internal);
        let value = self.value.0.as_deref().filter(|_| shows_value);
        let detail = Some(self.detail.as_str()).filter(|detail| !detail.is_empty());
        for part in value.into_iter().chain(detail) {
            body.push_str(": ");
            body.push_str(part);
        }
        body
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for Error {}

/// All messages as one text, each once: `a`, or `[a, b]`.
pub fn aggregate(errors: &[Error]) -> String {
    let mut messages: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let message = error.to_string();
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    match messages.len() {
        1 => messages.remove(0),
        _ => format!("[{}]", messages.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_upstream() {
        let spec = Path::new("spec");
        let containers = spec.child("containers");
        let first = containers.index(0);
        let labels = spec.child("labels");
        for (error, text) in [
            (Error::required(&containers, ""), "spec.containers: Required value"),
            (Error::required(&first.child("name"), "why"), "spec.containers[0].name: Required value: why"),
            (Error::invalid(&labels.key("a"), "x\"y", "bad"), "spec.labels[a]: Invalid value: \"x\\\"y\": bad"),
            (Error::invalid(&spec, 5, "bad"), "spec: Invalid value: 5: bad"),
            (Error::invalid(&spec, None::<i32>, "field is immutable"), "spec: Invalid value: null: field is immutable"),
            (Error::invalid(&spec, BadValue::OMITTED, "specify one"), "spec: Invalid value: specify one"),
            (Error::not_supported(&spec, "z", &["a", "b"]), "spec: Unsupported value: \"z\": supported values: \"a\", \"b\""),
            (Error::duplicate(&spec, &Value::parse(br#"{"k":"a"}"#).unwrap()), "spec: Duplicate value: {\"k\":\"a\"}"),
            (Error::not_found(&spec, ""), "spec: Not found: \"\""),
            (Error::too_long(&spec, 5), "spec: Too long: may not be more than 5 bytes"),
            (Error::too_many(&spec, 3, 1), "spec: Too many: 3: must have at most 1 item"),
            (Error::forbidden(&Path::ROOT, "no"), "<nil>: Forbidden: no"),
            (Error::type_invalid(&Path::ROOT.child("a"), "string", "t"), "a: Invalid value: \"string\": t"),
        ] {
            assert_eq!(error.to_string(), text);
        }
        let one = Error::required(&spec, "");
        assert_eq!(aggregate(std::slice::from_ref(&one)), "spec: Required value");
        assert_eq!(aggregate(&[one.clone(), one.clone(), Error::forbidden(&spec, "")]), "[spec: Required value, spec: Forbidden]");
    }
}
