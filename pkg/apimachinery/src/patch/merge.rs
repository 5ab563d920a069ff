//! JSON merge patch, RFC 7396: objects merge, null removes, everything else replaces.

use super::{PatchError, fail};
use crate::value::{Object, Value};

/// Applies `patch`. Keys of objects it touches come out sorted, as upstream's library leaves them.
pub fn apply(target: Value, patch: Value) -> Result<Value, PatchError> {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => Ok(merge(target, patch).into()),
        (_, Value::Object(_)) => fail("Invalid JSON Document"),
        _ => fail("Invalid JSON Patch"),
    }
}

fn merge(mut target: Object, patch: Object) -> Object {
    for (key, value) in patch {
        match (value, target.get_mut(&key)) {
            (Value::Null, _) => {
                target.remove(&key);
            }
            (Value::Object(value), Some(Value::Object(here))) => *here = merge(std::mem::take(here), value),
            (value, _) => {
                target.insert(key, without_nulls(value));
            }
        }
    }
    target.sort_keys();
    target
}

/// What a patch adds: its nulls, which would remove, have nothing to remove.
fn without_nulls(mut value: Value) -> Value {
    match &mut value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            for value in object.values_mut() {
                *value = without_nulls(value.take());
            }
            object.sort_keys();
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without_nulls(item.take())),
        _ => {}
    }
    value
}

/// The patch that makes `modified` of `original`.
pub fn create(original: &Value, modified: &Value) -> Result<Value, PatchError> {
    match (original, modified) {
        (Value::Object(original), Value::Object(modified)) => Ok(diff(original, modified).into()),
        _ => fail("Invalid JSON Document"),
    }
}

fn diff(original: &Object, modified: &Object) -> Object {
    let mut patch = Object::new();
    for (key, new) in modified.iter() {
        match (original.get(key), new) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                let inner = diff(old, new);
                if !inner.is_empty() {
                    patch.insert(key, inner);
                }
            }
            (Some(old), new) if old == new => {}
            _ => {
                patch.insert(key, new.clone());
            }
        }
    }
    for key in original.keys().filter(|key| !modified.contains_key(key)) {
        patch.insert(key, Value::Null);
    }
    patch.sort_keys();
    patch
}

/// The patch for `kubectl apply`: from `current` to `modified`, where only what `original` had and `modified` lacks is removed.
pub fn create_three_way(original: &Value, modified: &Value, current: &Value) -> Result<Value, PatchError> {
    let mut changes = create(current, modified)?;
    keep_nulls(&mut changes, false);
    let mut deletions = create(original, modified)?;
    keep_nulls(&mut deletions, true);
    overlay(&mut deletions, changes);
    Ok(deletions)
}

/// Keeps either only the nulls of a patch or only the rest; objects that become empty go.
fn keep_nulls(patch: &mut Value, keep: bool) {
    if let Value::Object(object) = patch {
        object.retain(|_, value| match value {
            Value::Object(inner) if inner.is_empty() => !keep,
            Value::Object(_) => {
                keep_nulls(value, keep);
                value.as_object().is_some_and(|inner| !inner.is_empty())
            }
            value => value.is_null() == keep,
        });
    }
}

/// Adds one patch to another; unlike in [`apply`], nulls stay.
fn overlay(patch: &mut Value, more: Value) {
    match (patch, more) {
        (Value::Object(patch), Value::Object(more)) => {
            for (key, value) in more {
                overlay(patch.entry(&key, Value::object), value);
            }
            patch.sort_keys();
        }
        (patch, more) => *patch = more,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Value {
        Value::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn applies() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":"foo"}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            (r#"{"z":1,"m":{"y":1,"x":2}}"#, r#"{"q":1}"#, r#"{"m":{"y":1,"x":2},"q":1,"z":1}"#),
        ] {
            assert_eq!(apply(parse(target), parse(patch)).unwrap().to_string(), result);
        }
        assert!(apply(parse("{}"), parse("[]")).is_err());
    }

    #[test]
    fn creates() {
        for (original, modified, patch) in [
            (r#"{"a":1,"b":{"c":2,"d":3},"e":[1]}"#, r#"{"a":1,"b":{"c":4},"e":[2]}"#, r#"{"b":{"c":4,"d":null},"e":[2]}"#),
            (r#"{"a":1}"#, r#"{"a":{}}"#, r#"{"a":{}}"#),
        ] {
            let made = create(&parse(original), &parse(modified)).unwrap();
            assert_eq!(made.to_string(), patch);
            assert_eq!(apply(parse(original), made).unwrap(), parse(modified));
        }
    }

    fn any_object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), (0..3i64).prop_map(Value::from), Just(Value::from(vec![1i64, 2]))];
        let object = leaf.prop_recursive(3, 12, 3, |inner| {
            prop::collection::btree_map(prop::sample::select(vec!["a", "b", "c"]), inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        });
        object.prop_filter("documents are objects", |value| value.as_object().is_some())
    }

    proptest! {
        #[test]
        fn a_patch_made_leads_where_it_was_made_for(original in any_object(), modified in any_object()) {
            let patch = create(&original, &modified).unwrap();
            prop_assert_eq!(apply(original, patch).unwrap(), modified);
        }
    }

    #[test]
    fn creates_from_three() {
        let (original, modified, current) = (r#"{"a":1,"b":2}"#, r#"{"a":3}"#, r#"{"a":1,"b":2,"server":{"x":1}}"#);
        let patch = create_three_way(&parse(original), &parse(modified), &parse(current)).unwrap();
        assert_eq!(patch.to_string(), r#"{"a":3,"b":null}"#);
    }
}
