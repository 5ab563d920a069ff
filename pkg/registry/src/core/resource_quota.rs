//! ResourceQuotas and their status.

use api::core::v1::{ResourceQuota, ResourceQuotaSpec, ResourceQuotaStatus, ScopeSelector};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Map, Quantity, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::validation::resource::{is_standard_quota_resource, quota_resource_name, resource_quantity_value};
use crate::printers::age;
use crate::validation::fields::IMMUTABLE;
use crate::validation::go_value::{go_list, go_value};
use crate::validation::meta::string_list;
use crate::validation::{object_meta, object_meta_update};

/// Rules of ResourceQuotas.
#[derive(Clone, Copy, Debug)]
pub struct ResourceQuotaStrategy;

impl Strategy for ResourceQuotaStrategy {
    type Object = ResourceQuota;

    fn prepare_for_create(&self, _: &RequestContext, quota: &mut ResourceQuota) {
        quota.status = ResourceQuotaStatus::default();
    }

    fn validate(&self, _: &RequestContext, quota: &ResourceQuota) -> ErrorList {
        let mut errors = object_meta(&quota.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(spec(&quota.spec));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut ResourceQuota, old: &ResourceQuota) {
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, _: &RequestContext, new: &ResourceQuota, old: &ResourceQuota) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(&new.spec));
        let mut sets = [&new.spec.scopes, &old.spec.scopes].map(|scopes| scopes.to_vec());
        sets.iter_mut().for_each(|scopes| {
            scopes.sort_unstable();
            scopes.dedup();
        });
        if sets[0] != sets[1] {
            let path = Path::new("spec");
            let shown = if new.spec.scopes.is_nil() { BadValue::json("null") } else { string_list(&new.spec.scopes) };
            errors.push(Error::invalid(&path.child("scopes"), shown, IMMUTABLE));
        }
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, quota: &ResourceQuota, now: Time) -> Option<Vec<Value>> {
        Some(cells(quota, now))
    }
}

/// Rules of a quota's status.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = ResourceQuota;

    fn prepare_for_update(&self, _: &RequestContext, new: &mut ResourceQuota, old: &ResourceQuota) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &ResourceQuota, old: &ResourceQuota) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("status");
        errors.extend(amounts(&new.status.hard, &path.child("hard")));
        errors.extend(amounts(&new.status.used, &path.child("used")));
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, quota: &ResourceQuota, now: Time) -> Option<Vec<Value>> {
        Some(cells(quota, now))
    }
}

fn cells(quota: &ResourceQuota, now: Time) -> Vec<Value> {
    let used = &quota.status.used;
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (name, hard) in &quota.status.hard {
        let used = used.get(name).map_or_else(|| "0".to_owned(), Quantity::to_string);
        let text = format!("{name}: {used}/{hard}");
        if name.starts_with("limits") { limits.push(text) } else { requests.push(text) }
    }
    vec![
        quota.metadata.name.clone().into(),
        requests.join(", ").into(),
        limits.join(", ").into(),
        age(quota.metadata.creation_timestamp, now),
    ]
}

fn amounts(list: &Map<Quantity>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (name, amount) in list {
        errors.extend(quota_resource_name(name, &path.key(name)));
        errors.extend(resource_quantity_value(name, amount, &path.key(name)));
    }
    errors
}

const SCOPES: [&str; 7] =
    ["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity", "VolumeAttributesClass"];

const OPPOSITES: [(&str, &str); 2] = [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")];

/// Whether a quota of this scope can count the resource.
fn scope_fits(scope: &str, resource: &str) -> bool {
    let pods = resource == "pods";
    let computes = matches!(resource, "cpu" | "memory" | "requests.cpu" | "requests.memory" | "limits.cpu" | "limits.memory");
    match scope {
        "BestEffort" => pods,
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => pods || computes,
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

fn spec(quota: &ResourceQuotaSpec) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = amounts(&quota.hard, &path.child("hard"));
    errors.extend(scopes(quota, &path.child("scopes")));
    if let Some(selector) = &quota.scope_selector {
        let selector_path = path.child("scopeSelector");
        errors.extend(scope_selector(quota, selector, &selector_path.child("matchExpressions")));
    }
    errors
}

fn misfits<'a>(quota: &'a ResourceQuotaSpec, scope: &'a str) -> usize {
    quota.hard.keys().filter(|resource| is_standard_quota_resource(resource) && !scope_fits(scope, resource)).count()
}

fn scopes(quota: &ResourceQuotaSpec, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let shown = || string_list(&quota.scopes);
    for scope in &quota.scopes {
        if !SCOPES.contains(&scope.as_str()) {
            errors.push(Error::invalid(path, shown(), "unsupported scope"));
        }
        for _ in 0..misfits(quota, scope) {
            errors.push(Error::invalid(path, shown(), "unsupported scope applied to resource"));
        }
    }
    let has = |scope: &str| quota.scopes.iter().any(|found| found == scope);
    for (one, other) in OPPOSITES {
        if has(one) && has(other) {
            errors.push(Error::invalid(path, shown(), "conflicting scopes"));
        }
    }
    errors
}

fn scope_selector(quota: &ResourceQuotaSpec, selector: &ScopeSelector, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for requirement in &selector.match_expressions {
        let (scope, operator) = (requirement.scope_name.as_str(), requirement.operator.as_str());
        if !SCOPES.contains(&scope) {
            errors.push(Error::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in 0..misfits(quota, scope) {
            errors.push(Error::invalid(path, go_value(selector), "unsupported scope applied to resource"));
        }
        let only_exists = matches!(scope, "BestEffort" | "NotBestEffort" | "Terminating" | "NotTerminating" | "CrossNamespacePodAffinity");
        if only_exists && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                          ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(Error::invalid(&path.child("operator"), operator, detail));
        }
        let values = path.child("values");
        match operator {
            "In" | "NotIn" if requirement.values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(Error::required(&values, detail));
            }
            "Exists" | "DoesNotExist" if !requirement.values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(Error::invalid(&values, string_list(&requirement.values), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(Error::invalid(&path.child("operator"), operator, "not a valid selector operator")),
        }
    }
    let has = |scope: &str| selector.match_expressions.iter().any(|found| found.scope_name == scope);
    for (one, other) in OPPOSITES {
        if has(one) && has(other) {
            errors.push(Error::invalid(path, go_list(&selector.match_expressions), "conflicting scopes"));
        }
    }
    errors
}
