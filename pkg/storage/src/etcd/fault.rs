//! From etcd's errors to what a caller of the store can act on.
//!
//! gRPC codes are too coarse: one code stands for several of etcd's errors, which only the text tells apart. The texts are
//! etcd's interface as much as the codes are.

use crate::{Error, Revision};

/// What a failed call may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing: it only reads, or repeating it does no harm.
    Read,
    Write,
}

/// gRPC status codes, by number: the library does not hand out the type.
mod code {
    pub(super) const INVALID_ARGUMENT: i32 = 3;
    pub(super) const NOT_FOUND: i32 = 5;
    pub(super) const PERMISSION_DENIED: i32 = 7;
    pub(super) const RESOURCE_EXHAUSTED: i32 = 8;
    pub(super) const OUT_OF_RANGE: i32 = 11;
    pub(super) const UNAUTHENTICATED: i32 = 16;
}

/// What etcd takes in one request unless configured otherwise; it does not tell its limit.
const DEFAULT_LIMIT: usize = 3 << 19;

/// Says "the lease a put named does not exist" in the text of an error.
pub(super) const LEASE_NOT_FOUND: &str = "requested lease not found";

pub(super) fn error(kind: Kind, attempted: &'static str, error: etcd_client::Error) -> Error {
    let (code, text) = match &error {
        etcd_client::Error::GRpcStatus(status) => (status.code() as i32, status.message().to_owned()),
        _ => (0, String::new()),
    };
    match code {
        code::OUT_OF_RANGE if text.contains("has been compacted") => {
            Error::Compacted { requested: Revision::ZERO, compacted: Revision::ZERO }
        }
        code::OUT_OF_RANGE if text.contains("future revision") => {
            Error::FutureRevision { requested: Revision::ZERO, current: Revision::ZERO }
        }
        code::PERMISSION_DENIED | code::UNAUTHENTICATED => Error::PermissionDenied { attempted: format!("{attempted}: {text}") },
        code::RESOURCE_EXHAUSTED if text.contains("database space exceeded") => {
            Error::DiskFull { place: "etcd".to_owned(), source: Some(Box::new(error)) }
        }
        code::INVALID_ARGUMENT if text.contains("duplicate key") => Error::InvalidTxn("a key is written twice"),
        code::INVALID_ARGUMENT if text.contains("too large") => Error::TooLarge { size: 0, limit: DEFAULT_LIMIT },
        // Refused before anything was done.
        code::NOT_FOUND | code::INVALID_ARGUMENT | code::RESOURCE_EXHAUSTED => unavailable(attempted, error),
        _ if kind == Kind::Read || is_unsent(&error) || text.contains("no leader") => unavailable(attempted, error),
        _ => Error::OutcomeUnknown { attempted: attempted.to_owned(), source: Some(Box::new(error)) },
    }
}

/// Whether the request never left because there was no connection.
pub(super) fn is_unsent(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let refused = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if refused == Some(std::io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    // The client library makes these two while it connects, and only then.
    matches!(status.message(), "tcp connect error" | "dns error")
}

pub(super) fn no_answer(kind: Kind, attempted: &'static str) -> Error {
    let attempted = format!("{attempted}: no answer in time");
    match kind {
        Kind::Read => Error::Unavailable { attempted, source: None },
        Kind::Write => Error::OutcomeUnknown { attempted, source: None },
    }
}

fn unavailable(attempted: &str, error: etcd_client::Error) -> Error {
    Error::Unavailable { attempted: attempted.to_owned(), source: Some(Box::new(error)) }
}

/// Whether a put failed because the lease it named is gone.
pub(super) fn is_lease_lost(error: &Error) -> bool {
    let Error::Unavailable { source: Some(source), .. } = error else { return false };
    source.to_string().contains(LEASE_NOT_FOUND)
}
