//! LimitRanges.

use std::collections::BTreeSet;

use api::core::v1::{LimitRange, LimitRangeItem};
use apimachinery::Map;
use apimachinery::quantity::Quantity;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::validation::resource::{container_resource_name, is_overcommit_allowed, resource_name};
use crate::validation::fields::extend_invalid;
use crate::validation::{object_meta, object_meta_update};

/// Rules of LimitRanges.
#[derive(Clone, Copy, Debug)]
pub struct LimitRangeStrategy;

impl Strategy for LimitRangeStrategy {
    type Object = LimitRange;

    fn default_object(&self, range: &mut LimitRange) {
        crate::defaults::generated::core_v1_limit_range(range);
    }

    fn validate(&self, _: &RequestContext, range: &LimitRange) -> ErrorList {
        validate(range)
    }

    fn validate_update(&self, _: &RequestContext, new: &LimitRange, old: &LimitRange) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(validate(new));
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate(range: &LimitRange) -> ErrorList {
    let mut errors = object_meta(&range.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
    let spec = Path::new("spec");
    let path = spec.child("limits");
    for (index, limit) in range.spec.limits.iter().enumerate() {
        let path = path.index(index);
        errors.extend(type_name(&limit.type_, &path.child("type")));
        if range.spec.limits[..index].iter().any(|other| other.type_ == limit.type_) {
            errors.push(Error::duplicate(&path.child("type"), &limit.type_));
        }
        errors.extend(item(limit, &path));
    }
    errors
}

fn type_name(name: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    extend_invalid(&mut errors, path, name, names::is_qualified_name(name));
    if errors.is_empty() && !name.contains('/') && !matches!(name, "Pod" | "Container" | "PersistentVolumeClaim") {
        errors.push(Error::invalid(path, name, "must be a standard limit type or fully qualified"));
    }
    errors
}

fn item(limit: &LimitRangeItem, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    let pod = limit.type_ == "Pod";
    let check_name = match limit.type_.as_str() {
        "Pod" | "Container" => container_resource_name,
        _ => resource_name,
    };
    let lists: [(&str, &Map<Quantity>); 5] = [
        ("max", &limit.max),
        ("min", &limit.min),
        ("default", &limit.default),
        ("defaultRequest", &limit.default_request),
        ("maxLimitRequestRatio", &limit.max_limit_request_ratio),
    ];
    for (name, list) in lists {
        let path = path.child(name);
        if pod && name.starts_with("default") {
            if !list.is_empty() {
                errors.push(Error::forbidden(&path, "may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for key in list.keys() {
            errors.extend(check_name(key, &path.key(key)));
            keys.insert(key);
        }
    }
    let claim = limit.type_ == "PersistentVolumeClaim";
    if claim && !limit.min.contains_key("storage") && !limit.max.contains_key("storage") {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.push(Error::required(&path.child("limits"), detail));
    }
    for key in keys {
        errors.extend(amounts(limit, key, path));
    }
    errors
}

/// The amounts of one resource fit together.
fn amounts(limit: &LimitRangeItem, key: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let pod = limit.type_ == "Pod";
    let (min, max) = (limit.min.get(key), limit.max.get(key));
    let default = limit.default.get(key).filter(|_| !pod);
    let request = limit.default_request.get(key).filter(|_| !pod);
    let ratio = limit.max_limit_request_ratio.get(key);
    let (min_path, default_path, request_path) = (path.child("min"), path.child("default"), path.child("defaultRequest"));
    let mut ordered =
        |low: Option<&Quantity>, low_name: &str, high: Option<&Quantity>, high_name: &str, path: &Path<'_>, shown: Option<&Quantity>| {
            if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
                && low.cmp(high).is_gt()
            {
                errors.push(Error::invalid(
                    &path.key(key),
                    shown.to_string(),
                    format!("{low_name} value {low} is greater than {high_name} value {high}"),
                ));
            }
        };
    ordered(min, "min", max, "max", &min_path, min);
    ordered(min, "min", request, "default request", &request_path, request);
    ordered(request, "default request", max, "max", &request_path, request);
    ordered(request, "default request", default, "default limit", &request_path, request);
    ordered(min, "min", default, "default", &default_path, min);
    ordered(default, "default", max, "max", &default_path, max);
    let ratio_path = path.child("maxLimitRequestRatio");
    if let Some(ratio) = ratio {
        if ratio.cmp_i64(1).is_lt() {
            errors.push(Error::invalid(&ratio_path.key(key), ratio.to_string(), format!("ratio {ratio} is less than 1")));
        }
        if let (Some(min), Some(max)) = (min, max) {
            let (value, bound) = ratio_and_bound(ratio, min, max);
            if value > bound {
                let detail = format!("ratio {ratio} is greater than max/min = {bound:.6}");
                errors.push(Error::invalid(&ratio_path.key(key), ratio.to_string(), detail));
            }
        }
    }
    if let (Some(default), Some(request)) = (default, request)
        && !is_overcommit_allowed(key)
        && default.cmp(request).is_ne()
    {
        let detail = format!("default value {default} must equal to defaultRequest value {request} in {key}");
        errors.push(Error::invalid(&request_path.key(key), request.to_string(), detail));
    }
    errors
}

/// In thousandths where they fit, as upstream computes.
fn ratio_and_bound(ratio: &Quantity, min: &Quantity, max: &Quantity) -> (f64, f64) {
    const MAX_MILLI: i64 = i64::MAX / 1000;
    let small = [ratio, min, max].iter().all(|amount| amount.value() < MAX_MILLI);
    match small {
        true => (ratio.milli_value() as f64 / 1000.0, max.milli_value() as f64 / min.milli_value() as f64),
        false => (ratio.value() as f64, max.value() as f64 / min.value() as f64),
    }
}
