//! The embedded engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future};
use storage::embedded::{Clock, EmbeddedStore, Options, restore_snapshot};
use storage::{Error, Expect, KeyRange, Op, PutOutcome, Range, Revision, Store, Txn, Watched};

use crate::contract::{self, next, put};
use crate::disk::Disk;
use crate::model;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_keeps_the_contract() {
    contract::run_all(Arc::new(EmbeddedStore::in_memory())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path().join("new/store"), Options::default()).unwrap();
    contract::run_all(Arc::new(store)).await;
}

#[tokio::test]
async fn random_histories_agree_with_the_model() {
    for seed in 0..8 {
        let store = Arc::new(EmbeddedStore::in_memory());
        model::run(store, "/registry/model/", seed, 400).await;
    }
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = EmbeddedStore::open(&path, Options::default()).unwrap();
    let first = put(&store, "/registry/a".into(), "1").await;
    let second = put(&store, "/registry/a".into(), "2").await;
    drop(store);
    let store = EmbeddedStore::open(&path, Options::default()).unwrap();
    assert_eq!(store.current_revision().await.unwrap(), second);
    let old = store.range(Range::of(KeyRange::all()).at(first)).await.unwrap();
    assert_eq!(old.items[0].value, "1");
    let mut watch = store.watch(KeyRange::all(), first).await.unwrap();
    assert!(matches!(next(&mut watch).await, Watched::Events(events) if events.revision == second));
    assert_eq!(put(&store, "/registry/a".into(), "3").await, second.next());
}

#[tokio::test]
async fn a_store_in_use_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let _store = EmbeddedStore::open(&path, Options::default()).unwrap();
    let error = EmbeddedStore::open(&path, Options::default()).err().unwrap();
    assert!(matches!(&error, Error::Locked { path: named } if *named == path), "{error:?}");
    assert!(error.to_string().contains("in use by another process"));
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text");
    let text = "certainly not a database\n".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    let error = EmbeddedStore::open(&path, Options::default()).err().unwrap();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "and left alone");
    let error = EmbeddedStore::open(folder.path(), Options::default()).err().unwrap();
    assert!(matches!(error, Error::Open { .. }), "{error:?}");
}

/// While one commit is being synced others queue up, and all of them share the next one.
#[tokio::test]
async fn many_writers_share_a_sync() {
    const WRITERS: u64 = 300;
    let disk = Disk::default();
    let store = EmbeddedStore::open_on(Box::new(disk.clone()), Options::default()).unwrap();
    put(&store, "/registry/warm".into(), "1").await;
    let before = store.stats().await.unwrap();
    disk.close_gate();
    let mut writes = Vec::new();
    for writer in 0..WRITERS {
        let key = Bytes::from(format!("/registry/{writer}"));
        let write = store.put(key, Expect::Absent, Bytes::from("1"), None);
        // The first look at it is what puts it into the queue, unless tokio thinks that this task has done enough.
        let mut write = Box::pin(tokio::task::unconstrained(write));
        assert!(write.as_mut().now_or_never().is_none());
        if writer == 0 {
            while !disk.somebody_waits_at_gate() {
                tokio::task::yield_now().await;
            }
        }
        writes.push(write);
    }
    disk.open_gate();
    for outcome in future::join_all(writes).await {
        assert!(matches!(outcome.unwrap(), PutOutcome::Written { .. }));
    }
    let after = store.stats().await.unwrap();
    assert_eq!(after.writes - before.writes, WRITERS);
    assert_eq!(after.commits - before.commits, 2, "one for the first writer, one for all others");
    let syncs = after.syncs - before.syncs;
    assert!(syncs <= 8, "{syncs} syncs for {WRITERS} writers");
    assert_eq!(after.revision.0 - before.revision.0, WRITERS, "each has a revision of its own");
}

#[tokio::test]
async fn a_full_disk_fails_writers_and_nobody_else() {
    for disk in [Disk::default(), Disk::with_sparse_files()] {
        fill_up(disk).await;
    }
}

async fn fill_up(disk: Disk) {
    let store = EmbeddedStore::open_on(Box::new(disk.clone()), Options::default()).unwrap();
    let mut watch = store.watch(KeyRange::all(), store.current_revision().await.unwrap()).await.unwrap();
    put(&store, "/registry/first".into(), "1").await;
    disk.set_capacity(Some(disk.len() + (3 << 20)));
    let value = Bytes::from(vec![7; 100_000]);
    let mut written = 0;
    let key = |number: usize| Bytes::from(format!("/registry/{number:03}"));
    let error = loop {
        match store.put(key(written), Expect::Absent, value.clone(), None).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    // Reading goes on, and what failed is not there.
    assert_eq!(store.get(key(written)).await.unwrap(), None);
    assert_eq!(store.range(Range::of(KeyRange::all())).await.unwrap().count as usize, written + 1);
    let again = store.put(key(written), Expect::Absent, value.clone(), None).await;
    assert!(matches!(again, Err(Error::DiskFull { .. })), "{again:?}");
    // With space, everything goes on.
    disk.set_capacity(None);
    store.put(key(written), Expect::Absent, value.clone(), None).await.unwrap();
    assert_eq!(store.range(Range::of(KeyRange::all())).await.unwrap().count as usize, written + 2);
    let mut seen = 0;
    while seen < written + 2 {
        if let Watched::Events(events) = next(&mut watch).await {
            seen += events.events.len();
        }
    }
}

/// Compaction that finds no room must wait for some, not try without end.
#[tokio::test]
async fn a_full_disk_lets_compaction_rest() {
    let disk = Disk::default();
    let store = EmbeddedStore::open_on(Box::new(disk.clone()), Options::default()).unwrap();
    let value = Bytes::from(vec![7; 1000]);
    for _ in 0..1500 {
        store.put("/registry/a".into(), Expect::Any, value.clone(), None).await.unwrap();
    }
    let opened = disk.opened();
    disk.set_capacity(Some(0));
    let compacted = store.compact(store.current_revision().await.unwrap()).await;
    let settled = async {
        while store.put("/registry/b".into(), Expect::Any, value.clone(), None).await.is_err() {
            if disk.opened() > opened + 3 {
                disk.set_capacity(None);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.expect("it goes on with space");
    assert!(compacted.is_err());
    assert!(disk.opened() < opened + 10, "the store was opened {} times", disk.opened() - opened);
    assert_eq!(store.get("/registry/a".into()).await.unwrap().unwrap().value, value);
}

#[tokio::test]
async fn a_failed_sync_is_settled_by_looking() {
    let disk = Disk::default();
    let store = EmbeddedStore::open_on(Box::new(disk.clone()), Options::default()).unwrap();
    for round in 0..10 {
        let key = Bytes::from(format!("/registry/{round}"));
        disk.fail_next_sync();
        let outcome = store.put(key.clone(), Expect::Absent, Bytes::from("1"), None).await;
        let is_there = store.get(key.clone()).await.unwrap().is_some();
        match outcome {
            Ok(_) => assert!(is_there, "an acknowledged write is there"),
            Err(Error::Unavailable { .. }) => assert!(!is_there, "a refused write is not"),
            Err(error) => panic!("{error:?}"),
        }
        put(&store, key, "2").await;
    }
}

/// A clock that a test moves.
struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn keys_due_at_once_expire_in_one_revision() {
    let clock = Arc::new(ManualClock(AtomicU64::new(1_000_000)));
    let store = EmbeddedStore::in_memory_with(Options { clock: clock.clone(), ..Options::default() });
    let mut txn = Txn::new();
    for name in ["a", "b", "c"] {
        txn = txn.put(format!("/registry/{name}"), "1", Some(Duration::from_secs(3600)));
    }
    txn = txn.put("/registry/d", "1", Some(Duration::from_secs(7200)));
    assert!(txn.ops.iter().all(|op| matches!(op, Op::Put { .. })));
    store.txn(txn).await.unwrap();
    let start = store.current_revision().await.unwrap();
    clock.0.fetch_add(3_600_000, Ordering::SeqCst);
    // Any write makes the committer look at the clock, and expiry comes first.
    put(&store, "/other".into(), "1").await;
    let mut watch = store.watch(KeyRange::prefix("/registry/"), start).await.unwrap();
    let Watched::Events(events) = next(&mut watch).await else { panic!("three keys expire") };
    assert_eq!((events.revision, events.events.len()), (start.next(), 3));
    assert_eq!(store.range(Range::of(KeyRange::prefix("/registry/"))).await.unwrap().count, 1);
}

#[tokio::test]
async fn compaction_gives_space_back() {
    let disk = Disk::default();
    let store = EmbeddedStore::open_on(Box::new(disk.clone()), Options::default()).unwrap();
    let value = Bytes::from(vec![7; 50_000]);
    let mut sizes = Vec::new();
    for _ in 0..6 {
        for _ in 0..40 {
            store.put("/registry/a".into(), Expect::Any, value.clone(), None).await.unwrap();
        }
        store.compact(store.current_revision().await.unwrap()).await.unwrap();
        // Removal follows the answer, as part of commits.
        put(&store, "/registry/b".into(), "1").await;
        sizes.push(disk.len());
    }
    assert_eq!(sizes[2], sizes[5], "the file stops growing: {sizes:?}");
    assert_eq!(store.get("/registry/a".into()).await.unwrap().unwrap().value, value);
}

#[tokio::test]
async fn history_is_compacted_by_itself() {
    let options = Options { compaction_interval: Some(Duration::from_millis(50)), ..Options::default() };
    let store = EmbeddedStore::in_memory_with(options);
    let first = put(&store, "/registry/a".into(), "1").await;
    put(&store, "/registry/a".into(), "2").await;
    let gone = async {
        while store.range(Range::of(KeyRange::all()).at(first)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("old history goes away");
    assert_eq!(store.get("/registry/a".into()).await.unwrap().unwrap().value, "2");
}

#[tokio::test]
async fn a_restored_store_begins_far_ahead_with_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let (snapshot, path) = (folder.path().join("snapshot"), folder.path().join("store"));
    let store = EmbeddedStore::in_memory();
    let made = put(&store, "/registry/a".into(), "1").await;
    put(&store, "/registry/gone".into(), "1").await;
    store.delete("/registry/gone".into(), Expect::Any).await.unwrap();
    let hour = Some(Duration::from_secs(3600));
    store.put("/registry/expires".into(), Expect::Absent, "1".into(), hour).await.unwrap();
    let saved = store.save_snapshot(&snapshot).await.unwrap();
    assert_eq!(saved, store.current_revision().await.unwrap());
    assert!(matches!(store.save_snapshot(&snapshot).await, Err(Error::Snapshot { .. })), "it is not overwritten");
    let lost = put(&store, "/registry/lost".into(), "1").await;

    let begins = restore_snapshot(&snapshot, &path).unwrap();
    assert!(matches!(restore_snapshot(&snapshot, &path), Err(Error::NotEmpty { .. })));
    let store = EmbeddedStore::open(&path, Options::default()).unwrap();
    assert!(begins > Revision(lost.0 + 1_000_000));
    let all = store.range(Range::of(KeyRange::all())).await.unwrap();
    assert_eq!((all.revision, all.count), (begins, 2));
    assert_eq!(all.items[0].mod_revision, made);
    assert!(store.time_to_live(&all.items[1]).await.unwrap() > Some(Duration::from_secs(3500)));
    let mut watch = store.watch(KeyRange::all(), lost).await.unwrap();
    assert_eq!(next(&mut watch).await, Watched::Compacted(begins));
    assert_eq!(put(&store, "/registry/a".into(), "2").await, begins.next());
}

#[tokio::test]
async fn a_copy_has_every_key_and_is_ahead() {
    let (from, to) = (EmbeddedStore::in_memory(), EmbeddedStore::in_memory());
    for number in 0..250 {
        put(&from, format!("/registry/{number:03}").into(), &number.to_string()).await;
    }
    let hour = Some(Duration::from_secs(3600));
    from.put("/registry/expires".into(), Expect::Absent, "1".into(), hour).await.unwrap();
    let copied = storage::copy(&from, &to, KeyRange::prefix("/registry/")).await.unwrap();
    assert_eq!((copied.keys, copied.ahead), (251, true));
    assert!(copied.to_revision > copied.from_revision);
    let (before, after) = (from.range(Range::of(KeyRange::all())).await.unwrap(), to.range(Range::of(KeyRange::all())).await.unwrap());
    let values = |items: Vec<storage::KeyValue>| items.into_iter().map(|kv| (kv.key, kv.value)).collect::<Vec<_>>();
    assert!(after.items.iter().any(|item| item.lease.is_some()));
    assert_eq!(values(before.items), values(after.items));
    let again = storage::copy(&from, &to, KeyRange::prefix("/registry/")).await;
    assert!(matches!(again, Err(Error::NotEmpty { .. })), "{again:?}");
}

#[tokio::test]
async fn closing_ends_watches_and_refuses_calls() {
    let store = EmbeddedStore::in_memory();
    let mut watch = store.watch(KeyRange::all(), Revision(1)).await.unwrap();
    assert_eq!(next(&mut watch).await, Watched::Watermark(Revision(1)));
    assert_eq!(store.stats().await.unwrap().watches, 1);
    store.close();
    assert!(matches!(watch.next().await, Some(Err(Error::Unavailable { .. }))));
    assert!(watch.next().await.is_none());
    let refused = store.put("/registry/a".into(), Expect::Any, "1".into(), None).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    drop(watch);
    assert!(store.get("/registry/a".into()).await.is_err());
}
