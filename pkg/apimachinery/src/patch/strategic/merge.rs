//! Merging a strategic merge patch into a document, or into another patch.

use std::collections::HashMap;

use super::order::{Places, check_against_order, identity, partition, weave};
use super::{DELETE, DELETE_FROM_LIST, MERGE, PATCH, REPLACE, RETAIN_KEYS, SET_ORDER};
use crate::gotext::display;
use crate::patch::{PatchError, fail};
use crate::typed::TypeRef;
use crate::value::{Object, Value};

/// Applies `patch` to an object of type `ty`.
pub fn apply(original: Value, patch: Value, ty: TypeRef<'_>) -> Result<Value, PatchError> {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => merge_objects(original, patch, ty, Mode::IntoDocument).map(Value::Object),
        _ => fail("Invalid JSON document"),
    }
}

/// What a patch is merged into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Directives are carried out, nulls remove.
    IntoDocument,
    /// Directives and nulls are kept: the result is again a patch.
    IntoPatch,
}

fn bad_patch_type(directive: &Value, object: &Object) -> PatchError {
    PatchError(format!("unknown patch type: {} in map: {}", display(directive), display(&Value::Object(object.clone()))))
}

fn no_merge_key(item: &Value, key: &str) -> PatchError {
    PatchError(format!("map: {} does not contain declared merge key: {key}", display(item)))
}

pub(super) fn merge_objects(mut original: Object, mut patch: Object, ty: TypeRef<'_>, mode: Mode) -> Result<Object, PatchError> {
    if let Some(directive) = patch.get(PATCH) {
        return match directive.as_str() {
            Some(REPLACE) => {
                patch.remove(PATCH);
                Ok(patch)
            }
            Some(DELETE) => Ok(Object::new()),
            _ => Err(bad_patch_type(directive, &patch)),
        };
    }
    retain_keys(&mut original, &mut patch, mode)?;
    merge_ordered_lists(&mut original, &mut patch, ty, mode)?;
    for (key, value) in patch {
        let (key, deletes_items) = match key.strip_prefix(DELETE_FROM_LIST) {
            Some(_) if mode == Mode::IntoPatch => {
                original.insert(key, value);
                continue;
            }
            Some(list) => (list.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            original.remove(&key);
            if mode == Mode::IntoPatch {
                original.insert(key, value);
            }
            continue;
        }
        let field = ty.field(&key).unwrap_or(TypeRef::DEDUCED);
        match (original.get_mut(&key), value) {
            (Some(Value::Object(here)), Value::Object(value)) => {
                *here = merge_objects(std::mem::take(here), value, field, mode)?;
            }
            (Some(Value::Array(here)), Value::Array(value)) => {
                *here = merge_lists(std::mem::take(here), value, field, deletes_items, mode)?;
            }
            (_, _) if deletes_items => {}
            (_, value) => {
                if let Some(value) = added(value, mode) {
                    original.insert(key, value);
                }
            }
        }
    }
    Ok(original)
}

/// What is left of a patch that meets nothing to merge with.
fn added(value: Value, mode: Mode) -> Option<Value> {
    if mode == Mode::IntoPatch {
        return Some(value);
    }
    match value {
        Value::Object(object) => {
            if object.get(PATCH).and_then(Value::as_str) == Some(DELETE) {
                return None;
            }
            let members = object.into_iter().filter(|(key, value)| !value.is_null() && !is_directive(key));
            Some(Value::Object(members.filter_map(|(key, value)| Some((key, added(value, mode)?))).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(|item| added(item, mode)).collect())),
        value => Some(value),
    }
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ORDER)
}

fn retain_keys(original: &mut Object, patch: &mut Object, mode: Mode) -> Result<(), PatchError> {
    const INVALID: &str = "invalid patch format of retainKeys";
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    if mode == Mode::IntoPatch {
        return match original.get(RETAIN_KEYS) {
            Some(other) if *other != keys => fail(INVALID),
            _ => {
                original.insert(RETAIN_KEYS, keys);
                Ok(())
            }
        };
    }
    let Value::Array(keys) = keys else {
        return fail(INVALID);
    };
    let retained = |key: &str| keys.iter().any(|known| known.as_str() == Some(key));
    if patch.iter().any(|(key, value)| !value.is_null() && !is_directive(key) && !retained(key)) {
        return fail(INVALID);
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// Merges the lists whose order the patch sets, and takes them out of it.
fn merge_ordered_lists(original: &mut Object, patch: &mut Object, ty: TypeRef<'_>, mode: Mode) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).map(str::to_owned).collect();
    for directive in directives {
        let order = patch.remove(&directive).unwrap_or_default();
        if mode == Mode::IntoPatch {
            match original.get(&directive) {
                Some(other) if *other != order => return fail("invalid patch format of setElementOrder list"),
                _ => original.insert(&*directive, order.clone()),
            };
        }
        let Value::Array(order) = order else {
            return fail(format!("expected a list, but received a {}", order.kind_name()));
        };
        let list = &directive[SET_ORDER.len()..];
        let field = ty.field(list).unwrap_or(TypeRef::DEDUCED);
        let key = field.patch_merge_key();
        let expect_list = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => fail(format!("expected a list, but received a {}", other.kind_name())),
        };
        let here = expect_list(original.get(list).cloned())?;
        let patched = expect_list(patch.remove(list))?;
        if let Some(patched) = &patched {
            check_against_order(patched, &order, key)?;
        }
        let server = match (&here, &patched) {
            (Some(here), Some(patched)) if !key.is_empty() => order_after_deletes(here, patched, key),
            (here, _) => here.clone().unwrap_or_default(),
        };
        let merged = match (here, patched) {
            (None, None) => continue,
            (Some(here), None) => here,
            (None, Some(patched)) => match added(Value::Array(patched), mode) {
                Some(Value::Array(items)) => items,
                _ => continue,
            },
            (Some(here), Some(patched)) => merge_lists(here, patched, field, false, mode)?,
        };
        let (named, others) = partition(merged, &order, key);
        original.insert(list, weave(named, others, &order, &server, key));
    }
    Ok(())
}

/// The order in which the server knows the items once the patch has deleted some: what the patch adds takes the places that
/// became free at the end, one for one.
fn order_after_deletes(here: &[Value], patched: &[Value], key: &str) -> Vec<Value> {
    let deletes = |item: &&Value| item.get(PATCH).and_then(Value::as_str) == Some(DELETE);
    let deletions: Vec<Value> = patched.iter().filter(deletes).cloned().collect();
    let (deletions, known) = (Places::of(&deletions, key), Places::of(here, key));
    let (deleted, kept): (Vec<&Value>, Vec<&Value>) = here.iter().partition(|item| deletions.contains(item));
    let added = patched.iter().filter(|item| item.get(PATCH).is_none() && !known.contains(item));
    kept.into_iter().chain(added.take(deleted.len())).cloned().collect()
}

fn merge_lists(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    ty: TypeRef<'_>,
    deletes_items: bool,
    mode: Mode,
) -> Result<Vec<Value>, PatchError> {
    if !ty.patch_merges() {
        return Ok(patch);
    }
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    let objects = original.iter().chain(&patch).filter(|item| item.as_object().is_some()).count();
    if objects == 0 {
        if deletes_items {
            let patch = Places::of(&patch, "");
            original.retain(|item| !patch.contains(item));
            return Ok(original);
        }
        let both: Vec<Value> = original.iter().chain(&patch).cloned().collect();
        let places = Places::of(&both, "");
        let merged =
            both.iter().enumerate().filter(|(place, item)| places.find(item) == Some(*place)).map(|(_, item)| item.clone()).collect();
        let (named, others) = partition(merged, &patch, "");
        return Ok(weave(named, others, &patch, &original, ""));
    }
    if objects < original.len() + patch.len() {
        return fail("expected all elements in the list to be of the same type");
    }
    let key = ty.patch_merge_key();
    if key.is_empty() {
        return fail(format!("cannot merge lists without merge key for type {}", type_name(ty)));
    }
    let patch = match mode {
        Mode::IntoDocument => {
            let (patch, replace) = item_directives(&mut original, patch, key)?;
            if replace {
                return Ok(patch);
            }
            patch
        }
        Mode::IntoPatch => patch,
    };
    let item_type = ty.item();
    let mut merged = original.clone();
    let known = Places::of(&original, key);
    // A patch may name a new item more than once.
    let mut added_at: HashMap<String, usize> = HashMap::new();
    for item in &patch {
        let Some(Value::Object(object)) = item.get(key).is_some().then_some(item) else {
            return Err(no_merge_key(item, key));
        };
        let place = known.find(item).or_else(|| added_at.get(&identity(item, key)?).copied());
        match place.map(|place| &mut merged[place]) {
            Some(Value::Object(other)) => *other = merge_objects(std::mem::take(other), object.clone(), item_type, mode)?,
            _ => {
                added_at.extend(identity(item, key).map(|identity| (identity, merged.len())));
                merged.extend(added(item.clone(), mode));
            }
        }
    }
    let (named, others) = partition(merged, &patch, key);
    Ok(weave(named, others, &patch, &original, key))
}

/// Carries out the items that are directives; gives back the others, and whether they replace the list.
fn item_directives(original: &mut Vec<Value>, patch: Vec<Value>, key: &str) -> Result<(Vec<Value>, bool), PatchError> {
    let mut replace = false;
    let mut plain = Vec::with_capacity(patch.len());
    let mut deletions = Vec::new();
    for item in patch {
        let Some(directive) = item.get(PATCH) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some(DELETE) => {
                if item.get(key).is_none() {
                    return Err(no_merge_key(&item, key));
                }
                deletions.push(item);
            }
            Some(REPLACE) => replace = true,
            Some(MERGE) => return fail("merging lists cannot yet be specified in the patch"),
            _ => return Err(bad_patch_type(directive, item.as_object().unwrap_or(&Object::new()))),
        }
    }
    let deletions = Places::of(&deletions, key);
    original.retain(|item| !deletions.contains(item));
    Ok((plain, replace))
}

fn type_name(ty: TypeRef<'_>) -> &'static str {
    ty.item().static_schema().map_or("object", |schema| schema.name)
}
