//! List-and-watch: keeping one cache equal to the server. Upstream: `client-go/tools/cache/reflector.go`.
//!
//! ```text
//!            +-----------------------------  410, or any surprise  ----------------------+
//!            v                                                                           |
//!   List { from } --listed at R--> Watch { from: R } --events, bookmarks--> Watch { from: R' }
//!     ^    |                             |    ^                                  |
//!     |    +-- failed: pause --+         |    +----- ended by the server --------+
//!     +------------------------+         +-- refused: pause, watch again from the same R
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use apimachinery::meta::v1::ObjectMeta;
use apimachinery::wire::{ListResource, Resource};
use client::{Error, ListParams, WatchEvent, WatchParams};
use component_base::backoff::{Backoff, jittered};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::informer::Shared;

/// Upstream's backoff after a failed list or watch.
const FIRST_PAUSE: Duration = Duration::from_millis(800);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After this long without trouble the next pause is short again.
const RESET_AFTER: Duration = Duration::from_secs(120);
/// Least time a watch is asked to last; up to twice as long, so that not all end at once.
const WATCH_SECONDS: Duration = Duration::from_secs(300);
/// Items per page when a list must come from the store.
const PAGE: u32 = 500;
/// How many steps are remembered.
const HISTORY: usize = 64;
/// Set on the bookmark that ends the initial state of a streaming list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Something a reflector did.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The whole state was read, and is that of this revision.
    Listed { at: String, items: usize },
    /// A watch was opened that continues after this revision.
    Watching { from: String },
    /// A watch ended; everything up to this revision has been seen.
    Ended { at: String, why: String },
    /// A list or watch could not be had.
    Failed { why: String },
}

/// The last steps, and how far the cache is.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) steps: VecDeque<Step>,
    pub(crate) resource_version: String,
}

impl History {
    fn note(&mut self, step: Step) {
        if self.steps.len() == HISTORY {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }
}

enum State {
    /// Read everything, at this revision or newer; `0`: whatever the server has at hand; empty: the newest there is.
    List { from: String },
    /// Follow what comes after this revision.
    Watch { from: String },
}

/// How a watch came to its end.
enum End {
    /// As agreed, or cut off after it had worked: go on from where it was.
    Resume(String),
    /// The revision is too old: list.
    Expired(String),
    /// Try again from the same revision, after a pause.
    Unavailable(Error),
    /// Anything else: list, after a pause.
    Broken(Error),
}

pub(crate) async fn run<K: Resource>(shared: &Shared<K>, stop: CancellationToken) {
    // Cancel-safe: dropping a step loses nothing that the next list would not bring back, and after `stop` there is none.
    tokio::select! {
        () = stop.cancelled() => {}
        () = follow(shared) => {}
    }
}

async fn follow<K: Resource>(shared: &Shared<K>) {
    let new_backoff = || Backoff::new(FIRST_PAUSE, LONGEST_PAUSE).with_jitter(1.0);
    let mut backoff = new_backoff();
    let mut last_trouble = Instant::now();
    let mut state = State::List { from: "0".into() };
    let mut resync = shared.options.resync.map(|period| (period, Instant::now() + period));
    loop {
        let (next, trouble) = step(shared, state, &mut resync).await;
        state = next;
        let Some(trouble) = trouble else { continue };
        if last_trouble.elapsed() > RESET_AFTER {
            backoff = new_backoff();
        }
        last_trouble = Instant::now();
        let pause = trouble.retry_after().unwrap_or_else(|| backoff.next_delay());
        tracing::warn!(
            kind = K::KIND,
            resource = shared.api.path().resource.resource,
            err = &trouble as &dyn std::error::Error,
            pause_ms = pause.as_millis() as u64,
            "list or watch failed"
        );
        shared.history.lock().note(Step::Failed { why: chain(&trouble) });
        tokio::time::sleep(pause).await;
    }
}

type Resync = Option<(Duration, Instant)>;

/// One list, or one watch to its end. A failure asks for a pause before the next state.
async fn step<K: Resource>(shared: &Shared<K>, state: State, resync: &mut Resync) -> (State, Option<Error>) {
    match state {
        State::List { from } => match list(shared, &from).await {
            Ok(version) => (State::Watch { from: version }, None),
            // The revision is gone, or the server's cache is behind it: ask for the newest there is.
            Err(err) if err.is_gone() || err.is_too_large_resource_version() => match from.is_empty() {
                true => (State::List { from }, Some(err)),
                false => (State::List { from: String::new() }, None),
            },
            Err(err) => (State::List { from }, Some(err)),
        },
        State::Watch { from } => {
            let end = watch(shared, from, resync).await;
            let version = shared.history.lock().resource_version.clone();
            match end {
                End::Resume(_) => (State::Watch { from: version }, None),
                End::Expired(why) => {
                    tracing::info!(kind = K::KIND, resource_version = version, why, "watch expired: listing again");
                    (State::List { from: String::new() }, None)
                }
                End::Unavailable(err) => (State::Watch { from: version }, Some(err)),
                End::Broken(err) => (State::List { from: version }, Some(err)),
            }
        }
    }
}

async fn list<K: Resource>(shared: &Shared<K>, from: &str) -> Result<String, Error> {
    let (items, version) = match shared.options.streaming_list {
        true => match stream_list(shared).await {
            // Servers without streaming lists refuse the parameter.
            Err(err) if err.is_invalid() || err.is_bad_request() => page_list(shared, from).await?,
            listed => listed?,
        },
        false => page_list(shared, from).await?,
    };
    let count = items.len();
    shared.replace(items);
    let mut history = shared.history.lock();
    history.resource_version = version.clone();
    history.note(Step::Listed { at: version.clone(), items: count });
    drop(history);
    shared.synced.send_replace(true);
    tracing::debug!(kind = K::KIND, resource_version = version, items = count, "listed");
    Ok(version)
}

async fn page_list<K: Resource>(shared: &Shared<K>, from: &str) -> Result<(Vec<K>, String), Error> {
    let mut params = ListParams {
        label_selector: shared.options.label_selector.clone(),
        field_selector: shared.options.field_selector.clone(),
        resource_version: from.to_string(),
        // From the server's cache all comes at once; from the store in pages.
        limit: if from.is_empty() { PAGE } else { 0 },
        ..ListParams::default()
    };
    let mut items = Vec::new();
    loop {
        let list = shared.api.list(&params).await?;
        let meta = list.list_meta();
        let version = meta.resource_version.clone();
        params.continue_ = meta.continue_.clone();
        params.resource_version.clear();
        items.extend(list.into_items());
        if params.continue_.is_empty() {
            return Ok((items, version));
        }
    }
}

/// The initial state as a watch sends it, up to the bookmark that says it is complete.
async fn stream_list<K: Resource>(shared: &Shared<K>) -> Result<(Vec<K>, String), Error> {
    let params =
        WatchParams { send_initial_events: true, resource_version_match: "NotOlderThan".into(), ..watch_params(shared, String::new()) };
    let mut watch = shared.api.watch(&params).await?;
    let mut items: std::collections::HashMap<crate::ObjectKey, K> = Default::default();
    while let Some(event) = watch.next().await? {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                items.insert(crate::ObjectKey::of_metadata(object.metadata()), object);
            }
            WatchEvent::Deleted(object) => {
                items.remove(&crate::ObjectKey::of_metadata(object.metadata()));
            }
            WatchEvent::Bookmark(object) if object.metadata().annotations.get_str(INITIAL_EVENTS_END) == "true" => {
                return Ok((items.into_values().collect(), object.metadata().resource_version.clone()));
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => return Err((*status).into()),
        }
    }
    Err(Error::Decode { kind: K::KIND.to_string(), source: "the watch ended before the initial state was complete".into() })
}

fn watch_params<K: Resource>(shared: &Shared<K>, from: String) -> WatchParams {
    WatchParams {
        label_selector: shared.options.label_selector.clone(),
        field_selector: shared.options.field_selector.clone(),
        resource_version: from,
        allow_bookmarks: true,
        timeout_seconds: u32::try_from(jittered(WATCH_SECONDS, 1.0).as_secs()).ok(),
        ..WatchParams::default()
    }
}

async fn watch<K: Resource>(shared: &Shared<K>, from: String, resync: &mut Resync) -> End {
    let mut events = match shared.api.watch(&watch_params(shared, from.clone())).await {
        Ok(events) => events,
        Err(err) if err.is_gone() => return End::Expired(err.to_string()),
        // The server is not there or is busy: what was seen stays true.
        Err(err) if err.api().is_none() || err.is_too_many_requests() || err.is_service_unavailable() => return End::Unavailable(err),
        Err(err) => return End::Broken(err),
    };
    shared.history.lock().note(Step::Watching { from: from.clone() });
    tracing::debug!(kind = K::KIND, resource_version = from, "watching");
    let opened = Instant::now();
    let mut count = 0;
    let end = loop {
        let next = match resync {
            None => events.next().await,
            // `next` is cancel-safe.
            Some((period, at)) => match tokio::time::timeout_at(*at, events.next()).await {
                Ok(next) => next,
                Err(_) => {
                    *at = Instant::now() + *period;
                    shared.resync();
                    continue;
                }
            },
        };
        match next {
            Ok(Some(event)) => {
                count += 1;
                if let Some(end) = take(shared, event) {
                    break end;
                }
            }
            // A watch that ends at once and empty would spin.
            Ok(None) if count == 0 && opened.elapsed() < Duration::from_secs(1) => {
                break End::Unavailable(Error::Decode { kind: "WatchEvent".into(), source: "very short watch: no events received".into() });
            }
            Ok(None) => break End::Resume("ended".into()),
            // Cut off, or a frame nobody can read: resume from what was applied, for a list would cost the server far more.
            Err(err) if err.is_connection_lost() => break if count > 0 { End::Resume(chain(&err)) } else { End::Unavailable(err) },
            Err(err) => break End::Broken(err),
        }
    };
    let mut history = shared.history.lock();
    let at = history.resource_version.clone();
    let why = match &end {
        End::Resume(why) | End::Expired(why) => why.clone(),
        End::Unavailable(err) | End::Broken(err) => chain(err),
    };
    history.note(Step::Ended { at, why });
    end
}

/// Applies an event; says how the watch ends if this was its last.
fn take<K: Resource>(shared: &Shared<K>, event: WatchEvent<K>) -> Option<End> {
    let seen = |metadata: &ObjectMeta| metadata.resource_version.clone();
    let version = match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            let version = seen(object.metadata());
            shared.apply(object);
            version
        }
        WatchEvent::Deleted(object) => {
            let version = seen(object.metadata());
            shared.delete(object);
            version
        }
        WatchEvent::Bookmark(object) => seen(object.metadata()),
        WatchEvent::Error(status) if status.is_expired() => return Some(End::Expired(status.message.clone())),
        WatchEvent::Error(status) => return Some(End::Broken((*status).into())),
    };
    // Set only after the event is applied, so that a resumed watch never starts beyond what the cache shows.
    shared.history.lock().resource_version = version;
    None
}

/// An error and what caused it, on one line.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
