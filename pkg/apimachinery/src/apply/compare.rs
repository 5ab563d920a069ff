//! Which fields differ between two versions of an object.

use super::extract::{ListIdentity, granular_object, item_element, list_identity};
use super::path::{PathElement, equal_values};
use super::set::{Entry, FieldSet};
use crate::typed::TypeRef;
use crate::value::{Object, Value};

/// The fields that only the new object has, that only the old one had, and that both have with different values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    pub added: FieldSet,
    pub removed: FieldSet,
    pub modified: FieldSet,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.modified.is_empty()
    }

    /// Leaves out the fields in `ignored` and everything behind them.
    pub fn without(self, ignored: &FieldSet) -> Self {
        if ignored.is_empty() {
            return self;
        }
        Comparison {
            added: self.added.recursive_difference(ignored),
            removed: self.removed.recursive_difference(ignored),
            modified: self.modified.recursive_difference(ignored),
        }
    }
}

/// Compares two objects of type `ty`; walks both once and allocates only for differences and list keys.
pub fn compare(old: &Value, new: &Value, ty: TypeRef<'_>) -> Comparison {
    let difference = difference(Some(old), Some(new), ty);
    Comparison { added: difference.added.1, removed: difference.removed.1, modified: difference.modified.1 }
}

/// For each kind of difference: does the place itself differ, and what differs below it.
#[derive(Default)]
struct Difference {
    added: (bool, FieldSet),
    removed: (bool, FieldSet),
    modified: (bool, FieldSet),
}

#[derive(Default)]
struct Entries {
    added: Vec<Entry>,
    removed: Vec<Entry>,
    modified: Vec<Entry>,
}

impl Entries {
    fn push(&mut self, element: impl FnOnce() -> PathElement, difference: Difference) {
        let Difference { added, removed, modified } = difference;
        let sides = [(added, &mut self.added), (removed, &mut self.removed), (modified, &mut self.modified)];
        let mut element = Some(element);
        let mut made: Option<PathElement> = None;
        for ((member, children), entries) in sides {
            if member || !children.is_empty() {
                let element = made.get_or_insert_with(|| element.take().expect("made once")()).clone();
                entries.push(Entry { element, member, children });
            }
        }
    }

    fn into_difference(self) -> Difference {
        let set = |entries: Vec<Entry>| (false, FieldSet::from_entries(entries));
        Difference { added: set(self.added), removed: set(self.removed), modified: set(self.modified) }
    }
}

fn difference(old: Option<&Value>, new: Option<&Value>, ty: TypeRef<'_>) -> Difference {
    let mut difference = match (old, new) {
        (None, None) => return Difference::default(),
        (Some(old), Some(new)) => return both(old, new, ty),
        (None, Some(one)) | (Some(one), None) => {
            let (old, new) = (old.map(|_| one), new.map(|_| one));
            if let Some(object) = granular_object(one, ty).filter(|object| !object.is_empty()) {
                objects(old.map(|_| object), new.map(|_| object), ty)
            } else if let (Value::Array(items), Some(identity)) = (one, list_identity(ty))
                && !items.is_empty()
            {
                lists(if old.is_some() { items } else { &[] }, if new.is_some() { items } else { &[] }, ty, identity)
            } else {
                Difference::default()
            }
        }
    };
    match old {
        None => difference.added.0 = true,
        Some(_) => difference.removed.0 = true,
    }
    difference
}

fn both(old: &Value, new: &Value, ty: TypeRef<'_>) -> Difference {
    // A null beside a collection counts as an empty one; two empty ones are compared as they are.
    let old_object = granular_object(old, ty);
    let new_object = granular_object(new, ty);
    match (old_object, new_object) {
        (Some(a), Some(b)) if !(a.is_empty() && b.is_empty()) => return objects(Some(a), Some(b), ty),
        (Some(a), None) if new.is_null() && !a.is_empty() => return objects(Some(a), None, ty),
        (None, Some(b)) if old.is_null() && !b.is_empty() => return objects(None, Some(b), ty),
        _ => {}
    }
    if let Some(identity) = list_identity(ty) {
        let items = |value: &'_ Value| -> Option<usize> {
            match value {
                Value::Array(items) => Some(items.len()),
                Value::Null => Some(0),
                _ => None,
            }
        };
        if let (Some(a), Some(b)) = (items(old), items(new))
            && a + b > 0
        {
            return lists(old.as_array().unwrap_or_default(), new.as_array().unwrap_or_default(), ty, identity);
        }
    }
    Difference { modified: (!equal_values(old, new), FieldSet::default()), ..Default::default() }
}

fn objects(old: Option<&Object>, new: Option<&Object>, ty: TypeRef<'_>) -> Difference {
    let mut entries = Entries::default();
    let mut step = |name: &str, old: Option<&Value>, new: Option<&Value>| {
        let field = ty.field(name).unwrap_or(TypeRef::DEDUCED);
        entries.push(|| PathElement::field(name), difference(old, new, field));
    };
    for (name, value) in old.into_iter().flat_map(Object::iter) {
        step(name, Some(value), new.and_then(|new| new.get(name)));
    }
    for (name, value) in new.into_iter().flat_map(Object::iter) {
        if old.is_none_or(|old| !old.contains_key(name)) {
            step(name, None, Some(value));
        }
    }
    entries.into_difference()
}

fn lists(old: &[Value], new: &[Value], ty: TypeRef<'_>, identity: ListIdentity<'_>) -> Difference {
    let item_type = ty.item();
    let mut entries = Entries::default();
    // Lists mostly keep their order: items at the same place are compared without asking for their keys.
    if old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a == b) {
        return Difference::default();
    }
    let keyed = |items: &'_ [Value]| -> Vec<(PathElement, usize)> {
        let mut keyed: Vec<_> =
            items.iter().enumerate().filter_map(|(index, item)| Some((item_element(item, item_type, identity).ok()?, index))).collect();
        keyed.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)));
        keyed
    };
    let (old_keyed, new_keyed) = (keyed(old), keyed(new));
    let (mut left, mut right) = (&old_keyed[..], &new_keyed[..]);
    loop {
        let element = match (left.first(), right.first()) {
            (None, None) => return entries.into_difference(),
            (Some(a), Some(b)) => &(&a.0).min(&b.0).clone(),
            (Some(one), None) | (None, Some(one)) => &one.0.clone(),
        };
        let take = |side: &mut &[(PathElement, usize)]| -> std::ops::Range<usize> {
            let count = side.iter().take_while(|(other, _)| other == element).count();
            *side = &side[count..];
            0..count
        };
        let (left_start, right_start) = (old_keyed.len() - left.len(), new_keyed.len() - right.len());
        let (left_count, right_count) = (take(&mut left).len(), take(&mut right).len());
        let old_items = old_keyed[left_start..left_start + left_count].iter().map(|(_, index)| &old[*index]);
        let new_items = new_keyed[right_start..right_start + right_count].iter().map(|(_, index)| &new[*index]);
        let found = if left_count <= 1 && right_count <= 1 {
            difference({ old_items }.next(), { new_items }.next(), item_type)
        } else {
            // Items that cannot be told apart count as one.
            let mut found = Difference::default();
            match (left_count, right_count) {
                (0, _) => found.added.0 = true,
                (_, 0) => found.removed.0 = true,
                _ => found.modified.0 = left_count != right_count || !old_items.zip(new_items).all(|(a, b)| equal_values(a, b)),
            }
            found
        };
        entries.push(|| element.clone(), found);
    }
}
