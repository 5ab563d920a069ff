//! DaemonSets and their `status`.

use api::apps::v1::DaemonSet;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::{ResourceDef, Strategy};

use super::validation::{at_most_all, count_or_percent, is_zero, selector_and_template, shown};
use crate::printers::{age, labels_text};
use crate::validation::{go_value, immutable, non_negative, object_meta, object_meta_update};
use crate::workloads::{containers_and_images, label_selector_text};

/// The resource with its subresources.
pub fn resource() -> ResourceDef {
    ResourceDef::stored(DaemonSetStrategy).status(StatusStrategy)
}

/// Rules of DaemonSets.
#[derive(Clone, Copy, Debug)]
pub struct DaemonSetStrategy;

/// How often the template has changed, for clients that still read it there: upstream keeps a field of an old version in it.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Counts changes of the template from what the stored object says, whatever the client says.
fn count_template(new: &mut DaemonSet, old: &DaemonSet) {
    let stored = old.metadata.annotations.get(TEMPLATE_GENERATION).and_then(|text| text.parse::<i64>().ok());
    let changed = i64::from(new.spec.template != old.spec.template);
    match stored.unwrap_or(0) + changed {
        0 => drop(new.metadata.annotations.remove(TEMPLATE_GENERATION)),
        count => drop(new.metadata.annotations.insert(TEMPLATE_GENERATION, count.to_string())),
    }
}

fn spec(set: &DaemonSet) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = selector_and_template("daemonset", set.spec.selector.as_deref(), &set.spec.template, &path, &["Always"]);
    errors.extend(non_negative(set.spec.min_ready_seconds.into(), &path.child("minReadySeconds")));
    errors.extend(update_strategy(set, &path.child("updateStrategy")));
    if let Some(limit) = set.spec.revision_history_limit {
        errors.extend(non_negative(limit.into(), &path.child("revisionHistoryLimit")));
    }
    errors
}

fn update_strategy(set: &DaemonSet, path: &Path<'_>) -> ErrorList {
    let strategy = &set.spec.update_strategy;
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("OnDelete", _) => ErrorList::new(),
        ("RollingUpdate", None) => vec![Error::required(&rolling_path, "")],
        ("RollingUpdate", Some(rolling)) => {
            let mut errors = ErrorList::new();
            let (unavailable, surge) = (rolling.max_unavailable.as_ref(), rolling.max_surge.as_ref());
            let (unavailable_path, surge_path) = (rolling_path.child("maxUnavailable"), rolling_path.child("maxSurge"));
            for (value, at) in [(unavailable, &unavailable_path), (surge, &surge_path)] {
                if let Some(value) = value {
                    errors.extend(count_or_percent(value, at));
                    errors.extend(at_most_all(value, at));
                }
            }
            let (no_unavailable, no_surge) = (unavailable.is_none() || is_zero(unavailable), surge.is_none() || is_zero(surge));
            match (no_unavailable, no_surge) {
                (true, true) => errors.push(Error::required(&unavailable_path, "cannot be 0 when maxSurge is 0")),
                (false, false) => {
                    let value = surge.map_or(BadValue::json("null"), shown);
                    errors.push(Error::invalid(&surge_path, value, "may not be set when maxUnavailable is non-zero"));
                }
                _ => {}
            }
            errors
        }
        (other, _) => vec![Error::not_supported(&path.child("type"), other, &["OnDelete", "RollingUpdate"])],
    }
}

impl Strategy for DaemonSetStrategy {
    type Object = DaemonSet;

    fn default_object(&self, set: &mut DaemonSet) {
        crate::defaults::generated::apps_v1_daemon_set(set);
    }

    fn prepare_for_create(&self, _: &RequestContext, set: &mut DaemonSet) {
        set.status = Default::default();
        set.metadata.generation = 1;
        set.metadata.annotations.insert(TEMPLATE_GENERATION, "1".to_owned());
    }

    fn validate(&self, _: &RequestContext, set: &DaemonSet) -> ErrorList {
        let mut errors = object_meta(&set.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(spec(set));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut DaemonSet, old: &DaemonSet) {
        new.status.clone_from(&old.status);
        count_template(new, old);
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &DaemonSet, old: &DaemonSet) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        let path = Path::new("spec");
        let selector = new.spec.selector.as_deref().map_or_else(|| BadValue::json("null"), go_value);
        errors.extend(immutable(&new.spec.selector, &old.spec.selector, &path.child("selector"), selector));
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, set: &DaemonSet, now: Time) -> Option<Vec<Value>> {
        let status = &set.status;
        let (containers, images) = containers_and_images(&set.spec.template.spec);
        Some(vec![
            set.metadata.name.clone().into(),
            i64::from(status.desired_number_scheduled).into(),
            i64::from(status.current_number_scheduled).into(),
            i64::from(status.number_ready).into(),
            i64::from(status.updated_number_scheduled).into(),
            i64::from(status.number_available).into(),
            labels_text(set.spec.template.spec.node_selector.iter()).into(),
            age(set.metadata.creation_timestamp, now),
            containers.into(),
            images.into(),
            label_selector_text(set.spec.selector.as_deref()).into(),
        ])
    }
}

/// Rules of a DaemonSet's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = DaemonSet;

    fn default_object(&self, set: &mut DaemonSet) {
        DaemonSetStrategy.default_object(set);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut DaemonSet, old: &DaemonSet) {
        new.spec.clone_from(&old.spec);
        count_template(new, old);
    }

    fn validate_update(&self, _: &RequestContext, new: &DaemonSet, old: &DaemonSet) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("status");
        let status = &new.status;
        for (name, value) in [
            ("currentNumberScheduled", i64::from(status.current_number_scheduled)),
            ("numberMisscheduled", i64::from(status.number_misscheduled)),
            ("desiredNumberScheduled", i64::from(status.desired_number_scheduled)),
            ("numberReady", i64::from(status.number_ready)),
            ("observedGeneration", status.observed_generation),
            ("updatedNumberScheduled", i64::from(status.updated_number_scheduled)),
            ("numberAvailable", i64::from(status.number_available)),
            ("numberUnavailable", i64::from(status.number_unavailable)),
        ] {
            errors.extend(non_negative(value, &path.child(name)));
        }
        if let Some(collisions) = status.collision_count {
            errors.extend(non_negative(collisions.into(), &path.child("collisionCount")));
        }
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, set: &DaemonSet, now: Time) -> Option<Vec<Value>> {
        DaemonSetStrategy.table_cells(set, now)
    }
}
