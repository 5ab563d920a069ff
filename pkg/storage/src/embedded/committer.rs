//! The one thread that writes: takes what has queued up, commits all of it with one transaction, publishes, answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use redb::{ReadableDatabase, ReadableTable, WriteTransaction};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Shared;
use super::apply::Batch;
use super::fault::Fault;
use super::schema::{Head, META, Tables, meta};
use crate::{Error, Events, Result, Revision, Txn, TxnOutcome};

/// Requests in one commit, and bytes of them. More in one commit would only make those at its front wait longer.
const REQUESTS_AT_ONCE: usize = 1024;
const BYTES_AT_ONCE: usize = 8 << 20;

/// How long a store that could not be opened again after a failure is left alone before the next attempt.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

/// How long compaction and expiry rest after a failed commit, lest they fail without end, and fail writers with them.
const REST: Duration = Duration::from_millis(500);

pub(super) enum Work {
    Txn {
        txn: Txn,
        answer: oneshot::Sender<Result<TxnOutcome>>,
    },
    Compact {
        revision: Revision,
        answer: oneshot::Sender<Result<()>>,
    },
    /// Moves on to a revision, if behind, and marks everything before it as compacted.
    Raise {
        revision: Revision,
        answer: oneshot::Sender<Result<()>>,
    },
}

pub(super) struct Request {
    pub(super) work: Work,
    pub(super) bytes: usize,
    /// Given back when the request has been answered.
    pub(super) _slot: Option<OwnedSemaphorePermit>,
}

/// What waits for the committer. Bounded by the slots of those who put requests in.
#[derive(Default)]
pub(super) struct Queue {
    /// Never locked while anything else is.
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    requests: VecDeque<Request>,
    closed: bool,
}

impl Queue {
    /// Gives the request back if there is nobody left to serve it.
    pub(super) fn push(&self, request: Request) -> std::result::Result<(), Request> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(request);
        }
        state.requests.push_back(request);
        self.changed.notify_one();
        Ok(())
    }

    /// No further requests. Those in the queue are still served.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits until there is a request or `until` has come. `None` once the queue is closed and empty.
    fn take(&self, until: Option<Instant>) -> Option<Vec<Request>> {
        let mut state = self.state.lock();
        while state.requests.is_empty() && !state.closed {
            match until {
                None => self.changed.wait(&mut state),
                Some(until) => {
                    if self.changed.wait_until(&mut state, until).timed_out() {
                        break;
                    }
                }
            }
        }
        if state.requests.is_empty() && state.closed {
            return None;
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while taken.len() < REQUESTS_AT_ONCE
            && bytes < BYTES_AT_ONCE
            && let Some(request) = state.requests.pop_front()
        {
            bytes += request.bytes;
            taken.push(request);
        }
        Some(taken)
    }

    fn abandon(&self) -> VecDeque<Request> {
        let mut state = self.state.lock();
        state.closed = true;
        std::mem::take(&mut state.requests)
    }
}

/// What one request is answered with once its batch is durable.
enum Answer {
    Txn(Result<TxnOutcome>),
    Done(Result<()>),
}

/// A batch ready to be committed.
struct Prepared {
    head: Head,
    made: Vec<Events>,
    answers: Vec<Answer>,
    next_due: Option<u64>,
    /// More keys are due than one commit takes.
    more_due: bool,
    /// Whether there is anything to commit at all.
    changed: bool,
    /// Transactions that changed something.
    writes: u64,
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    head: Head,
    next_due: Option<u64>,
    more_due: bool,
    /// When the next compaction is, and up to where.
    compaction: Option<(Instant, Revision)>,
    /// When to try again to open the store.
    reopen_at: Option<Instant>,
    /// After a failed commit, until when nothing is committed that nobody asked for.
    rest_until: Option<Instant>,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Committer> {
        let (head, next_due) = shared.read_head()?;
        let compaction = shared.compaction_interval.map(|interval| (Instant::now() + interval, head.revision));
        Ok(Committer { shared, head, next_due, more_due: false, compaction, reopen_at: None, rest_until: None })
    }

    /// Serves until the queue is closed and empty.
    pub(super) fn run(mut self) {
        // Even if this thread panics nobody may wait forever: dropping a request tells who asked.
        let shared = self.shared.clone();
        let _abandon = Abandon(&shared);
        while let Some(requests) = self.shared.queue.take(self.wake_at()) {
            self.serve(requests);
        }
    }

    /// When there is something to do even if nobody asks.
    fn wake_at(&self) -> Option<Instant> {
        if self.reopen_at.is_some() {
            return self.reopen_at;
        }
        if self.rest_until.is_some() {
            return self.rest_until;
        }
        if self.more_due || self.head.reclaimed < self.head.compacted {
            return Some(Instant::now());
        }
        let now_ms = self.shared.clock.now_ms();
        let due = self.next_due.map(|due| Instant::now() + Duration::from_millis(due.saturating_sub(now_ms)));
        let compaction = self.compaction.map(|(at, _)| at);
        due.into_iter().chain(compaction).min()
    }

    fn serve(&mut self, requests: Vec<Request>) {
        if let Some(at) = self.reopen_at {
            if Instant::now() < at {
                return fail(requests, || self.shared.closed_by_failure());
            }
            if let Err(error) = self.reopen() {
                tracing::warn!(err = %error, "the store is still unavailable");
                return fail(requests, || self.shared.closed_by_failure());
            }
        }
        let (txn, prepared) = match self.prepare(&requests) {
            Ok(prepared) => prepared,
            Err(fault) => return self.recover(fault, requests, None),
        };
        if prepared.changed {
            if let Err(error) = txn.commit() {
                return self.recover(error.into(), requests, Some(prepared));
            }
            self.shared.commits.fetch_add(1, Ordering::Relaxed);
        } else {
            drop(txn);
        }
        self.conclude(requests, prepared);
    }

    /// Applies the requests to a new transaction, after expiry and compaction, which take part in every commit.
    fn prepare(&mut self, requests: &[Request]) -> std::result::Result<(WriteTransaction, Prepared), Fault> {
        let resting = self.rest_until.is_some_and(|until| Instant::now() < until);
        if !resting {
            self.rest_until = None;
        }
        let txn = self.shared.begin_write()?;
        let prepared = {
            let mut tables = Tables::open(&txn)?;
            let now_ms = self.shared.clock.now_ms();
            let mut batch = Batch { tables: &mut tables, head: self.head, made: Vec::new(), now_ms };
            let more_due = match self.next_due {
                Some(due) if due <= now_ms && !resting => batch.expire()?,
                _ => false,
            };
            let mut answers = Vec::with_capacity(requests.len());
            let mut writes = 0;
            for request in requests {
                answers.push(match &request.work {
                    Work::Txn { txn, .. } => {
                        let before = batch.head.revision;
                        let outcome = batch.apply(txn)?;
                        writes += u64::from(batch.head.revision > before);
                        Answer::Txn(Ok(outcome))
                    }
                    Work::Compact { revision, .. } => Answer::Done(request_result(batch.compact(*revision))?),
                    Work::Raise { revision, .. } => {
                        if batch.head.revision < *revision {
                            batch.head.revision = *revision;
                            batch.head.compacted = *revision;
                        }
                        Answer::Done(Ok(()))
                    }
                });
            }
            if let Some((at, revision)) = self.compaction
                && Instant::now() >= at
                && !resting
            {
                batch.compact(revision)?;
            }
            if !resting {
                batch.reclaim()?;
            }
            let (head, made, next_due) = (batch.head, std::mem::take(&mut batch.made), batch.next_due()?);
            let changed = head != self.head || !made.is_empty() || next_due != self.next_due;
            if changed {
                tables.write_head(&head)?;
            }
            Prepared { head, made, answers, next_due, more_due, changed, writes }
        };
        Ok((txn, prepared))
    }

    /// What is durable becomes visible: first to watches, then to who asked for it.
    fn conclude(&mut self, requests: Vec<Request>, prepared: Prepared) {
        self.head = prepared.head;
        self.next_due = prepared.next_due;
        self.more_due = prepared.more_due;
        if let (Some(interval), Some((at, up_to))) = (self.shared.compaction_interval, self.compaction)
            && self.head.compacted >= up_to
            && Instant::now() >= at
        {
            self.compaction = Some((Instant::now() + interval, self.head.revision));
        }
        self.shared.compacted.store(self.head.compacted.0, Ordering::Relaxed);
        self.shared.writes.fetch_add(prepared.writes, Ordering::Relaxed);
        self.shared.hub.publish(prepared.made, self.head.revision);
        for (request, answer) in requests.into_iter().zip(prepared.answers) {
            // Who asked may have gone away, which changes nothing.
            match (request.work, answer) {
                (Work::Txn { answer, .. }, Answer::Txn(outcome)) => drop(answer.send(outcome)),
                (Work::Compact { answer, .. } | Work::Raise { answer, .. }, Answer::Done(outcome)) => {
                    drop(answer.send(outcome));
                }
                _ => unreachable!("an answer is of its request's kind"),
            }
        }
    }

    /// After a failed transaction: opens the database anew, for the library gives a handle up at the first input or
    /// output error, and finds out whether the transaction is in it.
    fn recover(&mut self, fault: Fault, requests: Vec<Request>, prepared: Option<Prepared>) {
        let error = fault.into_error(&self.shared.place, "commit to the store");
        tracing::error!(err = %error, source = ?std::error::Error::source(&error), "a commit failed");
        self.rest_until = Some(Instant::now() + REST);
        let hoped_for = prepared.as_ref().filter(|prepared| !prepared.made.is_empty()).map(|p| p.head.revision);
        if let Err(reopening) = self.reopen() {
            tracing::error!(err = %reopening, "the store could not be opened again after a failed commit");
            let unknown = hoped_for.is_some();
            return fail(requests, || if unknown { outcome_unknown() } else { repeat(&error) });
        }
        match prepared {
            // Commits are atomic, and nobody else makes revisions: if the last one is there, all of them are.
            Some(prepared) if hoped_for.is_some_and(|revision| self.head.revision >= revision) => {
                // `reopen` has published the revision already, and watches read the events from the database.
                let prepared = Prepared { made: Vec::new(), head: self.head, ..prepared };
                self.conclude(requests, prepared);
            }
            _ => fail(requests, || repeat(&error)),
        }
    }

    fn reopen(&mut self) -> Result<()> {
        self.reopen_at = Some(Instant::now() + REOPEN_PAUSE);
        let reopened = self.shared.reopen().and_then(|()| self.resume());
        if reopened.is_ok() {
            self.reopen_at = None;
        }
        reopened
    }

    /// Takes up the state of a database that has been opened anew.
    fn resume(&mut self) -> Result<()> {
        let (head, next_due) = self.shared.read_head()?;
        if head.revision != self.head.revision {
            // The commit that failed is there, but perhaps not on the disk yet. What is known to have been committed
            // before needs no confirmation, which a full disk might not have room for.
            self.confirm().map_err(|fault| fault.into_error(&self.shared.place, "confirm a commit that was thought to have failed"))?;
        }
        (self.head, self.next_due, self.more_due) = (head, next_due, false);
        self.shared.hub.publish(Vec::new(), head.revision);
        Ok(())
    }

    /// Makes whatever is in the database durable, by a commit on top of it.
    fn confirm(&self) -> std::result::Result<(), Fault> {
        let txn = self.shared.begin_write()?;
        {
            let mut table = txn.open_table(META)?;
            let recoveries = table.get(meta::RECOVERIES)?.map_or(0, |row| row.value());
            table.insert(meta::RECOVERIES, recoveries + 1)?;
        }
        txn.commit()?;
        Ok(())
    }
}

/// Answers a request with an error of its own; an error of the database stops the batch.
fn request_result(result: std::result::Result<(), Fault>) -> std::result::Result<Result<()>, Fault> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(Fault::Request(error)) => Ok(Err(error)),
        Err(fault) => Err(fault),
    }
}

fn fail(requests: Vec<Request>, error: impl Fn() -> Error) {
    for request in requests {
        match request.work {
            Work::Txn { answer, .. } => drop(answer.send(Err(error()))),
            Work::Compact { answer, .. } | Work::Raise { answer, .. } => drop(answer.send(Err(error()))),
        }
    }
}

/// The same error for each of several writers.
fn repeat(error: &Error) -> Error {
    match error {
        Error::DiskFull { place, .. } => Error::DiskFull { place: place.clone(), source: None },
        Error::Corrupt { place, detail } => Error::Corrupt { place: place.clone(), detail: detail.clone() },
        other => {
            let mut attempted = "commit to the store".to_owned();
            if let Some(source) = std::error::Error::source(other) {
                attempted = format!("{attempted}: {source}");
            }
            Error::Unavailable { attempted, source: None }
        }
    }
}

fn outcome_unknown() -> Error {
    Error::OutcomeUnknown { attempted: "the store failed while it committed".to_owned(), source: None }
}

/// Closes queue and watches when the committer ends in whichever way.
struct Abandon<'a>(&'a Shared);

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        drop(self.0.queue.abandon());
        self.0.hub.close();
    }
}

/// Fills the tables of a new store, or checks that an existing one can be used.
pub(super) fn initialize(database: &redb::Database, place: &str) -> std::result::Result<Head, Fault> {
    if let Ok(txn) = database.begin_read()
        && let Ok(table) = txn.open_table(META)
    {
        match table.get(meta::FORMAT)?.map(|row| row.value()) {
            Some(super::schema::FORMAT) => return Head::of(&txn),
            Some(other) => {
                let detail = format!("its format is {other}, and only {} is known", super::schema::FORMAT);
                return Err(Fault::Request(Error::Corrupt { place: place.to_owned(), detail }));
            }
            None => {}
        }
    }
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    // A store begins at 1, as etcd does, so that a list of nothing has a revision to watch from.
    let head = Head { revision: Revision(1), compacted: Revision::ZERO, reclaimed: Revision::ZERO };
    {
        let mut tables = Tables::open(&txn)?;
        tables.meta.insert(meta::FORMAT, super::schema::FORMAT)?;
        tables.write_head(&head)?;
    }
    txn.commit()?;
    Ok(head)
}
