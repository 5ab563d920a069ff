//! What can go wrong between asking and having an answer.
//!
//! Upstream: `apimachinery/pkg/api/errors` for the server's answers, `client-go/rest` for the rest.

use std::time::Duration;

use thiserror::Error;

use crate::exec::AuthError;

/// A request that brought no usable answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The server answered, and the answer was no.
    #[error(transparent)]
    Api(Box<ApiError>),
    #[error("dial tcp {address}")]
    Connect {
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("tls: handshake with {server}")]
    Tls {
        server: String,
        #[source]
        source: std::io::Error,
    },
    #[error("getting credentials")]
    Auth(#[source] AuthError),
    #[error("http request failed")]
    Http(#[source] hyper::Error),
    #[error("request timed out after {} s (Client.Timeout exceeded while awaiting headers or body)", .0.as_secs_f64())]
    Timeout(Duration),
    /// The request could not even be built: a name with a slash, a header with a line break.
    #[error("invalid request: {0}")]
    Request(String),
    #[error("encoding {kind}")]
    Encode {
        kind: &'static str,
        #[source]
        source: BoxError,
    },
    #[error("decoding {kind}")]
    Decode {
        kind: String,
        #[source]
        source: BoxError,
    },
    /// The server answered an upgrade with something other than 101 and without a Status.
    #[error("unable to upgrade connection: {0}")]
    Upgrade(String),
    #[error("response body is larger than {limit} bytes")]
    TooLarge { limit: usize },
}

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The server's refusal: its `Status`, or what its code alone tells.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{message}")]
pub struct ApiError {
    pub code: u16,
    /// `NotFound`, `Conflict`, ...: upstream's `metav1.StatusReason`. Empty when the server gave none.
    pub reason: String,
    pub message: String,
    pub details: Box<ErrorDetails>,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorDetails {
    pub name: String,
    pub group: String,
    pub kind: String,
    pub uid: String,
    pub causes: Vec<ErrorCause>,
    pub retry_after: Option<Duration>,
}

/// `metav1.StatusCause`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorCause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

impl ApiError {
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> ApiError {
        ApiError { code, reason: reason.to_string(), message: message.into(), details: Box::default() }
    }

    /// The error for an answer without a Status in its body, in upstream's words (`NewGenericServerResponse`).
    pub fn generic(code: u16, method: &http::Method, path: &str, body: &str, retry_after: Option<Duration>) -> ApiError {
        let body = body.trim();
        let said = |otherwise: &str| if body.is_empty() { otherwise.to_string() } else { body.to_string() };
        let (reason, message) = match code {
            409 if method == http::Method::POST => ("AlreadyExists", "the server reported a conflict".to_string()),
            409 => ("Conflict", "the server reported a conflict".to_string()),
            404 => ("NotFound", "the server could not find the requested resource".to_string()),
            400 => ("BadRequest", "the server rejected our request for an unknown reason".to_string()),
            401 => ("Unauthorized", "the server has asked for the client to provide credentials".to_string()),
            403 => ("Forbidden", said("unknown")),
            406 => ("NotAcceptable", said("unknown")),
            415 => ("UnsupportedMediaType", said("unknown")),
            405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource".to_string()),
            410 => ("Expired", said("the requested resource version is no longer available")),
            422 => ("Invalid", "the server rejected our request due to an error in our request".to_string()),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request".to_string()),
            504 => (
                "Timeout",
                "the server was unable to return a response in the time allotted, but may still be processing the request".to_string(),
            ),
            429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later".to_string()),
            500.. => ("InternalError", format!("an error on the server ({:?}) has prevented the request from succeeding", said("unknown"))),
            _ => ("", format!("the server responded with the status code {code} but did not return more information")),
        };
        let message = format!("{message} ({} {path})", method.as_str().to_lowercase());
        let mut error = ApiError::new(code, reason, message);
        error.details.retry_after = retry_after;
        if !body.is_empty() {
            error.details.causes.push(ErrorCause { reason: "UnexpectedServerResponse".into(), message: body.into(), field: String::new() });
        }
        error
    }

    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Error {
        Error::Api(Box::new(error))
    }
}

impl Error {
    /// The server's refusal, if it was one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Error::Api(error) => Some(error),
            _ => None,
        }
    }

    fn is(&self, reason: &str, code: u16) -> bool {
        // A reason, where given, wins over the code: AlreadyExists and Conflict share 409.
        self.api().is_some_and(|error| error.reason == reason || (error.reason.is_empty() && error.code == code))
    }

    pub fn is_not_found(&self) -> bool {
        self.is("NotFound", 404)
    }

    pub fn is_already_exists(&self) -> bool {
        self.is("AlreadyExists", u16::MAX)
    }

    pub fn is_conflict(&self) -> bool {
        self.is("Conflict", 409)
    }

    pub fn is_invalid(&self) -> bool {
        self.is("Invalid", 422)
    }

    pub fn is_forbidden(&self) -> bool {
        self.is("Forbidden", 403)
    }

    pub fn is_unauthorized(&self) -> bool {
        self.is("Unauthorized", 401)
    }

    pub fn is_bad_request(&self) -> bool {
        self.is("BadRequest", 400)
    }

    pub fn is_method_not_allowed(&self) -> bool {
        self.is("MethodNotAllowed", 405)
    }

    pub fn is_unsupported_media_type(&self) -> bool {
        self.is("UnsupportedMediaType", 415)
    }

    pub fn is_too_many_requests(&self) -> bool {
        self.is("TooManyRequests", 429) || self.api().is_some_and(|error| error.code == 429)
    }

    /// The resource version asked for is no longer there: list again.
    pub fn is_gone(&self) -> bool {
        self.is("Expired", 410) || self.is("Gone", 410)
    }

    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Timeout(_)) || self.is("Timeout", 504)
    }

    pub fn is_server_timeout(&self) -> bool {
        self.is("ServerTimeout", u16::MAX)
    }

    pub fn is_service_unavailable(&self) -> bool {
        self.is("ServiceUnavailable", 503)
    }

    pub fn is_internal(&self) -> bool {
        self.is("InternalError", 500)
    }

    /// The write was refused because its namespace is being deleted.
    pub fn is_namespace_terminating(&self) -> bool {
        self.api().is_some_and(|error| error.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// A resource version above what the server has seen yet: ask again, perhaps without it.
    pub fn is_too_large_resource_version(&self) -> bool {
        let has_cause = |reason: &str| self.api().is_some_and(|e| e.details.causes.iter().any(|cause| cause.reason == reason));
        self.is_timeout()
            && (has_cause("ResourceVersionTooLarge") || self.api().is_some_and(|e| e.message.contains("Too large resource version")))
    }

    /// Nobody listens there.
    pub fn is_connection_refused(&self) -> bool {
        matches!(self, Error::Connect { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused)
    }

    /// The answer never came: whether the server acted on the request is unknown.
    pub fn is_connection_lost(&self) -> bool {
        matches!(self, Error::Http(_))
    }

    /// How long the server asked us to stay away.
    pub fn retry_after(&self) -> Option<Duration> {
        self.api().and_then(|error| error.details.retry_after)
    }
}
