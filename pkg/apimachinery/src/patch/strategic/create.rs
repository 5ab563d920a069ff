//! Making strategic merge patches from documents.

use super::merge::{Mode, merge_objects};
use super::order::{same_item, sort_by_order};
use super::{DELETE, DELETE_FROM_LIST, PATCH, RETAIN_KEYS, SET_ORDER};
use crate::gotext::display;
use crate::patch::{PatchError, fail};
use crate::typed::TypeRef;
use crate::value::{Object, Value};

/// The patch that makes `modified` of `original`.
pub fn create_two_way(original: &Value, modified: &Value, ty: TypeRef<'_>) -> Result<Value, PatchError> {
    let (original, modified) = (object(original)?, object(modified)?);
    diff_objects(original, modified, ty, &Options { additions: true, deletions: true, retain_keys: false }).map(Value::Object)
}

/// The patch of `kubectl apply`: from `current` to `modified`, where only what `original` had and `modified` lacks is removed.
///
/// Unless `overwrite` is set, changes that were made to `current` since `original` and that the patch would change again are a conflict.
pub fn create_three_way(
    original: &Value,
    modified: &Value,
    current: &Value,
    ty: TypeRef<'_>,
    overwrite: bool,
) -> Result<Value, PatchError> {
    let (original, modified, current) = (object(original)?, object(modified)?, object(current)?);
    let changes = diff_objects(current, modified, ty, &Options { additions: true, deletions: false, retain_keys: false })?;
    let deletions = diff_objects(original, modified, ty, &Options { additions: false, deletions: true, retain_keys: false })?;
    let patch = merge_objects(deletions, changes, ty, Mode::IntoPatch)?;
    if !overwrite {
        let drift = diff_objects(original, current, ty, &Options { additions: true, deletions: true, retain_keys: false })?;
        if conflicts(&Value::Object(patch.clone()), &Value::Object(drift.clone()), ty) {
            let (patch, drift) = (Value::Object(patch), Value::Object(drift));
            return fail(format!("patch:\n{patch}\nconflicts with changes made from original to current:\n{drift}\n"));
        }
    }
    Ok(patch.into())
}

fn object(value: &Value) -> Result<&Object, PatchError> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(const { &Object::new() }),
        _ => fail("Invalid JSON document"),
    }
}

/// Which differences go into a patch.
struct Options {
    additions: bool,
    deletions: bool,
    /// The object's patch names the members that stay.
    retain_keys: bool,
}

impl Options {
    fn for_field(&self, field: TypeRef<'_>) -> Options {
        Options { retain_keys: field.patch_retains_keys(), ..*self }
    }
}

fn diff_objects(original: &Object, modified: &Object, ty: TypeRef<'_>, options: &Options) -> Result<Object, PatchError> {
    let mut patch = Object::new();
    for (key, new) in modified.sorted() {
        let Some(old) = original.get(key) else {
            if options.additions {
                patch.insert(key, new.clone());
            }
            continue;
        };
        let field = ty.field(key).unwrap_or(TypeRef::DEDUCED);
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                let inner = diff_objects(old, new, field, &options.for_field(field))?;
                if !inner.is_empty() {
                    patch.insert(key, inner);
                }
            }
            (Value::Array(old), Value::Array(new)) if field.patch_merges() => {
                let lists = diff_lists(old, new, field, &options.for_field(field))?;
                for (prefix, list) in [("", lists.patch), (DELETE_FROM_LIST, lists.deletions), (SET_ORDER, lists.order)] {
                    if !list.is_empty() {
                        patch.insert(format!("{prefix}{key}"), list);
                    }
                }
            }
            (old, new) => {
                if options.additions && old != new {
                    patch.insert(key, new.clone());
                }
            }
        }
    }
    if options.deletions {
        for key in original.keys().filter(|key| !modified.contains_key(key)) {
            patch.insert(key, Value::Null);
        }
    }
    if options.retain_keys {
        let mut keys: Vec<&str> = modified.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect();
        let drops = original.keys().any(|key| !modified.contains_key(key));
        if !keys.is_empty() && (!patch.is_empty() || drops) {
            keys.sort_unstable();
            patch.insert(RETAIN_KEYS, keys);
        }
    }
    patch.sort_keys();
    Ok(patch)
}

#[derive(Default)]
struct ListDiff {
    patch: Vec<Value>,
    /// Scalars to remove.
    deletions: Vec<Value>,
    order: Vec<Value>,
}

fn diff_lists(original: &[Value], modified: &[Value], ty: TypeRef<'_>, options: &Options) -> Result<ListDiff, PatchError> {
    if original.is_empty() {
        let patch = if options.additions { modified.to_vec() } else { Vec::new() };
        return Ok(ListDiff { patch, ..Default::default() });
    }
    let both = || original.iter().chain(modified);
    let objects = both().filter(|item| item.as_object().is_some()).count();
    if both().any(|item| item.as_array().is_some()) {
        return fail("lists of lists are not supported");
    }
    if objects == 0 {
        let added = |from: &[Value], to: &[Value]| -> Vec<Value> {
            let mut added: Vec<Value> = Vec::new();
            for item in to.iter().filter(|item| !from.contains(item)) {
                if !added.contains(item) {
                    added.push(item.clone());
                }
            }
            added
        };
        let patch = if options.additions { added(original, modified) } else { Vec::new() };
        let deletions = if options.deletions { added(modified, original) } else { Vec::new() };
        let ordered = options.additions && original != modified || !deletions.is_empty();
        return Ok(ListDiff { patch, deletions, order: if ordered { modified.to_vec() } else { Vec::new() } });
    }
    if objects < original.len() + modified.len() {
        return fail("expected all elements in the list to be of the same type");
    }
    diff_keyed_lists(original, modified, ty, options)
}

fn diff_keyed_lists(original: &[Value], modified: &[Value], ty: TypeRef<'_>, options: &Options) -> Result<ListDiff, PatchError> {
    let key = ty.patch_merge_key();
    if let Some(item) = original.iter().chain(modified).find(|item| item.get(key).is_none()) {
        return fail(format!("map: {} does not contain declared merge key: {key}", display(item)));
    }
    let find = |items: &[Value], item: &Value| items.iter().position(|other| same_item(other, item, key));
    let mut patch = Vec::new();
    for item in modified {
        match find(original, item).map(|index| &original[index]) {
            Some(Value::Object(old)) => {
                let Value::Object(new) = item else { continue };
                let mut inner = diff_objects(old, new, ty.item(), options)?;
                if !inner.is_empty() {
                    inner.insert(key, item[key].clone());
                    inner.sort_keys();
                    patch.push(inner.into());
                }
            }
            _ if options.additions => patch.push(item.clone()),
            _ => {}
        }
    }
    sort_by_order(&mut patch, modified, key);
    if options.deletions {
        for item in original.iter().filter(|item| find(modified, item).is_none()) {
            patch.push(Object::from_iter([(PATCH, Value::from(DELETE)), (key, item[key].clone())]).into());
        }
    }
    let same_order = original.len() == modified.len() && original.iter().zip(modified).all(|(a, b)| same_item(a, b, key));
    let ordered = options.additions && (!patch.is_empty() || !same_order) || options.deletions && !patch.is_empty();
    let order = match ordered {
        true => modified.iter().map(|item| Value::Object(Object::from_iter([(key, item[key].clone())]))).collect(),
        false => Vec::new(),
    };
    Ok(ListDiff { patch, deletions: Vec::new(), order })
}

/// Whether two patches change the same place in different ways.
fn conflicts(left: &Value, right: &Value, ty: TypeRef<'_>) -> bool {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            if left.get(PATCH) != right.get(PATCH) {
                return true;
            }
            left.iter().filter(|(key, _)| !key.starts_with('$')).any(|(key, value)| {
                let field = ty.field(key).unwrap_or(TypeRef::DEDUCED);
                right.get(key).is_some_and(|other| conflicts(value, other, field))
            })
        }
        (Value::Array(left), Value::Array(right)) if ty.patch_merges() => {
            let key = ty.patch_merge_key();
            // Scalars are only ever added or removed, which cannot contradict.
            !key.is_empty()
                && left.iter().any(|item| right.iter().any(|other| same_item(item, other, key) && conflicts(item, other, ty.item())))
        }
        (left, right) => left != right,
    }
}
