//! What a watch delivers.

use bytes::Bytes;
use futures_util::stream::BoxStream;

use crate::{KeyValue, Result, Revision};

/// A running watch. Dropping it ends it. It ends by itself only after an error or [`Watched::Compacted`].
pub type WatchStream = BoxStream<'static, Result<Watched>>;

/// One delivery of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// Everything that one revision changed within the watched range, whole. Implies the watermark of that revision.
    Events(Events),
    /// All events up to and including this revision have been delivered; none of them will ever follow.
    Watermark(Revision),
    /// History up to this revision is gone, and with it events this watch still had to deliver. The last item.
    Compacted(Revision),
}

/// The changes of one revision, in the order the transaction made them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    pub revision: Revision,
    pub events: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    Put,
    /// Asked for or expired: nothing tells the two apart.
    Delete,
}

/// One key's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: EventKind,
    pub key: Bytes,
    /// What was put; empty for a delete.
    pub value: Bytes,
    /// The revision of the change itself, for a delete too.
    pub mod_revision: Revision,
    /// The revision that made the key; for a delete, the one that made what was deleted.
    pub create_revision: Revision,
    /// As [`KeyValue::version`]; 0 for a delete.
    pub version: u64,
    /// What the change replaced or deleted. `None` exactly for a put that made the key.
    pub previous: Option<KeyValue>,
}

impl Event {
    /// Whether this put made the key.
    pub fn is_create(&self) -> bool {
        self.kind == EventKind::Put && self.previous.is_none()
    }
}
