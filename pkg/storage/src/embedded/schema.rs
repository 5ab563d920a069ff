//! The tables, and what is in a row.
//!
//! ```text
//!   KEYS  key ------------> latest change: (revision, index), create, version, deadline
//!                             |
//!   LOG   (revision, index) <-+  key, value, create, version, deadline, previous (revision, index) --+
//!             ^-------------------------------------------------------------------------------------+
//!   DUE   (deadline, key) -> ()
//!   META  name -> number
//! ```
//!
//! A change is one row of LOG; it says which change of the same key it followed. The state at an old revision is found
//! from KEYS by going back until a change is old enough, a watch from an old revision by reading LOG onwards. A deleted
//! key stays in KEYS, with version 0, until compaction passes its deletion.

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::fault::Fault;
use crate::{KeyValue, LeaseId, Revision};

type ChangeKey = (u64, u32);
type LatestRow = (u64, u32, u64, u64, u64);

pub(super) const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
pub(super) const KEYS: TableDefinition<'static, &'static [u8], LatestRow> = TableDefinition::new("keys");
pub(super) const LOG: TableDefinition<'static, ChangeKey, &'static [u8]> = TableDefinition::new("log");
pub(super) const DUE: TableDefinition<'static, (u64, &'static [u8]), ()> = TableDefinition::new("due");

/// What this code reads and writes. A store with another number is refused.
pub(super) const FORMAT: u64 = 1;

pub(super) mod meta {
    pub(in crate::embedded) const FORMAT: &str = "format";
    /// The revision of the last change.
    pub(in crate::embedded) const REVISION: &str = "revision";
    /// History up to here is unreadable.
    pub(in crate::embedded) const COMPACTED: &str = "compacted";
    /// History up to here has been removed; follows `COMPACTED`.
    pub(in crate::embedded) const RECLAIMED: &str = "reclaimed";
    /// Counts recoveries from failed commits; writing it makes what they left durable.
    pub(in crate::embedded) const RECOVERIES: &str = "recoveries";
}

/// Where a change is in LOG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChangeId {
    pub(super) revision: Revision,
    pub(super) index: u32,
}

impl ChangeId {
    pub(super) const fn row(self) -> ChangeKey {
        (self.revision.0, self.index)
    }

    pub(super) const fn of_row(row: ChangeKey) -> ChangeId {
        ChangeId { revision: Revision(row.0), index: row.1 }
    }
}

/// A row of KEYS.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    pub(super) change: ChangeId,
    pub(super) create: Revision,
    /// 0 for a deleted key.
    pub(super) version: u64,
    /// When the key expires; 0 for never.
    pub(super) deadline_ms: u64,
}

impl Latest {
    pub(super) fn is_live(&self) -> bool {
        self.version > 0
    }

    pub(super) fn row(&self) -> LatestRow {
        (self.change.revision.0, self.change.index, self.create.0, self.version, self.deadline_ms)
    }

    pub(super) fn of_row(row: LatestRow) -> Latest {
        Latest { change: ChangeId::of_row((row.0, row.1)), create: Revision(row.2), version: row.3, deadline_ms: row.4 }
    }
}

/// A row of LOG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    /// For a delete, what made the deleted key.
    pub(super) create: Revision,
    /// 0 for a delete.
    pub(super) version: u64,
    pub(super) deadline_ms: u64,
    pub(super) previous: Option<ChangeId>,
}

/// create, version, deadline, previous revision, previous index, length of the key.
const HEADER: usize = 8 + 8 + 8 + 8 + 4 + 4;

impl<'a> Change<'a> {
    pub(super) fn is_delete(&self) -> bool {
        self.version == 0
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let previous = self.previous.unwrap_or(ChangeId { revision: Revision::ZERO, index: 0 });
        let mut row = Vec::with_capacity(HEADER + self.key.len() + self.value.len());
        row.extend_from_slice(&self.create.0.to_le_bytes());
        row.extend_from_slice(&self.version.to_le_bytes());
        row.extend_from_slice(&self.deadline_ms.to_le_bytes());
        row.extend_from_slice(&previous.revision.0.to_le_bytes());
        row.extend_from_slice(&previous.index.to_le_bytes());
        row.extend_from_slice(&(self.key.len() as u32).to_le_bytes());
        row.extend_from_slice(self.key);
        row.extend_from_slice(self.value);
        row
    }

    pub(super) fn decode(row: &'a [u8]) -> Result<Change<'a>, Fault> {
        let too_short = || Fault::damaged("a change is shorter than its header");
        let (header, rest) = row.split_first_chunk::<HEADER>().ok_or_else(too_short)?;
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (key, value) = rest.split_at_checked(u32_at(36) as usize).ok_or_else(too_short)?;
        let previous = ChangeId { revision: Revision(u64_at(24)), index: u32_at(32) };
        Ok(Change {
            key,
            value,
            create: Revision(u64_at(0)),
            version: u64_at(8),
            deadline_ms: u64_at(16),
            previous: (!previous.revision.is_zero()).then_some(previous),
        })
    }

    /// The key and its value as this change, made at `revision`, left them; `None` for a delete.
    pub(super) fn key_value(&self, revision: Revision, with_value: bool) -> Option<KeyValue> {
        if self.is_delete() {
            return None;
        }
        Some(KeyValue {
            key: Bytes::copy_from_slice(self.key),
            value: if with_value { Bytes::copy_from_slice(self.value) } else { Bytes::new() },
            create_revision: self.create,
            mod_revision: revision,
            version: self.version,
            lease: (self.deadline_ms > 0).then_some(LeaseId(self.deadline_ms)),
        })
    }
}

/// The key and value that `change` left. `None` if it was a delete, or compacted and thereby one.
pub(super) fn key_value_at(
    log: &impl ReadableTable<ChangeKey, &'static [u8]>,
    change: ChangeId,
    with_value: bool,
) -> Result<Option<KeyValue>, Fault> {
    match log.get(change.row())? {
        None => Ok(None),
        Some(row) => Ok(Change::decode(row.value())?.key_value(change.revision, with_value)),
    }
}

/// Numbers every read and every commit begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) reclaimed: Revision,
}

impl Head {
    pub(super) fn read(meta: &impl ReadableTable<&'static str, u64>) -> Result<Head, Fault> {
        let number = |name: &str| -> Result<Revision, Fault> {
            let row = meta.get(name)?.ok_or_else(|| Fault::damaged("a number of the store itself is missing"))?;
            Ok(Revision(row.value()))
        };
        Ok(Head { revision: number(meta::REVISION)?, compacted: number(meta::COMPACTED)?, reclaimed: number(meta::RECLAIMED)? })
    }

    pub(super) fn of(txn: &ReadTransaction) -> Result<Head, Fault> {
        Head::read(&txn.open_table(META)?)
    }
}

/// All tables within a write transaction.
pub(super) struct Tables<'txn> {
    pub(super) meta: Table<'txn, &'static str, u64>,
    pub(super) keys: Table<'txn, &'static [u8], LatestRow>,
    pub(super) log: Table<'txn, ChangeKey, &'static [u8]>,
    pub(super) due: Table<'txn, (u64, &'static [u8]), ()>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Tables<'txn>, Fault> {
        Ok(Tables { meta: txn.open_table(META)?, keys: txn.open_table(KEYS)?, log: txn.open_table(LOG)?, due: txn.open_table(DUE)? })
    }

    pub(super) fn latest(&self, key: &[u8]) -> Result<Option<Latest>, Fault> {
        Ok(self.keys.get(key)?.map(|row| Latest::of_row(row.value())))
    }

    /// The key as it is now, deleted keys being absent.
    pub(super) fn live(&self, key: &[u8]) -> Result<Option<Latest>, Fault> {
        Ok(self.latest(key)?.filter(Latest::is_live))
    }

    pub(super) fn key_value(&self, latest: &Latest) -> Result<KeyValue, Fault> {
        key_value_at(&self.log, latest.change, true)?.ok_or_else(|| Fault::damaged("a live key has no value"))
    }

    pub(super) fn write_head(&mut self, head: &Head) -> Result<(), Fault> {
        self.meta.insert(meta::REVISION, head.revision.0)?;
        self.meta.insert(meta::COMPACTED, head.compacted.0)?;
        self.meta.insert(meta::RECLAIMED, head.reclaimed.0)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_reads_back_as_written() {
        let put = Change {
            key: b"/registry/pods/a/b",
            value: b"value",
            create: Revision(7),
            version: 3,
            deadline_ms: 99,
            previous: Some(ChangeId { revision: Revision(8), index: 2 }),
        };
        let delete = Change { value: b"", version: 0, deadline_ms: 0, ..put };
        let create = Change { previous: None, ..put };
        for change in [put, delete, create] {
            assert_eq!(Change::decode(&change.encode()).unwrap(), change);
        }
    }

    #[test]
    fn a_cut_off_change_is_damage_and_no_panic() {
        let row = Change { key: b"k", value: b"", create: Revision(1), version: 1, deadline_ms: 0, previous: None }.encode();
        for len in 0..row.len() {
            assert!(Change::decode(&row[..len]).is_err(), "{len} bytes");
        }
    }
}
