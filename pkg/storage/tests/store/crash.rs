//! Power failures: what was acknowledged is there afterwards, and what is there makes sense.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::embedded::{EmbeddedStore, Options};
use storage::{EventKind, Expect, KeyRange, PutOutcome, Range, Revision, Store, Watched};

use crate::contract::next;
use crate::disk::Disk;

const WRITERS: usize = 4;

/// What one writer knows of its key, which it sets to 1, 2, 3 and so on.
#[derive(Default)]
struct Progress {
    tried: AtomicU64,
    acknowledged: AtomicU64,
}

fn key(writer: usize) -> Bytes {
    format!("/registry/{writer}").into()
}

fn open(disk: &Disk) -> EmbeddedStore {
    let options = Options { cache_bytes: 1 << 20, ..Options::default() };
    EmbeddedStore::open_on(Box::new(disk.clone()), options).expect("the store opens after a crash")
}

/// Writes until the power fails.
async fn write(store: Arc<EmbeddedStore>, disk: Disk, progress: Arc<[Progress]>, writer: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    while !disk.is_powered_off() {
        let number = progress[writer].tried.fetch_add(1, Ordering::SeqCst) + 1;
        let mut value = number.to_string().into_bytes();
        value.resize(value.len() + random.random_range(0..3000), b' ');
        match store.put(key(writer), Expect::Any, value.into(), None).await {
            Ok(PutOutcome::Written { .. }) => progress[writer].acknowledged.store(number, Ordering::SeqCst),
            Ok(conflict) => panic!("{conflict:?}"),
            Err(_) => return,
        }
        if random.random_range(0..20) == 0
            && let Ok(revision) = store.current_revision().await
        {
            let _ = store.compact(Revision(revision.0.saturating_sub(5))).await;
        }
    }
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().trim().parse().unwrap()
}

/// Checks what is left against what the writers were told, and that history leads to the current state.
async fn check(store: &EmbeddedStore, progress: &[Progress]) {
    let keys = KeyRange::all();
    let now = store.range(Range::of(keys.clone())).await.unwrap();
    for (writer, progress) in progress.iter().enumerate() {
        let found = now.items.iter().find(|item| item.key == key(writer)).map_or(0, |item| number(&item.value));
        let (acknowledged, tried) = (progress.acknowledged.load(Ordering::SeqCst), progress.tried.load(Ordering::SeqCst));
        assert!(found >= acknowledged, "{acknowledged} was acknowledged and {found} is there");
        assert!(found <= tried, "{found} is there and was never written");
    }
    let compacted = store.stats().await.unwrap().compacted.max(Revision(1));
    let before = store.range(Range::of(keys.clone()).at(compacted)).await.unwrap();
    let mut state: BTreeMap<Bytes, Bytes> = before.items.into_iter().map(|item| (item.key, item.value)).collect();
    let mut watch = store.watch(keys, compacted).await.unwrap();
    let mut at = compacted;
    while at < now.revision {
        let Watched::Events(events) = next(&mut watch).await else { continue };
        assert_eq!(events.revision, at.next(), "no revision is missing");
        at = events.revision;
        for event in events.events {
            match event.kind {
                EventKind::Put => drop(state.insert(event.key, event.value)),
                EventKind::Delete => drop(state.remove(&event.key)),
            }
        }
    }
    assert_eq!(state, now.items.into_iter().map(|item| (item.key, item.value)).collect());
}

/// Several lives of one store, each ended by a power failure.
fn lives(seed: u64, disk: Disk) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let progress: Arc<[Progress]> = (0..WRITERS).map(|_| Progress::default()).collect();
    for life in 0..6 {
        let store = Arc::new(open(&disk));
        runtime.block_on(async {
            check(&store, &progress).await;
            disk.fail_power_after(random.random_range(0..400));
            let mut writers = tokio::task::JoinSet::new();
            for writer in 0..WRITERS {
                writers.spawn(write(store.clone(), disk.clone(), progress.clone(), writer, seed * 100 + life));
            }
            writers.join_all().await;
        });
        drop(store);
        disk.power_on(&mut random);
    }
    runtime.block_on(async { check(&open(&disk), &progress).await });
    assert!(progress.iter().any(|progress| progress.acknowledged.load(Ordering::SeqCst) > 10), "something was written");
}

#[test]
fn what_was_acknowledged_survives_power_failures() {
    for seed in 0..25 {
        println!("seed {seed}");
        lives(seed, Disk::default());
    }
}

/// Shows that the test above would see a store that acknowledges too early.
#[test]
fn without_syncs_the_same_check_fails() {
    let failed = (0..10).any(|seed| {
        let lives = || lives(seed, Disk::that_ignores_sync());
        std::panic::catch_unwind(AssertUnwindSafe(lives)).is_err()
    });
    assert!(failed, "losing everything that was not synced went unnoticed");
}
