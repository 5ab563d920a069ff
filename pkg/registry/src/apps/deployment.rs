//! Deployments, their `status` and `scale`.

use api::apps::v1::Deployment;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::scale::Replicas;
use apiserver::rest::{ResourceDef, ScaleAccess, Strategy};

use super::validation::{at_most_all, count_or_percent, is_zero, selector_and_template, shown};
use crate::printers::age;
use crate::validation::{go_value, immutable, non_negative, object_meta, object_meta_update};
use crate::workloads::{containers_and_images, label_selector_text, selector_text};

/// The resource with its subresources.
pub fn resource() -> ResourceDef {
    ResourceDef::stored(DeploymentStrategy).status(StatusStrategy).scale(ScaleAccess::of(
        |deployment: &Deployment| Replicas {
            wanted: deployment.spec.replicas.unwrap_or(0),
            current: deployment.status.replicas,
            selector: selector_text(deployment.spec.selector.as_deref()),
        },
        |deployment, replicas| deployment.spec.replicas = Some(replicas),
    ))
}

/// Rules of Deployments.
#[derive(Clone, Copy, Debug)]
pub struct DeploymentStrategy;

fn validate(deployment: &Deployment) -> ErrorList {
    let mut errors = object_meta(&deployment.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
    errors.extend(spec(deployment));
    errors
}

fn spec(deployment: &Deployment) -> ErrorList {
    let path = Path::new("spec");
    let spec = &deployment.spec;
    let mut errors = non_negative(spec.replicas.unwrap_or(0).into(), &path.child("replicas"));
    errors.extend(selector_and_template("deployment", spec.selector.as_deref(), &spec.template, &path, &["Always"]));
    errors.extend(strategy(deployment, &path.child("strategy")));
    errors.extend(non_negative(spec.min_ready_seconds.into(), &path.child("minReadySeconds")));
    if let Some(limit) = spec.revision_history_limit {
        errors.extend(non_negative(limit.into(), &path.child("revisionHistoryLimit")));
    }
    if let Some(seconds) = spec.progress_deadline_seconds {
        let at = path.child("progressDeadlineSeconds");
        errors.extend(non_negative(seconds.into(), &at));
        if seconds <= spec.min_ready_seconds {
            errors.push(Error::invalid(&at, seconds, "must be greater than minReadySeconds"));
        }
    }
    errors
}

fn strategy(deployment: &Deployment, path: &Path<'_>) -> ErrorList {
    let strategy = &deployment.spec.strategy;
    let rolling_path = path.child("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("Recreate", Some(_)) => vec![Error::forbidden(&rolling_path, "may not be specified when strategy `type` is 'Recreate'")],
        ("Recreate", None) => ErrorList::new(),
        ("RollingUpdate", None) => vec![Error::required(&rolling_path, "this should be defaulted and never be nil")],
        ("RollingUpdate", Some(rolling)) => {
            let mut errors = ErrorList::new();
            let (unavailable, surge) = (rolling.max_unavailable.as_ref(), rolling.max_surge.as_ref());
            let at = rolling_path.child("maxUnavailable");
            errors.extend(unavailable.map(|value| count_or_percent(value, &at)).unwrap_or_default());
            errors.extend(surge.map(|value| count_or_percent(value, &rolling_path.child("maxSurge"))).unwrap_or_default());
            if let Some(value) = unavailable
                && is_zero(unavailable)
                && is_zero(surge)
            {
                errors.push(Error::invalid(&at, shown(value), "may not be 0 when `maxSurge` is 0"));
            }
            errors.extend(unavailable.map(|value| at_most_all(value, &at)).unwrap_or_default());
            errors
        }
        (other, _) => vec![Error::not_supported(&path.child("type"), other, &["Recreate", "RollingUpdate"])],
    }
}

impl Strategy for DeploymentStrategy {
    type Object = Deployment;

    fn default_object(&self, deployment: &mut Deployment) {
        crate::defaults::generated::apps_v1_deployment(deployment);
    }

    fn prepare_for_create(&self, _: &RequestContext, deployment: &mut Deployment) {
        deployment.status = Default::default();
        deployment.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, deployment: &Deployment) -> ErrorList {
        validate(deployment)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Deployment, old: &Deployment) {
        new.status.clone_from(&old.status);
        // Annotations steer the controller, so they count as part of what is wanted.
        if new.spec != old.spec || new.metadata.annotations != old.metadata.annotations {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Deployment, old: &Deployment) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        let path = Path::new("spec");
        let selector = new.spec.selector.as_deref().map_or_else(|| apimachinery::validation::field::BadValue::json("null"), go_value);
        errors.extend(immutable(&new.spec.selector, &old.spec.selector, &path.child("selector"), selector));
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, deployment: &Deployment, now: Time) -> Option<Vec<Value>> {
        let status = &deployment.status;
        let (containers, images) = containers_and_images(&deployment.spec.template.spec);
        Some(vec![
            deployment.metadata.name.clone().into(),
            format!("{}/{}", status.ready_replicas, deployment.spec.replicas.unwrap_or(0)).into(),
            i64::from(status.updated_replicas).into(),
            i64::from(status.available_replicas).into(),
            age(deployment.metadata.creation_timestamp, now),
            containers.into(),
            images.into(),
            label_selector_text(deployment.spec.selector.as_deref()).into(),
        ])
    }
}

/// Rules of a Deployment's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = Deployment;

    fn default_object(&self, deployment: &mut Deployment) {
        DeploymentStrategy.default_object(deployment);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Deployment, old: &Deployment) {
        new.spec.clone_from(&old.spec);
        new.metadata.labels.clone_from(&old.metadata.labels);
    }

    fn validate_update(&self, _: &RequestContext, new: &Deployment, old: &Deployment) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("status");
        let status = &new.status;
        errors.extend(non_negative(status.observed_generation, &path.child("observedGeneration")));
        for (name, value) in [
            ("replicas", status.replicas),
            ("updatedReplicas", status.updated_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
            ("unavailableReplicas", status.unavailable_replicas),
        ] {
            errors.extend(non_negative(value.into(), &path.child(name)));
        }
        if let Some(terminating) = status.terminating_replicas {
            errors.extend(non_negative(terminating.into(), &path.child("terminatingReplicas")));
        }
        if let Some(collisions) = status.collision_count {
            errors.extend(non_negative(collisions.into(), &path.child("collisionCount")));
            if old.status.collision_count.is_some_and(|before| collisions < before) {
                errors.push(Error::invalid(&path.child("collisionCount"), collisions, "cannot be decremented"));
            }
        }
        const MORE: &str = "cannot be greater than status.replicas";
        for (name, value) in [
            ("updatedReplicas", status.updated_replicas),
            ("readyReplicas", status.ready_replicas),
            ("availableReplicas", status.available_replicas),
        ] {
            if value > status.replicas {
                errors.push(Error::invalid(&path.child(name), value, MORE));
            }
        }
        if status.available_replicas > status.ready_replicas {
            errors.push(Error::invalid(
                &path.child("availableReplicas"),
                status.available_replicas,
                "cannot be greater than readyReplicas",
            ));
        }
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec", "metadata.labels"]
    }

    fn table_cells(&self, deployment: &Deployment, now: Time) -> Option<Vec<Value>> {
        DeploymentStrategy.table_cells(deployment, now)
    }
}
