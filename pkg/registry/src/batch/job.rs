//! Jobs and their `status`.

use api::batch::v1::{Job, JobSpec};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Map, Time, Value, labels};
use apiserver::request::RequestContext;
use apiserver::rest::{ResourceDef, Strategy};

use crate::apps::validation::mismatch;
use crate::printers::{age, human_duration};
use crate::validation::{go_value, immutable, label_selector, non_negative, object_meta, object_meta_update, pod_template};
use crate::workloads::{containers_and_images, label_selector_text};

/// The resource with its subresources.
pub fn resource() -> ResourceDef {
    ResourceDef::stored(JobStrategy).status(StatusStrategy)
}

/// Rules of Jobs.
#[derive(Clone, Copy, Debug)]
pub struct JobStrategy;

const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Names of the two labels before they had a prefix; still set for clients that select on them.
const LEGACY: [(&str, &str); 2] = [("controller-uid", CONTROLLER_UID), ("job-name", JOB_NAME)];

/// Makes the selector from the job's UID, and gives the template the labels it selects.
fn generate_selector(job: &mut Job) {
    if job.spec.manual_selector == Some(true) {
        return;
    }
    let labels = &mut job.spec.template.metadata.labels;
    for (key, value) in [(CONTROLLER_UID, &job.metadata.uid), (JOB_NAME, &job.metadata.name)] {
        if labels.is_nil() {
            *labels = Map::empty();
        }
        labels.insert(key, value.clone());
    }
    for (legacy, _) in LEGACY {
        let value = if legacy == "job-name" { &job.metadata.name } else { &job.metadata.uid };
        labels.insert(legacy, value.clone());
    }
    let selector = job.spec.selector.get_or_insert_default();
    selector.match_labels.insert(CONTROLLER_UID, job.metadata.uid.clone());
}

pub(super) fn spec(spec: &JobSpec, path: &Path<'_>, of_template: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    for (name, value) in [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ] {
        if let Some(value) = value {
            errors.extend(non_negative(value, &path.child(name)));
        }
    }
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    if let Some(manager) = &spec.managed_by {
        let at = path.child("managedBy");
        errors.extend(names::is_domain_prefixed_path(manager).into_iter().map(|message| Error::invalid(&at, manager, message)));
        if manager.len() > 63 {
            errors.push(Error::too_long(&at, 63));
        }
    }
    if let Some(mode) = &spec.completion_mode {
        let at = path.child("completionMode");
        if !matches!(mode.as_str(), "NonIndexed" | "Indexed") {
            errors.push(Error::not_supported(&at, mode, &["NonIndexed", "Indexed"]));
        }
        if indexed {
            if spec.completions.is_none() {
                errors.push(Error::required(&path.child("completions"), format!("when completion mode is {mode}")));
            }
            const MOST: i32 = 100_000;
            if let Some(parallelism) = spec.parallelism.filter(|value| *value > MOST) {
                errors.push(Error::invalid(
                    &path.child("parallelism"),
                    parallelism,
                    format!("must be less than or equal to {MOST} when completion mode is {mode}"),
                ));
            }
        }
    }
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        errors.push(Error::required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"));
    }
    if !indexed {
        for (name, set) in [("backoffLimitPerIndex", spec.backoff_limit_per_index), ("maxFailedIndexes", spec.max_failed_indexes)] {
            if let Some(value) = set {
                errors.push(Error::invalid(&path.child(name), value, "requires indexed completion mode"));
            }
        }
    }
    if let (Some(most), Some(completions)) = (spec.max_failed_indexes, spec.completions)
        && most > completions
    {
        errors.push(Error::invalid(&path.child("maxFailedIndexes"), most, "must be less than or equal to completions"));
    }
    if let Some(policy) = &spec.pod_replacement_policy {
        let at = path.child("podReplacementPolicy");
        if spec.pod_failure_policy.is_some() {
            if policy != "Failed" {
                errors.push(Error::not_supported(&at, policy, &["Failed"]));
            }
        } else if !matches!(policy.as_str(), "Failed" | "TerminatingOrFailed") {
            errors.push(Error::not_supported(&at, policy, &["Failed", "TerminatingOrFailed"]));
        }
    }
    if spec.pod_failure_policy.is_some() && spec.template.spec.restart_policy != "Never" {
        let template = path.child("template");
        let template_spec = template.child("spec");
        errors.push(Error::invalid(
            &template_spec.child("restartPolicy"),
            &spec.template.spec.restart_policy,
            "only \"Never\" is supported when podFailurePolicy is specified",
        ));
    }
    let template_path = path.child("template");
    errors.extend(pod_template::validate(&spec.template, &template_path));
    let policy = spec.template.spec.restart_policy.as_str();
    let template_spec = template_path.child("spec");
    if policy.is_empty() || policy == "Always" {
        errors.push(Error::required(&template_spec.child("restartPolicy"), "valid values: \"OnFailure\", \"Never\""));
    } else if !matches!(policy, "OnFailure" | "Never") {
        errors.push(Error::not_supported(&template_spec.child("restartPolicy"), policy, &["OnFailure", "Never"]));
    }
    if of_template {
        return errors;
    }
    match spec.selector.as_deref() {
        None => errors.push(Error::required(&path.child("selector"), "")),
        Some(selector) => {
            errors.extend(label_selector(Some(selector), &path.child("selector")));
            if let Ok(parsed) = labels::Selector::of(selector)
                && !parsed.matches(&spec.template.metadata.labels)
            {
                errors.push(mismatch(&spec.template, &template_path));
            }
        }
    }
    errors
}

/// A generated selector selects by the job's own UID, and the template says so.
fn generated_selector(job: &Job) -> ErrorList {
    let mut errors = ErrorList::new();
    if job.spec.manual_selector == Some(true) {
        return errors;
    }
    let path = Path::new("spec");
    let (template, selector) = (path.child("template"), path.child("selector"));
    let metadata = template.child("metadata");
    let labels_path = metadata.child("labels");
    for (key, value) in [(CONTROLLER_UID, &job.metadata.uid), (JOB_NAME, &job.metadata.name)] {
        match job.spec.template.metadata.labels.get(key) {
            None => errors.push(Error::required(&labels_path, format!("must be '{value}'"))),
            Some(found) if found != value => errors.push(Error::invalid(&labels_path, found, format!("must be '{value}'"))),
            Some(_) => {}
        }
    }
    let selected = job
        .spec
        .selector
        .as_deref()
        .and_then(|selector| selector.match_labels.get(CONTROLLER_UID).or(selector.match_labels.get("controller-uid")));
    if selected != Some(&job.metadata.uid) && job.spec.selector.is_some() {
        let shown = job.spec.selector.as_deref().map_or(BadValue::json("null"), go_value);
        errors.push(Error::invalid(&selector, shown, "`selector` not auto-generated"));
    }
    errors
}

impl Strategy for JobStrategy {
    type Object = Job;

    fn default_object(&self, job: &mut Job) {
        crate::defaults::generated::batch_v1_job(job);
    }

    fn prepare_for_create(&self, _: &RequestContext, job: &mut Job) {
        job.status = Default::default();
        job.metadata.generation = 1;
        generate_selector(job);
    }

    fn validate(&self, _: &RequestContext, job: &Job) -> ErrorList {
        let mut errors = object_meta(&job.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(generated_selector(job));
        errors.extend(spec(&job.spec, &Path::new("spec"), false));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Job, old: &Job) {
        new.status.clone_from(&old.status);
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Job, old: &Job) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("spec");
        errors.extend(spec(&new.spec, &path, false));
        // An indexed job may be made larger or smaller if its parallelism follows.
        let elastic = new.spec.completion_mode.as_deref() == Some("Indexed") && new.spec.completions == new.spec.parallelism;
        if new.spec.completions != old.spec.completions && !elastic {
            errors.extend(immutable(
                &new.spec.completions,
                &old.spec.completions,
                &path.child("completions"),
                BadValue::from(new.spec.completions),
            ));
        }
        let shown = new.spec.selector.as_deref().map_or(BadValue::json("null"), go_value);
        errors.extend(immutable(&new.spec.selector, &old.spec.selector, &path.child("selector"), shown));
        if !template_may_change(old) {
            errors.extend(immutable(&new.spec.template, &old.spec.template, &path.child("template"), go_value(&new.spec.template)));
        } else {
            // Before its first start a suspended job may be steered to other nodes.
            let mut same = new.spec.template.clone();
            let before = &old.spec.template;
            same.metadata.labels.clone_from(&before.metadata.labels);
            same.metadata.annotations.clone_from(&before.metadata.annotations);
            same.spec.node_selector.clone_from(&before.spec.node_selector);
            same.spec.affinity.clone_from(&before.spec.affinity);
            same.spec.tolerations.clone_from(&before.spec.tolerations);
            same.spec.scheduling_gates.clone_from(&before.spec.scheduling_gates);
            errors.extend(immutable(&same, before, &path.child("template"), go_value(&new.spec.template)));
        }
        let shown = new.spec.completion_mode.clone();
        errors.extend(immutable(
            &new.spec.completion_mode,
            &old.spec.completion_mode,
            &path.child("completionMode"),
            BadValue::from(shown),
        ));
        let shown = new.spec.pod_failure_policy.as_deref().map_or(BadValue::json("null"), go_value);
        errors.extend(immutable(&new.spec.pod_failure_policy, &old.spec.pod_failure_policy, &path.child("podFailurePolicy"), shown));
        let shown = BadValue::from(new.spec.backoff_limit_per_index);
        errors.extend(immutable(
            &new.spec.backoff_limit_per_index,
            &old.spec.backoff_limit_per_index,
            &path.child("backoffLimitPerIndex"),
            shown,
        ));
        let shown = BadValue::from(new.spec.managed_by.clone());
        errors.extend(immutable(&new.spec.managed_by, &old.spec.managed_by, &path.child("managedBy"), shown));
        let shown = new.spec.success_policy.as_deref().map_or(BadValue::json("null"), go_value);
        errors.extend(immutable(&new.spec.success_policy, &old.spec.success_policy, &path.child("successPolicy"), shown));
        errors
    }

    fn selectable_fields(&self, job: &Job) -> Vec<(&'static str, String)> {
        vec![("status.successful", job.status.succeeded.to_string())]
    }

    fn orphans_by_default(&self) -> bool {
        // Job used to leave its pods behind, and clients of batch/v1 without a policy still count on it.
        true
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn warnings_on_create(&self, _: &RequestContext, job: &Job) -> Vec<String> {
        let mut warnings = Vec::new();
        if job.metadata.name.len() > 63 || job.metadata.name.contains('.') {
            warnings.push("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must be a valid DNS label]".to_owned());
        }
        warnings
    }

    fn table_cells(&self, job: &Job, now: Time) -> Option<Vec<Value>> {
        let completed = job.status.succeeded;
        let completions = match (job.spec.completions, job.spec.parallelism) {
            (Some(wanted), _) => format!("{completed}/{wanted}"),
            (None, Some(parallelism)) if parallelism > 1 => format!("{completed}/1 of {parallelism}"),
            _ => format!("{completed}/1"),
        };
        let duration = match (job.status.start_time, job.status.completion_time) {
            (Some(start), Some(end)) => human_duration(end.seconds_since(start)),
            (Some(start), None) => human_duration(now.seconds_since(start)),
            _ => String::new(),
        };
        let (containers, images) = containers_and_images(&job.spec.template.spec);
        Some(vec![
            job.metadata.name.clone().into(),
            status_text(job).into(),
            completions.into(),
            duration.into(),
            age(job.metadata.creation_timestamp, now),
            containers.into(),
            images.into(),
            label_selector_text(job.spec.selector.as_deref()).into(),
        ])
    }
}

/// A suspended job that never started.
fn template_may_change(old: &Job) -> bool {
    old.spec.suspend == Some(true) && old.status.start_time.is_none()
}

fn status_text(job: &Job) -> &'static str {
    let holds = |kind: &str| job.status.conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True");
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if job.metadata.deletion_timestamp.is_some() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

/// Rules of a Job's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = Job;

    fn default_object(&self, job: &mut Job) {
        JobStrategy.default_object(job);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Job, old: &Job) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &Job, old: &Job) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("status");
        let status = &new.status;
        for (name, value) in [("active", status.active), ("succeeded", status.succeeded), ("failed", status.failed)] {
            errors.extend(non_negative(value.into(), &path.child(name)));
        }
        for (name, value) in [("ready", status.ready), ("terminating", status.terminating)] {
            if let Some(value) = value {
                errors.extend(non_negative(value.into(), &path.child(name)));
            }
        }
        errors
    }

    fn selectable_fields(&self, job: &Job) -> Vec<(&'static str, String)> {
        JobStrategy.selectable_fields(job)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, job: &Job, now: Time) -> Option<Vec<Value>> {
        JobStrategy.table_cells(job, now)
    }
}
