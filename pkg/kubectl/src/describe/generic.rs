//! Kinds that nobody here knows: every field by its name, as upstream describes custom resources.

use apimachinery::Value;

use super::{Text, at};
use crate::print::plain;

pub fn any(object: &Value, text: &mut Text) {
    text.field(0, "Name", at(object, &["metadata", "name"]));
    text.field(0, "Namespace", at(object, &["metadata", "namespace"]));
    text.metadata(object);
    let mut shown = object.clone();
    for field in ["name", "namespace", "labels", "annotations", "managedFields"] {
        shown.remove_at(&["metadata", field]);
    }
    fields(&shown, 0, text);
}

fn fields(object: &Value, depth: usize, text: &mut Text) {
    let Some(object) = object.as_object() else { return };
    let mut members: Vec<(String, &Value)> = object.sorted().into_iter().map(|(key, value)| (title(key), value)).collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, value) in members {
        match value {
            Value::Object(_) => {
                text.line(depth, format!("{name}:"));
                fields(value, depth + 1, text);
            }
            Value::Array(items) => {
                text.line(depth, format!("{name}:"));
                for item in items {
                    match item {
                        Value::Object(_) => fields(item, depth + 1, text),
                        other => text.line(depth + 1, plain::go(other)),
                    }
                }
            }
            other => text.field(depth, &name, plain::go(other)),
        }
    }
}

/// `podIPs` is told as `Pod I Ps`, by upstream's rule: a space before each capital.
fn title(key: &str) -> String {
    if key.contains(['.', '/', '-']) {
        return key.to_string();
    }
    let mut text = String::new();
    let letters: Vec<char> = key.chars().collect();
    for (index, letter) in letters.iter().enumerate() {
        if index == 0 {
            text.extend(letter.to_uppercase());
            continue;
        }
        let after_lower = letters[index - 1].is_lowercase() || letters[index - 1].is_ascii_digit();
        let before_lower = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (after_lower || before_lower) {
            text.push(' ');
        }
        text.push(*letter);
    }
    // A name that starts in capitals is an initialism: `apiVersion` is `API Version`.
    match text.strip_prefix("Api ") {
        Some(rest) => format!("API {rest}"),
        None if text == "Uid" => "UID".into(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn titles() {
        for (key, expected) in
            [("apiVersion", "API Version"), ("clusterIP", "Cluster IP"), ("uid", "UID"), ("a.b/c", "a.b/c"), ("name", "Name")]
        {
            assert_eq!(super::title(key), expected);
        }
    }
}
