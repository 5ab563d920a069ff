//! PersistentVolumes and their status.

use api::core::v1::{PersistentVolume, PersistentVolumeStatus};
use apimachinery::validation::field::ErrorList;
use apimachinery::{Quantity, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::validation::persistent_volume as validation;
use crate::printers::age;

/// Rules of PersistentVolumes.
#[derive(Clone, Copy, Debug)]
pub struct PersistentVolumeStrategy;

/// The old place of the class's name.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

impl Strategy for PersistentVolumeStrategy {
    type Object = PersistentVolume;

    fn default_object(&self, volume: &mut PersistentVolume) {
        crate::defaults::generated::core_v1_persistent_volume(volume);
    }

    fn prepare_for_create(&self, _: &RequestContext, volume: &mut PersistentVolume) {
        let now = Some(Time::now());
        volume.status =
            PersistentVolumeStatus { phase: "Pending".to_owned(), last_phase_transition_time: now, ..PersistentVolumeStatus::default() };
    }

    fn validate(&self, _: &RequestContext, volume: &PersistentVolume) -> ErrorList {
        validation::validate(volume)
    }

    fn warnings_on_create(&self, _: &RequestContext, volume: &PersistentVolume) -> Vec<String> {
        warnings(volume)
    }

    fn warnings_on_update(&self, _: &RequestContext, new: &PersistentVolume, _: &PersistentVolume) -> Vec<String> {
        warnings(new)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut PersistentVolume, old: &PersistentVolume) {
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, _: &RequestContext, new: &PersistentVolume, old: &PersistentVolume) -> ErrorList {
        let mut errors = validation::validate(new);
        errors.extend(validation::validate_update(new, old));
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, volume: &PersistentVolume, now: Time) -> Option<Vec<Value>> {
        Some(cells(volume, now))
    }
}

fn warnings(volume: &PersistentVolume) -> Vec<String> {
    let mut warnings = Vec::new();
    if volume.spec.persistent_volume_reclaim_policy == "Recycle" {
        let detail = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
        warnings.push(format!("spec.persistentVolumeReclaimPolicy: {detail}"));
    }
    warnings
}

/// Rules of the status.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = PersistentVolume;

    fn default_object(&self, volume: &mut PersistentVolume) {
        PersistentVolumeStrategy.default_object(volume);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut PersistentVolume, old: &PersistentVolume) {
        new.spec.clone_from(&old.spec);
        // The time tells when the phase changed; whoever changes the phase need not say it.
        let (now, before) = (new.status.last_phase_transition_time, old.status.last_phase_transition_time);
        if new.status.phase != old.status.phase && (now.is_none() || now == before) {
            new.status.last_phase_transition_time = Some(Time::now());
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &PersistentVolume, old: &PersistentVolume) -> ErrorList {
        validation::validate_status_update(new, old)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, volume: &PersistentVolume, now: Time) -> Option<Vec<Value>> {
        Some(cells(volume, now))
    }
}

/// `RWO,ROX`, each once, in the order of the API.
pub fn access_modes_text(modes: &[String]) -> String {
    let known = [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let texts: Vec<&str> = known.iter().filter(|(mode, _)| modes.iter().any(|found| found == mode)).map(|(_, text)| *text).collect();
    texts.join(",")
}

/// The text, or `<unset>`.
pub fn or_unset(text: Option<&str>) -> String {
    text.unwrap_or("<unset>").to_owned()
}

fn cells(volume: &PersistentVolume, now: Time) -> Vec<Value> {
    let (spec, meta) = (&volume.spec, &volume.metadata);
    let phase = if meta.deletion_timestamp.is_some() { "Terminating" } else { volume.status.phase.as_str() };
    let claim = spec.claim_ref.as_ref().map(|claim| format!("{}/{}", claim.namespace, claim.name)).unwrap_or_default();
    let class = meta.annotations.get(CLASS_ANNOTATION).unwrap_or(&spec.storage_class_name);
    vec![
        meta.name.clone().into(),
        spec.capacity.get("storage").map_or_else(|| "0".to_owned(), Quantity::to_string).into(),
        access_modes_text(&spec.access_modes).into(),
        spec.persistent_volume_reclaim_policy.clone().into(),
        phase.into(),
        claim.into(),
        class.clone().into(),
        or_unset(spec.volume_attributes_class_name.as_deref()).into(),
        volume.status.reason.clone().into(),
        age(meta.creation_timestamp, now),
        or_unset(spec.volume_mode.as_deref()).into(),
    ]
}
