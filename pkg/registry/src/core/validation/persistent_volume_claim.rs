//! PersistentVolumeClaims, and the claims that ephemeral volumes make.

use api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;

use super::resource::{positive_quantity, resource_name, resource_quantity_value};
use crate::validation::fields::{IMMUTABLE, extend_invalid, supported};
use crate::validation::go_value::go_value;
use crate::validation::{label_selector, object_meta, object_meta_update};

/// In the order of errors, which is alphabetic.
pub const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
pub const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// A claim.
pub fn validate(claim: &PersistentVolumeClaim) -> ErrorList {
    let mut errors = object_meta(&claim.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
    errors.extend(spec(&claim.spec, &Path::new("spec")));
    errors
}

/// The modes of a claim or volume: known ones, and the exclusive one alone.
pub fn access_modes(modes: &[String], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for mode in modes {
        errors.extend(supported(mode, &ACCESS_MODES, path));
    }
    let has = |wanted: fn(&str) -> bool| modes.iter().any(|mode| wanted(mode));
    if has(|mode| mode == "ReadWriteOncePod") && has(|mode| mode != "ReadWriteOncePod") {
        errors.push(Error::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
    errors
}

pub fn spec(spec: &PersistentVolumeClaimSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let modes = path.child("accessModes");
    if spec.access_modes.is_empty() {
        errors.push(Error::required(&modes, "at least 1 access mode is required"));
    }
    errors.extend(label_selector(spec.selector.as_deref(), &path.child("selector")));
    errors.extend(access_modes(&spec.access_modes, &modes));
    let resources = path.child("resources");
    match spec.resources.requests.get("storage") {
        None => errors.push(Error::required(&resources.key("storage"), "")),
        Some(size) => errors.extend(positive_quantity(size, &resources.key("storage"))),
    }
    if let Some(class) = spec.storage_class_name.as_deref().filter(|class| !class.is_empty()) {
        extend_invalid(&mut errors, &path.child("storageClassName"), class, names::is_dns1123_subdomain(class));
    }
    if let Some(mode) = &spec.volume_mode {
        errors.extend(supported(mode, &VOLUME_MODES, &path.child("volumeMode")));
    }
    if let Some(source) = &spec.data_source {
        errors.extend(source_reference(&source.name, &source.kind, source.api_group.as_deref(), &path.child("dataSource")));
    }
    if let Some(source) = &spec.data_source_ref {
        errors.extend(source_reference(&source.name, &source.kind, source.api_group.as_deref(), &path.child("dataSourceRef")));
    }
    errors.extend(sources_agree(spec, path));
    if let Some(class) = spec.volume_attributes_class_name.as_deref().filter(|class| !class.is_empty()) {
        extend_invalid(&mut errors, &path.child("volumeAttributesClassName"), class, names::is_dns1123_subdomain(class));
    }
    errors
}

fn source_reference(name: &str, kind: &str, group: Option<&str>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (field, value) in [("name", name), ("kind", kind)] {
        if value.is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
    }
    match group.unwrap_or_default() {
        "" if kind != "PersistentVolumeClaim" => {
            errors.push(Error::invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup"));
        }
        "" => {}
        group => extend_invalid(&mut errors, &path.child("apiGroup"), group, names::is_dns1123_subdomain(group)),
    }
    errors
}

fn sources_agree(spec: &PersistentVolumeClaimSpec, path: &Path<'_>) -> Option<Error> {
    let reference = spec.data_source_ref.as_ref()?;
    let source = spec.data_source.as_ref();
    if reference.namespace.as_deref().is_some_and(|namespace| !namespace.is_empty()) {
        let source = source?;
        return Some(Error::invalid(path, go_value(&**source), "may not be specified when dataSourceRef.namespace is specified"));
    }
    let agree = source.is_some_and(|source| {
        let group = |group: &Option<String>| group.clone().unwrap_or_default();
        source.name == reference.name && source.kind == reference.kind && group(&source.api_group) == group(&reference.api_group)
    });
    // Upstream shows a pointer here, of which nothing is to be seen.
    let shown = || apimachinery::validation::BadValue::json("{}");
    (!agree).then(|| Error::invalid(path, shown(), "must match dataSourceRef"))
}

/// Once made, a claim changes only by being bound and by growing.
pub fn validate_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    let path = Path::new("spec");
    let (mut changed, mut before) = (new.spec.clone(), old.spec.clone());
    if old.spec.volume_name.is_empty() {
        before.volume_name.clone_from(&changed.volume_name);
    }
    // A class may be given to a claim that has none.
    if old.spec.storage_class_name.is_none() && changed.storage_class_name.is_some() {
        changed.storage_class_name = None;
    }
    if new.status.phase == "Bound" {
        if !changed.resources.requests.is_nil() {
            match old.spec.resources.requests.get("storage") {
                Some(size) => drop(changed.resources.requests.insert("storage", size.clone())),
                None => drop(changed.resources.requests.remove("storage")),
            }
        }
        changed.volume_attributes_class_name.clone_from(&before.volume_attributes_class_name);
    }
    let same_requests = changed.resources.requests.entries() == before.resources.requests.entries();
    if same_requests {
        changed.resources.requests = before.resources.requests.clone();
    }
    if changed != before {
        let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(Error::forbidden(&path, detail));
    }
    let size = |claim: &PersistentVolumeClaim| claim.spec.resources.requests.get("storage").cloned().unwrap_or_default();
    let (new_size, old_size) = (size(new), size(old));
    let has = old.status.capacity.get("storage").cloned().unwrap_or_default();
    if new_size.cmp(&old_size).is_lt() && new_size.cmp(&has).is_le() {
        let resources = path.child("resources.requests");
        errors.push(Error::forbidden(&resources.child("storage"), "field can not be less than status.capacity"));
    }
    if new.spec.volume_mode != old.spec.volume_mode {
        errors.push(Error::invalid(&Path::new("volumeMode"), new.spec.volume_mode.clone(), IMMUTABLE));
    }
    errors
}

/// A changed status.
pub fn validate_status_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    let status = Path::new("status");
    for (name, list) in [("capacity", &new.status.capacity), ("allocatedResources", &new.status.allocated_resources)] {
        let path = status.child(name);
        for (key, amount) in list {
            errors.extend(resource_name(key, &path.key(key)));
            errors.extend(resource_quantity_value(key, amount, &path.key(key)));
        }
    }
    errors
}
