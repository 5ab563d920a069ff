//! What can go wrong on a stream connection.

use std::io;

/// Why a connection, stream or handshake failed. Cheap to clone, since every stream of a connection reports the same end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The socket failed or ended before the peer had closed the session.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The peer sent what the protocol does not allow.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// The peer closed the WebSocket with another code than 1000 (normal).
    #[error("websocket closed with code {code}: {reason}")]
    Closed {
        /// The close code of RFC 6455 section 7.4.
        code: u16,
        /// The peer's own words.
        reason: String,
    },
    /// The peer reset the stream, with SPDY's status code.
    #[error("stream reset (status {0})")]
    Reset(u32),
    /// This side has closed the connection, or the peer takes no more streams.
    #[error("connection closed")]
    Finished,
    /// Nothing moved for longer than the idle timeout, or pings stayed unanswered.
    #[error("connection timed out: {0}")]
    TimedOut(&'static str),
    /// As many streams are open as one connection may have.
    #[error("too many streams on one connection")]
    TooManyStreams,
    /// The client opened other streams than its request announced, or none in time.
    #[error("{0}")]
    Streams(String),
    /// The HTTP exchange before the upgrade failed.
    #[error("unable to upgrade connection: {0}")]
    Upgrade(String),
    /// The server answered the upgrade request with something else than 101.
    #[error("{}", refusal(body))]
    Refused {
        /// The HTTP status code.
        code: u16,
        /// The start of the answer's body: a `Status` object or plain text.
        body: String,
    },
}

/// A refusal's text: the message of a `Status` object as it is, anything else as upstream's client introduces it.
fn refusal(body: &str) -> String {
    let status: Option<serde_json::Value> = serde_json::from_str(body).ok().filter(|status: &serde_json::Value| status["kind"] == "Status");
    match status.as_ref().and_then(|status| status["message"].as_str()) {
        Some(message) => message.to_owned(),
        None => format!("unable to upgrade connection: {body}"),
    }
}

impl Error {
    pub(crate) fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }

    pub(crate) fn lost(err: &io::Error) -> Self {
        Self::Lost(err.to_string())
    }
}

impl From<Error> for io::Error {
    fn from(err: Error) -> Self {
        let kind = match &err {
            Error::Lost(_) | Error::Reset(_) | Error::Closed { .. } => io::ErrorKind::ConnectionReset,
            Error::Protocol(_) => io::ErrorKind::InvalidData,
            Error::Finished => io::ErrorKind::BrokenPipe,
            Error::TimedOut(_) => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, err)
    }
}
