//! References to fields of the Pod and resources of its containers: environment variables and downward API files.

use api::core::v1::{ObjectFieldSelector, ResourceFieldSelector};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;

use crate::validation::fields::extend_invalid;

/// Fields an environment variable can have.
pub const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields a file can have.
pub const FILE_FIELDS: &[&str] = &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Fields that have a name in v1 at all.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// `metadata.labels['app']` as path and key.
fn subscript(field: &str) -> Option<(&str, &str)> {
    let (path, key) = field.strip_suffix("']")?.split_once("['")?;
    (!path.is_empty()).then_some((path, key))
}

/// A field of the Pod.
pub fn field_selector(selector: &ObjectFieldSelector, allowed: &[&str], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let field_path = path.child("fieldPath");
    if selector.api_version.is_empty() {
        return vec![Error::required(&path.child("apiVersion"), "")];
    }
    if selector.field_path.is_empty() {
        return vec![Error::required(&field_path, "")];
    }
    if selector.api_version != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {}", selector.api_version);
        return vec![Error::invalid(&field_path, &selector.field_path, detail)];
    }
    let name = if selector.field_path == "spec.host" { "spec.nodeName" } else { selector.field_path.as_str() };
    let parts = subscript(name).filter(|(base, _)| matches!(*base, "metadata.annotations" | "metadata.labels"));
    if parts.is_none() && !KNOWN_FIELDS.contains(&name) {
        let detail = format!("error converting fieldPath: field label not supported: {name}");
        return vec![Error::invalid(&field_path, &selector.field_path, detail)];
    }
    match parts {
        Some(("metadata.annotations", key)) => extend_invalid(&mut errors, path, key, names::is_qualified_name(&key.to_lowercase())),
        Some((_, key)) => extend_invalid(&mut errors, path, key, names::is_qualified_name(key)),
        None if !allowed.contains(&name) => errors.push(Error::not_supported(&field_path, name, allowed)),
        None => {}
    }
    errors
}

const RESOURCES: [&str; 6] =
    ["limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory"];
const CPU_DIVISORS: &[&str] = &["1m", "1"];
const SIZE_DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// A resource of a container; a file has to say whose.
pub fn resource_selector(selector: &ResourceFieldSelector, in_file: bool, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let resource = selector.resource.as_str();
    let huge_pages = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_file && selector.container_name.is_empty() {
        errors.push(Error::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !huge_pages {
        errors.push(Error::not_supported(&path.child("resource"), resource, &RESOURCES));
    }
    if selector.divisor.is_zero() {
        return errors;
    }
    let (divisors, what) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => (CPU_DIVISORS, "the cpu resource"),
        "memory" => (SIZE_DIVISORS, "the memory resource"),
        "ephemeral-storage" => (SIZE_DIVISORS, "the local ephemeral storage resource"),
        name if name.starts_with("hugepages-") => (SIZE_DIVISORS, "the hugepages resource"),
        _ => return errors,
    };
    if !divisors.contains(&selector.divisor.to_string().as_str()) {
        let list = if divisors.len() == 2 { divisors.join(" and ") } else { divisors.join(", ") };
        errors.push(Error::invalid(&path.child("divisor"), resource, format!("only divisor's values {list} are supported with {what}")));
    }
    errors
}
