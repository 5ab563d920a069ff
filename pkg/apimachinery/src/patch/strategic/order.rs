//! The order of merged lists.

use std::collections::HashMap;

use crate::gotext::display;
use crate::patch::{PatchError, fail};
use crate::value::Value;

/// Whether two items of a list are the same item: equal scalars, or objects with equal keys.
pub(super) fn same_item(a: &Value, b: &Value, key: &str) -> bool {
    if key.is_empty() {
        return a == b;
    }
    matches!((a.get(key), b.get(key)), (Some(a), Some(b)) if a == b)
}

/// Where the items of a list are. Long lists get an index, so that no patch makes merging quadratic.
pub(super) struct Places<'a> {
    items: &'a [Value],
    key: &'a str,
    index: Option<HashMap<String, usize>>,
}

/// Lists up to this length are searched from the front.
const INDEXED_ABOVE: usize = 32;

impl<'a> Places<'a> {
    pub fn of(items: &'a [Value], key: &'a str) -> Self {
        let index = (items.len() > INDEXED_ABOVE).then(|| {
            let mut index = HashMap::with_capacity(items.len());
            for (place, item) in items.iter().enumerate() {
                if let Some(identity) = identity(item, key) {
                    index.entry(identity).or_insert(place);
                }
            }
            index
        });
        Places { items, key, index }
    }

    /// The first place of an item that is the same.
    pub fn find(&self, item: &Value) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(&identity(item, self.key)?).copied(),
            None => self.items.iter().position(|other| same_item(other, item, self.key)),
        }
    }

    pub fn contains(&self, item: &Value) -> bool {
        self.find(item).is_some()
    }
}

/// What two items have in common if they are the same.
pub(super) fn identity(item: &Value, key: &str) -> Option<String> {
    let value = if key.is_empty() { item } else { item.get(key)? };
    let mut value = value.clone();
    value.sort_keys();
    Some(value.to_string())
}

/// Splits items into those that `order` names and the rest.
pub(super) fn partition(items: Vec<Value>, order: &[Value], key: &str) -> (Vec<Value>, Vec<Value>) {
    let order = Places::of(order, key);
    items.into_iter().partition(|item| order.contains(item))
}

/// Sorts items by their place in `order`; those without a place come first.
pub(super) fn sort_by_order(items: &mut [Value], order: &[Value], key: &str) {
    let order = Places::of(order, key);
    items.sort_by_cached_key(|item| order.find(item));
}

/// Weaves two lists together: `named`, in the order that was asked for, and `others`, in the order they had on the server. An item
/// of `others` goes before one of `named` if the server had both, that way round.
pub(super) fn weave(mut named: Vec<Value>, mut others: Vec<Value>, wanted: &[Value], server: &[Value], key: &str) -> Vec<Value> {
    sort_by_order(&mut named, wanted, key);
    sort_by_order(&mut others, server, key);
    let server = Places::of(server, key);
    let mut woven = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (named.peek(), others.peek()) {
            (None, None) => return woven,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (Some(named), Some(other)) => {
                matches!((server.find(other), server.find(named)), (Some(other), Some(named)) if other < named)
            }
        };
        woven.extend(if other_first { others.next() } else { named.next() });
    }
}

/// A patched list must follow the order that the patch itself asks for; an item without a key counts as any.
pub(super) fn check_against_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    let mut places = order.iter();
    let ordered = patch
        .iter()
        .filter(|item| item.get(super::PATCH).and_then(Value::as_str) != Some(super::DELETE))
        .all(|item| places.any(|place| same_item(place, item, key) || !key.is_empty() && item.get(key).is_none()));
    if ordered {
        return Ok(());
    }
    let list = |items: &[Value]| display(&Value::Array(items.to_vec()));
    fail(format!("The order in patch list:\n{}\n doesn't match {} list:\n{}\n", list(patch), "$setElementOrder", list(order)))
}
