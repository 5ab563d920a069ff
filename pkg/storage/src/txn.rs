//! Conditional writes: what a transaction asks for and what it answers.

use std::time::Duration;

use bytes::Bytes;

use crate::{Error, KeyValue, Result, Revision};

/// What has to be true of a key for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The last put of the key was at this revision.
    ModRevision(Revision),
    /// Nothing: the write happens in any case.
    Any,
}

impl Expect {
    /// Whether a key whose last put was at `found` (`None` if there is no such key) meets this.
    pub fn is_met_by(self, found: Option<Revision>) -> bool {
        match self {
            Expect::Absent => found.is_none(),
            Expect::ModRevision(wanted) => found == Some(wanted),
            Expect::Any => true,
        }
    }
}

/// One condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    pub key: Bytes,
    pub expect: Expect,
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Put {
        key: Bytes,
        value: Bytes,
        /// The key deletes itself after this long unless it is put again. `None` clears what an earlier put asked for.
        ttl: Option<Duration>,
    },
    /// Deleting a key that does not exist changes nothing and makes no revision.
    Delete { key: Bytes },
}

impl Op {
    pub fn key(&self) -> &Bytes {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }

    fn value_len(&self) -> usize {
        match self {
            Op::Put { value, .. } => value.len(),
            Op::Delete { .. } => 0,
        }
    }
}

/// Writes that happen together at one revision if all comparisons hold, and not at all otherwise.
///
/// No key may be written twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
}

impl Txn {
    pub fn new() -> Txn {
        Txn::default()
    }

    pub fn when(mut self, key: impl Into<Bytes>, expect: Expect) -> Txn {
        self.compares.push(Compare { key: key.into(), expect });
        self
    }

    pub fn put(mut self, key: impl Into<Bytes>, value: impl Into<Bytes>, ttl: Option<Duration>) -> Txn {
        self.ops.push(Op::Put { key: key.into(), value: value.into(), ttl });
        self
    }

    pub fn delete(mut self, key: impl Into<Bytes>) -> Txn {
        self.ops.push(Op::Delete { key: key.into() });
        self
    }

    /// The bytes of all keys and values, if the transaction makes sense and is not above `limit`.
    pub(crate) fn checked_size(&self, limit: usize) -> Result<usize> {
        let mut written: Vec<&Bytes> = self.ops.iter().map(Op::key).collect();
        if written.iter().any(|key| key.is_empty()) {
            return Err(Error::InvalidTxn("a key is empty"));
        }
        written.sort_unstable();
        if written.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::InvalidTxn("a key is written twice"));
        }
        let values: usize = self.ops.iter().map(Op::value_len).sum();
        let size = values + written.iter().map(|key| key.len()).sum::<usize>();
        if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(size) }
    }
}

/// What became of a [`Txn`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    Committed {
        /// The revision the writes made; the store's current one if they changed nothing.
        revision: Revision,
        /// For each operation, in order: what a delete removed. `None` for puts and for deletes of absent keys.
        deleted: Vec<Option<KeyValue>>,
    },
    /// A comparison failed, and nothing was written.
    Conflict {
        /// The revision at which the comparisons were made.
        revision: Revision,
        /// For each comparison, in order, what the key was at that moment.
        current: Vec<Option<KeyValue>>,
    },
}

/// What became of a conditional put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// Written: `revision` is the key's new `mod_revision`.
    Written { revision: Revision },
    /// Not written, because the key was not as expected but `current`, read in the same transaction.
    Conflict { revision: Revision, current: Option<KeyValue> },
}

/// What became of a conditional delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// Deleted at `revision`; `previous` is what was there.
    Deleted { revision: Revision, previous: KeyValue },
    /// Not deleted, because the key was not as expected but `current`, read in the same transaction. An absent key is
    /// always this, with `current` being `None`.
    Conflict { revision: Revision, current: Option<KeyValue> },
}
