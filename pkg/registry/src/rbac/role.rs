//! Roles and ClusterRoles.

use api::rbac::v1::{ClusterRole, PolicyRule, Role};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::validation::{label_selector, object_meta, object_meta_update};

fn rules(rules: &[PolicyRule], namespaced: bool) -> ErrorList {
    let path = Path::new("rules");
    let mut errors = ErrorList::new();
    for (index, rule) in rules.iter().enumerate() {
        let at = path.index(index);
        if rule.verbs.is_empty() {
            errors.push(Error::required(&at.child("verbs"), "verbs must contain at least one value"));
        }
        if !rule.non_resource_urls.is_empty() {
            let urls = at.child("nonResourceURLs");
            let shown = crate::validation::meta::string_list(&rule.non_resource_urls);
            if namespaced {
                errors.push(Error::invalid(&urls, shown.clone(), "namespaced rules cannot apply to non-resource URLs"));
            }
            if !rule.api_groups.is_empty() || !rule.resources.is_empty() || !rule.resource_names.is_empty() {
                errors.push(Error::invalid(&urls, shown, "rules cannot apply to both regular resources and non-resource URLs"));
            }
            continue;
        }
        if rule.api_groups.is_empty() {
            errors.push(Error::required(&at.child("apiGroups"), "resource rules must supply at least one api group"));
        }
        if rule.resources.is_empty() {
            errors.push(Error::required(&at.child("resources"), "resource rules must supply at least one resource"));
        }
    }
    errors
}

/// Rules of Roles.
#[derive(Clone, Copy, Debug)]
pub struct RoleStrategy;

impl Strategy for RoleStrategy {
    type Object = Role;

    fn validate(&self, _: &RequestContext, role: &Role) -> ErrorList {
        let mut errors = object_meta(&role.metadata, true, names::name_is_path_segment, &Path::new("metadata"));
        errors.extend(rules(&role.rules, true));
        errors
    }

    fn validate_update(&self, context: &RequestContext, new: &Role, old: &Role) -> ErrorList {
        let mut errors = self.validate(context, new);
        errors.extend(object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata")));
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::name_is_path_segment(name, prefix)
    }
}

/// Rules of ClusterRoles.
#[derive(Clone, Copy, Debug)]
pub struct ClusterRoleStrategy;

impl Strategy for ClusterRoleStrategy {
    type Object = ClusterRole;

    fn validate(&self, _: &RequestContext, role: &ClusterRole) -> ErrorList {
        let mut errors = object_meta(&role.metadata, false, names::name_is_path_segment, &Path::new("metadata"));
        errors.extend(rules(&role.rules, false));
        if let Some(aggregation) = &role.aggregation_rule {
            let path = Path::new("aggregationRule");
            let selectors = path.child("clusterRoleSelectors");
            if aggregation.cluster_role_selectors.is_empty() {
                errors.push(Error::required(&selectors, "at least one clusterRoleSelector required if aggregationRule is non-nil"));
            }
            for (index, selector) in aggregation.cluster_role_selectors.iter().enumerate() {
                errors.extend(label_selector(Some(selector), &selectors.index(index)));
            }
        }
        errors
    }

    fn validate_update(&self, context: &RequestContext, new: &ClusterRole, old: &ClusterRole) -> ErrorList {
        let mut errors = self.validate(context, new);
        errors.extend(object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata")));
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::name_is_path_segment(name, prefix)
    }
}
