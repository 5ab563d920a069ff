//! CronJobs and their `status`.

use api::batch::v1::CronJob;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::{ResourceDef, Strategy};

use super::{job, schedule};
use crate::printers::{age, age_text, or_none};
use crate::validation::{annotations, labels, non_negative, object_meta, object_meta_update};
use crate::workloads::{containers_and_images, label_selector_text};

/// The resource with its subresources.
pub fn resource() -> ResourceDef {
    ResourceDef::stored(CronJobStrategy).status(StatusStrategy)
}

/// Rules of CronJobs.
#[derive(Clone, Copy, Debug)]
pub struct CronJobStrategy;

fn spec(cron: &CronJob) -> ErrorList {
    let path = Path::new("spec");
    let spec = &cron.spec;
    let mut errors = ErrorList::new();
    let at = path.child("schedule");
    if spec.schedule.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if let Some(problem) = schedule::problem(&spec.schedule) {
        errors.push(Error::invalid(&at, &spec.schedule, problem));
    }
    if let Some(zone) = &spec.time_zone {
        let at = path.child("timeZone");
        if zone.is_empty() {
            errors.push(Error::invalid(&at, zone, "timeZone must be nil or non-empty string"));
        } else if zone.eq_ignore_ascii_case("local") {
            errors.push(Error::invalid(&at, zone, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"));
        } else if !known_time_zone(zone) {
            errors.push(Error::invalid(&at, zone, format!("unknown time zone {zone}")));
        }
    }
    if let Some(seconds) = spec.starting_deadline_seconds {
        errors.extend(non_negative(seconds, &path.child("startingDeadlineSeconds")));
    }
    let at = path.child("concurrencyPolicy");
    match spec.concurrency_policy.as_str() {
        "Allow" | "Forbid" | "Replace" => {}
        "" => errors.push(Error::required(&at, "")),
        other => errors.push(Error::not_supported(&at, other, &["Allow", "Forbid", "Replace"])),
    }
    for (name, limit) in
        [("successfulJobsHistoryLimit", spec.successful_jobs_history_limit), ("failedJobsHistoryLimit", spec.failed_jobs_history_limit)]
    {
        if let Some(limit) = limit {
            errors.extend(non_negative(limit.into(), &path.child(name)));
        }
    }
    let template = path.child("jobTemplate");
    let metadata = template.child("metadata");
    errors.extend(labels(&spec.job_template.metadata.labels, &metadata.child("labels")));
    errors.extend(annotations(&spec.job_template.metadata.annotations, &metadata.child("annotations")));
    let template_spec = template.child("spec");
    if spec.job_template.spec.manual_selector == Some(true) {
        errors.push(Error::not_supported(&template_spec.child("manualSelector"), true, &["nil", "false"]));
    }
    errors.extend(job::spec(&spec.job_template.spec, &template_spec, true));
    errors
}

/// True for a zone of the system's time zone database.
fn known_time_zone(zone: &str) -> bool {
    let safe = !zone.starts_with('/') && !zone.split('/').any(|part| part == ".." || part.is_empty());
    zone == "UTC" || (safe && std::path::Path::new("/usr/share/zoneinfo").join(zone).is_file())
}

impl Strategy for CronJobStrategy {
    type Object = CronJob;

    fn default_object(&self, cron: &mut CronJob) {
        crate::defaults::generated::batch_v1_cron_job(cron);
    }

    fn prepare_for_create(&self, _: &RequestContext, cron: &mut CronJob) {
        cron.status = Default::default();
        cron.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, cron: &CronJob) -> ErrorList {
        let meta = Path::new("metadata");
        let mut errors = object_meta(&cron.metadata, true, names::name_is_dns_subdomain, &meta);
        errors.extend(spec(cron));
        // Jobs are named after it, with eleven characters of time behind.
        if cron.metadata.name.len() > 52 {
            errors.push(Error::invalid(&meta.child("name"), &cron.metadata.name, "must be no more than 52 characters"));
        }
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut CronJob, old: &CronJob) {
        new.status.clone_from(&old.status);
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &CronJob, old: &CronJob) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, cron: &CronJob, now: Time) -> Option<Vec<Value>> {
        let template = &cron.spec.job_template.spec;
        let (containers, images) = containers_and_images(&template.template.spec);
        let suspended = if cron.spec.suspend.unwrap_or(false) { "True" } else { "False" };
        Some(vec![
            cron.metadata.name.clone().into(),
            cron.spec.schedule.clone().into(),
            or_none(cron.spec.time_zone.clone().unwrap_or_default()).into(),
            suspended.into(),
            Value::Int(cron.status.active.len() as i64),
            or_none(cron.status.last_schedule_time.map(|at| age_text(at, now)).unwrap_or_default()).into(),
            age(cron.metadata.creation_timestamp, now),
            containers.into(),
            images.into(),
            label_selector_text(template.selector.as_deref()).into(),
        ])
    }
}

/// Rules of a CronJob's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = CronJob;

    fn default_object(&self, cron: &mut CronJob) {
        CronJobStrategy.default_object(cron);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut CronJob, old: &CronJob) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &CronJob, old: &CronJob) -> ErrorList {
        object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"))
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, cron: &CronJob, now: Time) -> Option<Vec<Value>> {
        CronJobStrategy.table_cells(cron, now)
    }
}
