//! The authentication.k8s.io group: who a token or a request speaks for. Upstream: pkg/registry/authentication.

use std::sync::Arc;

use api::authentication::v1::{SelfSubjectReview, TokenReview, TokenReviewStatus, UserInfo};
use apimachinery::status::StatusError;
use apimachinery::wire::StringList;
use apimachinery::{Map, Object};
use apiserver::authentication::{Authenticator, Credentials};
use apiserver::request::{RequestContext, User};
use apiserver::rest::{Answer, Creater, ResourceDef};
use async_trait::async_trait;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, StatusCode};

/// The group's resources. `authenticator` is asked about tokens; `audiences` are what the server itself stands for.
pub fn resources(authenticator: Arc<dyn Authenticator>, audiences: Vec<String>) -> Vec<ResourceDef> {
    vec![
        ResourceDef::answered::<TokenReview>(TokenReviews { authenticator, audiences }),
        ResourceDef::answered::<SelfSubjectReview>(SelfSubjectReviews),
    ]
}

/// A user as the API shows it.
pub fn user_info(user: &User) -> UserInfo {
    UserInfo {
        username: user.name.clone(),
        uid: user.uid.clone(),
        groups: user.groups.clone().into(),
        extra: user.extra.iter().map(|(key, values)| (key.clone(), StringList::from(values.clone()))).collect::<Map<StringList>>(),
    }
}

struct TokenReviews {
    authenticator: Arc<dyn Authenticator>,
    audiences: Vec<String>,
}

#[async_trait]
impl Creater for TokenReviews {
    async fn create(&self, _: &RequestContext, body: Box<dyn Object>) -> Result<Answer, StatusError> {
        let mut review = *body.into_any().downcast::<TokenReview>().map_err(|_| StatusError::bad_request("not a TokenReview"))?;
        if review.spec.token.is_empty() {
            return Err(StatusError::bad_request("token is required for TokenReview in authentication"));
        }
        review.status = self.status(&review).await;
        Ok(Answer::Object(StatusCode::CREATED, Box::new(review)))
    }
}

impl TokenReviews {
    async fn status(&self, review: &TokenReview) -> TokenReviewStatus {
        let failed = |error: String| TokenReviewStatus { error, ..TokenReviewStatus::default() };
        let Ok(value) = HeaderValue::from_str(&format!("Bearer {}", review.spec.token)) else {
            return failed("invalid bearer token".to_owned());
        };
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value);
        let credentials = Credentials { headers: &headers, path: "", peer: None };
        let found = match self.authenticator.authenticate(&credentials).await {
            Ok(Some(found)) => found,
            Ok(None) => return TokenReviewStatus::default(),
            Err(error) => return failed(error),
        };
        let wanted: Vec<String> = if review.spec.audiences.is_empty() { self.audiences.clone() } else { review.spec.audiences.to_vec() };
        // A credential that names no audience is good for the server's own.
        let good_for = if found.audiences.is_empty() { &self.audiences } else { &found.audiences };
        let met: Vec<String> = wanted.into_iter().filter(|audience| good_for.contains(audience)).collect();
        if met.is_empty() && !self.audiences.is_empty() {
            return failed("token audience does not match".to_owned());
        }
        let audiences = if review.spec.audiences.is_empty() { found.audiences.clone() } else { met };
        TokenReviewStatus { authenticated: true, user: user_info(&found.user), audiences: audiences.into(), error: String::new() }
    }
}

struct SelfSubjectReviews;

#[async_trait]
impl Creater for SelfSubjectReviews {
    async fn create(&self, context: &RequestContext, body: Box<dyn Object>) -> Result<Answer, StatusError> {
        let mut review =
            *body.into_any().downcast::<SelfSubjectReview>().map_err(|_| StatusError::bad_request("not a SelfSubjectReview"))?;
        review.status.user_info = user_info(&context.user);
        Ok(Answer::Object(StatusCode::CREATED, Box::new(review)))
    }
}
