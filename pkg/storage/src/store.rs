//! The contract of a store.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{DeleteOutcome, Error, Expect, KeyRange, KeyValue, PutOutcome, Result, Revision, Txn, TxnOutcome, WatchStream};

/// What to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub keys: KeyRange,
    /// At most this many keys; 0 for all of them.
    pub limit: usize,
    /// As of this revision; `None` for the current one.
    pub at: Option<Revision>,
    /// Leave the values out.
    pub keys_only: bool,
    /// Leave the items out and only count.
    pub count_only: bool,
}

impl Range {
    /// All of `keys`, now, with values.
    pub fn of(keys: KeyRange) -> Range {
        Range { keys, limit: 0, at: None, keys_only: false, count_only: false }
    }

    pub fn limit(mut self, limit: usize) -> Range {
        self.limit = limit;
        self
    }

    pub fn at(mut self, revision: Revision) -> Range {
        self.at = Some(revision);
        self
    }

    pub fn keys_only(mut self) -> Range {
        self.keys_only = true;
        self
    }

    pub fn count_only(mut self) -> Range {
        self.count_only = true;
        self
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeResponse {
    /// The store's current revision at the moment of the read, whichever revision was asked for.
    pub revision: Revision,
    /// In the order of the keys' bytes.
    pub items: Vec<KeyValue>,
    /// How many keys the whole range has at the revision that was read, whatever the limit.
    pub count: u64,
    /// Whether the limit left keys out.
    pub more: bool,
}

/// Numbers for metrics, as of now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub revision: Revision,
    /// History up to here is gone, as far as this engine knows.
    pub compacted: Revision,
    /// Bytes the store takes on disk.
    pub size_bytes: u64,
    /// Writes to disk that were made durable. 0 where another process makes them.
    pub syncs: u64,
    /// Groups of transactions committed together.
    pub commits: u64,
    /// Transactions that changed something.
    pub writes: u64,
    /// Watches being served.
    pub watches: u64,
}

/// A revisioned key space.
///
/// Every guarantee here holds for both engines and is tested on both.
///
/// **Writes.** All changes pass through [`txn`](Store::txn); each transaction that changes anything makes exactly one new
/// revision, which all its changes share. Transactions are serializable and in real-time order. An acknowledged write
/// is on disk (embedded: of this machine; etcd: of a majority) and survives a power failure. An error other than
/// [`Error::OutcomeUnknown`] means that nothing was written.
///
/// **Order of a write's effects.** First it is synced to disk, then its events and its watermark are published to
/// watches, then it is acknowledged. A reader can see it at the earliest once it is synced.
///
/// **Reads.** A range without a revision is linearizable: it sees every write acknowledged before it began. A range at a
/// revision is the exact state as of that revision, or [`Error::Compacted`] or [`Error::FutureRevision`].
///
/// **Watches.** A watch delivers every change of its range exactly once, in revision order, each revision whole, across
/// lost connections and restarts of the server behind it. See [`watch`](Store::watch).
///
/// **Expiry.** A put with a time to live deletes its key at the earliest after that time and soon thereafter, as an
/// ordinary delete with a revision and an event of its own (or together with other keys that expire); a further put
/// replaces or clears the time.
///
/// **Compaction** is the engine's own business: every interval, history becomes unreadable up to the revision that was
/// current one interval ago. The last value of every live key always stays.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Carries out a transaction.
    ///
    /// A conflict carries what the compared keys were in the same transaction, so nobody needs a second read.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome>;

    /// Reads keys in order.
    async fn range(&self, range: Range) -> Result<RangeResponse>;

    /// Delivers all changes within `keys` made after the revision `after`, and those to come.
    ///
    /// `after` is a revision that the caller has the state of: a list's `revision`. Starting at [`Revision::ZERO`]
    /// delivers all history there is, if nothing has been compacted.
    ///
    /// Once everything up to the current revision has been delivered the stream yields that revision as a watermark
    /// (even if it is `after` itself), and from then on each further revision shows up soon after its commit, as events
    /// or, when none of its changes is in the range, as a watermark (several of these may be merged into the last).
    /// Where [`supports_watermark`](Store::supports_watermark) is false there are no watermarks.
    ///
    /// A slow reader does not slow down writers, and costs history rather than memory: if compaction overtakes it, it
    /// gets [`crate::Watched::Compacted`] and the end of the stream.
    ///
    /// Errors: [`Error::FutureRevision`] if the store has not reached `after`. If `after` is compacted the stream says so
    /// as its only item.
    async fn watch(&self, keys: KeyRange, after: Revision) -> Result<WatchStream>;

    /// The current revision, with the guarantee of a read.
    async fn current_revision(&self) -> Result<Revision>;

    /// Whether watches can prove how far they are. Constant from the opening of the store on.
    fn supports_watermark(&self) -> bool {
        true
    }

    /// How long `item` has left; `None` if it stays, zero if it is due. `item` has to be current.
    async fn time_to_live(&self, item: &KeyValue) -> Result<Option<Duration>>;

    /// Makes history up to `revision` unreadable. Reads at `revision` itself and watches after it still work.
    ///
    /// Returns once that is so; space is reclaimed later.
    async fn compact(&self, revision: Revision) -> Result<()>;

    /// Moves the store on to `revision`, if it is behind, and marks everything before as compacted, so that clients that
    /// remember revisions of another store list again instead of believing them. False if the engine cannot do that.
    async fn raise_revision(&self, revision: Revision) -> Result<bool>;

    /// Numbers for metrics.
    async fn stats(&self) -> Result<Stats>;

    /// Reads one key; `None` if it does not exist.
    async fn get(&self, key: Bytes) -> Result<Option<KeyValue>> {
        let answer = self.range(Range::of(KeyRange::single(key))).await?;
        Ok(answer.items.into_iter().next())
    }

    /// Puts one key if it is as expected.
    async fn put(&self, key: Bytes, expect: Expect, value: Bytes, ttl: Option<Duration>) -> Result<PutOutcome> {
        let txn = Txn::new().when(key.clone(), expect).put(key, value, ttl);
        match self.txn(txn).await? {
            TxnOutcome::Committed { revision, .. } => Ok(PutOutcome::Written { revision }),
            TxnOutcome::Conflict { revision, mut current } => Ok(PutOutcome::Conflict { revision, current: current.pop().flatten() }),
        }
    }

    /// Deletes one key if it is as expected.
    async fn delete(&self, key: Bytes, expect: Expect) -> Result<DeleteOutcome> {
        if expect == Expect::Absent {
            return Err(Error::InvalidTxn("a delete cannot expect the key to be absent"));
        }
        let txn = Txn::new().when(key.clone(), expect).delete(key);
        match self.txn(txn).await? {
            TxnOutcome::Committed { revision, mut deleted } => Ok(match deleted.pop().flatten() {
                Some(previous) => DeleteOutcome::Deleted { revision, previous },
                None => DeleteOutcome::Conflict { revision, current: None },
            }),
            TxnOutcome::Conflict { revision, mut current } => Ok(DeleteOutcome::Conflict { revision, current: current.pop().flatten() }),
        }
    }
}
