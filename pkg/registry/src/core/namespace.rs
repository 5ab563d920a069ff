//! Namespaces, with `status` and `finalize`.

use api::core::v1::{Namespace, NamespaceStatus};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::printers::age;
use crate::validation::meta::finalizer_name;
use crate::validation::{object_meta, object_meta_update};

/// The label every namespace has, with its name.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Rules of Namespaces.
#[derive(Clone, Copy, Debug)]
pub struct NamespaceStrategy;

impl Strategy for NamespaceStrategy {
    type Object = Namespace;

    fn default_object(&self, namespace: &mut Namespace) {
        crate::defaults::generated::core_v1_namespace(namespace);
    }

    fn prepare_for_create(&self, _: &RequestContext, namespace: &mut Namespace) {
        namespace.status = NamespaceStatus { phase: "Active".to_owned(), ..NamespaceStatus::default() };
        // Whoever makes a namespace cannot do without the finalizer that empties it; later it goes, so it is no default.
        if !namespace.spec.finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
            namespace.spec.finalizers.push("kubernetes".to_owned());
        }
        label_with_name(namespace);
    }

    fn validate(&self, _: &RequestContext, namespace: &Namespace) -> ErrorList {
        validate(namespace)
    }

    fn canonicalize(&self, namespace: &mut Namespace) {
        label_with_name(namespace);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Namespace, old: &Namespace) {
        new.spec.finalizers.clone_from(&old.spec.finalizers);
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, _: &RequestContext, new: &Namespace, old: &Namespace) -> ErrorList {
        let mut errors = validate(new);
        errors.extend(object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata")));
        errors
    }

    fn begin_deletion(&self, namespace: &mut Namespace) {
        namespace.status.phase = "Terminating".to_owned();
    }

    fn has_own_finalizers(&self, namespace: &Namespace) -> bool {
        !namespace.spec.finalizers.is_empty()
    }

    fn selectable_fields(&self, namespace: &Namespace) -> Vec<(&'static str, String)> {
        vec![("status.phase", namespace.status.phase.clone())]
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::name_is_dns_label(name, prefix)
    }

    fn table_cells(&self, namespace: &Namespace, now: Time) -> Option<Vec<Value>> {
        let meta = &namespace.metadata;
        Some(vec![meta.name.clone().into(), namespace.status.phase.clone().into(), age(meta.creation_timestamp, now)])
    }
}

/// Rules of a namespace's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = Namespace;

    fn default_object(&self, namespace: &mut Namespace) {
        NamespaceStrategy.default_object(namespace);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Namespace, old: &Namespace) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &Namespace, old: &Namespace) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let path = Path::new("status");
        let phase = new.status.phase.as_str();
        if new.metadata.deletion_timestamp.is_none() && phase != "Active" {
            errors.push(Error::invalid(&path.child("Phase"), phase, "may only be 'Active' if `deletionTimestamp` is empty"));
        }
        if new.metadata.deletion_timestamp.is_some() && phase != "Terminating" {
            errors.push(Error::invalid(&path.child("Phase"), phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"));
        }
        errors
    }

    fn has_own_finalizers(&self, namespace: &Namespace) -> bool {
        NamespaceStrategy.has_own_finalizers(namespace)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, namespace: &Namespace, now: Time) -> Option<Vec<Value>> {
        NamespaceStrategy.table_cells(namespace, now)
    }
}

/// Rules of `finalize`, which alone takes finalizers out of the spec.
#[derive(Clone, Copy, Debug)]
pub struct FinalizeStrategy;

impl Strategy for FinalizeStrategy {
    type Object = Namespace;

    fn default_object(&self, namespace: &mut Namespace) {
        NamespaceStrategy.default_object(namespace);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Namespace, old: &Namespace) {
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, _: &RequestContext, new: &Namespace, old: &Namespace) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let (spec, name) = (Path::new("spec"), "finalizers");
        let path = spec.child(name);
        for (index, finalizer) in new.spec.finalizers.iter().enumerate() {
            errors.extend(finalizer_name(finalizer, &path.index(index)));
        }
        errors
    }

    fn has_own_finalizers(&self, namespace: &Namespace) -> bool {
        NamespaceStrategy.has_own_finalizers(namespace)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, namespace: &Namespace, now: Time) -> Option<Vec<Value>> {
        NamespaceStrategy.table_cells(namespace, now)
    }
}

fn label_with_name(namespace: &mut Namespace) {
    if !namespace.metadata.name.is_empty() && namespace.metadata.labels.get(NAME_LABEL) != Some(&namespace.metadata.name) {
        namespace.metadata.labels.insert(NAME_LABEL, namespace.metadata.name.clone());
    }
}

fn validate(namespace: &Namespace) -> ErrorList {
    let mut errors = object_meta(&namespace.metadata, false, names::name_is_dns_label, &Path::new("metadata"));
    let spec = Path::new("spec");
    for finalizer in &namespace.spec.finalizers {
        errors.extend(finalizer_name(finalizer, &spec.child("finalizers")));
    }
    errors
}
