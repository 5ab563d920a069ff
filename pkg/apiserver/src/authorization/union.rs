//! Authorizers asked one after another, and the two that need no rules.

use async_trait::async_trait;

use super::{Attributes, Authorizer, Decision, NonResourceRule, ResourceRule, RuleSet};
use crate::authentication::names;
use crate::request::User;

/// Asks each member in order until one allows or denies.
pub struct Union {
    pub members: Vec<Box<dyn Authorizer>>,
}

impl std::fmt::Debug for Union {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Union of {}", self.members.len())
    }
}

#[async_trait]
impl Authorizer for Union {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let mut reasons = Vec::new();
        for member in &self.members {
            match member.authorize(attributes).await {
                Decision::NoOpinion(reason) => {
                    if !reason.is_empty() {
                        reasons.push(reason);
                    }
                }
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    fn rules_for(&self, user: &User, namespace: &str) -> RuleSet {
        let mut all = RuleSet::default();
        let mut errors = Vec::new();
        for member in &self.members {
            let rules = member.rules_for(user, namespace);
            all.resource_rules.extend(rules.resource_rules);
            all.non_resource_rules.extend(rules.non_resource_rules);
            all.incomplete |= rules.incomplete;
            if !rules.error.is_empty() {
                errors.push(rules.error);
            }
        }
        all.error = errors.join(", ");
        all
    }
}

/// Allows everything to one group: `system:masters` needs no rules, and so cannot be locked out.
#[derive(Debug)]
pub struct PrivilegedGroup;

#[async_trait]
impl Authorizer for PrivilegedGroup {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(names::MASTERS) { Decision::Allow(String::new()) } else { Decision::NoOpinion(String::new()) }
    }

    fn rules_for(&self, user: &User, _namespace: &str) -> RuleSet {
        if user.in_group(names::MASTERS) { everything() } else { RuleSet::default() }
    }
}

/// `--authorization-mode=AlwaysAllow`
#[derive(Debug)]
pub struct AlwaysAllow;

#[async_trait]
impl Authorizer for AlwaysAllow {
    async fn authorize(&self, _attributes: &Attributes<'_>) -> Decision {
        Decision::Allow(String::new())
    }

    fn rules_for(&self, _user: &User, _namespace: &str) -> RuleSet {
        everything()
    }
}

/// `--authorization-mode=AlwaysDeny`
#[derive(Debug)]
pub struct AlwaysDeny;

#[async_trait]
impl Authorizer for AlwaysDeny {
    async fn authorize(&self, _attributes: &Attributes<'_>) -> Decision {
        Decision::NoOpinion("Everything is forbidden.".to_owned())
    }

    fn rules_for(&self, _user: &User, _namespace: &str) -> RuleSet {
        RuleSet::default()
    }
}

fn everything() -> RuleSet {
    let all = || vec!["*".to_owned()];
    RuleSet {
        resource_rules: vec![ResourceRule { verbs: all(), api_groups: all(), resources: all(), resource_names: Vec::new() }],
        non_resource_rules: vec![NonResourceRule { verbs: all(), urls: all() }],
        ..RuleSet::default()
    }
}
