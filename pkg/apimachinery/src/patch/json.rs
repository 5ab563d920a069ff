//! JSON patch, RFC 6902, with the extras of upstream's library: negative indexes, and `replace` also adds members.

use super::{PatchError, fail};
use crate::value::Value;

/// Most bytes that the `copy` operations of one patch may add: a few operations could double a document each.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// Applies the operations of `patch` one after another. Keys of objects on the way to a change come out sorted, as upstream's library
/// leaves them.
pub fn apply(mut document: Value, patch: &Value) -> Result<Value, PatchError> {
    let Value::Array(operations) = patch else {
        return fail(format!("json: cannot unmarshal {} into Go value of type jsonpatch.Patch", patch.kind_name()));
    };
    if let Value::Object(object) = &mut document {
        object.sort_keys();
    }
    let mut copied = 0;
    for operation in operations {
        step(&mut document, operation, &mut copied)?;
    }
    Ok(document)
}

fn step(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let kind = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
    let text = |member: &str| match operation.get(member).and_then(Value::as_str) {
        Some(text) => Ok(text),
        None => fail(format!("{kind} operation failed to decode {member}: missing value")),
    };
    let value = || operation.get("value").cloned().unwrap_or_default();
    match kind {
        "add" => add(document, text("path")?, value()),
        "remove" => remove(document, text("path")?).map(|_| ()),
        "replace" => replace(document, text("path")?, value()),
        "test" => test(document, text("path")?, &value()),
        "move" => {
            let from = text("from")?;
            let path = text("path")?;
            let value = remove(document, from).map_err(|PatchError(message)| PatchError(message.replace("remove", "move")))?;
            add(document, path, value)
        }
        "copy" => {
            let (from, path) = (text("from")?, text("path")?);
            let value = get(document, from)?.clone();
            *copied += value.to_vec().len();
            if *copied > MAX_COPIED_BYTES {
                let message = "Unable to copy, the accumulated size increase of copy is";
                return fail(format!("{message} {copied}, exceeding the limit {MAX_COPIED_BYTES}"));
            }
            add(document, path, value)
        }
        _ => fail(format!("Unexpected kind: {kind}")),
    }
}

fn missing<T>(operation: &str, path: &str) -> Result<T, PatchError> {
    fail(format!("{operation} operation does not apply: doc is missing path: {path}: missing value"))
}

/// The container a path ends in, and the unescaped last segment.
fn container<'a>(document: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let mut segments = path.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~"));
    let mut last = segments.next()?;
    let mut here = document;
    for segment in segments {
        if let Value::Object(object) = here {
            object.sort_keys();
        }
        here = match here {
            Value::Object(object) => object.get_mut(&last)?,
            Value::Array(items) => {
                let index = index(&last, items.len())?;
                items.get_mut(index)?
            }
            _ => return None,
        };
        last = segment;
    }
    if let Value::Object(object) = here {
        object.sort_keys();
    }
    matches!(here, Value::Object(_) | Value::Array(_)).then_some((here, last))
}

/// An index into `length` places; negative ones count from the end.
fn index(segment: &str, length: usize) -> Option<usize> {
    let number: i64 = segment.parse().ok()?;
    let length = length as i64;
    let index = if number < 0 { number + length } else { number };
    (0..length).contains(&index).then_some(index as usize)
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    let Some((container, key)) = container(document, path) else {
        return missing("add", &format!("\"{path}\""));
    };
    match container {
        Value::Object(object) => {
            object.insert(key, value);
            object.sort_keys();
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => match index(&key, items.len() + 1) {
            Some(index) => items.insert(index, value),
            None => return fail(format!("add operation does not apply: Unable to access invalid index: {key}: invalid index referenced")),
        },
        _ => return missing("add", path),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, PatchError> {
    let Some((container, key)) = container(document, path) else {
        return missing("remove", &format!("\"{path}\""));
    };
    let removed = match container {
        Value::Object(object) => object.remove(&key),
        Value::Array(items) => index(&key, items.len()).map(|index| items.remove(index)),
        _ => None,
    };
    match removed {
        Some(value) => Ok(value),
        None => fail(format!("error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value")),
    }
}

fn replace(document: &mut Value, path: &str, value: Value) -> Result<(), PatchError> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let Some((container, key)) = container(document, path) else {
        return missing("replace", path);
    };
    match container {
        Value::Object(object) => {
            object.insert(key, value);
            object.sort_keys();
        }
        Value::Array(items) => match index(&key, items.len()) {
            Some(index) => items[index] = value,
            None => return fail(format!("replace operation does not apply: doc is missing key: {path}: missing value")),
        },
        _ => return missing("replace", path),
    }
    Ok(())
}

fn get<'a>(document: &'a mut Value, path: &str) -> Result<&'a Value, PatchError> {
    if path.is_empty() {
        return Ok(document);
    }
    let Some((container, key)) = container(document, path) else {
        return missing("copy", path);
    };
    let found = match &*container {
        Value::Object(object) => object.get(&key),
        Value::Array(items) => index(&key, items.len()).and_then(|index| items.get(index)),
        _ => None,
    };
    found.map_or_else(|| missing("copy", path), Ok)
}

fn test(document: &mut Value, path: &str, expected: &Value) -> Result<(), PatchError> {
    let matches = match get(document, path) {
        Ok(found) => found == expected,
        // A member that is not there counts as null, if its parent is there.
        Err(_) => expected.is_null() && matches!(container(document, path), Some((Value::Object(_), _))),
    };
    if matches { Ok(()) } else { fail(format!("testing value {path} failed: test failed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn applies() {
        for (document, patch, result) in [
            (r#"{"b":1}"#, r#"[{"op":"add","path":"/a","value":2}]"#, r#"{"a":2,"b":1}"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/1","value":9}]"#, r#"{"a":[1,9,2]}"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/-","value":9}]"#, r#"{"a":[1,2,9]}"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/2","value":9}]"#, r#"{"a":[1,2,9]}"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"replace","path":"/a/-1","value":9}]"#, r#"{"a":[1,9]}"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"/b","value":9}]"#, r#"{"a":1,"b":9}"#),
            (r#"{"a":1,"b":2}"#, r#"[{"op":"remove","path":"/a"}]"#, r#"{"b":2}"#),
            (r#"{"a":{"x":1}}"#, r#"[{"op":"move","from":"/a/x","path":"/b"}]"#, r#"{"a":{},"b":1}"#),
            (r#"{"a":{"x":1}}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#, r#"{"a":{"x":1},"b":{"x":1}}"#),
            (r#"{"a/b":{"~":1}}"#, r#"[{"op":"remove","path":"/a~1b/~0"}]"#, r#"{"a/b":{}}"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":1},{"op":"test","path":"/b","value":null}]"#, r#"{"a":1}"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":{"b":1}}]"#, r#"{"b":1}"#),
            (r#"{"z":{"q":1,"p":2},"a":1}"#, "[]", r#"{"a":1,"z":{"q":1,"p":2}}"#),
        ] {
            assert_eq!(apply(parse(document), &parse(patch)).unwrap().to_string(), result, "{patch}");
        }
    }

    #[test]
    fn refuses() {
        for (document, patch, message) in [
            (
                "{}",
                r#"[{"op":"remove","path":"/x"}]"#,
                "error in remove for path: '/x': Unable to remove nonexistent key: x: missing value",
            ),
            (
                "{}",
                r#"[{"op":"add","path":"/x/y","value":1}]"#,
                "add operation does not apply: doc is missing path: \"/x/y\": missing value",
            ),
            (
                r#"{"a":[]}"#,
                r#"[{"op":"add","path":"/a/5","value":1}]"#,
                "add operation does not apply: Unable to access invalid index: 5: invalid index referenced",
            ),
            (
                "{}",
                r#"[{"op":"add","path":"spec","value":1}]"#,
                "add operation does not apply: doc is missing path: \"spec\": missing value",
            ),
            ("{}", r#"[{"op":"test","path":"/a","value":1}]"#, "testing value /a failed: test failed"),
            ("{}", r#"[{"op":"frob","path":"/a"}]"#, "Unexpected kind: frob"),
            ("{}", r#"[{"path":"/a"}]"#, "Unexpected kind: unknown"),
            ("{}", r#"[{"op":"add"}]"#, "add operation failed to decode path: missing value"),
            ("{}", r#"{"op":"add"}"#, "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
        ] {
            assert_eq!(apply(parse(document), &parse(patch)).unwrap_err().to_string(), message, "{patch}");
        }
        let doubling = format!("[{}]", vec![r#"{"op":"copy","from":"/a","path":"/a/-"}"#; 40].join(","));
        assert!(apply(parse(r#"{"a":["0123456789"]}"#), &parse(&doubling)).unwrap_err().to_string().starts_with("Unable to copy"));
    }
}
