//! Roles and bindings. Upstream: plugin/pkg/auth/authorizer/rbac, pkg/registry/rbac/validation.
//!
//! An index from subjects to bindings is kept up to date by following the four resources, so that a decision looks only at the bindings that name
//! the user or one of the user's groups.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef, Subject};
use async_trait::async_trait;
use parking_lot::RwLock;

use super::{Attributes, Authorizer, Decision, NonResourceRule, ResourceRule, RuleSet};
use crate::authentication::names;
use crate::objects::{Change, Objects};
use crate::request::User;

/// The API group of roles and bindings.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// Namespace and name; the namespace of cluster-scoped objects is empty.
type Key = (String, String);

/// A binding as decisions need it.
#[derive(Clone, Debug, PartialEq)]
struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// Rules by role, bindings by subject.
#[derive(Debug, Default)]
struct Index {
    /// `Role`s by namespace and name, `ClusterRole`s with an empty namespace.
    roles: HashMap<Key, Arc<Vec<PolicyRule>>>,
    /// Cluster role bindings have an empty namespace.
    bindings: BTreeMap<Key, Binding>,
    /// User name (accounts included) or group, told apart by the first byte -> bindings that name it.
    by_subject: HashMap<String, HashSet<Key>>,
}

/// How a subject is found again. Service accounts are found under their user name.
fn subject_key(subject: &Subject, binding_namespace: &str) -> Option<String> {
    match subject.kind.as_str() {
        "User" => Some(format!("u{}", subject.name)),
        "Group" => Some(format!("g{}", subject.name)),
        "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() { binding_namespace } else { &subject.namespace };
            (!namespace.is_empty()).then(|| format!("u{}{namespace}:{}", names::SERVICE_ACCOUNT_PREFIX, subject.name))
        }
        _ => None,
    }
}

impl Index {
    fn set_binding(&mut self, key: Key, binding: Binding) {
        self.remove_binding(&key);
        for subject in &binding.subjects {
            if let Some(found) = subject_key(subject, &key.0) {
                self.by_subject.entry(found).or_default().insert(key.clone());
            }
        }
        self.bindings.insert(key, binding);
    }

    fn remove_binding(&mut self, key: &Key) {
        let Some(old) = self.bindings.remove(key) else { return };
        for subject in &old.subjects {
            if let Some(found) = subject_key(subject, &key.0)
                && let Some(set) = self.by_subject.get_mut(&found)
            {
                set.remove(key);
                if set.is_empty() {
                    self.by_subject.remove(&found);
                }
            }
        }
    }

    fn change(&mut self, change: &Change) {
        let (object, removed) = match change {
            Change::Set(object) => (object, false),
            Change::Removed(object) => (object, true),
        };
        let key = (object.metadata().namespace.clone(), object.metadata().name.clone());
        let rules =
            object.downcast_ref::<Role>().map(|role| &role.rules).or_else(|| object.downcast_ref::<ClusterRole>().map(|role| &role.rules));
        if let Some(rules) = rules {
            if removed {
                self.roles.remove(&key);
            } else {
                self.roles.insert(key, Arc::new(rules.to_vec()));
            }
            return;
        }
        let binding = object
            .downcast_ref::<RoleBinding>()
            .map(|b| (&b.role_ref, &b.subjects))
            .or_else(|| object.downcast_ref::<ClusterRoleBinding>().map(|b| (&b.role_ref, &b.subjects)));
        if let Some((role, subjects)) = binding {
            if removed {
                self.remove_binding(&key);
            } else {
                self.set_binding(key, Binding { role: role.clone(), subjects: subjects.to_vec() });
            }
        }
    }

    /// Bindings that apply to the user in the namespace, with their rules; cluster-wide ones first.
    fn rules_of(&self, user: &User, namespace: &str) -> Vec<(&Key, &Binding, Arc<Vec<PolicyRule>>)> {
        let subjects = std::iter::once(format!("u{}", user.name)).chain(user.groups.iter().map(|group| format!("g{group}")));
        let mut found: Vec<&Key> = subjects
            .filter_map(|subject| self.by_subject.get(&subject))
            .flatten()
            .filter(|(binding_namespace, _)| binding_namespace.is_empty() || (binding_namespace == namespace && !namespace.is_empty()))
            .collect();
        found.sort();
        found.dedup();
        found
            .into_iter()
            .filter_map(|key| {
                let binding = self.bindings.get(key)?;
                let role_namespace = if binding.role.kind == "Role" { key.0.clone() } else { String::new() };
                let rules = self.roles.get(&(role_namespace, binding.role.name.clone()))?;
                Some((key, binding, Arc::clone(rules)))
            })
            .collect()
    }
}

/// The authorizer. Cheap to clone; clones share the index.
#[derive(Clone, Debug, Default)]
pub struct Rbac {
    index: Arc<RwLock<Index>>,
}

impl Rbac {
    /// An authorizer that follows the stored roles and bindings.
    pub fn following(objects: &Arc<dyn Objects>) -> Self {
        let rbac = Self::default();
        for resource in ["roles", "clusterroles", "rolebindings", "clusterrolebindings"] {
            let index = Arc::clone(&rbac.index);
            objects.follow(GROUP, resource, Box::new(move |change| index.write().change(change)));
        }
        rbac
    }

    /// Takes one change in. Called for every change of the four resources.
    pub fn change(&self, change: &Change) {
        self.index.write().change(change);
    }

    /// All rules a user has in a namespace (empty: cluster-wide only), as escalation checks need them.
    pub fn rules_of(&self, user: &User, namespace: &str) -> Vec<PolicyRule> {
        self.index.read().rules_of(user, namespace).into_iter().flat_map(|(_, _, rules)| rules.to_vec()).collect()
    }

    /// The rules of a role that a binding refers to.
    pub fn role_rules(&self, role: &RoleRef, namespace: &str) -> Option<Vec<PolicyRule>> {
        let namespace = if role.kind == "Role" { namespace } else { "" };
        self.index.read().roles.get(&(namespace.to_owned(), role.name.clone())).map(|rules| rules.to_vec())
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

/// True if a rule covers the request. Upstream: RuleAllows.
pub fn rule_allows(rule: &PolicyRule, wanted: &Attributes<'_>) -> bool {
    if !has(&rule.verbs, wanted.verb) {
        return false;
    }
    if !wanted.is_resource {
        return rule.non_resource_urls.iter().any(|url| url_matches(url, wanted.path));
    }
    let resource = |item: &String| {
        let subresource_of_any = item.strip_prefix("*/").is_some_and(|sub| !wanted.subresource.is_empty() && sub == wanted.subresource);
        let exact = match item.split_once('/') {
            None => item == wanted.resource && wanted.subresource.is_empty(),
            Some((resource, sub)) => resource == wanted.resource && sub == wanted.subresource,
        };
        item == "*" || exact || subresource_of_any
    };
    has(&rule.api_groups, wanted.group)
        && rule.resources.iter().any(resource)
        && (rule.resource_names.is_empty() || rule.resource_names.iter().any(|name| name == wanted.name))
}

/// `*`, an exact path, or a prefix with a star at its end.
fn url_matches(pattern: &str, path: &str) -> bool {
    pattern == "*" || pattern == path || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let index = self.index.read();
        for ((namespace, name), binding, rules) in index.rules_of(attributes.user, attributes.namespace) {
            if rules.iter().any(|rule| rule_allows(rule, attributes)) {
                return Decision::Allow(reason(namespace, name, binding, attributes.user));
            }
        }
        Decision::NoOpinion(String::new())
    }

    fn rules_for(&self, user: &User, namespace: &str) -> RuleSet {
        let mut set = RuleSet::default();
        for rule in self.rules_of(user, namespace) {
            if rule.resources.is_empty() {
                set.non_resource_rules.push(NonResourceRule { verbs: rule.verbs.into_vec(), urls: rule.non_resource_urls.into_vec() });
            } else {
                set.resource_rules.push(ResourceRule {
                    verbs: rule.verbs.into_vec(),
                    api_groups: rule.api_groups.into_vec(),
                    resources: rule.resources.into_vec(),
                    resource_names: rule.resource_names.into_vec(),
                });
            }
        }
        set
    }
}

/// Why a request was allowed, as upstream's audit annotation has it.
fn reason(namespace: &str, name: &str, binding: &Binding, user: &User) -> String {
    let subject = binding.subjects.iter().find(|subject| match subject.kind.as_str() {
        "Group" => user.in_group(&subject.name),
        _ => subject_key(subject, namespace).is_some_and(|key| key[1..] == user.name),
    });
    let subject = match subject {
        Some(subject) if subject.kind == "ServiceAccount" => format!("ServiceAccount \"{}/{}\"", subject.name, subject.namespace),
        Some(subject) => format!("{} {:?}", subject.kind, subject.name),
        None => String::new(),
    };
    let (kind, full) =
        if namespace.is_empty() { ("ClusterRoleBinding", name.to_owned()) } else { ("RoleBinding", format!("{name}/{namespace}")) };
    format!("RBAC: allowed by {kind} {full:?} of {} {:?} to {subject}", binding.role.kind, binding.role.name)
}

/// The rules of `wanted` that `owned` does not cover; empty if all are. Upstream: pkg/registry/rbac/validation.Covers.
pub fn uncovered(owned: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted.iter().flat_map(break_down).filter(|part| !owned.iter().any(|rule| covers(rule, part))).collect()
}

/// A rule as rules of one verb on one thing each.
fn break_down(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut parts = Vec::new();
    for verb in &rule.verbs {
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let part = PolicyRule {
                    verbs: vec![verb.clone()].into(),
                    api_groups: vec![group.clone()].into(),
                    resources: vec![resource.clone()].into(),
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part);
                } else {
                    parts.extend(
                        rule.resource_names.iter().map(|name| PolicyRule { resource_names: vec![name.clone()].into(), ..part.clone() }),
                    );
                }
            }
        }
        for url in &rule.non_resource_urls {
            parts.push(PolicyRule {
                verbs: vec![verb.clone()].into(),
                non_resource_urls: vec![url.clone()].into(),
                ..PolicyRule::default()
            });
        }
    }
    parts
}

fn covers(rule: &PolicyRule, part: &PolicyRule) -> bool {
    let all = |have: &[String], want: &[String]| have.iter().any(|item| item == "*") || want.iter().all(|item| have.contains(item));
    if !all(&rule.verbs, &part.verbs) {
        return false;
    }
    if let Some(url) = part.non_resource_urls.first() {
        return rule.non_resource_urls.iter().any(|pattern| url_matches(pattern, url));
    }
    let resource = part.resources.first().map_or("", String::as_str);
    let subresource_star = resource.split_once('/').is_some_and(|(_, sub)| rule.resources.iter().any(|have| *have == format!("*/{sub}")));
    let named = rule.resource_names.is_empty()
        || (!part.resource_names.is_empty() && part.resource_names.iter().all(|name| rule.resource_names.contains(name)));
    all(&rule.api_groups, &part.api_groups) && (all(&rule.resources, &part.resources) || subresource_star) && named
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::{Object, json};

    fn rbac(objects: &[&str]) -> Rbac {
        let rbac = Rbac::default();
        for text in objects {
            let kind = apimachinery::Value::parse(text.as_bytes()).unwrap().str_at(&["kind"]).unwrap().to_owned();
            let info = api::type_info(GROUP, "v1", &kind).unwrap();
            let (object, _) = (info.from_json)(text.as_bytes(), false).unwrap();
            rbac.change(&Change::Set(Arc::from(object)));
        }
        rbac
    }

    fn asks<'a>(user: &'a User, verb: &'a str, namespace: &'a str, resource: &'a str, subresource: &'a str) -> Attributes<'a> {
        Attributes {
            user,
            verb,
            is_resource: true,
            group: "",
            version: "v1",
            namespace,
            resource,
            subresource,
            name: "x",
            path: "",
            field_selector: "",
            label_selector: "",
        }
    }

    #[tokio::test]
    async fn bindings_reach_users_groups_and_accounts() {
        let rbac = rbac(&[
            r#"{"kind":"ClusterRole","metadata":{"name":"view"},"rules":[{"verbs":["get"],"apiGroups":[""],"resources":["pods","*/status"]}]}"#,
            r#"{"kind":"RoleBinding","metadata":{"name":"b","namespace":"a"},"roleRef":{"kind":"ClusterRole","name":"view"},
                "subjects":[{"kind":"User","name":"joe"},{"kind":"Group","name":"ops"},{"kind":"ServiceAccount","name":"robot","namespace":"z"}]}"#,
        ]);
        let user = |name: &str, groups: &[&str]| User {
            name: name.to_owned(),
            groups: groups.iter().map(|g| (*g).to_owned()).collect(),
            ..User::default()
        };
        let allowed = async |user: &User, verb, namespace, resource, sub| {
            matches!(rbac.authorize(&asks(user, verb, namespace, resource, sub)).await, Decision::Allow(_))
        };
        let joe = user("joe", &[]);
        assert!(allowed(&joe, "get", "a", "pods", "").await);
        assert!(allowed(&joe, "get", "a", "nodes", "status").await);
        assert!(!allowed(&joe, "get", "b", "pods", "").await);
        assert!(!allowed(&joe, "list", "a", "pods", "").await);
        assert!(!allowed(&joe, "get", "a", "pods", "log").await);
        assert!(allowed(&user("ann", &["ops"]), "get", "a", "pods", "").await);
        assert!(allowed(&user("system:serviceaccount:z:robot", &[]), "get", "a", "pods", "").await);
        assert!(!allowed(&user("bob", &[]), "get", "a", "pods", "").await);
    }

    #[test]
    fn a_wider_rule_covers_a_narrower_one() {
        let rules = |text: &str| json::from_slice::<Role>(format!("{{\"rules\":{text}}}").as_bytes()).unwrap().rules.into_vec();
        let owned = rules(
            r#"[{"verbs":["get","list"],"apiGroups":["*"],"resources":["pods"]},{"verbs":["get"],"nonResourceURLs":["/healthz/*"]}]"#,
        );
        assert!(uncovered(&owned, &rules(r#"[{"verbs":["get"],"apiGroups":[""],"resources":["pods"],"resourceNames":["a"]}]"#)).is_empty());
        assert!(uncovered(&owned, &rules(r#"[{"verbs":["get"],"nonResourceURLs":["/healthz/ping"]}]"#)).is_empty());
        assert_eq!(uncovered(&owned, &rules(r#"[{"verbs":["get","delete"],"apiGroups":[""],"resources":["pods","nodes"]}]"#)).len(), 3);
    }

    #[tokio::test]
    async fn removing_a_binding_takes_the_right_away() {
        let rbac = rbac(&[
            r#"{"kind":"ClusterRole","metadata":{"name":"all"},"rules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]}"#,
            r#"{"kind":"ClusterRoleBinding","metadata":{"name":"b"},"roleRef":{"kind":"ClusterRole","name":"all"},"subjects":[{"kind":"User","name":"joe"}]}"#,
        ]);
        let joe = User { name: "joe".to_owned(), ..User::default() };
        assert!(matches!(rbac.authorize(&asks(&joe, "delete", "", "nodes", "")).await, Decision::Allow(_)));
        let mut gone = ClusterRoleBinding::default();
        gone.metadata_mut().name = "b".to_owned();
        rbac.change(&Change::Removed(Arc::new(gone)));
        assert!(matches!(rbac.authorize(&asks(&joe, "delete", "", "nodes", "")).await, Decision::NoOpinion(_)));
    }
}
