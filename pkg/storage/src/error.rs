//! What can go wrong in a store, as far as a caller acts on it differently.

use std::path::PathBuf;

use crate::Revision;

pub type Result<T> = std::result::Result<T, Error>;

type Source = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The answer would need history that is gone. Lists and watches start over from the current revision.
    #[error("revision {requested} is gone: history up to {compacted} has been compacted")]
    Compacted { requested: Revision, compacted: Revision },

    /// The store has not been there yet: the number comes from another store or from before a restore.
    #[error("revision {requested} is in the future: the store is at {current}")]
    FutureRevision { requested: Revision, current: Revision },

    /// Nothing was changed, and the same call may succeed later.
    #[error("the store is unavailable: {attempted}")]
    Unavailable {
        attempted: String,
        #[source]
        source: Option<Source>,
    },

    /// The write may have happened or may yet happen. Only a later read tells.
    #[error("the outcome of a write is unknown: {attempted}")]
    OutcomeUnknown {
        attempted: String,
        #[source]
        source: Option<Source>,
    },

    /// No space is left. Nothing was changed; writes succeed again once there is space.
    #[error("no space is left for the store in {place}")]
    DiskFull {
        place: String,
        #[source]
        source: Option<Source>,
    },

    /// Another process has the store open.
    #[error("the store {path} is in use by another process")]
    Locked { path: PathBuf },

    /// The data contradicts itself, or is not a store's at all.
    #[error("the store in {place} is damaged: {detail}")]
    Corrupt { place: String, detail: String },

    /// The store cannot be opened.
    #[error("cannot open the store {path}")]
    Open {
        path: PathBuf,
        #[source]
        source: Source,
    },

    /// A snapshot cannot be written or read.
    #[error("cannot {attempted} the snapshot {path}")]
    Snapshot {
        attempted: &'static str,
        path: PathBuf,
        #[source]
        source: Source,
    },

    /// The store's access rules forbid this.
    #[error("the store refuses access: {attempted}")]
    PermissionDenied { attempted: String },

    /// More than one transaction may carry.
    #[error("a write of {size} bytes is too large: the limit is {limit}")]
    TooLarge { size: usize, limit: usize },

    /// The transaction cannot mean anything.
    #[error("invalid transaction: {0}")]
    InvalidTxn(&'static str),

    /// The read took longer than a read may hold on to old data.
    #[error("a read exceeded its deadline of {limit_ms} ms")]
    DeadlineExceeded { limit_ms: u64 },

    /// The configuration cannot be used.
    #[error("invalid store configuration: {0}")]
    Config(String),

    /// The destination of a copy or a restore has data already.
    #[error("the destination is not empty: it has {found}")]
    NotEmpty { found: String },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing it.
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable { .. } | Error::OutcomeUnknown { .. } | Error::DiskFull { .. } | Error::DeadlineExceeded { .. })
    }
}
