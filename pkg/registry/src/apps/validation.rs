//! Validation of workloads. Upstream: pkg/apis/apps/validation.

use api::core::v1::PodTemplateSpec;
use apimachinery::meta::v1::LabelSelector;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{IntOrString, labels};

use crate::validation::{go_value, label_selector, non_negative, pod_template};

/// How an error shows a number or percentage.
pub fn shown(value: &IntOrString) -> BadValue {
    match value {
        IntOrString::Int(number) => BadValue::from(*number),
        IntOrString::String(text) => BadValue::from(text),
    }
}

/// A whole number that is not negative, or a percentage.
pub fn count_or_percent(value: &IntOrString, path: &Path<'_>) -> ErrorList {
    match value {
        IntOrString::Int(number) => non_negative((*number).into(), path),
        IntOrString::String(text) => names::is_percent(text).into_iter().map(|message| Error::invalid(path, text, message)).collect(),
    }
}

/// A percentage of at most a hundred; numbers pass.
pub fn at_most_all(value: &IntOrString, path: &Path<'_>) -> ErrorList {
    match value.percent() {
        Some(percent) if percent > 100 => vec![Error::invalid(path, shown(value), "must not be greater than 100%")],
        _ => ErrorList::new(),
    }
}

/// True for 0 and 0%.
pub fn is_zero(value: Option<&IntOrString>) -> bool {
    value.is_some_and(|value| value.percent().unwrap_or(value.int_value()) == 0)
}

/// The selector of a workload: there, not empty, and matching the template.
pub fn selector_and_template(
    kind: &str,
    selector: Option<&LabelSelector>,
    template: &PodTemplateSpec,
    path: &Path<'_>,
    restart_policies: &[&str],
) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = path.child("selector");
    match selector {
        None => errors.push(Error::required(&at, "")),
        Some(selector) => {
            errors.extend(label_selector(Some(selector), &at));
            if selector.match_labels.is_empty() && selector.match_expressions.is_empty() {
                errors.push(Error::invalid(&at, go_value(selector), format!("empty selector is invalid for {kind}")));
            }
        }
    }
    let template_path = path.child("template");
    if let Some(parsed) = selector.and_then(|selector| labels::Selector::of(selector).ok())
        && !parsed.is_everything()
        && !parsed.matches(&template.metadata.labels)
    {
        errors.push(mismatch(template, &template_path));
    }
    errors.extend(pod_template::validate(template, &template_path));
    errors.extend(restart_policy(template, &template_path, restart_policies));
    if restart_policies == ["Always"] && template.spec.active_deadline_seconds.is_some() {
        let what = match kind {
            "daemonset" => "DaemonSet",
            "statefulset" => "StatefulSet",
            _ => "ReplicaSet",
        };
        let spec = template_path.child("spec");
        errors.push(Error::forbidden(&spec.child("activeDeadlineSeconds"), format!("activeDeadlineSeconds in {what} is not Supported")));
    }
    errors
}

/// The template's labels are not what the selector looks for.
pub fn mismatch(template: &PodTemplateSpec, path: &Path<'_>) -> Error {
    let mut value = apimachinery::value::Object::default();
    for (key, label) in &template.metadata.labels {
        value.insert(key, label.clone());
    }
    let metadata = path.child("metadata");
    Error::invalid(
        &metadata.child("labels"),
        BadValue::json(apimachinery::Value::Object(value).to_string()),
        "`selector` does not match template `labels`",
    )
}

fn restart_policy(template: &PodTemplateSpec, path: &Path<'_>, allowed: &[&str]) -> ErrorList {
    let policy = template.spec.restart_policy.as_str();
    if allowed.contains(&policy) {
        return ErrorList::new();
    }
    let spec = path.child("spec");
    vec![Error::not_supported(&spec.child("restartPolicy"), policy, allowed)]
}
