//! RoleBindings and ClusterRoleBindings.

use api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::printers::age;
use crate::validation::{go_value, object_meta, object_meta_update};

const GROUP: &str = "rbac.authorization.k8s.io";

fn role_ref(role: &RoleRef, kinds: &[&str]) -> ErrorList {
    let path = Path::new("roleRef");
    let mut errors = ErrorList::new();
    if role.api_group != GROUP {
        errors.push(Error::not_supported(&path.child("apiGroup"), &role.api_group, &[GROUP]));
    }
    if !kinds.contains(&role.kind.as_str()) {
        errors.push(Error::not_supported(&path.child("kind"), &role.kind, kinds));
    }
    let name = path.child("name");
    if role.name.is_empty() {
        errors.push(Error::required(&name, ""));
    } else {
        errors.extend(names::name_is_path_segment(&role.name, false).into_iter().map(|message| Error::invalid(&name, &role.name, message)));
    }
    errors
}

fn subjects(subjects: &[Subject], namespaced: bool) -> ErrorList {
    let path = Path::new("subjects");
    let mut errors = ErrorList::new();
    for (index, subject) in subjects.iter().enumerate() {
        let at = path.index(index);
        if subject.name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        }
        match subject.kind.as_str() {
            "ServiceAccount" => {
                if !subject.name.is_empty() {
                    let name = at.child("name");
                    errors.extend(
                        names::name_is_dns_subdomain(&subject.name, false)
                            .into_iter()
                            .map(|message| Error::invalid(&name, &subject.name, message)),
                    );
                }
                if !subject.api_group.is_empty() {
                    errors.push(Error::not_supported(&at.child("apiGroup"), &subject.api_group, &[""]));
                }
                if !namespaced && subject.namespace.is_empty() {
                    errors.push(Error::required(&at.child("namespace"), ""));
                }
            }
            "User" | "Group" => {
                if subject.api_group != GROUP {
                    errors.push(Error::not_supported(&at.child("apiGroup"), &subject.api_group, &[GROUP]));
                }
            }
            other => errors.push(Error::not_supported(&at.child("kind"), other, &["ServiceAccount", "User", "Group"])),
        }
    }
    errors
}

fn cells(name: &str, role: &RoleRef, subjects: &[Subject], created: Time, now: Time) -> Vec<Value> {
    let list = |kind: &str| -> String {
        let names = subjects
            .iter()
            .filter(|subject| subject.kind == kind)
            .map(|subject| if kind == "ServiceAccount" { format!("{}/{}", subject.namespace, subject.name) } else { subject.name.clone() });
        names.collect::<Vec<_>>().join(", ")
    };
    vec![
        name.into(),
        format!("{}/{}", role.kind, role.name).into(),
        age(created, now),
        list("User").into(),
        list("Group").into(),
        list("ServiceAccount").into(),
    ]
}

/// The role of a binding cannot change: who was given one role would otherwise get another.
fn same_role(new: &RoleRef, old: &RoleRef) -> ErrorList {
    if new == old { ErrorList::new() } else { vec![Error::invalid(&Path::new("roleRef"), go_value(new), "cannot change roleRef")] }
}

/// Rules of RoleBindings.
#[derive(Clone, Copy, Debug)]
pub struct RoleBindingStrategy;

impl Strategy for RoleBindingStrategy {
    type Object = RoleBinding;

    fn default_object(&self, binding: &mut RoleBinding) {
        crate::defaults::generated::rbac_v1_role_binding(binding);
    }

    fn validate(&self, _: &RequestContext, binding: &RoleBinding) -> ErrorList {
        let mut errors = object_meta(&binding.metadata, true, names::name_is_path_segment, &Path::new("metadata"));
        errors.extend(role_ref(&binding.role_ref, &["Role", "ClusterRole"]));
        errors.extend(subjects(&binding.subjects, true));
        errors
    }

    fn validate_update(&self, context: &RequestContext, new: &RoleBinding, old: &RoleBinding) -> ErrorList {
        let mut errors = self.validate(context, new);
        errors.extend(object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata")));
        errors.extend(same_role(&new.role_ref, &old.role_ref));
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::name_is_path_segment(name, prefix)
    }

    fn table_cells(&self, binding: &RoleBinding, now: Time) -> Option<Vec<Value>> {
        Some(cells(&binding.metadata.name, &binding.role_ref, &binding.subjects, binding.metadata.creation_timestamp, now))
    }
}

/// Rules of ClusterRoleBindings.
#[derive(Clone, Copy, Debug)]
pub struct ClusterRoleBindingStrategy;

impl Strategy for ClusterRoleBindingStrategy {
    type Object = ClusterRoleBinding;

    fn default_object(&self, binding: &mut ClusterRoleBinding) {
        crate::defaults::generated::rbac_v1_cluster_role_binding(binding);
    }

    fn validate(&self, _: &RequestContext, binding: &ClusterRoleBinding) -> ErrorList {
        let mut errors = object_meta(&binding.metadata, false, names::name_is_path_segment, &Path::new("metadata"));
        errors.extend(role_ref(&binding.role_ref, &["ClusterRole"]));
        errors.extend(subjects(&binding.subjects, false));
        errors
    }

    fn validate_update(&self, context: &RequestContext, new: &ClusterRoleBinding, old: &ClusterRoleBinding) -> ErrorList {
        let mut errors = self.validate(context, new);
        errors.extend(object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata")));
        errors.extend(same_role(&new.role_ref, &old.role_ref));
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::name_is_path_segment(name, prefix)
    }

    fn table_cells(&self, binding: &ClusterRoleBinding, now: Time) -> Option<Vec<Value>> {
        Some(cells(&binding.metadata.name, &binding.role_ref, &binding.subjects, binding.metadata.creation_timestamp, now))
    }
}
