//! The embedded engine: the whole store in one file of this process.
//!
//! On redb: an ordered, multi-version, copy-on-write B-tree file. One thread writes (`committer`); everybody reads from
//! snapshots (`read`); watches follow the commits (`hub`). How rows are laid out is in `schema`. Every commit is two-phase
//! and carries the state of the page allocator, so opening after a crash takes the same short time for any amount of data.

mod apply;
mod clock;
mod committer;
mod fault;
mod hub;
mod medium;
mod read;
mod schema;
mod snapshot;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};
use tokio::sync::{Semaphore, oneshot};

use crate::{Error, KeyRange, KeyValue, Range, RangeResponse, Result, Revision, Stats, Store, Txn, TxnOutcome, WatchStream, Watched};
use committer::{Committer, Queue, Request, Work};
use fault::Fault;
use medium::{Counted, FileMedium, MemoryMedium};
use read::Deadline;

pub use clock::{Clock, SystemClock};
pub use medium::Medium;
pub use snapshot::restore_snapshot;

/// What a transaction may carry: keys and values together. Far above what the API server lets a request have.
const MAX_TXN_BYTES: usize = 8 << 20;

/// Requests that may wait for the committer; further ones wait to get in. Above this only the latency would grow.
const QUEUE_SLOTS: usize = 4096;

/// How to run an embedded store.
pub struct Options {
    /// How long history stays readable at least, and twice that at most; `None` for good.
    pub compaction_interval: Option<Duration>,
    /// Memory for pages of the database, in bytes.
    pub cache_bytes: usize,
    /// The longest a read may hold on to a state of the database.
    pub read_deadline: Duration,
    pub clock: Arc<dyn Clock>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            compaction_interval: Some(Duration::from_secs(5 * 60)),
            // The API server reads through its own cache; what passes here is mostly the inner pages of writes.
            cache_bytes: 16 << 20,
            read_deadline: Duration::from_secs(30),
            clock: Arc::new(SystemClock::new()),
        }
    }
}

/// A [`Store`] in a file. Dropping it finishes what has been asked for and closes the file.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    slots: Arc<Semaphore>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What the committer, reads and watches share.
struct Shared {
    medium: Box<dyn Medium>,
    place: String,
    /// `None` between a failure and its repair, and after the end. Locked only to begin a transaction or to replace it.
    database: RwLock<Option<Database>>,
    cache_bytes: usize,
    read_deadline: Duration,
    compaction_interval: Option<Duration>,
    clock: Arc<dyn Clock>,
    queue: Queue,
    hub: hub::Hub,
    compacted: AtomicU64,
    syncs: Arc<AtomicU64>,
    commits: AtomicU64,
    writes: AtomicU64,
}

impl EmbeddedStore {
    /// Opens the store in the file at `path`, making it (and its folder) if it does not exist.
    ///
    /// Errors: [`Error::Locked`] if another process has it open, [`Error::Corrupt`] if it is no store or a damaged one,
    /// [`Error::DiskFull`], [`Error::Open`]. Blocks for a few disk writes.
    pub fn open(path: impl Into<PathBuf>, options: Options) -> Result<EmbeddedStore> {
        EmbeddedStore::open_on(Box::new(FileMedium { path: path.into() }), options)
    }

    /// A store that is gone when it is dropped, for tests.
    pub fn in_memory() -> EmbeddedStore {
        EmbeddedStore::in_memory_with(Options::default())
    }

    /// As [`in_memory`](EmbeddedStore::in_memory).
    pub fn in_memory_with(options: Options) -> EmbeddedStore {
        EmbeddedStore::open_on(Box::new(MemoryMedium), options).expect("memory has no faults")
    }

    /// Opens the store on any medium.
    pub fn open_on(medium: Box<dyn Medium>, options: Options) -> Result<EmbeddedStore> {
        let syncs = Arc::new(AtomicU64::new(0));
        let place = medium.place();
        let database = open_database(&*medium, &syncs, options.cache_bytes)?;
        let head = committer::initialize(&database, &place).map_err(|fault| fault.into_error(&place, "prepare a new store"))?;
        let shared = Arc::new(Shared {
            medium,
            place,
            database: RwLock::new(Some(database)),
            cache_bytes: options.cache_bytes,
            read_deadline: options.read_deadline,
            compaction_interval: options.compaction_interval,
            clock: options.clock,
            queue: Queue::default(),
            hub: hub::Hub::new(head.revision),
            compacted: AtomicU64::new(head.compacted.0),
            syncs,
            commits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        });
        let committer = Committer::new(shared.clone())?;
        let thread = std::thread::Builder::new().name("storage-commit".to_owned()).spawn(move || committer.run()).map_err(|source| {
            Error::Unavailable { attempted: "start the thread that commits".to_owned(), source: Some(Box::new(source)) }
        })?;
        Ok(EmbeddedStore { shared, slots: Arc::new(Semaphore::new(QUEUE_SLOTS)), committer: Mutex::new(Some(thread)) })
    }

    /// Finishes what has been asked for and closes the file. Blocks for a few disk writes. Later calls of anything fail.
    pub fn close(&self) {
        let Some(committer) = self.committer.lock().take() else { return };
        self.shared.queue.close();
        if committer.join().is_err() {
            tracing::error!("the thread that commits to the store has panicked");
        }
        drop(self.shared.database.write().take());
    }

    /// Queues work and waits for its answer.
    async fn ask<T>(&self, work: Work, bytes: usize, answered: oneshot::Receiver<Result<T>>) -> Result<T> {
        let slot = self.slots.clone().acquire_owned().await.ok();
        if self.shared.queue.push(Request { work, bytes, _slot: slot }).is_err() {
            return Err(closed());
        }
        answered
            .await
            .unwrap_or_else(|_| Err(Error::OutcomeUnknown { attempted: "the store stopped while it worked".to_owned(), source: None }))
    }

    async fn read<T: Send + 'static>(
        &self,
        attempted: &'static str,
        read: impl Fn(&ReadTransaction, Deadline) -> std::result::Result<T, Fault> + Send + 'static,
    ) -> Result<T> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || shared.read(attempted, read)).await.map_err(|_| closed())?
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Reads from one consistent state. Once more if the database was opened anew meanwhile.
    fn read<T>(&self, attempted: &str, read: impl Fn(&ReadTransaction, Deadline) -> std::result::Result<T, Fault>) -> Result<T> {
        let once = || {
            // The lock is held to begin the transaction, not for the reading.
            let txn = match &*self.database.read() {
                None => return Err(Fault::Request(self.closed_by_failure())),
                Some(database) => database.begin_read()?,
            };
            read(&txn, Deadline::after(self.read_deadline))
        };
        let outcome = match once() {
            Err(fault) if fault.is_stale_handle() => once(),
            outcome => outcome,
        };
        outcome.map_err(|fault| fault.into_error(&self.place, attempted))
    }

    /// The store's numbers, and when the next key is due.
    fn read_head(&self) -> Result<(schema::Head, Option<u64>)> {
        self.read("read the store's revision", |txn, _| {
            let next_due = txn.open_table(schema::DUE)?.first()?.map(|(row, _)| row.value().0);
            Ok((schema::Head::of(txn)?, next_due))
        })
    }

    fn begin_write(&self) -> std::result::Result<WriteTransaction, Fault> {
        let database = self.database.read();
        let Some(database) = &*database else { return Err(Fault::Request(self.closed_by_failure())) };
        let mut txn = database.begin_write()?;
        txn.set_durability(Durability::Immediate).expect("no savepoints are used");
        txn.set_quick_repair(true);
        Ok(txn)
    }

    /// Gives the database up and opens it again. Reads wait for it.
    fn reopen(&self) -> Result<()> {
        let mut database = self.database.write();
        // First the old handle, for its lock on the file.
        drop(database.take());
        *database = Some(open_database(&*self.medium, &self.syncs, self.cache_bytes)?);
        Ok(())
    }

    fn closed_by_failure(&self) -> Error {
        let attempted = format!("use the store in {}, which is closed after a failure", self.place);
        Error::Unavailable { attempted, source: None }
    }
}

fn open_database(medium: &dyn Medium, syncs: &Arc<AtomicU64>, cache_bytes: usize) -> Result<Database> {
    let place = medium.place();
    let open_error = |source: Box<dyn std::error::Error + Send + Sync>| Error::Open { path: place.clone().into(), source };
    let inner = medium.open().map_err(|source| match fault::is_full(&source) {
        true => Error::DiskFull { place: place.clone(), source: Some(Box::new(source)) },
        false => open_error(Box::new(source)),
    })?;
    let backend = Counted { inner, syncs: syncs.clone() };
    let opened = redb::Builder::new().set_cache_size(cache_bytes).create_with_backend(backend);
    opened.map_err(|source| match redb::Error::from(source) {
        redb::Error::DatabaseAlreadyOpen => Error::Locked { path: place.clone().into() },
        redb::Error::Corrupted(detail) => Error::Corrupt { place: place.clone(), detail },
        redb::Error::Io(source) if fault::is_full(&source) => Error::DiskFull { place: place.clone(), source: Some(Box::new(source)) },
        redb::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
            Error::Corrupt { place: place.clone(), detail: source.to_string() }
        }
        other => open_error(Box::new(other)),
    })
}

fn closed() -> Error {
    Error::Unavailable { attempted: "use a store that has been closed".to_owned(), source: None }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        let bytes = txn.checked_size(MAX_TXN_BYTES)?;
        let (answer, answered) = oneshot::channel();
        self.ask(Work::Txn { txn, answer }, bytes, answered).await
    }

    async fn range(&self, range: Range) -> Result<RangeResponse> {
        self.read("read a range", move |txn, deadline| read::range(txn, &range, deadline)).await
    }

    async fn watch(&self, keys: KeyRange, after: Revision) -> Result<WatchStream> {
        let head = self.shared.read("begin a watch", |txn, _| schema::Head::of(txn))?;
        if after > head.revision {
            return Err(Error::FutureRevision { requested: after, current: head.revision });
        }
        if after < head.compacted {
            let compacted = Ok(Watched::Compacted(head.compacted));
            return Ok(Box::pin(futures_util::stream::once(std::future::ready(compacted))));
        }
        Ok(hub::watch(self.shared.clone(), keys, after))
    }

    async fn current_revision(&self) -> Result<Revision> {
        // Not the published one: a reader may have seen a commit that is about to be published.
        self.shared.read("read the store's revision", |txn, _| Ok(schema::Head::of(txn)?.revision))
    }

    async fn time_to_live(&self, item: &KeyValue) -> Result<Option<Duration>> {
        let now_ms = self.shared.clock.now_ms();
        Ok(item.lease.map(|deadline_ms| Duration::from_millis(deadline_ms.0.saturating_sub(now_ms))))
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.ask(Work::Compact { revision, answer }, 0, answered).await
    }

    async fn raise_revision(&self, revision: Revision) -> Result<bool> {
        let (answer, answered) = oneshot::channel();
        self.ask(Work::Raise { revision, answer }, 0, answered).await?;
        Ok(true)
    }

    async fn stats(&self) -> Result<Stats> {
        let shared = &self.shared;
        let size_bytes = shared.medium.size().map_err(|source| Error::Unavailable {
            attempted: format!("ask for the size of {}", shared.place),
            source: Some(Box::new(source)),
        })?;
        Ok(Stats {
            revision: shared.hub.revision(),
            compacted: Revision(shared.compacted.load(Ordering::Relaxed)),
            size_bytes,
            syncs: shared.syncs.load(Ordering::Relaxed),
            commits: shared.commits.load(Ordering::Relaxed),
            writes: shared.writes.load(Ordering::Relaxed),
            watches: shared.hub.watches(),
        })
    }

    /// One key costs a few page reads, mostly from memory: less than handing it to another thread.
    async fn get(&self, key: Bytes) -> Result<Option<KeyValue>> {
        let range = Range::of(KeyRange::single(key));
        let answer = self.shared.read("read a key", |txn, deadline| read::range(txn, &range, deadline))?;
        Ok(answer.items.into_iter().next())
    }
}
