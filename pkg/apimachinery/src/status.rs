//! Errors as the API answers them: code, reason, message and details. Upstream: apimachinery `pkg/api/errors`.

use std::fmt;

use crate::List;
use crate::gotext::quote;
use crate::gvk::{GroupKind, GroupResource};
use crate::meta::v1::{self as meta, Status};
use crate::validation::field;
use crate::value::{Object, Value};

/// Machine-readable reasons of a failure.
pub mod reason {
    pub const UNKNOWN: &str = "";
    pub const UNAUTHORIZED: &str = "Unauthorized";
    pub const FORBIDDEN: &str = "Forbidden";
    pub const NOT_FOUND: &str = "NotFound";
    pub const ALREADY_EXISTS: &str = "AlreadyExists";
    pub const CONFLICT: &str = "Conflict";
    pub const GONE: &str = "Gone";
    pub const INVALID: &str = "Invalid";
    pub const SERVER_TIMEOUT: &str = "ServerTimeout";
    pub const STORE_READ_ERROR: &str = "StorageReadError";
    pub const TIMEOUT: &str = "Timeout";
    pub const TOO_MANY_REQUESTS: &str = "TooManyRequests";
    pub const BAD_REQUEST: &str = "BadRequest";
    pub const METHOD_NOT_ALLOWED: &str = "MethodNotAllowed";
    pub const NOT_ACCEPTABLE: &str = "NotAcceptable";
    pub const REQUEST_ENTITY_TOO_LARGE: &str = "RequestEntityTooLarge";
    pub const UNSUPPORTED_MEDIA_TYPE: &str = "UnsupportedMediaType";
    pub const INTERNAL_ERROR: &str = "InternalError";
    pub const EXPIRED: &str = "Expired";
    pub const SERVICE_UNAVAILABLE: &str = "ServiceUnavailable";
}

/// Reasons of single causes beside those of field errors.
pub mod cause {
    pub const UNEXPECTED_SERVER_RESPONSE: &str = "UnexpectedServerResponse";
    pub const FIELD_MANAGER_CONFLICT: &str = "FieldManagerConflict";
    pub const RESOURCE_VERSION_TOO_LARGE: &str = "ResourceVersionTooLarge";
}

/// One of several causes of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusCause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusDetails {
    pub name: String,
    pub group: String,
    /// A kind or a resource.
    pub kind: String,
    pub uid: String,
    pub causes: Vec<StatusCause>,
    pub retry_after_seconds: i32,
}

/// A failed request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusError {
    pub code: u16,
    pub reason: String,
    pub message: String,
    pub details: Option<Box<StatusDetails>>,
}

impl std::error::Error for StatusError {}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn about(resource: &GroupResource, name: &str) -> StatusDetails {
    StatusDetails { name: name.into(), group: resource.group.clone(), kind: resource.resource.clone(), ..Default::default() }
}

impl StatusError {
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        StatusError { code, reason: reason.into(), message: message.into(), details: None }
    }

    pub fn with_details(mut self, details: StatusDetails) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    fn details_mut(&mut self) -> &mut StatusDetails {
        self.details.get_or_insert_default()
    }

    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        self.details_mut().causes.push(StatusCause { reason: reason.into(), message: message.into(), field: field.into() });
        self
    }

    pub fn with_retry_after(mut self, seconds: i32) -> Self {
        self.details_mut().retry_after_seconds = seconds;
        self
    }

    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::new(404, reason::NOT_FOUND, format!("{resource} {} not found", quote(name))).with_details(about(resource, name))
    }

    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::new(409, reason::ALREADY_EXISTS, format!("{resource} {} already exists", quote(name))).with_details(about(resource, name))
    }

    /// No free name was found for a `generateName`.
    pub fn generate_name_conflict(resource: &GroupResource, name: &str, retry_after_seconds: i32) -> Self {
        let message =
            format!("{resource} {} already exists, the server was not able to generate a unique name for the object", quote(name));
        Self::new(409, reason::ALREADY_EXISTS, message).with_details(about(resource, name)).with_retry_after(retry_after_seconds)
    }

    pub fn unauthorized(message: &str) -> Self {
        Self::new(401, reason::UNAUTHORIZED, if message.is_empty() { "not authorized" } else { message })
    }

    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {} is forbidden: {why}", quote(name)),
        };
        Self::new(403, reason::FORBIDDEN, message).with_details(about(resource, name))
    }

    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", quote(name));
        Self::new(409, reason::CONFLICT, message).with_details(about(resource, name))
    }

    /// Server-side apply met fields that others own.
    pub fn apply_conflict(causes: Vec<StatusCause>, message: impl Into<String>) -> Self {
        Self::new(409, reason::CONFLICT, message).with_details(StatusDetails { causes, ..Default::default() })
    }

    pub fn gone(message: impl Into<String>) -> Self {
        Self::new(410, reason::GONE, message)
    }

    /// The resource version or continue token is too old.
    pub fn resource_expired(message: impl Into<String>) -> Self {
        Self::new(410, reason::EXPIRED, message)
    }

    pub fn invalid(kind: &GroupKind, name: &str, errors: &[field::Error]) -> Self {
        let causes = errors.iter().map(|error| StatusCause {
            reason: error.kind.reason().into(),
            message: error.body(),
            field: error.field.clone(),
        });
        let details = StatusDetails {
            name: name.into(),
            group: kind.group.clone(),
            kind: kind.kind.clone(),
            causes: causes.collect(),
            ..Default::default()
        };
        let mut message = format!("{kind} {} is invalid", quote(name));
        if !errors.is_empty() {
            message = format!("{message}: {}", field::aggregate(errors));
        }
        Self::new(422, reason::INVALID, message).with_details(details)
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, reason::BAD_REQUEST, message)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        Self::new(429, reason::TOO_MANY_REQUESTS, message).with_retry_after(retry_after_seconds)
    }

    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(503, reason::SERVICE_UNAVAILABLE, message)
    }

    pub fn method_not_supported(resource: &GroupResource, action: &str) -> Self {
        let message = format!("{action} is not supported on resources of kind {}", quote(&resource.to_string()));
        Self::new(405, reason::METHOD_NOT_ALLOWED, message).with_details(about(resource, ""))
    }

    pub fn server_timeout(resource: &GroupResource, operation: &str, retry_after_seconds: i32) -> Self {
        let message = format!("The {operation} operation against {resource} could not be completed at this time, please try again.");
        Self::new(500, reason::SERVER_TIMEOUT, message).with_details(about(resource, "")).with_retry_after(retry_after_seconds)
    }

    pub fn internal(why: impl fmt::Display) -> Self {
        let why = why.to_string();
        Self::new(500, reason::INTERNAL_ERROR, format!("Internal error occurred: {why}")).with_cause("", why, "")
    }

    pub fn timeout(message: &str, retry_after_seconds: i32) -> Self {
        Self::new(504, reason::TIMEOUT, format!("Timeout: {message}")).with_retry_after(retry_after_seconds)
    }

    /// A revision was asked for that is not there yet.
    pub fn too_large_resource_version(wanted: u64, current: u64) -> Self {
        Self::timeout(&format!("Too large resource version: {wanted}, current: {current}"), 1).with_cause(
            cause::RESOURCE_VERSION_TOO_LARGE,
            "Too large resource version",
            "",
        )
    }

    pub fn request_entity_too_large(message: &str) -> Self {
        Self::new(413, reason::REQUEST_ENTITY_TOO_LARGE, format!("Request entity too large: {message}"))
    }

    /// An error no reason is known for, as the API server answers it: 500 without a reason.
    pub fn unknown(message: impl fmt::Display) -> Self {
        Self::new(500, reason::UNKNOWN, message.to_string())
    }

    /// What a client makes of a failure that came without a Status, and the API server of one it has no words for. `unexpected` says
    /// that the response was no Status at all; then its body becomes a cause.
    pub fn generic(
        code: u16,
        verb: &str,
        resource: &GroupResource,
        name: &str,
        server_message: &str,
        retry_after_seconds: i32,
        unexpected: bool,
    ) -> Self {
        let (reason, mut message) = match code {
            409 if verb.eq_ignore_ascii_case("POST") => (reason::ALREADY_EXISTS, "the server reported a conflict".into()),
            409 => (reason::CONFLICT, "the server reported a conflict".into()),
            404 => (reason::NOT_FOUND, "the server could not find the requested resource".into()),
            400 => (reason::BAD_REQUEST, "the server rejected our request for an unknown reason".into()),
            401 => (reason::UNAUTHORIZED, "the server has asked for the client to provide credentials".into()),
            403 => (reason::FORBIDDEN, server_message.to_owned()),
            406 if server_message.is_empty() || server_message == "unknown" => {
                (reason::NOT_ACCEPTABLE, "the server was unable to respond with a content type that the client supports".into())
            }
            406 => (reason::NOT_ACCEPTABLE, server_message.to_owned()),
            415 => (reason::UNSUPPORTED_MEDIA_TYPE, server_message.to_owned()),
            405 => (reason::METHOD_NOT_ALLOWED, "the server does not allow this method on the requested resource".into()),
            422 => (reason::INVALID, "the server rejected our request due to an error in our request".into()),
            503 => (reason::SERVICE_UNAVAILABLE, "the server is currently unable to handle the request".into()),
            504 => {
                let message = "the server was unable to return a response in the time allotted, but may still be processing the request";
                (reason::TIMEOUT, message.into())
            }
            429 => {
                let message = "the server has received too many requests and has asked us to try again later";
                (reason::TOO_MANY_REQUESTS, message.into())
            }
            500.. => {
                let message = format!("an error on the server ({}) has prevented the request from succeeding", quote(server_message));
                (reason::INTERNAL_ERROR, message)
            }
            _ => (reason::UNKNOWN, format!("the server responded with the status code {code} but did not return more information")),
        };
        if !resource.is_empty() {
            let verb = verb.to_lowercase();
            message = match name.is_empty() {
                true => format!("{message} ({verb} {resource})"),
                false => format!("{message} ({verb} {resource} {name})"),
            };
        }
        let mut error = Self::new(code, reason, message).with_details(about(resource, name));
        if unexpected {
            error = error.with_cause(cause::UNEXPECTED_SERVER_RESPONSE, server_message, "");
        }
        error.details_mut().retry_after_seconds = retry_after_seconds;
        error
    }

    pub fn is_not_found(&self) -> bool {
        self.reason == reason::NOT_FOUND || self.reason.is_empty() && self.code == 404
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason == reason::ALREADY_EXISTS
    }

    pub fn is_conflict(&self) -> bool {
        self.reason == reason::CONFLICT || self.reason.is_empty() && self.code == 409
    }

    pub fn is_forbidden(&self) -> bool {
        self.reason == reason::FORBIDDEN || self.reason.is_empty() && self.code == 403
    }

    pub fn is_invalid(&self) -> bool {
        self.reason == reason::INVALID || self.reason.is_empty() && self.code == 422
    }

    pub fn is_unauthorized(&self) -> bool {
        self.reason == reason::UNAUTHORIZED || self.reason.is_empty() && self.code == 401
    }

    /// The resource version is too old: list again.
    pub fn is_expired(&self) -> bool {
        matches!(self.reason.as_str(), reason::EXPIRED | reason::GONE) || self.reason.is_empty() && self.code == 410
    }

    pub fn is_timeout(&self) -> bool {
        matches!(self.reason.as_str(), reason::TIMEOUT | reason::SERVER_TIMEOUT)
    }

    pub fn is_too_many_requests(&self) -> bool {
        self.reason == reason::TOO_MANY_REQUESTS || self.code == 429
    }

    pub fn is_too_large_resource_version(&self) -> bool {
        self.is_timeout() && self.causes().iter().any(|cause| cause.reason == cause::RESOURCE_VERSION_TOO_LARGE)
    }

    /// The namespace is going away.
    pub fn has_cause(&self, reason: &str) -> bool {
        self.causes().iter().any(|cause| cause.reason == reason)
    }

    pub fn causes(&self) -> &[StatusCause] {
        self.details.as_ref().map_or(&[], |details| details.causes.as_slice())
    }

    /// After how many seconds the server wants to be asked again.
    pub fn retry_after(&self) -> Option<i32> {
        self.details.as_ref().map(|details| details.retry_after_seconds).filter(|seconds| *seconds > 0)
    }

    /// The Status object, as the API answers it.
    pub fn to_value(&self) -> Value {
        let mut status = Object::with_capacity(8);
        status.insert("kind", "Status");
        status.insert("apiVersion", "v1");
        status.insert("metadata", Object::new());
        status.insert("status", "Failure");
        insert_text(&mut status, "message", &self.message);
        insert_text(&mut status, "reason", &self.reason);
        if let Some(details) = &self.details {
            let mut members = Object::new();
            insert_text(&mut members, "name", &details.name);
            insert_text(&mut members, "group", &details.group);
            insert_text(&mut members, "kind", &details.kind);
            insert_text(&mut members, "uid", &details.uid);
            if !details.causes.is_empty() {
                let causes = details.causes.iter().map(|cause| {
                    let mut members = Object::new();
                    insert_text(&mut members, "reason", &cause.reason);
                    insert_text(&mut members, "message", &cause.message);
                    insert_text(&mut members, "field", &cause.field);
                    members
                });
                members.insert("causes", causes.collect::<Value>());
            }
            if details.retry_after_seconds != 0 {
                members.insert("retryAfterSeconds", details.retry_after_seconds);
            }
            status.insert("details", members);
        }
        if self.code != 0 {
            status.insert("code", i64::from(self.code));
        }
        status.into()
    }

    /// Reads a Status object that tells of a failure.
    pub fn from_value(status: &Value) -> Option<Self> {
        if status.str_at(&["kind"]) != Some("Status") || status.str_at(&["status"]) == Some("Success") {
            return None;
        }
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_i64).unwrap_or_default();
        let details = status.get("details").filter(|details| details.as_object().is_some()).map(|details| {
            let causes = details.get("causes").and_then(Value::as_array).unwrap_or_default().iter();
            Box::new(StatusDetails {
                name: text(details, "name"),
                group: text(details, "group"),
                kind: text(details, "kind"),
                uid: text(details, "uid"),
                causes: causes
                    .map(|cause| StatusCause {
                        reason: text(cause, "reason"),
                        message: text(cause, "message"),
                        field: text(cause, "field"),
                    })
                    .collect(),
                retry_after_seconds: i32::try_from(number(details, "retryAfterSeconds")).unwrap_or_default(),
            })
        });
        Some(StatusError {
            code: u16::try_from(number(status, "code")).unwrap_or_default(),
            reason: text(status, "reason"),
            message: text(status, "message"),
            details,
        })
    }
}

impl From<&StatusError> for Status {
    fn from(error: &StatusError) -> Self {
        let details = error.details.as_ref().map(|details| {
            let causes = details.causes.iter().map(|cause| meta::StatusCause {
                reason: cause.reason.clone(),
                message: cause.message.clone(),
                field: cause.field.clone(),
            });
            Box::new(meta::StatusDetails {
                name: details.name.clone(),
                group: details.group.clone(),
                kind: details.kind.clone(),
                uid: details.uid.clone(),
                causes: if details.causes.is_empty() { List::default() } else { causes.collect::<Vec<_>>().into() },
                retry_after_seconds: details.retry_after_seconds,
            })
        });
        Status {
            status: "Failure".into(),
            message: error.message.clone(),
            reason: error.reason.clone(),
            details,
            code: i32::from(error.code),
            ..Default::default()
        }
    }
}

impl From<&Status> for StatusError {
    fn from(status: &Status) -> Self {
        let details = status.details.as_ref().map(|details| {
            let causes = details.causes.iter().map(|cause| StatusCause {
                reason: cause.reason.clone(),
                message: cause.message.clone(),
                field: cause.field.clone(),
            });
            Box::new(StatusDetails {
                name: details.name.clone(),
                group: details.group.clone(),
                kind: details.kind.clone(),
                uid: details.uid.clone(),
                causes: causes.collect(),
                retry_after_seconds: details.retry_after_seconds,
            })
        });
        StatusError {
            code: u16::try_from(status.code).unwrap_or_default(),
            reason: status.reason.clone(),
            message: status.message.clone(),
            details,
        }
    }
}

fn insert_text(object: &mut Object, key: &str, text: &str) {
    if !text.is_empty() {
        object.insert(key, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::field::{Error, Path};

    #[test]
    fn answers_like_upstream() {
        let deployments = GroupResource::new("apps", "deployments");
        let kind = GroupKind::new("apps", "Deployment");
        let required = Error::required(&Path::new("spec.template.spec.containers"), "");
        for (error, json) in [
            (
                StatusError::not_found(&deployments, "x"),
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"x\" not found","reason":"NotFound","details":{"name":"x","group":"apps","kind":"deployments"},"code":404}"#,
            ),
            (
                StatusError::invalid(&kind, "d", &[required]),
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Deployment.apps \"d\" is invalid: spec.template.spec.containers: Required value","reason":"Invalid","details":{"name":"d","group":"apps","kind":"Deployment","causes":[{"reason":"FieldValueRequired","message":"Required value","field":"spec.template.spec.containers"}]},"code":422}"#,
            ),
            (
                StatusError::unknown("unknown patch type: bogus in map: map[$patch:bogus]"),
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"unknown patch type: bogus in map: map[$patch:bogus]","code":500}"#,
            ),
            (
                StatusError::too_large_resource_version(9, 1),
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: Too large resource version: 9, current: 1","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1},"code":504}"#,
            ),
            (
                StatusError::generic(405, "POST", &GroupResource::default(), "", "", 0, false),
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server does not allow this method on the requested resource","reason":"MethodNotAllowed","details":{},"code":405}"#,
            ),
        ] {
            assert_eq!(error.to_value().to_string(), json);
            assert_eq!(StatusError::from_value(&error.to_value()).as_ref(), Some(&error));
            let status = Status::from(&error);
            assert_eq!(String::from_utf8(crate::json::to_vec(&status)).unwrap(), json);
            assert_eq!(StatusError::from(&status), error);
        }
    }
}
