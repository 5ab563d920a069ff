//! Backups: the live keys of one revision in a file of their own, and a store made from such a file.

use std::fs;
use std::path::Path;

use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable};

use super::EmbeddedStore;
use super::fault::Fault;
use super::medium::{parent_of, sync_folder};
use super::schema::{Change, FORMAT, Head, KEYS, LOG, Latest, META, Tables, meta};
use crate::{Error, Result, Revision};

/// How far a restored store begins above its snapshot: more revisions than any store makes between a snapshot and its
/// loss, so that no revision means two different things. The same distance etcd's tool suggests.
const RESTORE_DISTANCE: u64 = 1_000_000_000;

/// Rows copied between two commits; bounds the memory.
const ROWS_AT_ONCE: usize = 2000;

impl EmbeddedStore {
    /// Writes the current state to a new file at `path`, which appears there only once it is complete and durable.
    ///
    /// Writers go on meanwhile. Returns the snapshot's revision. Errors: [`Error::Snapshot`], also if `path` exists.
    pub async fn save_snapshot(&self, path: &Path) -> Result<Revision> {
        let path = path.to_owned();
        let shared = self.shared.clone();
        let saving = tokio::task::spawn_blocking(move || {
            shared.read("save a snapshot", |txn, _| save(txn, &path).map_err(|fault| Fault::Request(failed("write", &path, fault))))
        });
        saving.await.map_err(|_| super::closed())?
    }
}

/// Makes a store at `to` from the snapshot at `snapshot`.
///
/// The store begins at a revision far above any that the snapshot's store has handed out, with everything before it
/// marked as compacted: clients that watched the lost store list again instead of missing what was lost.
/// Errors: [`Error::NotEmpty`] if `to` exists, [`Error::Snapshot`]. Returns the revision the new store begins at.
pub fn restore_snapshot(snapshot: &Path, to: &Path) -> Result<Revision> {
    if to.exists() {
        return Err(Error::NotEmpty { found: format!("a file {}", to.display()) });
    }
    restore(snapshot, to).map_err(|fault| failed("restore", snapshot, fault))
}

fn failed(attempted: &'static str, path: &Path, fault: Fault) -> Error {
    let source: Box<dyn std::error::Error + Send + Sync> = match fault {
        Fault::Request(error) => return error,
        Fault::Database(redb::Error::Io(source)) => Box::new(source),
        Fault::Database(source) => Box::new(source),
    };
    Error::Snapshot { attempted, path: path.to_owned(), source }
}

/// The unfinished file's name; a leftover of an interrupted attempt is replaced.
fn unfinished(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    path.with_file_name(name)
}

fn io_fault(error: std::io::Error) -> Fault {
    Fault::Database(redb::Error::Io(error))
}

fn finish(from: &Path, to: &Path) -> std::result::Result<(), Fault> {
    fs::rename(from, to).and_then(|()| sync_folder(parent_of(to))).map_err(io_fault)
}

fn save(source: &ReadTransaction, path: &Path) -> std::result::Result<Revision, Fault> {
    if path.exists() {
        return Err(io_fault(std::io::ErrorKind::AlreadyExists.into()));
    }
    let unfinished = unfinished(path);
    let _ = fs::remove_file(&unfinished);
    let copied = copy_rows(source, &unfinished);
    if copied.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    let revision = copied?;
    finish(&unfinished, path)?;
    Ok(revision)
}

/// Copies the live keys with their last change, and no history.
fn copy_rows(source: &ReadTransaction, path: &Path) -> std::result::Result<Revision, Fault> {
    let head = Head::of(source)?;
    let (keys, log) = (source.open_table(KEYS)?, source.open_table(LOG)?);
    let target = redb::Builder::new().set_cache_size(8 << 20).create(path)?;
    let mut rows = keys.iter()?;
    loop {
        let mut txn = target.begin_write()?;
        // Only the last commit has to be durable, for before it the file is of no use.
        txn.set_durability(Durability::None).expect("no savepoints are used");
        let mut copied = 0;
        {
            let mut tables = Tables::open(&txn)?;
            while copied < ROWS_AT_ONCE
                && let Some(row) = rows.next()
            {
                copied += 1;
                let (key, latest) = row?;
                let latest = Latest::of_row(latest.value());
                if !latest.is_live() {
                    continue;
                }
                let change = log.get(latest.change.row())?.ok_or_else(|| Fault::damaged("a live key has no value"))?;
                let change = Change { previous: None, ..Change::decode(change.value())? };
                tables.keys.insert(key.value(), latest.row())?;
                tables.log.insert(latest.change.row(), &change.encode()[..])?;
                if latest.deadline_ms > 0 {
                    tables.due.insert((latest.deadline_ms, key.value()), ())?;
                }
            }
            tables.meta.insert(meta::FORMAT, FORMAT)?;
            tables.write_head(&Head { revision: head.revision, compacted: head.revision, reclaimed: head.revision })?;
        }
        if copied < ROWS_AT_ONCE {
            txn.set_durability(Durability::Immediate).expect("no savepoints are used");
            txn.commit()?;
            return Ok(head.revision);
        }
        txn.commit()?;
    }
}

fn restore(snapshot: &Path, to: &Path) -> std::result::Result<Revision, Fault> {
    check(snapshot)?;
    let unfinished = unfinished(to);
    fs::copy(snapshot, &unfinished).map_err(io_fault)?;
    let revision = {
        let database = Database::open(&unfinished)?;
        let txn = database.begin_write()?;
        let revision = {
            let mut tables = Tables::open(&txn)?;
            let revision = Revision(Head::read(&tables.meta)?.revision.0 + RESTORE_DISTANCE);
            tables.write_head(&Head { revision, compacted: revision, reclaimed: revision })?;
            revision
        };
        txn.commit()?;
        revision
    };
    finish(&unfinished, to)?;
    Ok(revision)
}

/// Whether the file is a snapshot that this code can read.
fn check(snapshot: &Path) -> std::result::Result<(), Fault> {
    let database = redb::Builder::new().open_read_only(snapshot)?;
    let txn = database.begin_read()?;
    let format = txn.open_table(META)?.get(meta::FORMAT)?.map(|row| row.value());
    if format == Some(FORMAT) { Ok(()) } else { Err(Fault::damaged("the snapshot is of an unknown format")) }
}
