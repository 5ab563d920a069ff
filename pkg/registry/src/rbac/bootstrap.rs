//! The roles and bindings every cluster has, made and mended when the server starts. Upstream: plugin/pkg/auth/authorizer/rbac/bootstrappolicy,
//! pkg/registry/rbac/rest/storage_rbac.go, component-helpers/auth/rbac/reconciliation.

use std::sync::Arc;

use api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, Subject};
use apimachinery::status::StatusError;
use apimachinery::{Map, Object, Value};
use apiserver::authorization::rbac::uncovered;
use apiserver::objects::Objects;

/// One object a line, made from api/rbac-bootstrap.yaml.
const POLICY: &str = include_str!("bootstrap_policy.jsonl");

/// Objects whose annotation says so are left as an administrator made them.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// The bootstrap roles and bindings.
pub fn policy() -> Vec<Box<dyn Object>> {
    POLICY.lines().map(|line| decode(line).expect("the policy is checked by a test")).collect()
}

fn decode(line: &str) -> Option<Box<dyn Object>> {
    let kind = Value::parse(line.as_bytes()).ok()?.str_at(&["kind"])?.to_owned();
    let info = api::type_info(super::GROUP, "v1", &kind)?;
    let (mut object, _) = (info.from_json)(line.as_bytes(), false).ok()?;
    *object.type_meta_mut() = Default::default();
    Some(object)
}

/// Makes what is missing, and adds missing rules and subjects to what is there. Nothing an administrator added is taken away.
pub async fn reconcile(objects: &Arc<dyn Objects>) -> Result<(), StatusError> {
    for object in policy() {
        let resource = match object.kind() {
            "ClusterRole" => "clusterroles",
            "ClusterRoleBinding" => "clusterrolebindings",
            "Role" => "roles",
            _ => "rolebindings",
        };
        let (namespace, name) = (object.metadata().namespace.clone(), object.metadata().name.clone());
        match objects.create(object.clone_object()).await {
            Ok(_) => continue,
            Err(err) if err.is_already_exists() => {}
            Err(err) => return Err(err),
        }
        objects.update(super::GROUP, resource, &namespace, &name, &|current| Ok(mend(current, &*object))).await?;
    }
    Ok(())
}

/// The stored object with what the policy asks for added; `None` if it has all of it.
fn mend(current: &dyn Object, wanted: &dyn Object) -> Option<Box<dyn Object>> {
    if current.metadata().annotations.get_str(AUTOUPDATE) == "false" {
        return None;
    }
    let mut new = current.clone_object();
    let meta = new.metadata_mut();
    add_missing(&mut meta.labels, &wanted.metadata().labels);
    add_missing(&mut meta.annotations, &wanted.metadata().annotations);
    if let (Some(role), Some(wanted)) = (new.downcast_mut::<ClusterRole>(), wanted.downcast_ref::<ClusterRole>()) {
        // Aggregated rules are the aggregation controller's.
        if wanted.aggregation_rule.is_some() {
            role.aggregation_rule.get_or_insert_with(|| wanted.aggregation_rule.clone().expect("just looked"));
        } else {
            add_rules(&mut role.rules, &wanted.rules);
        }
    } else if let (Some(role), Some(wanted)) = (new.downcast_mut::<Role>(), wanted.downcast_ref::<Role>()) {
        add_rules(&mut role.rules, &wanted.rules);
    } else if let (Some(binding), Some(wanted)) = (new.downcast_mut::<ClusterRoleBinding>(), wanted.downcast_ref::<ClusterRoleBinding>()) {
        add_subjects(&mut binding.subjects, &wanted.subjects);
    } else if let (Some(binding), Some(wanted)) = (new.downcast_mut::<RoleBinding>(), wanted.downcast_ref::<RoleBinding>()) {
        add_subjects(&mut binding.subjects, &wanted.subjects);
    }
    (!new.eq_object(current)).then_some(new)
}

fn add_missing(to: &mut Map<String>, from: &Map<String>) {
    for (key, value) in from {
        if !to.contains_key(key) {
            to.insert(key, value.clone());
        }
    }
}

fn add_subjects(subjects: &mut apimachinery::List<Subject>, wanted: &[Subject]) {
    for subject in wanted {
        if !subjects.contains(subject) {
            subjects.push(subject.clone());
        }
    }
}

fn add_rules(rules: &mut apimachinery::List<PolicyRule>, wanted: &[PolicyRule]) {
    for rule in wanted {
        if !uncovered(rules, std::slice::from_ref(rule)).is_empty() {
            rules.push(rule.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_decodes_and_needs_no_mending() {
        let policy = policy();
        assert!(policy.len() > 130, "{}", policy.len());
        for mut object in policy {
            if let Some(binding) = object.downcast_mut::<ClusterRoleBinding>() {
                crate::defaults::generated::rbac_v1_cluster_role_binding(binding);
            }
            assert!(mend(&*object, &*object).is_none(), "{}", object.metadata().name);
        }
    }

    #[test]
    fn what_an_administrator_took_away_comes_back_and_what_was_added_stays() {
        let wanted =
            policy().into_iter().find(|object| object.kind() == "ClusterRole" && object.metadata().name == "system:node-proxier").unwrap();
        let mut current = wanted.clone_object();
        let role = current.downcast_mut::<ClusterRole>().unwrap();
        role.rules = vec![PolicyRule {
            verbs: vec!["get".into()].into(),
            api_groups: vec!["x".into()].into(),
            resources: vec!["y".into()].into(),
            ..Default::default()
        }]
        .into();
        let mended = mend(&*current, &*wanted).unwrap();
        let rules = &mended.downcast_ref::<ClusterRole>().unwrap().rules;
        assert_eq!(rules.len(), wanted.downcast_ref::<ClusterRole>().unwrap().rules.len() + 1);
    }
}
