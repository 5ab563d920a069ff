//! clusterrole-aggregation-controller: fills the rules of a ClusterRole from the roles that its aggregation rule selects.
//!
//! Reads and writes ClusterRoles. Upstream: pkg/controller/clusterroleaggregation.

use std::sync::Arc;

use api::rbac::v1::{ClusterRole, PolicyRule};
use apimachinery::labels::{Selector, SelectorError};
use client::Api;
use component_base::tasks::Tasks;
use informer::{ObjectKey, Reconcile, Requeue, Store, WorkQueue};

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration =
    Registration { name: "clusterrole-aggregation-controller", alias: Some("clusterrole-aggregation"), default_on: true, start };

/// The rules the role should have, each once, in the order of the names of the roles they come from. `None` if it has them,
/// or aggregates nothing.
pub fn plan(role: &ClusterRole, roles: &[Arc<ClusterRole>]) -> Result<Option<Vec<PolicyRule>>, SelectorError> {
    let Some(aggregation) = &role.aggregation_rule else { return Ok(None) };
    let selectors: Vec<Selector> = aggregation.cluster_role_selectors.iter().map(Selector::of).collect::<Result<_, _>>()?;
    let mut sources: Vec<&Arc<ClusterRole>> = roles.iter().filter(|other| other.metadata.name != role.metadata.name).collect();
    sources.retain(|other| selectors.iter().any(|selector| selector.matches(&other.metadata.labels)));
    sources.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in sources.into_iter().flat_map(|source| &source.rules) {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    Ok((rules[..] != role.rules[..]).then_some(rules))
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let roles = sources.of::<ClusterRole>();
    let queue = WorkQueue::new("ClusterRoleAggregator");
    let (all, changed) = (roles.store(), queue.clone());
    roles.on_event(move |_| {
        // There are few, and any role may be a source of any other.
        for role in all.list().iter().filter(|role| role.aggregation_rule.is_some()) {
            changed.add(ObjectKey::of_metadata(&role.metadata));
        }
    });
    let client = context.client("clusterrole-aggregation-controller")?;
    let reconciler = Aggregator { roles: roles.store(), api: Api::all(&client) };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 5);
    Ok(Started::Running)
}

struct Aggregator {
    roles: Arc<Store<ClusterRole>>,
    api: Api<ClusterRole>,
}

impl Reconcile for Aggregator {
    const NAME: &'static str = "clusterrole-aggregation-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(role) = self.roles.get(key) else { return Ok(Requeue::OnChange) };
        let rules = plan(&role, &self.roles.list()).map_err(|err| WriteError::Invalid(format!("cluster role \"{key}\": {err}")))?;
        let Some(rules) = rules else { return Ok(Requeue::OnChange) };
        let mut next = (*role).clone();
        next.rules = rules.into();
        match self.api.update(&next).await {
            Err(err) if !err.is_not_found() => Err(WriteError::new("update", format!("cluster role \"{key}\""), err)),
            _ => Ok(Requeue::OnChange),
        }
    }
}

#[cfg(test)]
mod tests {
    use api::rbac::v1::AggregationRule;
    use apimachinery::meta::v1::LabelSelector;

    use super::*;

    fn role(name: &str, label: &str, verbs: &[&str]) -> Arc<ClusterRole> {
        let mut role = ClusterRole::default();
        role.metadata.name = name.into();
        role.metadata.labels.insert("to", label.to_string());
        for verb in verbs {
            role.rules.push(PolicyRule { verbs: [(*verb).to_string()].into(), ..PolicyRule::default() });
        }
        Arc::new(role)
    }

    #[test]
    fn rules_come_from_the_selected_roles_each_once() {
        let mut view = (*role("view", "edit", &[])).clone();
        let selector = |value: &str| LabelSelector { match_labels: [("to", value.to_string())].into(), ..LabelSelector::default() };
        view.aggregation_rule = Some(Box::new(AggregationRule { cluster_role_selectors: [selector("view"), selector("edit")].into() }));
        let roles =
            [Arc::new(view.clone()), role("b", "view", &["list", "get"]), role("a", "edit", &["get"]), role("c", "other", &["all"])];
        let rules = plan(&view, &roles).unwrap().unwrap();
        let verbs: Vec<&str> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["get", "list"]);
        view.rules = rules.into();
        assert_eq!(plan(&view, &roles).unwrap(), None, "planning twice changes nothing");
        assert_eq!(plan(&roles[1], &roles).unwrap(), None);
    }
}
