//! The authorization.k8s.io group: may somebody do something. Upstream: pkg/registry/authorization.

use std::sync::Arc;

use api::authorization::v1::{
    LocalSubjectAccessReview, NonResourceAttributes, NonResourceRule, ResourceAttributes, ResourceRule, SelfSubjectAccessReview,
    SelfSubjectRulesReview, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus, SubjectRulesReviewStatus,
};
use apimachinery::Object;
use apimachinery::gvk::GroupKind;
use apimachinery::status::StatusError;
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apiserver::authorization::{Attributes, Authorizer, Decision};
use apiserver::request::{RequestContext, User};
use apiserver::rest::{Answer, Creater, ResourceDef};
use async_trait::async_trait;
use http::StatusCode;

const GROUP: &str = "authorization.k8s.io";

/// The group's resources.
pub fn resources(authorizer: &Arc<dyn Authorizer>) -> Vec<ResourceDef> {
    let own = || Reviews(Arc::clone(authorizer));
    vec![
        ResourceDef::answered::<SubjectAccessReview>(own()),
        ResourceDef::answered::<LocalSubjectAccessReview>(own()),
        ResourceDef::answered::<SelfSubjectAccessReview>(own()),
        ResourceDef::answered::<SelfSubjectRulesReview>(own()),
    ]
}

struct Reviews(Arc<dyn Authorizer>);

impl Reviews {
    async fn decide(
        &self,
        user: &User,
        resource: Option<&ResourceAttributes>,
        path: Option<&NonResourceAttributes>,
    ) -> SubjectAccessReviewStatus {
        let none = ResourceAttributes::default();
        let on_resource = resource.unwrap_or(&none);
        let selector = |label: bool| {
            let raw = if label {
                on_resource.label_selector.as_ref().map(|selector| selector.raw_selector.clone())
            } else {
                on_resource.field_selector.as_ref().map(|selector| selector.raw_selector.clone())
            };
            raw.unwrap_or_default()
        };
        let (fields, labels) = (selector(false), selector(true));
        let asked = Attributes {
            user,
            verb: resource.map(|r| r.verb.as_str()).or(path.map(|p| p.verb.as_str())).unwrap_or(""),
            is_resource: resource.is_some(),
            group: &on_resource.group,
            version: &on_resource.version,
            namespace: &on_resource.namespace,
            resource: &on_resource.resource,
            subresource: &on_resource.subresource,
            name: &on_resource.name,
            path: path.map_or("", |path| &path.path),
            field_selector: &fields,
            label_selector: &labels,
        };
        match self.0.authorize(&asked).await {
            Decision::Allow(reason) => SubjectAccessReviewStatus { allowed: true, reason, ..SubjectAccessReviewStatus::default() },
            Decision::Deny(reason) => SubjectAccessReviewStatus { denied: true, reason, ..SubjectAccessReviewStatus::default() },
            Decision::NoOpinion(reason) => SubjectAccessReviewStatus { reason, ..SubjectAccessReviewStatus::default() },
        }
    }
}

/// Either resource or non-resource attributes.
fn attributes(resource: bool, path: bool, at: &Path<'_>) -> ErrorList {
    match (resource, path) {
        (true, true) => vec![Error::invalid(
            &at.child("nonResourceAttributes"),
            BadValue::OMITTED,
            "cannot be specified in combination with resourceAttributes",
        )],
        (false, false) => vec![Error::invalid(
            &at.child("resourceAttributes"),
            BadValue::json("null"),
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        _ => ErrorList::new(),
    }
}

fn check(kind: &str, errors: ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() { Ok(()) } else { Err(StatusError::invalid(&GroupKind::new(GROUP, kind), "", &errors)) }
}

fn subject(spec: &SubjectAccessReviewSpec) -> ErrorList {
    let at = Path::new("spec");
    let mut errors = attributes(spec.resource_attributes.is_some(), spec.non_resource_attributes.is_some(), &at);
    if spec.user.is_empty() && spec.groups.is_empty() {
        errors.push(Error::invalid(&at.child("user"), "", "at least one of user or group must be specified"));
    }
    errors
}

fn user_of(spec: &SubjectAccessReviewSpec) -> User {
    User {
        name: spec.user.clone(),
        uid: spec.uid.clone(),
        groups: spec.groups.to_vec(),
        extra: spec.extra.iter().map(|(key, values)| (key.to_owned(), values.to_vec())).collect(),
    }
}

#[async_trait]
impl Creater for Reviews {
    async fn create(&self, context: &RequestContext, body: Box<dyn Object>) -> Result<Answer, StatusError> {
        let mut body = body;
        if let Some(review) = body.downcast_mut::<SubjectAccessReview>() {
            check("SubjectAccessReview", subject(&review.spec))?;
            review.status = self
                .decide(&user_of(&review.spec), review.spec.resource_attributes.as_deref(), review.spec.non_resource_attributes.as_deref())
                .await;
        } else if let Some(review) = body.downcast_mut::<LocalSubjectAccessReview>() {
            let mut errors = subject(&review.spec);
            let path = Path::new("spec");
            let at = path.child("resourceAttributes");
            if review.spec.non_resource_attributes.is_some() {
                errors.push(Error::invalid(&path.child("nonResourceAttributes"), BadValue::OMITTED, "disallowed on this kind of request"));
            }
            let namespace = review.spec.resource_attributes.as_deref().map_or("", |attributes| &attributes.namespace);
            if review.spec.resource_attributes.is_some() && namespace != review.metadata.namespace {
                errors.push(Error::invalid(&at.child("namespace"), namespace, "must match metadata.namespace"));
            }
            check("LocalSubjectAccessReview", errors)?;
            review.status = self.decide(&user_of(&review.spec), review.spec.resource_attributes.as_deref(), None).await;
        } else if let Some(review) = body.downcast_mut::<SelfSubjectAccessReview>() {
            let at = Path::new("spec");
            check(
                "SelfSubjectAccessReview",
                attributes(review.spec.resource_attributes.is_some(), review.spec.non_resource_attributes.is_some(), &at),
            )?;
            review.status = self
                .decide(&context.user, review.spec.resource_attributes.as_deref(), review.spec.non_resource_attributes.as_deref())
                .await;
        } else if let Some(review) = body.downcast_mut::<SelfSubjectRulesReview>() {
            if review.spec.namespace.is_empty() {
                return Err(StatusError::bad_request("no namespace on request"));
            }
            let rules = self.0.rules_for(&context.user, &review.spec.namespace);
            review.status = SubjectRulesReviewStatus {
                resource_rules: rules
                    .resource_rules
                    .into_iter()
                    .map(|rule| ResourceRule {
                        verbs: rule.verbs.into(),
                        api_groups: rule.api_groups.into(),
                        resources: rule.resources.into(),
                        resource_names: rule.resource_names.into(),
                    })
                    .collect(),
                non_resource_rules: rules
                    .non_resource_rules
                    .into_iter()
                    .map(|rule| NonResourceRule { verbs: rule.verbs.into(), non_resource_urls: rule.urls.into() })
                    .collect(),
                incomplete: rules.incomplete,
                evaluation_error: rules.error,
            };
        }
        Ok(Answer::Object(StatusCode::CREATED, body))
    }
}
