//! Object metadata. Upstream: apimachinery `pkg/api/validation/objectmeta.go` and `ValidateObjectMeta` of pkg/apis/core/validation.

use apimachinery::gotext::quote;
use apimachinery::meta::v1::{ManagedFieldsEntry, ObjectMeta, OwnerReference};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names::{self, NameCheck};
use apimachinery::{List, Map};

use super::fields::{IMMUTABLE, extend_invalid, json_list, json_value, non_negative};

/// All annotations of an object together, keys and values.
pub const TOTAL_ANNOTATION_SIZE_LIMIT: usize = 256 * 1024;

/// Finalizers without a domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Metadata of the built-in kinds: [`generic_object_meta`], and finalizers without a domain are known ones.
pub fn object_meta(meta: &ObjectMeta, namespaced: bool, name: NameCheck, path: &Path<'_>) -> ErrorList {
    let mut errors = generic_object_meta(meta, namespaced, name, path);
    let finalizers = path.child("finalizers");
    for (index, finalizer) in meta.finalizers.iter().enumerate() {
        errors.extend(kube_finalizer_name(finalizer, &finalizers.index(index)));
    }
    errors
}

/// Metadata of a new (or changed) object.
pub fn generic_object_meta(meta: &ObjectMeta, namespaced: bool, name: NameCheck, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if !meta.generate_name.is_empty() {
        extend_invalid(&mut errors, &path.child("generateName"), &meta.generate_name, name(&meta.generate_name, true));
    }
    // A name is made from generateName before this runs.
    if meta.name.is_empty() {
        errors.push(Error::required(&path.child("name"), "name or generateName is required"));
    } else {
        extend_invalid(&mut errors, &path.child("name"), &meta.name, name(&meta.name, false));
    }
    let namespace = path.child("namespace");
    match (namespaced, meta.namespace.is_empty()) {
        (true, true) => errors.push(Error::required(&namespace, "")),
        (true, false) => extend_invalid(&mut errors, &namespace, &meta.namespace, names::is_dns1123_label(&meta.namespace)),
        (false, false) => errors.push(Error::forbidden(&namespace, "not allowed on this type")),
        (false, true) => {}
    }
    errors.extend(non_negative(meta.generation, &path.child("generation")));
    errors.extend(labels(&meta.labels, &path.child("labels")));
    errors.extend(annotations(&meta.annotations, &path.child("annotations")));
    errors.extend(owner_references(&meta.owner_references, &path.child("ownerReferences")));
    errors.extend(finalizers(&meta.finalizers, &path.child("finalizers")));
    errors.extend(managed_fields(&meta.managed_fields, &path.child("managedFields")));
    errors
}

/// What must not change in metadata. The resource version is the server's own affair.
pub fn object_meta_update(new: &ObjectMeta, old: &ObjectMeta, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if old.deletion_timestamp.is_some() {
        errors.extend(no_new_finalizers(&new.finalizers, &old.finalizers, &path.child("finalizers")));
    }
    if new.generation < old.generation {
        errors.push(Error::invalid(&path.child("generation"), new.generation, "must not be decremented"));
    }
    for (field, new, old) in [("name", &new.name, &old.name), ("namespace", &new.namespace, &old.namespace), ("uid", &new.uid, &old.uid)] {
        if new != old {
            errors.push(Error::invalid(&path.child(field), new, IMMUTABLE));
        }
    }
    if new.creation_timestamp != old.creation_timestamp {
        errors.push(Error::invalid(&path.child("creationTimestamp"), new.creation_timestamp.to_string(), IMMUTABLE));
    }
    if new.deletion_timestamp != old.deletion_timestamp {
        let shown = new.deletion_timestamp.map(|time| time.to_string());
        errors.push(Error::invalid(&path.child("deletionTimestamp"), shown, IMMUTABLE));
    }
    if new.deletion_grace_period_seconds != old.deletion_grace_period_seconds {
        errors.push(Error::invalid(&path.child("deletionGracePeriodSeconds"), new.deletion_grace_period_seconds, IMMUTABLE));
    }
    errors.extend(labels(&new.labels, &path.child("labels")));
    errors.extend(annotations(&new.annotations, &path.child("annotations")));
    errors.extend(owner_references(&new.owner_references, &path.child("ownerReferences")));
    errors.extend(managed_fields(&new.managed_fields, &path.child("managedFields")));
    errors
}

pub fn label_name(key: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    extend_invalid(&mut errors, path, key, names::is_qualified_name(key));
    errors
}

pub fn labels(labels: &Map<String>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, value) in labels {
        errors.extend(label_name(key, path));
        extend_invalid(&mut errors, path, value, names::is_label_value(value));
    }
    errors
}

pub fn annotations(annotations: &Map<String>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for key in annotations.keys() {
        // The rule is for lower case, for no other reason than that it always was.
        extend_invalid(&mut errors, path, key, names::is_qualified_name(&key.to_lowercase()));
    }
    let size: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > TOTAL_ANNOTATION_SIZE_LIMIT {
        errors.push(Error::too_long(path, TOTAL_ANNOTATION_SIZE_LIMIT));
    }
    errors
}

fn owner_references(references: &[OwnerReference], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut controller: Option<&OwnerReference> = None;
    for reference in references {
        errors.extend(owner_reference(reference, path));
        if reference.controller != Some(true) {
            continue;
        }
        match controller {
            None => controller = Some(reference),
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    first.kind, first.name, reference.kind, reference.name
                );
                errors.push(Error::invalid(path, json_list(references), detail));
            }
        }
    }
    errors
}

fn owner_reference(reference: &OwnerReference, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
    if version.is_empty() {
        errors.push(Error::invalid(&path.child("apiVersion"), &reference.api_version, "version must not be empty"));
    }
    for (field, value) in [("kind", &reference.kind), ("name", &reference.name), ("uid", &reference.uid)] {
        if value.is_empty() {
            errors.push(Error::invalid(&path.child(field), value, "must not be empty"));
        }
    }
    // An Event would keep its owner's dependents alive or die with them; neither is what anybody wants.
    if group.is_empty() && version == "v1" && reference.kind == "Event" {
        errors.push(Error::invalid(path, json_value(reference), "/v1, Kind=Event is disallowed from being an owner"));
    }
    errors
}

fn finalizers(finalizers: &List<String>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let has = |wanted: &str| finalizers.iter().any(|finalizer| finalizer == wanted);
    for finalizer in finalizers {
        extend_invalid(&mut errors, path, finalizer, names::is_qualified_name(finalizer));
    }
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(Error::invalid(path, string_list(finalizers), detail));
    }
    errors
}

/// A finalizer of a namespace's spec: a qualified name, and a known one if it has no domain.
pub fn finalizer_name(finalizer: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    extend_invalid(&mut errors, path, finalizer, names::is_qualified_name(finalizer));
    errors.extend(kube_finalizer_name(finalizer, path));
    errors
}

fn kube_finalizer_name(finalizer: &str, path: &Path<'_>) -> Option<Error> {
    let unknown = !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer);
    unknown.then(|| Error::invalid(path, finalizer, "name is neither a standard finalizer name nor is it fully qualified"))
}

fn no_new_finalizers(new: &[String], old: &[String], path: &Path<'_>) -> Option<Error> {
    let mut extra: Vec<_> = new.iter().filter(|finalizer| !old.contains(finalizer)).map(|finalizer| quote(finalizer)).collect();
    extra.sort();
    extra.dedup();
    let detail =
        || format!("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}", extra.join(", "));
    (!extra.is_empty()).then(|| Error::forbidden(path, detail()))
}

fn managed_fields(entries: &[ManagedFieldsEntry], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = path.index(index);
        if !matches!(entry.operation.as_str(), "Apply" | "Update") {
            errors.push(Error::invalid(&path.child("operation"), &entry.operation, "must be `Apply` or `Update`"));
        }
        if !matches!(entry.fields_type.as_str(), "" | "FieldsV1") {
            errors.push(Error::invalid(&path.child("fieldsType"), &entry.fields_type, "must be `FieldsV1`"));
        }
        errors.extend(field_manager(&entry.manager, &path.child("manager")));
        if entry.subresource.len() > 256 {
            errors.push(Error::too_long(&path.child("subresource"), 256));
        }
    }
    errors
}

/// The name of a field manager: at most 128 printable characters.
pub fn field_manager(manager: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if manager.len() > 128 {
        errors.push(Error::too_long(path, 128));
    }
    for (at, letter) in manager.char_indices().filter(|(_, letter)| letter.is_control()) {
        errors.push(Error::invalid(path, manager, format!("invalid character {:?} (at position {at})", letter)));
    }
    errors
}

/// A list of texts as errors show it.
pub fn string_list(texts: &[String]) -> BadValue {
    let texts: Vec<_> = texts.iter().map(|text| quote(text)).collect();
    BadValue::json(format!("[{}]", texts.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta() -> ObjectMeta {
        ObjectMeta { name: "a".into(), namespace: "n".into(), ..ObjectMeta::default() }
    }

    fn texts(meta: &ObjectMeta) -> Vec<String> {
        let errors = object_meta(meta, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn finds_what_is_wrong() {
        assert!(texts(&meta()).is_empty());
        let bad = ObjectMeta { name: String::new(), namespace: String::new(), ..ObjectMeta::default() };
        assert_eq!(texts(&bad), ["metadata.name: Required value: name or generateName is required", "metadata.namespace: Required value"]);
        let bad = ObjectMeta { finalizers: List::from(vec!["nodomain".to_owned()]), ..meta() };
        let expected =
            "metadata.finalizers[0]: Invalid value: \"nodomain\": name is neither a standard finalizer name nor is it fully qualified";
        assert_eq!(texts(&bad), [expected]);
        let event = OwnerReference {
            api_version: "v1".into(),
            kind: "Event".into(),
            name: "e".into(),
            uid: "u".into(),
            ..OwnerReference::default()
        };
        let bad = ObjectMeta { owner_references: List::from(vec![event]), ..meta() };
        let expected = "metadata.ownerReferences: Invalid value: {\"apiVersion\":\"v1\",\"kind\":\"Event\",\"name\":\"e\",\"uid\":\"u\"}: \
                        /v1, Kind=Event is disallowed from being an owner";
        assert_eq!(texts(&bad), [expected]);
    }

    #[test]
    fn metadata_that_identifies_stays() {
        let old = meta();
        let new = ObjectMeta { uid: "other".into(), ..meta() };
        let errors = object_meta_update(&new, &old, &Path::new("metadata"));
        assert_eq!(errors[0].to_string(), "metadata.uid: Invalid value: \"other\": field is immutable");
        let old = ObjectMeta { deletion_timestamp: Some(apimachinery::Time::from_unix(1)), ..meta() };
        let new = ObjectMeta { finalizers: List::from(vec!["a.b/c".to_owned()]), ..old.clone() };
        let errors = object_meta_update(&new, &old, &Path::new("metadata"));
        let expected = "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, \
                        found new finalizers []string{\"a.b/c\"}";
        assert_eq!(errors[0].to_string(), expected);
    }
}
