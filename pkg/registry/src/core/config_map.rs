//! ConfigMaps.

use api::core::v1::ConfigMap;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::validation::MAX_SECRET_SIZE;
use crate::printers::age;
use crate::validation::fields::extend_invalid;
use crate::validation::{object_meta, object_meta_update};

/// Why a locked ConfigMap or Secret stays as it is.
pub const IMMUTABLE_WHEN_SET: &str = "field is immutable when `immutable` is set";

/// Rules of ConfigMaps.
#[derive(Clone, Copy, Debug)]
pub struct ConfigMapStrategy;

impl Strategy for ConfigMapStrategy {
    type Object = ConfigMap;

    fn validate(&self, _: &RequestContext, map: &ConfigMap) -> ErrorList {
        validate(map)
    }

    fn validate_update(&self, _: &RequestContext, new: &ConfigMap, old: &ConfigMap) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        if old.immutable == Some(true) {
            if new.immutable != Some(true) {
                errors.push(Error::forbidden(&Path::new("immutable"), IMMUTABLE_WHEN_SET));
            }
            if new.data.entries() != old.data.entries() {
                errors.push(Error::forbidden(&Path::new("data"), IMMUTABLE_WHEN_SET));
            }
            if new.binary_data.entries() != old.binary_data.entries() {
                errors.push(Error::forbidden(&Path::new("binaryData"), IMMUTABLE_WHEN_SET));
            }
        }
        errors.extend(validate(new));
        errors
    }

    fn table_cells(&self, map: &ConfigMap, now: Time) -> Option<Vec<Value>> {
        let count = (map.data.len() + map.binary_data.len()) as i64;
        Some(vec![map.metadata.name.clone().into(), count.into(), age(map.metadata.creation_timestamp, now)])
    }
}

fn validate(map: &ConfigMap) -> ErrorList {
    let mut errors = object_meta(&map.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
    let (data, binary) = (Path::new("data"), Path::new("binaryData"));
    for key in map.data.keys() {
        extend_invalid(&mut errors, &data.key(key), key, names::is_config_map_key(key));
        if map.binary_data.contains_key(key) {
            errors.push(Error::invalid(&data.key(key), key, "duplicate of key present in binaryData"));
        }
    }
    for key in map.binary_data.keys() {
        extend_invalid(&mut errors, &binary.key(key), key, names::is_config_map_key(key));
    }
    let size: usize = map.data.values().map(String::len).chain(map.binary_data.values().map(|value| value.len())).sum();
    if size > MAX_SECRET_SIZE {
        // The object as a whole is too long, so the error has no field.
        errors.push(Error { field: String::new(), ..Error::too_long(&Path::ROOT, MAX_SECRET_SIZE) });
    }
    errors
}
