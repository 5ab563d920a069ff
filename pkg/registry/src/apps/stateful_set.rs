//! StatefulSets, their `status` and `scale`.

use api::apps::v1::StatefulSet;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::scale::Replicas;
use apiserver::rest::{ResourceDef, ScaleAccess, Strategy};

use super::validation::{at_most_all, count_or_percent, selector_and_template};
use crate::printers::age;
use crate::validation::{non_negative, object_meta, object_meta_update};
use crate::workloads::{containers_and_images, selector_text};

/// The resource with its subresources.
pub fn resource() -> ResourceDef {
    ResourceDef::stored(StatefulSetStrategy).status(StatusStrategy).scale(ScaleAccess::of(
        |set: &StatefulSet| Replicas {
            wanted: set.spec.replicas.unwrap_or(0),
            current: set.status.replicas,
            selector: selector_text(set.spec.selector.as_deref()),
        },
        |set, replicas| set.spec.replicas = Some(replicas),
    ))
}

/// Rules of StatefulSets.
#[derive(Clone, Copy, Debug)]
pub struct StatefulSetStrategy;

fn spec(set: &StatefulSet) -> ErrorList {
    let path = Path::new("spec");
    let spec = &set.spec;
    let mut errors = ErrorList::new();
    let management = spec.pod_management_policy.as_str();
    let at = path.child("podManagementPolicy");
    match management {
        "" => errors.push(Error::required(&at, "")),
        "OrderedReady" | "Parallel" => {}
        other => errors.push(Error::invalid(&at, other, "must be 'OrderedReady' or 'Parallel'")),
    }
    errors.extend(update_strategy(set, &path.child("updateStrategy")));
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        let at = path.child("persistentVolumeClaimRetentionPolicy");
        for (name, value) in [("whenDeleted", &retention.when_deleted), ("whenScaled", &retention.when_scaled)] {
            if !matches!(value.as_str(), "Retain" | "Delete") {
                errors.push(Error::not_supported(&at.child(name), value, &["Retain", "Delete"]));
            }
        }
    }
    errors.extend(non_negative(spec.replicas.unwrap_or(0).into(), &path.child("replicas")));
    errors.extend(non_negative(spec.min_ready_seconds.into(), &path.child("minReadySeconds")));
    if let Some(ordinals) = &spec.ordinals {
        let at = path.child("ordinals");
        errors.extend(non_negative(ordinals.start.into(), &at.child("start")));
    }
    if !spec.service_name.is_empty() {
        let at = path.child("serviceName");
        errors.extend(
            names::is_dns1123_label(&spec.service_name).into_iter().map(|message| Error::invalid(&at, &spec.service_name, message)),
        );
    }
    errors.extend(selector_and_template("statefulset", spec.selector.as_deref(), &spec.template, &path, &["Always"]));
    if let Some(limit) = spec.revision_history_limit {
        errors.extend(non_negative(limit.into(), &path.child("revisionHistoryLimit")));
    }
    errors
}

fn update_strategy(set: &StatefulSet, path: &Path<'_>) -> ErrorList {
    let strategy = &set.spec.update_strategy;
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("", _) => vec![Error::required(&path.child("type"), "")],
        ("OnDelete", Some(_)) => {
            vec![Error::invalid(&rolling_path, BadValue::OMITTED, "only allowed for updateStrategy 'RollingUpdate'")]
        }
        ("OnDelete", None) | ("RollingUpdate", None) => ErrorList::new(),
        ("RollingUpdate", Some(rolling)) => {
            let mut errors = non_negative(rolling.partition.unwrap_or(0).into(), &rolling_path.child("partition"));
            if let Some(unavailable) = &rolling.max_unavailable {
                let at = rolling_path.child("maxUnavailable");
                errors.extend(count_or_percent(unavailable, &at));
                errors.extend(at_most_all(unavailable, &at));
                if unavailable.percent().unwrap_or(unavailable.int_value()) == 0 {
                    errors.push(Error::invalid(&at, super::validation::shown(unavailable), "cannot be 0"));
                }
            }
            errors
        }
        (other, _) => {
            vec![Error::invalid(path, BadValue::json(format!("{{\"Type\":{other:?}}}")), "must be 'RollingUpdate' or 'OnDelete'")]
        }
    }
}

/// Fields of the spec that may change.
const MUTABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', \
                       'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

fn only_mutable_changed(new: &StatefulSet, old: &StatefulSet) -> bool {
    let mut same = new.spec.clone();
    same.replicas = old.spec.replicas;
    same.template.clone_from(&old.spec.template);
    same.update_strategy.clone_from(&old.spec.update_strategy);
    same.min_ready_seconds = old.spec.min_ready_seconds;
    same.ordinals.clone_from(&old.spec.ordinals);
    same.revision_history_limit = old.spec.revision_history_limit;
    same.persistent_volume_claim_retention_policy.clone_from(&old.spec.persistent_volume_claim_retention_policy);
    same == old.spec
}

impl Strategy for StatefulSetStrategy {
    type Object = StatefulSet;

    fn default_object(&self, set: &mut StatefulSet) {
        crate::defaults::generated::apps_v1_stateful_set(set);
    }

    fn prepare_for_create(&self, _: &RequestContext, set: &mut StatefulSet) {
        set.status = Default::default();
        set.metadata.generation = 1;
        drop_disabled(set, None);
    }

    fn validate(&self, _: &RequestContext, set: &StatefulSet) -> ErrorList {
        // Pods are named after the set with a number behind, and become labels of theirs.
        let mut errors = object_meta(&set.metadata, true, names::name_is_dns_label, &Path::new("metadata"));
        errors.extend(spec(set));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut StatefulSet, old: &StatefulSet) {
        new.status.clone_from(&old.status);
        drop_disabled(new, Some(old));
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &StatefulSet, old: &StatefulSet) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        if !only_mutable_changed(new, old) {
            errors.push(Error::forbidden(&Path::new("spec"), MUTABLE));
        }
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, set: &StatefulSet, now: Time) -> Option<Vec<Value>> {
        let (containers, images) = containers_and_images(&set.spec.template.spec);
        Some(vec![
            set.metadata.name.clone().into(),
            format!("{}/{}", set.status.ready_replicas, set.spec.replicas.unwrap_or(0)).into(),
            age(set.metadata.creation_timestamp, now),
            containers.into(),
            images.into(),
        ])
    }
}

/// `maxUnavailable` is behind a gate that is off by default.
fn drop_disabled(new: &mut StatefulSet, old: Option<&StatefulSet>) {
    let in_use =
        |set: &StatefulSet| set.spec.update_strategy.rolling_update.as_ref().is_some_and(|rolling| rolling.max_unavailable.is_some());
    if old.is_some_and(in_use) {
        return;
    }
    if let Some(rolling) = &mut new.spec.update_strategy.rolling_update {
        rolling.max_unavailable = None;
    }
}

/// Rules of a StatefulSet's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = StatefulSet;

    fn default_object(&self, set: &mut StatefulSet) {
        StatefulSetStrategy.default_object(set);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut StatefulSet, old: &StatefulSet) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &StatefulSet, old: &StatefulSet) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("status");
        let status = &new.status;
        for (name, value) in [
            ("replicas", status.replicas),
            ("readyReplicas", status.ready_replicas),
            ("currentReplicas", status.current_replicas),
            ("updatedReplicas", status.updated_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            errors.extend(non_negative(value.into(), &path.child(name)));
        }
        errors.extend(non_negative(status.observed_generation, &path.child("observedGeneration")));
        const MORE: &str = "cannot be greater than status.replicas";
        for (name, value) in [
            ("readyReplicas", status.ready_replicas),
            ("currentReplicas", status.current_replicas),
            ("updatedReplicas", status.updated_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            if value > status.replicas {
                errors.push(Error::invalid(&path.child(name), value, MORE));
            }
        }
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, set: &StatefulSet, now: Time) -> Option<Vec<Value>> {
        StatefulSetStrategy.table_cells(set, now)
    }
}
