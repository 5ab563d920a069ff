//! What the shells of controllers share: writing, and telling refusals apart.

use thiserror::Error;

/// A write that did not happen. The key goes back into the queue; nothing is retried here.
#[derive(Debug, Error)]
pub enum WriteError {
    #[error("cannot {verb} {what}")]
    Refused {
        verb: &'static str,
        /// Kind and name: `pod "web-x7k2p"`.
        what: String,
        #[source]
        source: Box<client::Error>,
    },
    /// Several writes of one pass failed; each is in the log, the first is here.
    #[error("{count} of {of} writes failed")]
    Several {
        count: usize,
        of: usize,
        #[source]
        source: Box<WriteError>,
    },
    /// The object cannot be worked on as it is.
    #[error("{0}")]
    Invalid(String),
}

impl WriteError {
    pub fn new(verb: &'static str, what: impl Into<String>, source: client::Error) -> WriteError {
        WriteError::Refused { verb, what: what.into(), source: Box::new(source) }
    }

    /// The client's error at the bottom.
    pub fn client_error(&self) -> Option<&client::Error> {
        match self {
            WriteError::Refused { source, .. } => Some(source),
            WriteError::Several { source, .. } => source.client_error(),
            WriteError::Invalid(_) => None,
        }
    }
}
