//! What `storage::Store` promises, as checks that any engine has to pass. Each check works below a prefix of its own, for
//! an etcd is shared by all of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use storage::{
    DeleteOutcome, Error, EventKind, Events, Expect, KeyRange, KeyValue, PutOutcome, Range, Revision, Store, Txn, TxnOutcome, WatchStream,
    Watched,
};

/// Longer than anything takes on a busy machine; only a broken store reaches it.
const PATIENCE: Duration = Duration::from_secs(30);

pub type Check = fn(Arc<dyn Store>, Keys) -> futures_util::future::BoxFuture<'static, ()>;

/// Every check by name.
pub const ALL: &[(&str, Check)] = &[
    ("writes", |store, keys| Box::pin(writes(store, keys))),
    ("conflicts", |store, keys| Box::pin(conflicts(store, keys))),
    ("deletes", |store, keys| Box::pin(deletes(store, keys))),
    ("transactions", |store, keys| Box::pin(transactions(store, keys))),
    ("ranges", |store, keys| Box::pin(ranges(store, keys))),
    ("old_revisions", |store, keys| Box::pin(old_revisions(store, keys))),
    ("watch_from_the_past", |store, keys| Box::pin(watch_from_the_past(store, keys))),
    ("watch_live", |store, keys| Box::pin(watch_live(store, keys))),
    ("watermarks", |store, keys| Box::pin(watermarks(store, keys))),
    ("expiry", |store, keys| Box::pin(expiry(store, keys))),
    ("compaction", |store, keys| Box::pin(compaction(store, keys))),
    ("large_values", |store, keys| Box::pin(large_values(store, keys))),
    ("concurrent_increments", |store, keys| Box::pin(concurrent_increments(store, keys))),
];

/// Runs every check against one store.
pub async fn run_all(store: Arc<dyn Store>) {
    for (name, check) in ALL {
        println!("{name}");
        let done = tokio::time::timeout(PATIENCE * 2, check(store.clone(), Keys { prefix: format!("/registry/{name}/") }));
        assert!(done.await.is_ok(), "{name} hangs");
    }
}

/// Names keys of one check.
#[derive(Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    fn key(&self, name: &str) -> Bytes {
        format!("{}{name}", self.prefix).into()
    }

    fn all(&self) -> KeyRange {
        KeyRange::prefix(self.prefix.clone())
    }
}

pub async fn put(store: &dyn Store, key: Bytes, value: &str) -> Revision {
    match store.put(key, Expect::Any, Bytes::copy_from_slice(value.as_bytes()), None).await.unwrap() {
        PutOutcome::Written { revision } => revision,
        conflict => panic!("an unconditional put was refused: {conflict:?}"),
    }
}

async fn delete(store: &dyn Store, key: Bytes) -> Revision {
    match store.delete(key, Expect::Any).await.unwrap() {
        DeleteOutcome::Deleted { revision, .. } => revision,
        conflict => panic!("an unconditional delete was refused: {conflict:?}"),
    }
}

/// "name=value" of each item, without the prefix.
fn render(keys: &Keys, items: &[KeyValue]) -> String {
    let each = items.iter().map(|item| {
        let key = std::str::from_utf8(&item.key).unwrap();
        format!("{}={}", key.strip_prefix(&keys.prefix).unwrap(), std::str::from_utf8(&item.value).unwrap())
    });
    each.collect::<Vec<_>>().join(" ")
}

/// "+" made, "~" changed, "-" deleted, with the value before and after.
fn render_events(keys: &Keys, events: &Events) -> String {
    let each = events.events.iter().map(|event| {
        let key = std::str::from_utf8(&event.key).unwrap().strip_prefix(&keys.prefix).unwrap();
        let value = std::str::from_utf8(&event.value).unwrap();
        let before = event.previous.as_ref().map(|kv| std::str::from_utf8(&kv.value).unwrap().to_owned());
        assert_eq!(event.mod_revision, events.revision, "every event carries its revision");
        match (event.kind, before) {
            (EventKind::Put, None) => {
                assert_eq!((event.create_revision, event.version), (events.revision, 1));
                assert!(event.is_create());
                format!("+{key}={value}")
            }
            (EventKind::Put, Some(before)) => format!("~{key}={before}>{value}"),
            (EventKind::Delete, Some(before)) => {
                assert_eq!(event.create_revision, event.previous.as_ref().unwrap().create_revision);
                format!("-{key}={before}")
            }
            (EventKind::Delete, None) => panic!("a delete without what it deleted: {event:?}"),
        }
    });
    each.collect::<Vec<_>>().join(" ")
}

pub async fn next(watch: &mut WatchStream) -> Watched {
    let item = tokio::time::timeout(PATIENCE, watch.next()).await.expect("the watch delivers in time");
    item.expect("the watch goes on").expect("the watch has no error")
}

/// Skips watermarks.
async fn next_events(watch: &mut WatchStream) -> Events {
    loop {
        match next(watch).await {
            Watched::Events(events) => return events,
            Watched::Watermark(_) => {}
            Watched::Compacted(revision) => panic!("compacted at {revision}"),
        }
    }
}

async fn writes(store: Arc<dyn Store>, keys: Keys) {
    let before = store.current_revision().await.unwrap();
    assert!(before >= Revision(1), "an empty list has a revision to watch from");
    assert_eq!(store.get(keys.key("a")).await.unwrap(), None);

    let first = put(&*store, keys.key("a"), "1").await;
    assert!(first > before);
    let second = put(&*store, keys.key("a"), "2").await;
    assert!(second > first);
    let found = store.get(keys.key("a")).await.unwrap().unwrap();
    let expected =
        KeyValue { key: keys.key("a"), value: "2".into(), create_revision: first, mod_revision: second, version: 2, lease: None };
    assert_eq!(found, expected);
    assert!(store.current_revision().await.unwrap() >= second);

    let bytes = Bytes::from_static(b"k8s\0\x00\xff\xfe");
    store.put(keys.key("raw\u{0}key"), Expect::Absent, bytes.clone(), None).await.unwrap();
    assert_eq!(store.get(keys.key("raw\u{0}key")).await.unwrap().unwrap().value, bytes);
    store.put(keys.key("empty"), Expect::Absent, Bytes::new(), None).await.unwrap();
    assert_eq!(store.get(keys.key("empty")).await.unwrap().unwrap().value, Bytes::new());
}

async fn conflicts(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.key("a");
    let value = |text: &'static str| Bytes::from_static(text.as_bytes());
    // Expecting a revision of what does not exist.
    let outcome = store.put(key.clone(), Expect::ModRevision(Revision(1)), value("x"), None).await.unwrap();
    assert!(matches!(outcome, PutOutcome::Conflict { current: None, .. }), "{outcome:?}");
    // Expecting absence, twice.
    let PutOutcome::Written { revision } = store.put(key.clone(), Expect::Absent, value("1"), None).await.unwrap() else {
        panic!("the key was absent");
    };
    let outcome = store.put(key.clone(), Expect::Absent, value("x"), None).await.unwrap();
    let PutOutcome::Conflict { revision: at, current: Some(current) } = outcome else { panic!("{outcome:?}") };
    assert!(at >= revision);
    assert_eq!((current.value, current.mod_revision), (value("1"), revision));
    // The right revision, then the one it replaced.
    let outcome = store.put(key.clone(), Expect::ModRevision(revision), value("2"), None).await.unwrap();
    let PutOutcome::Written { revision: second } = outcome else { panic!("{outcome:?}") };
    let outcome = store.put(key.clone(), Expect::ModRevision(revision), value("x"), None).await.unwrap();
    let PutOutcome::Conflict { current: Some(current), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((current.value, current.mod_revision, current.version), (value("2"), second, 2));
    // A conflict makes no revision for this key.
    assert_eq!(store.get(key).await.unwrap().unwrap().mod_revision, second);
}

async fn deletes(store: Arc<dyn Store>, keys: Keys) {
    let key = keys.key("a");
    let outcome = store.delete(key.clone(), Expect::Any).await.unwrap();
    assert!(matches!(outcome, DeleteOutcome::Conflict { current: None, .. }), "{outcome:?}");
    let made = put(&*store, key.clone(), "1").await;
    let outcome = store.delete(key.clone(), Expect::ModRevision(Revision(made.0 - 1))).await.unwrap();
    let DeleteOutcome::Conflict { current: Some(current), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(current.mod_revision, made);
    let outcome = store.delete(key.clone(), Expect::ModRevision(made)).await.unwrap();
    let DeleteOutcome::Deleted { revision, previous } = outcome else { panic!("{outcome:?}") };
    assert!(revision > made, "a delete has a revision of its own");
    assert_eq!(previous.value, "1");
    assert_eq!(store.get(key.clone()).await.unwrap(), None);
    // Made again, it is a new key.
    let again = put(&*store, key.clone(), "2").await;
    let found = store.get(key.clone()).await.unwrap().unwrap();
    assert_eq!((found.create_revision, found.version), (again, 1));
    assert!(matches!(store.delete(key, Expect::Absent).await, Err(Error::InvalidTxn(_))));
}

async fn transactions(store: Arc<dyn Store>, keys: Keys) {
    let (a, b, c) = (keys.key("a"), keys.key("b"), keys.key("c"));
    let mut watch = store.watch(keys.all(), store.current_revision().await.unwrap()).await.unwrap();
    let both = Txn::new().when(a.clone(), Expect::Absent).when(b.clone(), Expect::Absent);
    let both = both.put(a.clone(), "1", None).put(b.clone(), "1", None);
    let outcome = store.txn(both.clone()).await.unwrap();
    let TxnOutcome::Committed { revision, deleted } = outcome else { panic!("{outcome:?}") };
    assert_eq!(deleted, [None, None]);
    let items = store.range(Range::of(keys.all())).await.unwrap().items;
    assert!(items.iter().all(|item| item.mod_revision == revision), "one transaction is one revision: {items:?}");

    let outcome = store.txn(both).await.unwrap();
    let TxnOutcome::Conflict { current, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(render(&keys, &current.into_iter().flatten().collect::<Vec<_>>()), "a=1 b=1");

    // Comparing one key and changing others; deleting what is there and what is not.
    let mixed = Txn::new().when(a.clone(), Expect::ModRevision(revision)).when(c.clone(), Expect::Absent);
    let mixed = mixed.put(a.clone(), "2", None).delete(b.clone()).delete(c.clone());
    let outcome = store.txn(mixed).await.unwrap();
    let TxnOutcome::Committed { revision: second, deleted } = outcome else { panic!("{outcome:?}") };
    assert_eq!(deleted.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false]);

    // What changes nothing makes no revision.
    let nothing = Txn::new().when(a.clone(), Expect::ModRevision(second)).delete(c.clone());
    assert!(matches!(store.txn(nothing).await.unwrap(), TxnOutcome::Committed { .. }));
    assert_eq!(store.get(a.clone()).await.unwrap().unwrap().mod_revision, second);

    let twice = Txn::new().put(a.clone(), "x", None).delete(a.clone());
    assert!(matches!(store.txn(twice).await, Err(Error::InvalidTxn(_))));
    assert!(matches!(store.txn(Txn::new().put("", "x", None)).await, Err(Error::InvalidTxn(_))));

    let events = next_events(&mut watch).await;
    assert_eq!((events.revision, render_events(&keys, &events)), (revision, "+a=1 +b=1".to_owned()));
    let events = next_events(&mut watch).await;
    assert_eq!((events.revision, render_events(&keys, &events)), (second, "~a=1>2 -b=1".to_owned()));
}

async fn ranges(store: Arc<dyn Store>, keys: Keys) {
    for name in ["a/1", "a/2", "a/3", "b/1"] {
        put(&*store, keys.key(name), name).await;
    }
    let all = store.range(Range::of(keys.all())).await.unwrap();
    assert_eq!(render(&keys, &all.items), "a/1=a/1 a/2=a/2 a/3=a/3 b/1=b/1");
    assert_eq!((all.count, all.more), (4, false));
    assert!(all.revision >= all.items[3].mod_revision);

    let folder = KeyRange::prefix(keys.key("a/"));
    let page = store.range(Range::of(folder.clone()).limit(2)).await.unwrap();
    assert_eq!(render(&keys, &page.items), "a/1=a/1 a/2=a/2");
    assert_eq!((page.count, page.more), (3, true));
    let rest = folder.after(&page.items[1].key);
    let page = store.range(Range::of(rest).limit(2).at(page.revision)).await.unwrap();
    assert_eq!(render(&keys, &page.items), "a/3=a/3");
    assert_eq!((page.count, page.more), (1, false));

    let names = store.range(Range::of(folder.clone()).keys_only()).await.unwrap();
    assert!(names.items.iter().all(|item| item.value.is_empty() && item.mod_revision > Revision::ZERO));
    assert_eq!(names.items.len(), 3);
    let count = store.range(Range::of(folder).count_only()).await.unwrap();
    assert_eq!((count.items.len(), count.count), (0, 3));
    let none = store.range(Range::of(KeyRange::new(keys.key("b"), keys.key("a")))).await.unwrap();
    assert_eq!((none.items.len(), none.count, none.more), (0, 0, false));
}

async fn old_revisions(store: Arc<dyn Store>, keys: Keys) {
    let empty = store.current_revision().await.unwrap();
    let (a, b) = (keys.key("a"), keys.key("b"));
    let mut moments = vec![(empty, "")];
    moments.push((put(&*store, a.clone(), "1").await, "a=1"));
    moments.push((put(&*store, b.clone(), "1").await, "a=1 b=1"));
    moments.push((put(&*store, a.clone(), "2").await, "a=2 b=1"));
    moments.push((delete(&*store, a.clone()).await, "b=1"));
    moments.push((put(&*store, a.clone(), "3").await, "a=3 b=1"));
    moments.push((delete(&*store, b.clone()).await, "a=3"));
    for (revision, expected) in &moments {
        let range = Range::of(keys.all()).at(*revision);
        let state = store.range(range.clone()).await.unwrap();
        assert_eq!(render(&keys, &state.items), *expected, "at {revision}");
        assert_eq!(state.count as usize, state.items.len());
        assert!(state.revision >= moments.last().unwrap().0, "the header has the current revision");
        let first = store.range(range.limit(1)).await.unwrap();
        assert_eq!((first.count, first.more), (state.count, state.count > 1), "at {revision}");
    }
    let future = Revision(store.current_revision().await.unwrap().0 + 1_000_000);
    let error = store.range(Range::of(keys.all()).at(future)).await.unwrap_err();
    assert!(matches!(error, Error::FutureRevision { requested, .. } if requested == future), "{error:?}");
    let error = store.watch(keys.all(), future).await.err().unwrap();
    assert!(matches!(error, Error::FutureRevision { .. }), "{error:?}");
}

async fn watch_from_the_past(store: Arc<dyn Store>, keys: Keys) {
    let start = store.current_revision().await.unwrap();
    let (a, b) = (keys.key("a"), keys.key("b"));
    let mut moments = Vec::new();
    moments.push((put(&*store, a.clone(), "1").await, "+a=1"));
    moments.push((put(&*store, a.clone(), "2").await, "~a=1>2"));
    moments.push((put(&*store, b.clone(), "1").await, "+b=1"));
    moments.push((delete(&*store, a.clone()).await, "-a=2"));
    moments.push((put(&*store, a.clone(), "3").await, "+a=3"));
    let starts = [start].into_iter().chain(moments.iter().map(|(revision, _)| *revision));
    for (skip, after) in starts.enumerate() {
        let mut watch = store.watch(keys.all(), after).await.unwrap();
        for (revision, expected) in &moments[skip..] {
            let events = next_events(&mut watch).await;
            assert_eq!((events.revision, &render_events(&keys, &events)[..]), (*revision, *expected), "after {after}");
        }
    }
    let mut only_b = store.watch(KeyRange::single(b), start).await.unwrap();
    assert_eq!(render_events(&keys, &next_events(&mut only_b).await), "+b=1");
}

async fn watch_live(store: Arc<dyn Store>, keys: Keys) {
    let start = store.current_revision().await.unwrap();
    let mut watches = Vec::new();
    for _ in 0..3 {
        watches.push(store.watch(keys.all(), start).await.unwrap());
    }
    let mut revisions = Vec::new();
    for number in 0..50 {
        revisions.push(put(&*store, keys.key(&format!("{:02}", number % 7)), &number.to_string()).await);
    }
    for watch in &mut watches {
        for revision in &revisions {
            assert_eq!(next_events(watch).await.revision, *revision);
        }
    }
    // One that begins in the middle, while the store is quiet.
    let mut late = store.watch(keys.all(), revisions[40]).await.unwrap();
    assert_eq!(next_events(&mut late).await.revision, revisions[41]);
}

async fn watermarks(store: Arc<dyn Store>, keys: Keys) {
    if !store.supports_watermark() {
        println!("  (this engine has no watermarks here)");
        return;
    }
    let own = KeyRange::prefix(keys.key("own/"));
    let start = store.current_revision().await.unwrap();
    let mut watch = store.watch(own.clone(), start).await.unwrap();
    assert_eq!(next(&mut watch).await, Watched::Watermark(start), "the first one says that the watch is up to date");
    // Elsewhere, and still the watch has to say how far it is.
    let elsewhere = put(&*store, keys.key("elsewhere"), "1").await;
    assert_eq!(next(&mut watch).await, Watched::Watermark(elsewhere));
    let own_change = put(&*store, keys.key("own/a"), "1").await;
    assert!(matches!(next(&mut watch).await, Watched::Events(events) if events.revision == own_change));
    let elsewhere = put(&*store, keys.key("elsewhere"), "2").await;
    assert_eq!(next(&mut watch).await, Watched::Watermark(elsewhere));
    // From the past, it comes once the past is delivered.
    let mut behind = store.watch(own, start).await.unwrap();
    assert!(matches!(next(&mut behind).await, Watched::Events(events) if events.revision == own_change));
    assert_eq!(next(&mut behind).await, Watched::Watermark(elsewhere));
}

async fn expiry(store: Arc<dyn Store>, keys: Keys) {
    let start = store.current_revision().await.unwrap();
    let value = Bytes::from_static(b"1");
    let (short, long, cleared) = (keys.key("short"), keys.key("long"), keys.key("cleared"));
    let second = Some(Duration::from_secs(1));
    store.put(short.clone(), Expect::Any, value.clone(), second).await.unwrap();
    store.put(long.clone(), Expect::Any, value.clone(), Some(Duration::from_secs(3600))).await.unwrap();
    store.put(cleared.clone(), Expect::Any, value.clone(), second).await.unwrap();
    store.put(cleared.clone(), Expect::Any, value.clone(), None).await.unwrap();

    let left = |item: Option<KeyValue>| {
        let store = store.clone();
        async move { store.time_to_live(&item.unwrap()).await.unwrap() }
    };
    let hour = left(store.get(long.clone()).await.unwrap()).await.unwrap();
    assert!(hour > Duration::from_secs(3500) && hour < Duration::from_secs(3700), "{hour:?}");
    assert_eq!(left(store.get(cleared.clone()).await.unwrap()).await, None);

    let mut watch = store.watch(keys.all(), start).await.unwrap();
    for expected in ["+short=1", "+long=1", "+cleared=1", "~cleared=1>1", "-short=1"] {
        assert_eq!(render_events(&keys, &next_events(&mut watch).await), expected);
    }
    assert_eq!(store.get(short).await.unwrap(), None);
    assert_eq!(store.range(Range::of(keys.all())).await.unwrap().count, 2);
}

async fn compaction(store: Arc<dyn Store>, keys: Keys) {
    let (a, b, c) = (keys.key("a"), keys.key("b"), keys.key("c"));
    let first = put(&*store, a.clone(), "1").await;
    put(&*store, b.clone(), "1").await;
    put(&*store, c.clone(), "1").await;
    delete(&*store, b.clone()).await;
    let kept = put(&*store, a.clone(), "2").await;
    let last = put(&*store, a.clone(), "3").await;
    store.compact(kept).await.unwrap();

    let error = store.range(Range::of(keys.all()).at(first)).await.unwrap_err();
    assert!(matches!(error, Error::Compacted { requested, .. } if requested == first), "{error:?}");
    let mut watch = store.watch(keys.all(), first).await.unwrap();
    let Watched::Compacted(compacted) = next(&mut watch).await else { panic!("the past is gone") };
    assert!(compacted >= kept);
    assert!(watch.next().await.is_none(), "nothing follows it");

    // The revision itself stays readable, and everything after it.
    let state = store.range(Range::of(keys.all()).at(kept)).await.unwrap();
    assert_eq!(render(&keys, &state.items), "a=2 c=1");
    assert_eq!(render(&keys, &store.range(Range::of(keys.all())).await.unwrap().items), "a=3 c=1");
    let mut watch = store.watch(keys.all(), kept).await.unwrap();
    let events = next_events(&mut watch).await;
    assert_eq!((events.revision, render_events(&keys, &events)), (last, "~a=2>3".to_owned()));
    store.compact(kept).await.unwrap();
    put(&*store, b.clone(), "2").await;
    assert_eq!(render(&keys, &store.range(Range::of(keys.all())).await.unwrap().items), "a=3 b=2 c=1");
}

async fn large_values(store: Arc<dyn Store>, keys: Keys) {
    let start = store.current_revision().await.unwrap();
    let value = Bytes::from(vec![7; 1 << 20]);
    for number in 0..5 {
        store.put(keys.key(&number.to_string()), Expect::Absent, value.clone(), None).await.unwrap();
    }
    let mut watch = store.watch(keys.all(), start).await.unwrap();
    for _ in 0..5 {
        assert_eq!(next_events(&mut watch).await.events[0].value, value);
    }
    assert_eq!(store.range(Range::of(keys.all())).await.unwrap().items.len(), 5);
    let too_large = Bytes::from(vec![7; 9 << 20]);
    let error = store.put(keys.key("x"), Expect::Absent, too_large, None).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
}

/// Read, add one, write if unchanged: no step may be lost, and the watch sees every one of them.
async fn concurrent_increments(store: Arc<dyn Store>, keys: Keys) {
    const TASKS: u64 = 8;
    const STEPS: u64 = 10;
    let start = put(&*store, keys.key("n"), "0").await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (store, key) = (store.clone(), keys.key("n"));
        tasks.spawn(async move {
            let mut current = store.get(key.clone()).await.unwrap().unwrap();
            for _ in 0..STEPS {
                loop {
                    let number: u64 = std::str::from_utf8(&current.value).unwrap().parse().unwrap();
                    let value = Bytes::from((number + 1).to_string());
                    let expect = Expect::ModRevision(current.mod_revision);
                    match store.put(key.clone(), expect, value.clone(), None).await.unwrap() {
                        PutOutcome::Written { revision } => {
                            current = KeyValue { value, mod_revision: revision, ..current };
                            break;
                        }
                        PutOutcome::Conflict { current: found, .. } => current = found.unwrap(),
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    let mut watch = store.watch(keys.all(), start).await.unwrap();
    for number in 1..=TASKS * STEPS {
        assert_eq!(render_events(&keys, &next_events(&mut watch).await), format!("~n={}>{number}", number - 1));
    }
}
