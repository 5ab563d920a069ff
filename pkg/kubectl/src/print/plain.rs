//! Single values as text.

use apimachinery::Value;

/// As jsonpath prints: scalars bare, the rest as JSON.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".into(),
        Value::Array(_) | Value::Object(_) => {
            let mut sorted = value.clone();
            sorted.sort_keys();
            crate::resources::text(&sorted)
        }
        other => crate::resources::text(other),
    }
}

/// As Go's `%v` prints: `map[a:1 b:2]`, `[x y]`.
pub fn go(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".into(),
        Value::Array(items) => format!("[{}]", items.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(object) => {
            let parts: Vec<String> = object.sorted().into_iter().map(|(key, value)| format!("{key}:{}", go(value))).collect();
            format!("map[{}]", parts.join(" "))
        }
        other => crate::resources::text(other),
    }
}
