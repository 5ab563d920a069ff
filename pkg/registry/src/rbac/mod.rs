//! The rbac.authorization.k8s.io group. Upstream: pkg/registry/rbac, pkg/apis/rbac.

mod binding;
pub mod bootstrap;
mod role;

use std::sync::Arc;

use api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef};
use apimachinery::Object;
use apimachinery::gvk::GroupResource;
use apimachinery::status::StatusError;
use apiserver::authorization::rbac::{Rbac, uncovered};
use apiserver::authorization::{Attributes, Authorizer, Decision};
use apiserver::request::RequestContext;
use apiserver::rest::hooks::{Finish, nothing_to_finish};
use apiserver::rest::{Hooks, ResourceDef};
use async_trait::async_trait;

const GROUP: &str = "rbac.authorization.k8s.io";

/// What keeps users from giving away what they do not have.
#[derive(Clone)]
pub struct Escalation {
    pub rbac: Rbac,
    pub authorizer: Arc<dyn Authorizer>,
}

/// The group's resources. Without `escalation` (when RBAC is not an authorization mode) anybody who may write roles may write any role.
pub fn resources(escalation: Option<&Escalation>) -> Vec<ResourceDef> {
    let guarded = |def: ResourceDef| match escalation {
        Some(escalation) => def.hooks(Guard(escalation.clone())),
        None => def,
    };
    vec![
        guarded(ResourceDef::stored(role::RoleStrategy)),
        guarded(ResourceDef::stored(role::ClusterRoleStrategy)),
        guarded(ResourceDef::stored(binding::RoleBindingStrategy)),
        guarded(ResourceDef::stored(binding::ClusterRoleBindingStrategy)),
    ]
}

/// Refuses roles and bindings that would give more than their author has. Upstream: pkg/registry/rbac/*/policybased.
struct Guard(Escalation);

impl Guard {
    async fn may(&self, context: &RequestContext, verb: &str, resource: &str, name: &str) -> bool {
        let asked = Attributes {
            user: &context.user,
            verb,
            is_resource: true,
            group: GROUP,
            version: "*",
            namespace: &context.info.namespace,
            resource,
            subresource: "",
            name,
            path: "",
            field_selector: "",
            label_selector: "",
        };
        matches!(self.0.authorizer.authorize(&asked).await, Decision::Allow(_))
    }

    async fn check(&self, context: &RequestContext, object: &dyn Object, old: Option<&dyn Object>) -> Result<(), StatusError> {
        // The server's own loops and administrators beyond all rules pass.
        if context.user.in_group(apiserver::authentication::names::MASTERS) {
            return Ok(());
        }
        let name = &object.metadata().name;
        if let Some((rules, resource)) = rules_of(object) {
            if old.and_then(rules_of).is_some_and(|(before, _)| before == rules) || self.may(context, "escalate", resource, name).await {
                return Ok(());
            }
            return self.covered(context, rules, resource, name);
        }
        let Some((role, resource)) = role_of(object) else { return Ok(()) };
        if old.and_then(role_of).is_some_and(|(before, _)| before == role) && old.is_some_and(|old| subjects_same(old, object)) {
            return Ok(());
        }
        let role_resource = if role.kind == "Role" { "roles" } else { "clusterroles" };
        if self.may(context, "bind", role_resource, &role.name).await {
            return Ok(());
        }
        let rules = self.0.rbac.role_rules(role, &object.metadata().namespace);
        let Some(rules) = rules else {
            return Err(StatusError::not_found(&GroupResource::new(GROUP, role_resource), &role.name));
        };
        self.covered(context, &rules, resource, name)
    }

    fn covered(&self, context: &RequestContext, rules: &[PolicyRule], resource: &str, name: &str) -> Result<(), StatusError> {
        let owned = self.0.rbac.rules_of(&context.user, &context.info.namespace);
        let missing = uncovered(&owned, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let mut groups = context.user.groups.clone();
        groups.sort();
        let rules: Vec<String> = missing.iter().map(compact).collect();
        let why = format!(
            "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
            context.user.name,
            groups,
            rules.join("\n")
        );
        Err(StatusError::forbidden(&GroupResource::new(GROUP, resource), name, why))
    }
}

/// A rule as upstream's message shows it.
fn compact(rule: &PolicyRule) -> String {
    let mut parts = Vec::new();
    let mut part = |name: &str, list: &[String]| {
        if !list.is_empty() {
            parts.push(format!("{name}:{list:?}"));
        }
    };
    part("APIGroups", &rule.api_groups);
    part("Resources", &rule.resources);
    part("ResourceNames", &rule.resource_names);
    part("NonResourceURLs", &rule.non_resource_urls);
    part("Verbs", &rule.verbs);
    format!("{{{}}}", parts.join(", "))
}

fn rules_of(object: &dyn Object) -> Option<(&[PolicyRule], &'static str)> {
    if let Some(role) = object.downcast_ref::<Role>() {
        return Some((&role.rules, "roles"));
    }
    object.downcast_ref::<ClusterRole>().map(|role| (&*role.rules, "clusterroles"))
}

fn role_of(object: &dyn Object) -> Option<(&RoleRef, &'static str)> {
    if let Some(binding) = object.downcast_ref::<RoleBinding>() {
        return Some((&binding.role_ref, "rolebindings"));
    }
    object.downcast_ref::<ClusterRoleBinding>().map(|binding| (&binding.role_ref, "clusterrolebindings"))
}

fn subjects_same(old: &dyn Object, new: &dyn Object) -> bool {
    let subjects = |object: &dyn Object| {
        object
            .downcast_ref::<RoleBinding>()
            .map(|b| b.subjects.to_vec())
            .or_else(|| object.downcast_ref::<ClusterRoleBinding>().map(|b| b.subjects.to_vec()))
    };
    subjects(old) == subjects(new)
}

#[async_trait]
impl Hooks for Guard {
    async fn begin_create(&self, context: &RequestContext, object: &mut dyn Object) -> Result<Finish, StatusError> {
        self.check(context, object, None).await?;
        Ok(nothing_to_finish())
    }

    async fn begin_update(&self, context: &RequestContext, new: &mut dyn Object, old: &dyn Object) -> Result<Finish, StatusError> {
        self.check(context, new, Some(old)).await?;
        Ok(nothing_to_finish())
    }
}
