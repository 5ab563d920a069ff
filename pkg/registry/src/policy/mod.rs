//! The policy group. Upstream: pkg/registry/policy, pkg/apis/policy.

use api::policy::v1::PodDisruptionBudget;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{IntOrString, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::{ResourceDef, Strategy};

use crate::apps::validation::{at_most_all, count_or_percent};
use crate::printers::age;
use crate::validation::{label_selector, non_negative, object_meta, object_meta_update};

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![ResourceDef::stored(BudgetStrategy).status(StatusStrategy)]
}

/// Rules of PodDisruptionBudgets.
#[derive(Clone, Copy, Debug)]
pub struct BudgetStrategy;

fn spec(budget: &PodDisruptionBudget) -> ErrorList {
    let path = Path::new("spec");
    let spec = &budget.spec;
    let mut errors = ErrorList::new();
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        errors.push(Error::invalid(
            &path,
            BadValue::json(String::from_utf8_lossy(&apimachinery::json::part_to_vec(spec))),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for (name, value) in [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)] {
        if let Some(value) = value {
            let at = path.child(name);
            errors.extend(count_or_percent(value, &at));
            errors.extend(at_most_all(value, &at));
        }
    }
    errors.extend(label_selector(spec.selector.as_deref(), &path.child("selector")));
    if let Some(policy) = &spec.unhealthy_pod_eviction_policy
        && !matches!(policy.as_str(), "IfHealthyBudget" | "AlwaysAllow")
    {
        errors.push(Error::not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, &["AlwaysAllow", "IfHealthyBudget"]));
    }
    errors
}

fn shown(value: Option<&IntOrString>) -> Value {
    value.map_or_else(|| "N/A".to_owned(), ToString::to_string).into()
}

impl Strategy for BudgetStrategy {
    type Object = PodDisruptionBudget;

    fn prepare_for_create(&self, _: &RequestContext, budget: &mut PodDisruptionBudget) {
        budget.status = Default::default();
        budget.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, budget: &PodDisruptionBudget) -> ErrorList {
        let mut errors = object_meta(&budget.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(spec(budget));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut PodDisruptionBudget, old: &PodDisruptionBudget) {
        new.status.clone_from(&old.status);
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &PodDisruptionBudget, old: &PodDisruptionBudget) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, budget: &PodDisruptionBudget, now: Time) -> Option<Vec<Value>> {
        Some(vec![
            budget.metadata.name.clone().into(),
            shown(budget.spec.min_available.as_ref()),
            shown(budget.spec.max_unavailable.as_ref()),
            i64::from(budget.status.disruptions_allowed).into(),
            age(budget.metadata.creation_timestamp, now),
        ])
    }
}

/// Rules of a budget's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = PodDisruptionBudget;

    fn prepare_for_update(&self, _: &RequestContext, new: &mut PodDisruptionBudget, old: &PodDisruptionBudget) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &PodDisruptionBudget, old: &PodDisruptionBudget) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("status");
        for (name, value) in [
            ("disruptionsAllowed", new.status.disruptions_allowed),
            ("currentHealthy", new.status.current_healthy),
            ("desiredHealthy", new.status.desired_healthy),
            ("expectedPods", new.status.expected_pods),
        ] {
            errors.extend(non_negative(value.into(), &path.child(name)));
        }
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, budget: &PodDisruptionBudget, now: Time) -> Option<Vec<Value>> {
        BudgetStrategy.table_cells(budget, now)
    }
}
