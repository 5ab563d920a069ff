//! Label selectors. Upstream: apimachinery `pkg/apis/meta/v1/validation`.

use apimachinery::meta::v1::{LabelSelector, LabelSelectorRequirement};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;

use super::fields::extend_invalid;
use super::meta::{label_name, labels};

/// A selector over labels; absent is well.
pub fn label_selector(selector: Option<&LabelSelector>, path: &Path<'_>) -> ErrorList {
    check(selector, false, path)
}

/// As [`label_selector`], for stored objects whose requirements may hold values no label can have.
pub fn lenient_label_selector(selector: Option<&LabelSelector>, path: &Path<'_>) -> ErrorList {
    check(selector, true, path)
}

fn check(selector: Option<&LabelSelector>, lenient: bool, path: &Path<'_>) -> ErrorList {
    let Some(selector) = selector else { return ErrorList::new() };
    let mut errors = labels(&selector.match_labels, &path.child("matchLabels"));
    let expressions = path.child("matchExpressions");
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        errors.extend(label_requirement(requirement, lenient, &expressions.index(index)));
    }
    errors
}

fn label_requirement(requirement: &LabelSelectorRequirement, lenient: bool, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let values = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if requirement.values.is_empty() => {
            errors.push(Error::required(&values, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !requirement.values.is_empty() => {
            errors.push(Error::forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    errors.extend(label_name(&requirement.key, &path.child("key")));
    if !lenient {
        for (index, value) in requirement.values.iter().enumerate() {
            extend_invalid(&mut errors, &values.index(index), value, names::is_label_value(value));
        }
    }
    errors
}
