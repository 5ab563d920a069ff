//! Refusals that are worded before any handler is known. Upstream: apiserver/pkg/endpoints/handlers/responsewriters/errors.go.

use apimachinery::gotext::quote;
use apimachinery::gvk::GroupResource;
use apimachinery::status::{StatusError, reason};

use crate::authorization::Attributes;

/// 401.
pub(super) fn unauthorized() -> StatusError {
    StatusError::new(401, reason::UNAUTHORIZED, "Unauthorized")
}

/// 403, in upstream's words.
pub(super) fn forbidden(attributes: &Attributes<'_>, why: &str) -> StatusError {
    let mut message = format!("User {} cannot {} ", quote(&attributes.user.name), attributes.verb);
    if !attributes.is_resource {
        message += &format!("path {}", quote(attributes.path));
        if !why.is_empty() {
            message += &format!(": {why}");
        }
        let mut error = StatusError::new(403, reason::FORBIDDEN, format!("forbidden: {message}"));
        error.details = Some(Box::default());
        return error;
    }
    let resource = match attributes.subresource {
        "" => attributes.resource.to_owned(),
        subresource => format!("{}/{subresource}", attributes.resource),
    };
    message += &format!("resource {} in API group {}", quote(&resource), quote(attributes.group));
    match attributes.namespace {
        "" => message += " at the cluster scope",
        namespace => message += &format!(" in the namespace {}", quote(namespace)),
    }
    if !why.is_empty() {
        message += &format!(": {why}");
    }
    StatusError::forbidden(&GroupResource::new(attributes.group, attributes.resource), attributes.name, message)
}
