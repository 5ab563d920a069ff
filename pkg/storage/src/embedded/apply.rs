//! Changes to the tables within one write transaction: requests, expiry, compaction. No commit, no clock, no thread.

use bytes::Bytes;
use redb::ReadableTable;

use super::fault::Fault;
use super::schema::{Change, ChangeId, Head, Latest, Tables};
use crate::{Error, Event, EventKind, Events, KeyValue, Op, Revision, Txn, TxnOutcome};

/// How many keys expire in one revision at most, so that no revision gets huge.
const EXPIRE_AT_ONCE: usize = 500;

/// How many rows of history one commit looks at, so that a commit with a writer in it stays short.
const RECLAIM_AT_ONCE: usize = 500;

/// A write transaction in the making.
pub(super) struct Batch<'a, 'txn> {
    pub(super) tables: &'a mut Tables<'txn>,
    pub(super) head: Head,
    /// One entry per revision made so far.
    pub(super) made: Vec<Events>,
    pub(super) now_ms: u64,
}

impl Batch<'_, '_> {
    /// Carries out one transaction on top of those before it in the batch.
    pub(super) fn apply(&mut self, txn: &Txn) -> Result<TxnOutcome, Fault> {
        for compare in &txn.compares {
            let found = self.tables.live(&compare.key)?.map(|latest| latest.change.revision);
            if !compare.expect.is_met_by(found) {
                return self.conflict(txn);
            }
        }
        let revision = self.head.revision.next();
        let mut events = Vec::with_capacity(txn.ops.len());
        let mut deleted = Vec::with_capacity(txn.ops.len());
        for op in &txn.ops {
            let index = events.len() as u32;
            match op {
                Op::Put { key, value, ttl } => {
                    // A time to live that rounds to nothing still has to expire.
                    let deadline_ms = ttl.map_or(0, |ttl| self.now_ms + (ttl.as_millis() as u64).max(1));
                    events.push(self.put(ChangeId { revision, index }, key, value, deadline_ms)?);
                    deleted.push(None);
                }
                Op::Delete { key } => match self.delete(ChangeId { revision, index }, key)? {
                    None => deleted.push(None),
                    Some(event) => {
                        deleted.push(event.previous.clone());
                        events.push(event);
                    }
                },
            }
        }
        self.publish(revision, events);
        Ok(TxnOutcome::Committed { revision: self.head.revision, deleted })
    }

    fn conflict(&self, txn: &Txn) -> Result<TxnOutcome, Fault> {
        let mut current = Vec::with_capacity(txn.compares.len());
        for compare in &txn.compares {
            current.push(self.live_key_value(&compare.key)?);
        }
        Ok(TxnOutcome::Conflict { revision: self.head.revision, current })
    }

    fn live_key_value(&self, key: &[u8]) -> Result<Option<KeyValue>, Fault> {
        match self.tables.live(key)? {
            None => Ok(None),
            Some(latest) => self.tables.key_value(&latest).map(Some),
        }
    }

    fn put(&mut self, change: ChangeId, key: &Bytes, value: &Bytes, deadline_ms: u64) -> Result<Event, Fault> {
        let before = self.tables.latest(key)?;
        let replaced = before.filter(Latest::is_live);
        let previous = match &replaced {
            None => None,
            Some(latest) => Some(self.tables.key_value(latest)?),
        };
        let after = Latest {
            change,
            create: replaced.map_or(change.revision, |latest| latest.create),
            version: replaced.map_or(1, |latest| latest.version + 1),
            deadline_ms,
        };
        self.record(key, value, before, after)?;
        Ok(Event {
            kind: EventKind::Put,
            key: key.clone(),
            value: value.clone(),
            mod_revision: change.revision,
            create_revision: after.create,
            version: after.version,
            previous,
        })
    }

    /// `None` if there is nothing to delete.
    fn delete(&mut self, change: ChangeId, key: &Bytes) -> Result<Option<Event>, Fault> {
        let Some(before) = self.tables.live(key)? else {
            return Ok(None);
        };
        let previous = self.tables.key_value(&before)?;
        let after = Latest { change, create: before.create, version: 0, deadline_ms: 0 };
        self.record(key, &Bytes::new(), Some(before), after)?;
        Ok(Some(Event {
            kind: EventKind::Delete,
            key: key.clone(),
            value: Bytes::new(),
            mod_revision: change.revision,
            create_revision: before.create,
            version: 0,
            previous: Some(previous),
        }))
    }

    /// Writes the rows of one change.
    fn record(&mut self, key: &[u8], value: &[u8], before: Option<Latest>, after: Latest) -> Result<(), Fault> {
        let change = Change {
            key,
            value,
            create: after.create,
            version: after.version,
            deadline_ms: after.deadline_ms,
            // Also to a deletion: a read at a revision before it has to find its way past.
            previous: before.map(|latest| latest.change),
        };
        self.tables.log.insert(after.change.row(), &change.encode()[..])?;
        self.tables.keys.insert(key, after.row())?;
        let due_before = before.map_or(0, |latest| latest.deadline_ms);
        if due_before != after.deadline_ms {
            if due_before > 0 {
                self.tables.due.remove((due_before, key))?;
            }
            if after.deadline_ms > 0 {
                self.tables.due.insert((after.deadline_ms, key), ())?;
            }
        }
        Ok(())
    }

    fn publish(&mut self, revision: Revision, events: Vec<Event>) {
        if !events.is_empty() {
            self.head.revision = revision;
            self.made.push(Events { revision, events });
        }
    }

    /// Deletes what is due, in one revision. Returns whether there may be more.
    pub(super) fn expire(&mut self) -> Result<bool, Fault> {
        let mut due = Vec::new();
        for row in self.tables.due.iter()? {
            let (row, _) = row?;
            let (deadline_ms, key) = row.value();
            if deadline_ms > self.now_ms || due.len() == EXPIRE_AT_ONCE {
                break;
            }
            due.push((deadline_ms, Bytes::copy_from_slice(key)));
        }
        let revision = self.head.revision.next();
        let mut events = Vec::with_capacity(due.len());
        for (deadline_ms, key) in &due {
            let index = events.len() as u32;
            events.extend(self.delete(ChangeId { revision, index }, key)?);
            self.tables.due.remove((*deadline_ms, &key[..]))?;
        }
        self.publish(revision, events);
        Ok(due.len() == EXPIRE_AT_ONCE)
    }

    /// When the next key is due.
    pub(super) fn next_due(&self) -> Result<Option<u64>, Fault> {
        Ok(self.tables.due.first()?.map(|(row, _)| row.value().0))
    }

    /// Makes history up to `revision` unreadable.
    pub(super) fn compact(&mut self, revision: Revision) -> Result<(), Fault> {
        if revision > self.head.revision {
            let current = self.head.revision;
            return Err(Fault::Request(Error::FutureRevision { requested: revision, current }));
        }
        self.head.compacted = self.head.compacted.max(revision);
        Ok(())
    }

    /// Removes rows that no read can reach any more, a few at a time.
    ///
    /// A change that has become history makes the one it followed unreachable, and itself too if it was a delete. So the
    /// cost is that of the changes since the last compaction, not that of the data.
    pub(super) fn reclaim(&mut self) -> Result<(), Fault> {
        let (from, to) = (self.head.reclaimed.next(), self.head.compacted);
        if from > to {
            return Ok(());
        }
        let mut unreachable = Vec::new();
        let mut forgotten = Vec::new();
        self.head.reclaimed = to;
        for (looked_at, row) in self.tables.log.range((from.0, 0)..=(to.0, u32::MAX))?.enumerate() {
            let (id, row) = row?;
            let id = ChangeId::of_row(id.value());
            if looked_at >= RECLAIM_AT_ONCE && id.index == 0 {
                self.head.reclaimed = Revision(id.revision.0 - 1);
                break;
            }
            let change = Change::decode(row.value())?;
            unreachable.extend(change.previous);
            if change.is_delete() {
                unreachable.push(id);
                forgotten.push((id, change.key.to_vec()));
            }
        }
        for id in unreachable {
            self.tables.log.remove(id.row())?;
        }
        for (id, key) in forgotten {
            // The key may have been made again since.
            if self.tables.latest(&key)?.is_some_and(|latest| latest.change == id) {
                self.tables.keys.remove(&key[..])?;
            }
        }
        Ok(())
    }
}
