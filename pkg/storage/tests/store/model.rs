//! A random history, checked against the simplest thing that could be right: every state kept whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use storage::{Expect, KeyRange, Range, Revision, Store, Txn, TxnOutcome, Watched};

use crate::contract::next;

/// What a key is: its value, its create and mod revision, its version.
type Entry = (Bytes, Revision, Revision, u64);
type State = BTreeMap<Bytes, Entry>;

/// Every state there was, by the revision that made it.
struct Model {
    states: BTreeMap<Revision, State>,
}

impl Model {
    fn at(&self, revision: Revision) -> &State {
        self.states.range(..=revision).next_back().expect("states begin before any revision asked for").1
    }

    fn current(&self) -> &State {
        self.states.values().next_back().expect("there is a first state")
    }

    /// Checks an outcome against the current state, and takes over what it committed.
    fn follow(&mut self, txn: &Txn, outcome: &TxnOutcome) {
        let state = self.current();
        let met = txn.compares.iter().all(|c| c.expect.is_met_by(state.get(&c.key).map(|entry| entry.2)));
        match outcome {
            TxnOutcome::Conflict { current, .. } => {
                assert!(!met, "refused although everything was as expected: {txn:?}");
                for (compare, found) in txn.compares.iter().zip(current) {
                    let found = found.as_ref().map(|kv| (kv.value.clone(), kv.create_revision, kv.mod_revision, kv.version));
                    assert_eq!(found.as_ref(), state.get(&compare.key));
                }
            }
            TxnOutcome::Committed { revision, deleted } => {
                assert!(met, "committed although something was not as expected: {txn:?}");
                let mut after = state.clone();
                for (op, deleted) in txn.ops.iter().zip(deleted) {
                    match op {
                        storage::Op::Put { key, value, .. } => {
                            let (create, version) = after.get(key).map_or((*revision, 0), |entry| (entry.1, entry.3));
                            after.insert(key.clone(), (value.clone(), create, *revision, version + 1));
                        }
                        storage::Op::Delete { key } => {
                            let gone = after.remove(key);
                            assert_eq!(deleted.as_ref().map(|kv| &kv.value), gone.as_ref().map(|entry| &entry.0));
                        }
                    }
                }
                if after != *state {
                    assert!(self.states.keys().all(|known| known < revision), "revisions only grow");
                    self.states.insert(*revision, after);
                }
            }
        }
    }
}

fn random_txn(random: &mut StdRng, model: &Model, prefix: &str, step: usize) -> Txn {
    let mut txn = Txn::new();
    let mut numbers: Vec<u32> = (0..12).collect();
    for _ in 0..random.random_range(1..=3) {
        let number = numbers.swap_remove(random.random_range(0..numbers.len()));
        let key = Bytes::from(format!("{prefix}{number:02}"));
        let known = model.current().get(&key).map(|entry| entry.2);
        let expect = match random.random_range(0..4) {
            0 => Some(Expect::Absent),
            1 => Some(Expect::Any),
            // Mostly right, for otherwise little would ever be committed.
            2 => Some(known.map_or(Expect::Absent, Expect::ModRevision)),
            _ => None,
        };
        if let Some(expect) = expect {
            txn = txn.when(key.clone(), expect);
        }
        txn = if random.random_range(0..3) == 0 { txn.delete(key) } else { txn.put(key, format!("v{step}"), None) };
    }
    txn
}

fn check_state(items: Vec<storage::KeyValue>, expected: &State) {
    let found: State = items.into_iter().map(|kv| (kv.key, (kv.value, kv.create_revision, kv.mod_revision, kv.version))).collect();
    assert_eq!(found, *expected);
}

/// Runs `steps` random transactions, reading back states on the way, and in the end all history by a watch.
pub async fn run(store: Arc<dyn Store>, prefix: &str, seed: u64, steps: usize) {
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let keys = KeyRange::prefix(prefix.to_owned());
    let start = store.current_revision().await.unwrap();
    let mut model = Model { states: BTreeMap::from([(start, State::new())]) };
    let mut oldest = start;
    for step in 0..steps {
        let txn = random_txn(&mut random, &model, prefix, step);
        let outcome = store.txn(txn.clone()).await.unwrap();
        model.follow(&txn, &outcome);
        let revisions: Vec<Revision> = model.states.keys().copied().filter(|revision| *revision >= oldest).collect();
        match random.random_range(0..10) {
            0 => {
                let at = revisions[random.random_range(0..revisions.len())];
                let read = store.range(Range::of(keys.clone()).at(at)).await.unwrap();
                check_state(read.items, model.at(at));
            }
            1 => {
                let read = store.range(Range::of(keys.clone()).limit(4)).await.unwrap();
                let expected = model.current();
                assert_eq!((read.count as usize, read.more), (expected.len(), expected.len() > 4));
                check_state(read.items, &expected.iter().take(4).map(|(k, v)| (k.clone(), v.clone())).collect());
            }
            2 if random.random_range(0..4) == 0 => {
                oldest = revisions[random.random_range(0..revisions.len())];
                store.compact(oldest).await.unwrap();
            }
            _ => {}
        }
    }
    // Replaying the watch over the oldest state gives every later one.
    let mut watch = store.watch(keys, oldest).await.unwrap();
    let mut state = model.at(oldest).clone();
    for (revision, expected) in model.states.range(oldest.next()..) {
        let events = loop {
            match next(&mut watch).await {
                Watched::Events(events) => break events,
                Watched::Watermark(mark) => assert!(mark < *revision, "{revision} was still to come"),
                Watched::Compacted(compacted) => panic!("compacted at {compacted}"),
            }
        };
        assert_eq!(events.revision, *revision);
        for event in events.events {
            assert_eq!(event.previous.as_ref().map(|kv| &kv.value), state.get(&event.key).map(|entry| &entry.0));
            match event.kind {
                storage::EventKind::Delete => drop(state.remove(&event.key)),
                storage::EventKind::Put => {
                    let entry = (event.value, event.create_revision, event.mod_revision, event.version);
                    state.insert(event.key, entry);
                }
            }
        }
        assert_eq!(state, *expected, "after {revision}");
    }
}
