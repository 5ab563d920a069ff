//! What can go wrong between asking and having an answer.
//!
//! Upstream: `apimachinery/pkg/api/errors` for the server's answers, `client-go/rest` for the rest.

use std::time::Duration;

use apimachinery::StatusError;
use apimachinery::status::cause;
use thiserror::Error;

use crate::exec::AuthError;

/// A request that brought no usable answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The server answered, and the answer was no.
    #[error(transparent)]
    Api(Box<StatusError>),
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

impl From<StatusError> for Error {
    fn from(error: StatusError) -> Error {
        Error::Api(Box::new(error))
    }
}

impl Error {
    /// The server's refusal, if it was one.
    pub fn api(&self) -> Option<&StatusError> {
        match self {
            Error::Api(error) => Some(error),
            _ => None,
        }
    }

    fn told(&self, ask: impl Fn(&StatusError) -> bool) -> bool {
        self.api().is_some_and(ask)
    }

    pub fn is_not_found(&self) -> bool {
        self.told(StatusError::is_not_found)
    }

    pub fn is_already_exists(&self) -> bool {
        self.told(StatusError::is_already_exists)
    }

    pub fn is_conflict(&self) -> bool {
        self.told(StatusError::is_conflict)
    }

    pub fn is_invalid(&self) -> bool {
        self.told(StatusError::is_invalid)
    }

    pub fn is_forbidden(&self) -> bool {
        self.told(StatusError::is_forbidden)
    }

    pub fn is_unauthorized(&self) -> bool {
        self.told(StatusError::is_unauthorized)
    }

    pub fn is_too_many_requests(&self) -> bool {
        self.told(StatusError::is_too_many_requests)
    }

    pub fn is_bad_request(&self) -> bool {
        self.has_code(400)
    }

    pub fn is_method_not_allowed(&self) -> bool {
        self.has_code(405)
    }

    pub fn is_unsupported_media_type(&self) -> bool {
        self.has_code(415)
    }

    pub fn is_service_unavailable(&self) -> bool {
        self.has_code(503)
    }

    pub fn is_internal(&self) -> bool {
        self.told(|error| error.reason == apimachinery::status::reason::INTERNAL_ERROR)
    }

    fn has_code(&self, code: u16) -> bool {
        self.told(|error| error.code == code)
    }

    /// The resource version asked for is no longer there: list again.
    pub fn is_gone(&self) -> bool {
        self.told(StatusError::is_expired)
    }

    /// Time ran out, here or at the server.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Error::Timeout(_)) || self.told(StatusError::is_timeout)
    }

    /// The write was refused because its namespace is being deleted.
    pub fn is_namespace_terminating(&self) -> bool {
        self.told(|error| error.has_cause("NamespaceTerminating"))
    }

    /// A resource version above what the server has seen yet: ask again, perhaps without it.
    pub fn is_too_large_resource_version(&self) -> bool {
        self.told(|error| error.is_too_large_resource_version() || error.has_cause(cause::RESOURCE_VERSION_TOO_LARGE))
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
        self.api()?.retry_after().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs)
    }
}
