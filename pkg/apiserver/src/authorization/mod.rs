//! Who may do what. Upstream: apiserver/pkg/authorization.

pub mod rbac;
pub mod union;

use async_trait::async_trait;

use crate::request::User;

/// What is to be allowed. Borrowed from a request or from an access review.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    pub user: &'a User,
    pub verb: &'a str,
    pub is_resource: bool,
    pub group: &'a str,
    pub version: &'a str,
    pub namespace: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    /// For non-resource requests.
    pub path: &'a str,
    pub field_selector: &'a str,
    pub label_selector: &'a str,
}

/// An authorizer's answer, with a reason for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow(String),
    /// Final: no later authorizer is asked.
    Deny(String),
    /// The next one decides; if there is none the request is refused.
    NoOpinion(String),
}

/// Decides on requests.
#[async_trait]
pub trait Authorizer: Send + Sync + 'static {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision;

    /// The rules a user has in a namespace, for SelfSubjectRulesReview: (rules as JSON objects, non-resource rules, incomplete because).
    fn rules_for(&self, _user: &User, _namespace: &str) -> RuleSet {
        RuleSet { incomplete: true, error: "webhook authorizer does not support user rule resolution".to_owned(), ..RuleSet::default() }
    }
}

/// A user's rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    pub resource_rules: Vec<ResourceRule>,
    pub non_resource_rules: Vec<NonResourceRule>,
    pub incomplete: bool,
    pub error: String,
}

/// Verbs on resources.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
}

/// Verbs on URLs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NonResourceRule {
    pub verbs: Vec<String>,
    pub urls: Vec<String>,
}
