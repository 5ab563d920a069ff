//! Reads from one consistent view of the tables.

use std::ops::Bound;
use std::time::{Duration, Instant};

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable};

use super::fault::Fault;
use super::schema::{Change, ChangeId, Head, KEYS, LOG, Latest, key_value_at};
use crate::{Error, Event, EventKind, Events, KeyRange, Range, RangeResponse, Revision};

/// Ends a read that holds on to old pages for too long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    pub(super) fn after(limit: Duration) -> Deadline {
        Deadline { started: Instant::now(), limit }
    }

    fn check(&self) -> Result<(), Fault> {
        if self.started.elapsed() <= self.limit {
            return Ok(());
        }
        Err(Fault::Request(Error::DeadlineExceeded { limit_ms: self.limit.as_millis() as u64 }))
    }
}

/// How many rows are read between two looks at the clock.
const ROWS_PER_CHECK: u64 = 256;

pub(super) fn range(txn: &ReadTransaction, range: &Range, deadline: Deadline) -> Result<RangeResponse, Fault> {
    let head = Head::of(txn)?;
    let at = range.at.unwrap_or(head.revision);
    if at > head.revision {
        return Err(Fault::Request(Error::FutureRevision { requested: at, current: head.revision }));
    }
    if at < head.compacted {
        return Err(Fault::Request(Error::Compacted { requested: at, compacted: head.compacted }));
    }
    let mut answer = RangeResponse { revision: head.revision, items: Vec::new(), count: 0, more: false };
    if range.keys.is_empty() {
        return Ok(answer);
    }
    let log = txn.open_table(LOG)?;
    let mut rows = 0;
    for row in txn.open_table(KEYS)?.range::<&[u8]>(bounds(&range.keys))? {
        rows += 1;
        if rows % ROWS_PER_CHECK == 0 {
            deadline.check()?;
        }
        let latest = Latest::of_row(row?.1.value());
        let wanted = !range.count_only && (range.limit == 0 || answer.items.len() < range.limit);
        if latest.change.revision <= at {
            if latest.is_live() {
                answer.count += 1;
                if wanted {
                    let item = key_value_at(&log, latest.change, !range.keys_only)?;
                    answer.items.push(item.ok_or_else(|| Fault::damaged("a live key has no value"))?);
                }
            }
        } else if let Some(change) = change_at(&log, latest.change, at)?
            && let Some(item) = key_value_at(&log, change, wanted && !range.keys_only)?
        {
            answer.count += 1;
            if wanted {
                answer.items.push(item);
            }
        }
    }
    answer.more = !range.count_only && answer.count > answer.items.len() as u64;
    Ok(answer)
}

fn bounds(keys: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = keys.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(&keys.start[..]), end)
}

/// The last change of a key that is not after `at`, from a later change of it.
fn change_at(log: &impl ReadableTable<(u64, u32), &'static [u8]>, latest: ChangeId, at: Revision) -> Result<Option<ChangeId>, Fault> {
    let mut id = latest;
    while id.revision > at {
        // Compaction removes a change only when nothing before it can be asked for.
        let Some(row) = log.get(id.row())? else { return Ok(None) };
        let Some(previous) = Change::decode(row.value())?.previous else { return Ok(None) };
        id = previous;
    }
    Ok(Some(id))
}

/// What one reading of history found.
pub(super) enum History {
    /// Every revision from the one asked for up to `upto`.
    Revisions {
        events: Vec<Events>,
        upto: Revision,
    },
    Compacted(Revision),
}

/// Reads the changes after `after`, up to `to` or until about `max_bytes` are read, whichever comes first.
pub(super) fn history(
    txn: &ReadTransaction,
    after: Revision,
    to: Revision,
    max_bytes: usize,
    deadline: Deadline,
) -> Result<History, Fault> {
    let compacted = Head::of(txn)?.compacted;
    if after < compacted {
        return Ok(History::Compacted(compacted));
    }
    let log = txn.open_table(LOG)?;
    let mut found: Vec<Events> = Vec::new();
    let mut bytes = 0;
    for row in log.range((after.0 + 1, 0)..=(to.0, u32::MAX))? {
        let (id, row) = row?;
        let revision = ChangeId::of_row(id.value()).revision;
        if found.last().is_none_or(|last| last.revision != revision) {
            if bytes >= max_bytes {
                let upto = found.last().map_or(after, |last| last.revision);
                return Ok(History::Revisions { events: found, upto });
            }
            deadline.check()?;
            found.push(Events { revision, events: Vec::new() });
        }
        let event = event(&log, revision, Change::decode(row.value())?)?;
        bytes += weight(&event);
        found.last_mut().expect("pushed above").events.push(event);
    }
    Ok(History::Revisions { events: found, upto: to })
}

fn event(log: &impl ReadableTable<(u64, u32), &'static [u8]>, revision: Revision, change: Change<'_>) -> Result<Event, Fault> {
    let previous = match change.previous {
        None => None,
        Some(previous) => key_value_at(log, previous, true)?,
    };
    Ok(Event {
        kind: if change.is_delete() { EventKind::Delete } else { EventKind::Put },
        key: Bytes::copy_from_slice(change.key),
        value: Bytes::copy_from_slice(change.value),
        mod_revision: revision,
        create_revision: change.create,
        version: change.version,
        previous,
    })
}

/// Roughly the memory an event takes.
pub(super) fn weight(event: &Event) -> usize {
    let previous = event.previous.as_ref().map_or(0, |previous| previous.value.len());
    size_of::<Event>() + event.key.len() + event.value.len() + previous
}
