//! Environment variables.

use api::core::v1::{EnvFromSource, EnvVar, EnvVarSource, FileKeySelector};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;

use super::paths::local_descending;
use super::references::{ENV_FIELDS, field_selector, resource_selector};
use crate::validation::fields::extend_invalid;

const ONE_AT_A_TIME: &str = "may not have more than one field specified at a time";

pub fn env(variables: &[EnvVar], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, variable) in variables.iter().enumerate() {
        let path = path.index(index);
        match variable.name.as_str() {
            "" => errors.push(Error::required(&path.child("name"), "")),
            name => extend_invalid(&mut errors, &path.child("name"), name, names::is_relaxed_env_var_name(name)),
        }
        if let Some(source) = &variable.value_from {
            errors.extend(value_from(&variable.value, source, &path.child("valueFrom")));
        }
    }
    errors
}

fn value_from(value: &str, source: &EnvVarSource, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut count = 0;
    if let Some(field) = &source.field_ref {
        count += 1;
        errors.extend(field_selector(field, ENV_FIELDS, &path.child("fieldRef")));
    }
    if let Some(resource) = &source.resource_field_ref {
        count += 1;
        errors.extend(resource_selector(resource, false, &path.child("resourceFieldRef")));
    }
    if let Some(reference) = &source.config_map_key_ref {
        count += 1;
        errors.extend(key_reference(&reference.local_object_reference.name, &reference.key, &path.child("configMapKeyRef")));
    }
    if let Some(reference) = &source.secret_key_ref {
        count += 1;
        errors.extend(key_reference(&reference.local_object_reference.name, &reference.key, &path.child("secretKeyRef")));
    }
    if let Some(reference) = &source.file_key_ref {
        count += 1;
        errors.extend(file_reference(reference, &path.child("fileKeyRef")));
    }
    if count == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(Error::invalid(path, "", detail));
    } else if !value.is_empty() {
        errors.push(Error::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if count > 1 {
        errors.push(Error::invalid(path, "", ONE_AT_A_TIME));
    }
    errors
}

fn key_reference(name: &str, key: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    extend_invalid(&mut errors, &path.child("name"), name, names::is_dns1123_subdomain(name));
    match key {
        "" => errors.push(Error::required(&path.child("key"), "")),
        key => extend_invalid(&mut errors, &path.child("key"), key, names::is_config_map_key(key)),
    }
    errors
}

fn file_reference(reference: &FileKeySelector, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    match reference.key.as_str() {
        "" => errors.push(Error::required(&path.child("key"), "")),
        key => extend_invalid(&mut errors, &path.child("key"), key, names::is_relaxed_env_var_name(key)),
    }
    match reference.path.as_str() {
        "" => errors.push(Error::required(&path.child("path"), "")),
        target => errors.extend(local_descending(target, &path.child("path"))),
    }
    if reference.volume_name.is_empty() {
        errors.push(Error::required(&path.child("volumeName"), ""));
    }
    errors
}

pub fn env_from(sources: &[EnvFromSource], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, source) in sources.iter().enumerate() {
        let item = path.index(index);
        if !source.prefix.is_empty() {
            extend_invalid(&mut errors, &item.child("prefix"), &source.prefix, names::is_relaxed_env_var_name(&source.prefix));
        }
        let references = [
            ("configMapRef", source.config_map_ref.as_ref().map(|reference| &reference.local_object_reference.name)),
            ("secretRef", source.secret_ref.as_ref().map(|reference| &reference.local_object_reference.name)),
        ];
        let mut count = 0;
        for (field, name) in references {
            let Some(name) = name else { continue };
            count += 1;
            let reference = item.child(field);
            match name.as_str() {
                "" => errors.push(Error::required(&reference.child("name"), "")),
                name => extend_invalid(&mut errors, &reference.child("name"), name, names::is_dns1123_subdomain(name)),
            }
        }
        // These two errors name the list and not its item.
        match count {
            0 => errors.push(Error::invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(Error::invalid(path, "", ONE_AT_A_TIME)),
        }
    }
    errors
}
