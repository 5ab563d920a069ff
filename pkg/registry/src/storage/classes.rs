//! StorageClasses and VolumeAttributesClasses.

use api::storage::v1::{StorageClass, VolumeAttributesClass};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Map, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::printers::{age, or_unknown};
use crate::validation::{immutable, object_meta, object_meta_update};

/// Parameters may not grow beyond these.
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETERS_SIZE: usize = 256 * 1024;

fn parameters(parameters: &Map<String>, allow_empty: bool, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if parameters.len() > MAX_PARAMETERS {
        errors.push(Error::too_long(path, MAX_PARAMETERS));
        return errors;
    }
    if !allow_empty && parameters.is_empty() {
        errors.push(Error::required(path, "must contain at least one key/value pair"));
        return errors;
    }
    if parameters.keys().any(str::is_empty) {
        errors.push(Error::invalid(path, "", "field can not be empty."));
    }
    if parameters.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > MAX_PARAMETERS_SIZE {
        errors.push(Error::too_long(path, MAX_PARAMETERS_SIZE));
    }
    errors
}

fn qualified_lower(name: &str, path: &Path<'_>) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    names::is_qualified_name(&name.to_lowercase()).into_iter().map(|message| Error::invalid(path, name, message)).collect()
}

fn map_value(map: &Map<String>) -> BadValue {
    let mut value = apimachinery::value::Object::default();
    for (key, text) in map {
        value.insert(key, text.clone());
    }
    BadValue::json(Value::Object(value).to_string())
}

/// Rules of StorageClasses.
#[derive(Clone, Copy, Debug)]
pub struct StorageClassStrategy;

impl Strategy for StorageClassStrategy {
    type Object = StorageClass;

    fn default_object(&self, class: &mut StorageClass) {
        crate::defaults::generated::storage_v1_storage_class(class);
    }

    fn validate(&self, _: &RequestContext, class: &StorageClass) -> ErrorList {
        let mut errors = object_meta(&class.metadata, false, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(qualified_lower(&class.provisioner, &Path::new("provisioner")));
        errors.extend(parameters(&class.parameters, true, &Path::new("parameters")));
        if let Some(policy) = &class.reclaim_policy
            && !matches!(policy.as_str(), "Delete" | "Retain")
        {
            errors.push(Error::not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]));
        }
        let mode = Path::new("volumeBindingMode");
        match class.volume_binding_mode.as_deref() {
            None => errors.push(Error::required(&mode, "")),
            Some("Immediate" | "WaitForFirstConsumer") => {}
            Some(other) => errors.push(Error::not_supported(&mode, other, &["Immediate", "WaitForFirstConsumer"])),
        }
        errors
    }

    fn validate_update(&self, _: &RequestContext, new: &StorageClass, old: &StorageClass) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        const FORBIDDEN: &str = "updates to parameters are forbidden.";
        if new.parameters != old.parameters && !(new.parameters.is_empty() && old.parameters.is_empty()) {
            errors.push(Error::forbidden(&Path::new("parameters"), FORBIDDEN));
        }
        if new.provisioner != old.provisioner {
            errors.push(Error::forbidden(&Path::new("provisioner"), "updates to provisioner are forbidden."));
        }
        if new.reclaim_policy != old.reclaim_policy {
            errors.push(Error::forbidden(&Path::new("reclaimPolicy"), "updates to reclaimPolicy are forbidden."));
        }
        let shown = BadValue::from(new.volume_binding_mode.clone());
        errors.extend(immutable(&new.volume_binding_mode, &old.volume_binding_mode, &Path::new("volumeBindingMode"), shown));
        errors
    }

    fn table_cells(&self, class: &StorageClass, now: Time) -> Option<Vec<Value>> {
        let default = class.metadata.annotations.get_str("storageclass.kubernetes.io/is-default-class") == "true"
            || class.metadata.annotations.get_str("storageclass.beta.kubernetes.io/is-default-class") == "true";
        let name = if default { format!("{} (default)", class.metadata.name) } else { class.metadata.name.clone() };
        Some(vec![
            name.into(),
            class.provisioner.clone().into(),
            class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned()).into(),
            or_unknown(class.volume_binding_mode.as_deref().unwrap_or("")).into(),
            Value::Bool(class.allow_volume_expansion.unwrap_or(false)),
            age(class.metadata.creation_timestamp, now),
        ])
    }
}

/// Rules of VolumeAttributesClasses.
#[derive(Clone, Copy, Debug)]
pub struct VolumeAttributesClassStrategy;

impl Strategy for VolumeAttributesClassStrategy {
    type Object = VolumeAttributesClass;

    fn validate(&self, _: &RequestContext, class: &VolumeAttributesClass) -> ErrorList {
        let mut errors = object_meta(&class.metadata, false, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(qualified_lower(&class.driver_name, &Path::new("driverName")));
        errors.extend(parameters(&class.parameters, false, &Path::new("parameters")));
        errors
    }

    fn validate_update(&self, _: &RequestContext, new: &VolumeAttributesClass, old: &VolumeAttributesClass) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(immutable(&new.driver_name, &old.driver_name, &Path::new("driverName"), &new.driver_name));
        errors.extend(immutable(&new.parameters, &old.parameters, &Path::new("parameters"), map_value(&new.parameters)));
        errors
    }

    fn table_cells(&self, class: &VolumeAttributesClass, now: Time) -> Option<Vec<Value>> {
        Some(vec![class.metadata.name.clone().into(), class.driver_name.clone().into(), age(class.metadata.creation_timestamp, now)])
    }
}
