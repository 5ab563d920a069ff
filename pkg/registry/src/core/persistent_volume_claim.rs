//! PersistentVolumeClaims and their status.

use api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimStatus, TypedLocalObjectReference, TypedObjectReference,
};
use apimachinery::validation::field::ErrorList;
use apimachinery::{Quantity, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::persistent_volume::{access_modes_text, or_unset};
use super::validation::persistent_volume_claim as validation;
use crate::printers::age;

/// Rules of PersistentVolumeClaims.
#[derive(Clone, Copy, Debug)]
pub struct PersistentVolumeClaimStrategy;

/// The old place of the class's name.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

impl Strategy for PersistentVolumeClaimStrategy {
    type Object = PersistentVolumeClaim;

    fn default_object(&self, claim: &mut PersistentVolumeClaim) {
        crate::defaults::generated::core_v1_persistent_volume_claim(claim);
    }

    fn prepare_for_create(&self, _: &RequestContext, claim: &mut PersistentVolumeClaim) {
        claim.status = PersistentVolumeClaimStatus { phase: "Pending".to_owned(), ..PersistentVolumeClaimStatus::default() };
        drop_disabled(&mut claim.spec, None);
        // Other kinds of sources were ignored before there was `dataSourceRef`, and still are.
        if claim.spec.data_source.as_deref().is_some_and(|source| !is_claim_or_snapshot(source)) {
            claim.spec.data_source = None;
        }
        align_sources(&mut claim.spec);
    }

    fn validate(&self, _: &RequestContext, claim: &PersistentVolumeClaim) -> ErrorList {
        validation::validate(claim)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut PersistentVolumeClaim, old: &PersistentVolumeClaim) {
        new.status.clone_from(&old.status);
        drop_disabled(&mut new.spec, Some(&old.spec));
        // A writer that knows only the one field does not mean to drop the other.
        if old.spec.data_source_ref.is_some() && new.spec.data_source_ref.is_none() && new.spec.data_source == old.spec.data_source {
            new.spec.data_source_ref.clone_from(&old.spec.data_source_ref);
        }
        align_sources(&mut new.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
        let mut errors = validation::validate(new);
        errors.extend(validation::validate_update(new, old));
        errors
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, claim: &PersistentVolumeClaim, now: Time) -> Option<Vec<Value>> {
        Some(cells(claim, now))
    }
}

/// Rules of the status.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = PersistentVolumeClaim;

    fn default_object(&self, claim: &mut PersistentVolumeClaim) {
        PersistentVolumeClaimStrategy.default_object(claim);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut PersistentVolumeClaim, old: &PersistentVolumeClaim) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> ErrorList {
        validation::validate_status_update(new, old)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, claim: &PersistentVolumeClaim, now: Time) -> Option<Vec<Value>> {
        Some(cells(claim, now))
    }
}

/// The namespace of a source, whose gate is off by default.
fn drop_disabled(new: &mut PersistentVolumeClaimSpec, old: Option<&PersistentVolumeClaimSpec>) {
    let in_use = old.and_then(|old| old.data_source_ref.as_ref()).is_some_and(|source| source.namespace.is_some());
    if let Some(source) = &mut new.data_source_ref
        && !in_use
    {
        source.namespace = None;
    }
}

fn is_claim_or_snapshot(source: &TypedLocalObjectReference) -> bool {
    let group = source.api_group.as_deref().unwrap_or_default();
    source.kind == "PersistentVolumeClaim" && group.is_empty() || source.kind == "VolumeSnapshot" && group == "snapshot.storage.k8s.io"
}

/// `dataSource` and `dataSourceRef` say the same; each stands in for the other.
fn align_sources(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            let reference = TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            };
            spec.data_source_ref = Some(Box::new(reference));
        }
        (None, Some(reference)) if reference.namespace.as_deref().is_none_or(str::is_empty) => {
            let source = TypedLocalObjectReference {
                api_group: reference.api_group.clone(),
                kind: reference.kind.clone(),
                name: reference.name.clone(),
            };
            spec.data_source = Some(Box::new(source));
        }
        _ => {}
    }
}

fn cells(claim: &PersistentVolumeClaim, now: Time) -> Vec<Value> {
    let (spec, status, meta) = (&claim.spec, &claim.status, &claim.metadata);
    let phase = if meta.deletion_timestamp.is_some() { "Terminating" } else { status.phase.as_str() };
    let (mut capacity, mut modes) = (String::new(), String::new());
    if !spec.volume_name.is_empty() {
        capacity = status.capacity.get("storage").map_or_else(|| "0".to_owned(), Quantity::to_string);
        modes = access_modes_text(&status.access_modes);
    }
    let class = meta.annotations.get(CLASS_ANNOTATION).or(spec.storage_class_name.as_ref()).cloned().unwrap_or_default();
    vec![
        meta.name.clone().into(),
        phase.into(),
        spec.volume_name.clone().into(),
        capacity.into(),
        modes.into(),
        class.into(),
        or_unset(spec.volume_attributes_class_name.as_deref()).into(),
        age(meta.creation_timestamp, now),
        or_unset(spec.volume_mode.as_deref()).into(),
    ]
}
