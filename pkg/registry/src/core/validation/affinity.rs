//! Node and Pod affinity, tolerations and spreading: where a Pod may run.

use api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, Toleration, TopologySpreadConstraint,
    WeightedPodAffinityTerm,
};
use apimachinery::gotext::quote;
use apimachinery::meta::v1::LabelSelector;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;

use super::node::taint_effect;
use crate::validation::fields::{extend_invalid, supported};
use crate::validation::label_selector;
use crate::validation::meta::label_name;

const WEIGHT_RANGE: &str = "must be in the range 1-100";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Affinity of all kinds.
pub fn affinity(affinity: &Affinity, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(node) = &affinity.node_affinity {
        errors.extend(node_affinity(node, &path.child("nodeAffinity")));
    }
    if let Some(pod) = &affinity.pod_affinity {
        let (required, preferred) =
            (&pod.required_during_scheduling_ignored_during_execution, &pod.preferred_during_scheduling_ignored_during_execution);
        errors.extend(pod_affinity(required, preferred, &path.child("podAffinity")));
    }
    if let Some(pod) = &affinity.pod_anti_affinity {
        let (required, preferred) =
            (&pod.required_during_scheduling_ignored_during_execution, &pod.preferred_during_scheduling_ignored_during_execution);
        errors.extend(pod_affinity(required, preferred, &path.child("podAntiAffinity")));
    }
    errors
}

fn node_affinity(affinity: &NodeAffinity, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(required) = &affinity.required_during_scheduling_ignored_during_execution {
        errors.extend(node_selector(required, true, &path.child(REQUIRED)));
    }
    let preferred = path.child(PREFERRED);
    for (index, term) in affinity.preferred_during_scheduling_ignored_during_execution.iter().enumerate() {
        let path = preferred.index(index);
        if !(1..=100).contains(&term.weight) {
            errors.push(Error::invalid(&path.child("weight"), term.weight, WEIGHT_RANGE));
        }
        errors.extend(node_selector_term(&term.preference, false, &path.child("preference")));
    }
    errors
}

/// Terms over a node's labels and fields. With `strict` values must be such that a label can have them.
pub fn node_selector(selector: &NodeSelector, strict: bool, path: &Path<'_>) -> ErrorList {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        return vec![Error::required(&path, "must have at least one node selector term")];
    }
    let mut errors = ErrorList::new();
    for (index, term) in selector.node_selector_terms.iter().enumerate() {
        errors.extend(node_selector_term(term, strict, &path.index(index)));
    }
    errors
}

fn node_selector_term(term: &NodeSelectorTerm, strict: bool, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (expressions, fields) = (path.child("matchExpressions"), path.child("matchFields"));
    for (index, requirement) in term.match_expressions.iter().enumerate() {
        errors.extend(node_requirement(requirement, strict, &expressions.index(index)));
    }
    for (index, requirement) in term.match_fields.iter().enumerate() {
        errors.extend(node_field_requirement(requirement, &fields.index(index)));
    }
    errors
}

fn node_requirement(requirement: &NodeSelectorRequirement, strict: bool, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let values = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if requirement.values.is_empty() => {
            errors.push(Error::required(&values, "must be specified when `operator` is 'In' or 'NotIn'"));
        }
        "Exists" | "DoesNotExist" if !requirement.values.is_empty() => {
            errors.push(Error::forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
        }
        "Gt" | "Lt" if requirement.values.len() != 1 => {
            errors.push(Error::required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'"));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    errors.extend(label_name(&requirement.key, &path.child("key")));
    if strict {
        for (index, value) in requirement.values.iter().enumerate() {
            extend_invalid(&mut errors, &values.index(index), value, names::is_label_value(value));
        }
    }
    errors
}

fn node_field_requirement(requirement: &NodeSelectorRequirement, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let values = path.child("values");
    match requirement.operator.as_str() {
        "In" | "NotIn" if requirement.values.len() != 1 => {
            errors.push(Error::required(&values, "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"));
        }
        "In" | "NotIn" => {}
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    if requirement.key != "metadata.name" {
        errors.push(Error::invalid(&path.child("key"), &requirement.key, "not a valid field selector key"));
        return errors;
    }
    for (index, value) in requirement.values.iter().enumerate() {
        extend_invalid(&mut errors, &values.index(index), value, names::is_dns1123_subdomain(value));
    }
    errors
}

fn pod_affinity(required: &[PodAffinityTerm], preferred: &[WeightedPodAffinityTerm], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (required_path, preferred_path) = (path.child(REQUIRED), path.child(PREFERRED));
    for (index, term) in required.iter().enumerate() {
        errors.extend(pod_affinity_term(term, &required_path.index(index)));
    }
    for (index, term) in preferred.iter().enumerate() {
        let path = preferred_path.index(index);
        if !(1..=100).contains(&term.weight) {
            errors.push(Error::invalid(&path.child("weight"), term.weight, WEIGHT_RANGE));
        }
        errors.extend(pod_affinity_term(&term.pod_affinity_term, &path.child("podAffinityTerm")));
    }
    errors
}

fn pod_affinity_term(term: &PodAffinityTerm, path: &Path<'_>) -> ErrorList {
    let mut errors = label_selector(term.label_selector.as_deref(), &path.child("labelSelector"));
    errors.extend(label_selector(term.namespace_selector.as_deref(), &path.child("namespaceSelector")));
    for namespace in &term.namespaces {
        extend_invalid(&mut errors, &path.child("namespace"), namespace, names::is_dns1123_label(namespace));
    }
    let selector = term.label_selector.as_deref();
    errors.extend(label_keys(&term.match_label_keys, selector, &path.child("matchLabelKeys")));
    errors.extend(label_keys(&term.mismatch_label_keys, selector, &path.child("mismatchLabelKeys")));
    let keys = path.child("matchLabelKeys");
    for (index, key) in term.match_label_keys.iter().enumerate().filter(|(_, key)| term.mismatch_label_keys.contains(key)) {
        errors.push(Error::invalid(&keys.index(index), key, "exists in both matchLabelKeys and mismatchLabelKeys"));
    }
    let key = path.child("topologyKey");
    if term.topology_key.is_empty() {
        errors.push(Error::required(&key, "can not be empty"));
    }
    errors.extend(label_name(&term.topology_key, &key));
    errors
}

/// Keys of the Pod's own labels that join its selector.
fn label_keys(keys: &[String], selector: Option<&LabelSelector>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if keys.is_empty() {
        return errors;
    }
    if selector.is_none() {
        errors.push(Error::forbidden(path, "must not be specified when labelSelector is not set"));
    }
    for (index, key) in keys.iter().enumerate() {
        errors.extend(label_name(key, &path.index(index)));
    }
    errors
}

pub fn tolerations(tolerations: &[Toleration], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let operator = path.child("operator");
        if !toleration.key.is_empty() {
            errors.extend(label_name(&toleration.key, &path.child("key")));
        }
        if toleration.key.is_empty() && toleration.operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(Error::invalid(&operator, &toleration.operator, detail));
        }
        if toleration.toleration_seconds.is_some() && toleration.effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(Error::invalid(&path.child("effect"), &toleration.effect, detail));
        }
        match toleration.operator.as_str() {
            "Equal" | "" => {
                let messages = names::is_label_value(&toleration.value);
                if !messages.is_empty() {
                    errors.push(Error::invalid(&operator, &toleration.value, messages.join(";")));
                }
            }
            "Exists" if !toleration.value.is_empty() => {
                errors.push(Error::invalid(&operator, &toleration.value, "value must be empty when `operator` is 'Exists'"));
            }
            "Exists" => {}
            // These compare numbers; their gate is off by default.
            other @ ("Lt" | "Gt") => errors.push(Error::not_supported(&operator, other, &["Equal", "Exists", "Lt", "Gt"])),
            other => errors.push(Error::not_supported(&operator, other, &["Equal", "Exists"])),
        }
        if !toleration.effect.is_empty() {
            errors.extend(taint_effect(&toleration.effect, &path.child("effect")));
        }
    }
    errors
}

pub fn topology_spread_constraints(constraints: &[TopologySpreadConstraint], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        if constraint.max_skew <= 0 {
            errors.push(Error::invalid(&path.child("maxSkew"), constraint.max_skew, "must be greater than zero"));
        }
        if constraint.topology_key.is_empty() {
            errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
        }
        let when = constraint.when_unsatisfiable.as_str();
        errors.extend(supported(when, &["DoNotSchedule", "ScheduleAnyway"], &path.child("whenUnsatisfiable")));
        let twice = |other: &TopologySpreadConstraint| other.topology_key == constraint.topology_key && other.when_unsatisfiable == when;
        if constraints[index + 1..].iter().any(twice) {
            let shown = format!("{{{}, {when}}}", constraint.topology_key);
            errors.push(Error::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), shown));
        }
        if let Some(domains) = constraint.min_domains {
            if domains <= 0 {
                errors.push(Error::invalid(&path.child("minDomains"), domains, "must be greater than zero"));
            }
            if when != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.push(Error::invalid(&path.child("minDomains"), domains, detail));
            }
        }
        for (name, policy) in
            [("nodeAffinityPolicy", &constraint.node_affinity_policy), ("nodeTaintsPolicy", &constraint.node_taints_policy)]
        {
            if let Some(policy) = policy {
                errors.extend(supported(policy, &["Honor", "Ignore"], &path.child(name)));
            }
        }
        let selector = constraint.label_selector.as_deref();
        errors.extend(label_keys(&constraint.match_label_keys, selector, &path.child("matchLabelKeys")));
        if let Some(selector) = selector {
            let keys = path.child("matchLabelKeys");
            let named = |key: &str| {
                selector.match_labels.contains_key(key) || selector.match_expressions.iter().any(|expression| expression.key == key)
            };
            for (index, key) in constraint.match_label_keys.iter().enumerate().filter(|(_, key)| named(key)) {
                errors.push(Error::invalid(&keys.index(index), key, "exists in both matchLabelKeys and labelSelector"));
            }
        }
        errors.extend(label_selector(selector, &path.child("labelSelector")));
    }
    errors
}

/// Names of gates: qualified, each once.
pub fn gates<'a>(gates: impl Iterator<Item = &'a str> + Clone, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, gate) in gates.clone().enumerate() {
        extend_invalid(&mut errors, &path.index(index), gate, names::is_qualified_name(gate));
        if gates.clone().take(index).any(|other| other == gate) {
            errors.push(Error::duplicate(&path.index(index), BadValue::json(quote(gate))));
        }
    }
    errors
}
