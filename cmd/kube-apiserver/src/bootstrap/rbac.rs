//! The default roles and bindings, made and kept complete. Upstream: pkg/registry/rbac/rest, plugin/pkg/auth/authorizer/rbac/bootstrappolicy.
//!
//! What an administrator added stays; what is missing is added, unless the object says `autoupdate: "false"`.

use std::sync::Arc;

use api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use apimachinery::value::Object as Members;
use apimachinery::{Object, Resource, Value};
use apiserver::authorization::rbac::uncovered;
use apiserver::objects::Objects;
use apiserver::server::Server;
use component_base::http::BoxError;
use futures_util::future::try_join_all;

const GROUP: &str = "rbac.authorization.k8s.io";
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
const POLICY: &str = include_str!("../../../../api/rbac-bootstrap.yaml");

/// Makes what is missing. All objects at once: the store puts their writes into few syncs.
pub(super) async fn reconcile(server: Arc<Server>) -> Result<(), BoxError> {
    let policy = apimachinery::yaml::parse(POLICY.as_bytes())?;
    let objects: &dyn Objects = server.objects().as_ref();
    tokio::try_join!(
        try_join_all(read::<ClusterRole>(&policy, "clusterRoles")?.into_iter().map(|wanted| settle(objects, wanted, merge_cluster_role))),
        try_join_all(read::<ClusterRoleBinding>(&policy, "clusterRoleBindings")?.into_iter().map(|wanted| settle(
            objects,
            wanted,
            merge_cluster_binding
        ))),
        try_join_all(read::<Role>(&policy, "roles")?.into_iter().map(|wanted| settle(objects, wanted, merge_role))),
        try_join_all(read::<RoleBinding>(&policy, "roleBindings")?.into_iter().map(|wanted| settle(objects, wanted, merge_binding))),
    )?;
    Ok(())
}

/// The objects of one list, in the API's own form.
fn read<T: Resource>(policy: &Value, list: &str) -> Result<Vec<T>, BoxError> {
    let common = policy.get("common").and_then(Value::as_object).cloned().unwrap_or_default();
    let rows = policy.get(list).and_then(Value::as_array).unwrap_or_default();
    rows.iter()
        .map(|row| {
            let row = row.as_object().ok_or_else(|| format!("{list}: a row is no object"))?;
            let mut metadata = Members::new();
            let mut document = Members::new();
            let merged = |own: Option<&Value>, common: Option<&Value>| {
                let mut members = common.and_then(Value::as_object).cloned().unwrap_or_default();
                members.extend(own.and_then(Value::as_object).cloned().unwrap_or_default());
                Value::from(members)
            };
            metadata.insert("labels", merged(row.get("extraLabels"), common.get("labels")));
            metadata.insert("annotations", merged(row.get("extraAnnotations"), common.get("annotations")));
            for (key, value) in row {
                match key.as_str() {
                    "name" | "namespace" => metadata.insert(key.as_str(), value.clone()),
                    "extraLabels" | "extraAnnotations" => None,
                    _ => document.insert(key.as_str(), value.clone()),
                };
            }
            document.insert("metadata", metadata);
            Ok(apimachinery::json::from_slice(&Value::from(document).to_vec())?)
        })
        .collect()
}

/// Creates an object, or completes the one that is there.
async fn settle<T: Resource>(objects: &dyn Objects, wanted: T, merge: fn(&mut T, &T) -> bool) -> Result<(), BoxError> {
    let (namespace, name) = (wanted.metadata().namespace.clone(), wanted.metadata().name.clone());
    let needs = |current: &dyn Object| -> Option<Box<dyn Object>> {
        if current.metadata().annotations.get_str(AUTOUPDATE) == "false" {
            return None;
        }
        let mut complete = current.downcast_ref::<T>()?.clone();
        let mut changed = merge(&mut complete, &wanted);
        for (key, value) in wanted.metadata().labels.iter() {
            changed |= !complete.metadata().labels.contains_key(key);
            if !complete.metadata().labels.contains_key(key) {
                complete.metadata_mut().labels.insert(key, value.clone());
            }
        }
        changed.then(|| Box::new(complete) as Box<dyn Object>)
    };
    match objects.get(GROUP, T::PLURAL, &namespace, &name).await? {
        None => super::ensure(objects, Box::new(wanted.clone())).await?,
        Some(current) if needs(current.as_ref()).is_some() => {
            objects.update(GROUP, T::PLURAL, &namespace, &name, &|current| Ok(needs(current))).await?;
        }
        Some(_) => {}
    }
    Ok(())
}

fn merge_cluster_role(current: &mut ClusterRole, wanted: &ClusterRole) -> bool {
    let missing = uncovered(&current.rules, &wanted.rules);
    let changed = !missing.is_empty() || (current.aggregation_rule.is_none() && wanted.aggregation_rule.is_some());
    current.rules.extend(missing);
    if current.aggregation_rule.is_none() {
        current.aggregation_rule.clone_from(&wanted.aggregation_rule);
    }
    changed
}

fn merge_role(current: &mut Role, wanted: &Role) -> bool {
    let missing = uncovered(&current.rules, &wanted.rules);
    let changed = !missing.is_empty();
    current.rules.extend(missing);
    changed
}

fn merge_cluster_binding(current: &mut ClusterRoleBinding, wanted: &ClusterRoleBinding) -> bool {
    let missing: Vec<_> = wanted.subjects.iter().filter(|subject| !current.subjects.contains(subject)).cloned().collect();
    let changed = !missing.is_empty();
    current.subjects.extend(missing);
    changed
}

fn merge_binding(current: &mut RoleBinding, wanted: &RoleBinding) -> bool {
    let missing: Vec<_> = wanted.subjects.iter().filter(|subject| !current.subjects.contains(subject)).cloned().collect();
    let changed = !missing.is_empty();
    current.subjects.extend(missing);
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_policy_can_be_read() {
        let policy = apimachinery::yaml::parse(POLICY.as_bytes()).unwrap();
        assert_eq!(read::<ClusterRole>(&policy, "clusterRoles").unwrap().len(), 70);
        assert_eq!(read::<ClusterRoleBinding>(&policy, "clusterRoleBindings").unwrap().len(), 51);
        let roles = read::<Role>(&policy, "roles").unwrap();
        assert_eq!(roles.len(), 7);
        assert!(roles.iter().all(|role| !role.metadata.namespace.is_empty() && !role.rules.is_empty()));
        let bindings = read::<RoleBinding>(&policy, "roleBindings").unwrap();
        assert!(bindings.iter().all(|binding| !binding.subjects.is_empty() && !binding.role_ref.name.is_empty()));
    }
}
