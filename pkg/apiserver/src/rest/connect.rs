//! Subresources that do something else than store the object they are below.

use std::sync::Arc;

use apimachinery::Object;
use apimachinery::status::StatusError;
use async_trait::async_trait;
use component_base::http::{Request, Response};
use http::StatusCode;

use crate::request::RequestContext;

/// What a [`Creater`] answers.
#[derive(Debug)]
pub enum Answer {
    /// An object of any kind, with the code to send it with (201 unless it says otherwise).
    Object(StatusCode, Box<dyn Object>),
    /// `{"kind":"Status","status":"Success"}` with this code, as bindings and evictions answer.
    Success(StatusCode),
}

/// Answers a POST without storing the body as such.
#[async_trait]
pub trait Creater: Send + Sync + 'static {
    /// `body` is of the kind that the facts name for this resource or subresource, in the version of the URL, after mutating and validating admission.
    /// The name of the object it is below is in `context.info.name`, which is empty for a resource of its own.
    async fn create(&self, context: &RequestContext, body: Box<dyn Object>) -> Result<Answer, StatusError>;
}

/// Answers requests on its own, streams and upgrades included. Admission's CONNECT has been asked before.
#[async_trait]
pub trait Connecter: Send + Sync + 'static {
    /// Query and path of the request are as sent; `context.info` has namespace, name and, in `rest`, what follows the subresource.
    async fn connect(&self, context: Arc<RequestContext>, request: Request) -> Result<Response, StatusError>;
}
