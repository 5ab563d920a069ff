//! From what the database library reports to what a caller of the store can act on.

use std::io;

use crate::Error;

/// Why an operation inside the engine stopped.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database or the disk under it.
    Database(redb::Error),
    /// The request itself; the database is fine.
    Request(Error),
}

impl<E: Into<redb::Error>> From<E> for Fault {
    fn from(error: E) -> Fault {
        Fault::Database(error.into())
    }
}

impl Fault {
    /// What a record says does not fit its place.
    pub(super) fn damaged(detail: &str) -> Fault {
        Fault::Database(redb::Error::Corrupted(detail.to_owned()))
    }

    /// Whether the database has been closed under a reader because it is being opened anew.
    pub(super) fn is_stale_handle(&self) -> bool {
        matches!(self, Fault::Database(redb::Error::DatabaseClosed | redb::Error::PreviousIo))
    }

    pub(super) fn into_error(self, place: &str, attempted: &str) -> Error {
        let database = match self {
            Fault::Request(error) => return error,
            Fault::Database(database) => database,
        };
        match database {
            redb::Error::Io(source) if is_full(&source) => Error::DiskFull { place: place.to_owned(), source: Some(Box::new(source)) },
            redb::Error::Corrupted(detail) => Error::Corrupt { place: place.to_owned(), detail },
            other => Error::Unavailable { attempted: attempted.to_owned(), source: Some(Box::new(other)) },
        }
    }
}

/// Whether an I/O error says that there is no room, in any of the ways a file system says so.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
