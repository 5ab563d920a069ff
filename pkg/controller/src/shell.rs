//! What the shells of controllers share: writing, and telling refusals apart.

use informer::{ObjectKey, Requeue};
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

/// Takes a conflict on one of the `verbs` for what it is: the object has changed since we looked. The event that tells of the
/// change, on its way or here already, wakes the key again, sooner than any backoff; so those are verbs on objects that wake it.
pub fn unless_stale(key: &ObjectKey, verbs: &[&str], outcome: Result<Requeue, WriteError>) -> Result<Requeue, WriteError> {
    match outcome {
        Err(WriteError::Refused { verb, what, source }) if source.is_conflict() && verbs.contains(&verb) => {
            tracing::debug!(object = %key, verb, what, "changed since it was read; looking again when that is seen");
            Ok(Requeue::OnChange)
        }
        other => other,
    }
}
