//! Merging an applied configuration into an object.

use std::collections::BTreeMap;

use super::extract::{ListIdentity, granular_object, item_element, list_identity};
use super::path::PathElement;
use crate::typed::TypeRef;
use crate::value::{Object, Value};

/// The live object with the configuration's fields; the configuration wins wherever it says something.
pub fn merge(live: &Value, config: &Value, ty: TypeRef<'_>) -> Value {
    match (granular_object(live, ty), config) {
        (Some(live), Value::Object(config)) => return merge_objects(live, config, ty).into(),
        // Null counts as an object without members.
        (Some(object), Value::Null) if !object.is_empty() => return live.clone(),
        _ => {}
    }
    match (live, config, list_identity(ty)) {
        (Value::Array(live), Value::Array(config), Some(identity)) => merge_lists(live, config, ty.item(), identity).into(),
        (Value::Array(items), Value::Null, Some(_)) if !items.is_empty() => live.clone(),
        _ => config.clone(),
    }
}

fn merge_objects(live: &Object, config: &Object, ty: TypeRef<'_>) -> Object {
    let mut merged = live.clone();
    for (name, value) in config.iter() {
        let merged_value = match live.get(name) {
            Some(here) => merge(here, value, ty.field(name).unwrap_or(TypeRef::DEDUCED)),
            None => value.clone(),
        };
        merged.insert(name, merged_value);
    }
    merged
}

/// Items of the configuration come in its order; items only the live list has stay behind the items they followed.
fn merge_lists(live: &[Value], config: &[Value], item_type: TypeRef<'_>, identity: ListIdentity<'_>) -> Vec<Value> {
    let keyed = |items: &'_ [Value]| -> Vec<Option<PathElement>> {
        items.iter().map(|item| item_element(item, item_type, identity).ok()).collect()
    };
    let (live_keys, config_keys) = (keyed(live), keyed(config));
    let places = |keys: &'_ [Option<PathElement>]| -> BTreeMap<PathElement, usize> {
        keys.iter().enumerate().rev().filter_map(|(place, key)| Some((key.clone()?, place))).collect()
    };
    let (live_places, config_places) = (places(&live_keys), places(&config_keys));
    let in_config = |key: &Option<PathElement>| config_places.get(key.as_ref()?).copied();
    let in_live = |key: &Option<PathElement>| live_places.get(key.as_ref()?).copied();
    let merged_item = |index: usize| {
        in_live(&config_keys[index]).map_or_else(|| config[index].clone(), |here| merge(&live[here], &config[index], item_type))
    };
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut shared = config_keys.iter().enumerate().filter(|(_, key)| in_live(key).is_some()).map(|(index, _)| index);
    let mut next_shared = shared.next();
    let mut taken = vec![false; config.len()];
    let (mut at_live, mut at_config) = (0, 0);
    while at_live < live.len() || at_config < config.len() {
        if at_live < live.len() {
            match in_config(&live_keys[at_live]) {
                None => {
                    merged.push(live[at_live].clone());
                    at_live += 1;
                    continue;
                }
                // Shared, but out of the configuration's order, or merged already.
                Some(index) if taken[index] || (next_shared != Some(index) && at_config < config.len()) => {
                    at_live += 1;
                    continue;
                }
                Some(index) if index == at_config => at_live += 1,
                Some(_) => {}
            }
        }
        if at_config < config.len() {
            merged.push(merged_item(at_config));
            taken[at_config] = true;
            if next_shared == Some(at_config) {
                next_shared = shared.next();
            }
            at_config += 1;
        }
    }
    merged
}
