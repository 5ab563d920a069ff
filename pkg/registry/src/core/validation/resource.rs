//! Resource names and amounts.

use apimachinery::Quantity;
use apimachinery::validation::field::{Error, ErrorList, Path};

use crate::validation::fields::NOT_NEGATIVE;

/// Resources that are counted in whole units among those without a domain.
fn is_integer_resource(name: &str) -> bool {
    matches!(
        name,
        "pods"
            | "services"
            | "replicationcontrollers"
            | "resourcequotas"
            | "secrets"
            | "configmaps"
            | "persistentvolumeclaims"
            | "services.nodeports"
            | "services.loadbalancers"
    )
}

/// Native resources have no domain, or Kubernetes' own.
pub fn is_native_resource(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub fn is_huge_page_resource(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Resources of devices and the like: `example.com/gpu`. They are whole numbers and cannot be overcommitted.
pub fn is_extended_resource(name: &str) -> bool {
    if is_native_resource(name) || name.starts_with("requests.") {
        return false;
    }
    apimachinery::validation::names::is_qualified_name(&format!("requests.{name}")).is_empty()
}

/// Resources that may be limited above what is requested.
pub fn is_overcommit_allowed(name: &str) -> bool {
    is_native_resource(name) && !is_huge_page_resource(name)
}

/// An amount: not negative, and whole where the resource is counted.
pub fn resource_quantity_value(name: &str, amount: &Quantity, path: &Path<'_>) -> ErrorList {
    let mut errors = non_negative_quantity(amount, path);
    if (is_integer_resource(name) || is_extended_resource(name)) && amount.milli_value() % 1000 != 0 {
        errors.push(Error::invalid(path, amount.to_string(), "must be an integer"));
    }
    errors
}

/// An amount that is 0 or more.
pub fn non_negative_quantity(amount: &Quantity, path: &Path<'_>) -> ErrorList {
    if amount.is_negative() { vec![Error::invalid(path, amount.to_string(), NOT_NEGATIVE)] } else { ErrorList::new() }
}

/// An amount above 0.
pub fn positive_quantity(amount: &Quantity, path: &Path<'_>) -> ErrorList {
    match amount.signum() {
        1 => ErrorList::new(),
        _ => vec![Error::invalid(path, amount.to_string(), "must be greater than zero")],
    }
}

/// Names of resources that anything may ask for or be limited in.
fn is_standard_resource(name: &str) -> bool {
    is_standard_quota_resource(name) || name == "storage" || is_huge_page_resource(name)
}

/// Names of resources a quota can count without a domain.
pub fn is_standard_quota_resource(name: &str) -> bool {
    matches!(
        name,
        "cpu"
            | "memory"
            | "ephemeral-storage"
            | "requests.cpu"
            | "requests.memory"
            | "requests.storage"
            | "requests.ephemeral-storage"
            | "limits.cpu"
            | "limits.memory"
            | "limits.ephemeral-storage"
    ) || is_integer_resource(name)
        || is_huge_page_resource(name.strip_prefix("requests.").unwrap_or(name))
}

/// The name of any resource: qualified, and a known one if it has no domain.
pub fn resource_name(name: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    crate::validation::fields::extend_invalid(&mut errors, path, name, apimachinery::validation::names::is_qualified_name(name));
    if errors.is_empty() && !name.contains('/') && !is_standard_resource(name) {
        errors.push(Error::invalid(path, name, "must be a standard resource type or fully qualified"));
    }
    errors
}

/// The name of a resource a container can have.
pub fn container_resource_name(name: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = resource_name(name, path);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page_resource(name) {
            errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native_resource(name) && !is_extended_resource(name) {
        errors.push(Error::invalid(path, name, "doesn't follow extended resource name standard"));
    }
    errors
}

/// The name of a resource a quota can limit.
pub fn quota_resource_name(name: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = resource_name(name, path);
    if !name.contains('/') && !is_standard_quota_resource(name) {
        errors.push(Error::invalid(path, name, "must be a standard resource for quota"));
    }
    errors
}
