//! Small checks on single fields.

use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::wire::Message;

/// Why a field that cannot change was refused.
pub const IMMUTABLE: &str = "field is immutable";

/// Why a number below zero was refused.
pub const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// One error per message about `value`.
pub fn extend_invalid(errors: &mut ErrorList, path: &Path<'_>, value: &str, messages: Vec<String>) {
    errors.extend(messages.into_iter().map(|message| Error::invalid(path, value, message)));
}

/// The value is 0 or more.
pub fn non_negative(value: i64, path: &Path<'_>) -> ErrorList {
    if value < 0 { vec![Error::invalid(path, value, NOT_NEGATIVE)] } else { Vec::new() }
}

/// The value is above 0.
pub fn positive(value: i64, path: &Path<'_>) -> ErrorList {
    if value <= 0 { vec![Error::invalid(path, value, "must be greater than 0")] } else { Vec::new() }
}

/// The value is what it was.
pub fn immutable<T: PartialEq + ?Sized>(new: &T, old: &T, path: &Path<'_>, shown: impl Into<BadValue>) -> ErrorList {
    if new == old { Vec::new() } else { vec![Error::invalid(path, shown, IMMUTABLE)] }
}

/// A part of an object as errors show it where upstream checks the served type: its JSON.
pub fn json_value<M: Message>(part: &M) -> BadValue {
    BadValue::json(String::from_utf8_lossy(&apimachinery::json::part_to_vec(part)))
}

/// A list of parts as errors show it: their JSON.
pub fn json_list<M: Message>(parts: &[M]) -> BadValue {
    let parts: Vec<_> = parts.iter().map(|part| String::from_utf8_lossy(&apimachinery::json::part_to_vec(part)).into_owned()).collect();
    BadValue::json(format!("[{}]", parts.join(",")))
}

/// The value is one of `supported`; the error lists them in the given order.
pub fn supported(value: &str, supported: &[&str], path: &Path<'_>) -> ErrorList {
    if supported.contains(&value) { Vec::new() } else { vec![Error::not_supported(path, value, supported)] }
}

/// Equal as upstream compares: an empty list or map is the same as none.
pub fn same<M: Message>(one: &M, other: &M) -> bool {
    one == other || apimachinery::proto::to_vec(one) == apimachinery::proto::to_vec(other)
}
