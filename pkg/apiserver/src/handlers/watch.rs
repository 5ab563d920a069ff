//! Watches: events as they happen, in frames. Upstream: endpoints/handlers/watch.go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::proto::{self, ProtoWriter};
use apimachinery::status::StatusError;
use bytes::{BufMut, Bytes, BytesMut};
use component_base::http::{Body, BoxError, Response, stream};
use futures_util::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use storage::{EventKind, KeyRange, Revision, Watched};
use tokio::time::Instant;

use super::list_options::ListOptions;
use super::negotiate::{Format, Offer, Output, Shape};
use super::query::parse_revision;
use super::selection::Selection;
use super::{Call, output, present, respond};
use crate::cache::{CacheEvent, Change, Entry, Media, Next, Snapshot, TooOld, Watcher};
use crate::store::store_error;

/// Watches without a timeout of their own end after this to twice this, so that not all end at once. Upstream's numbers.
const MIN_TIMEOUT: Duration = Duration::from_secs(1800);
/// How often an idle watcher is told how far the server is. Upstream's number.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// A last bookmark goes out this long before the watch ends.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);
/// Frames that wait are put into one chunk up to this size.
const CHUNK: usize = 64 * 1024;

pub(super) async fn watch(call: &Call) -> Result<Response, StatusError> {
    let options = ListOptions::read(&call.query, true)?;
    let selection = Selection::of(call)?;
    let revision = parse_revision(&options.resource_version).map_err(StatusError::unknown)?;
    let output = output::negotiate(call, Offer::Watch)?;
    if output.format == Format::Protobuf && matches!(output.shape, Shape::Table { .. }) {
        return Err(StatusError::new(406, apimachinery::status::reason::NOT_ACCEPTABLE, "tables cannot be watched as protobuf"));
    }
    let timeout = match options.timeout_seconds {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
        _ => MIN_TIMEOUT.mul_f64(1.0 + rand::random::<f64>()),
    };
    let start = match start(call, &options, &selection, revision).await {
        Ok(start) => start,
        // A watch that cannot go on from where it was is told so in its stream.
        Err(error) if error.is_expired() => {
            let frame = Frames { call: call.clone(), output, selection, first: true }.error(&error);
            return Ok(answer(output, stream(futures_util::stream::once(async move { Ok(frame) }))));
        }
        Err(error) => return Err(error),
    };

    let now = Instant::now();
    let state = State {
        frames: Frames { call: call.clone(), output, selection, first: true },
        waiting: start.initial,
        mark_after_initial: start.mark,
        watcher: start.watcher,
        bookmarks: options.bookmarks,
        sent: start.revision,
        next_bookmark: first_bookmark(now, timeout),
        deadline: now + timeout,
        stop: call.server.stopping(),
        over: false,
    };
    let chunks = futures_util::stream::unfold(state, |mut state| async move { state.step().await.map(|chunk| (chunk, state)) });
    Ok(answer(output, stream(chunks)))
}

fn answer(output: Output, body: Body) -> Response {
    let media_type = match output.format {
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// Where a watch begins.
struct Start {
    watcher: Watcher,
    initial: VecDeque<Arc<CacheEvent>>,
    /// Everything up to here has been told, once `initial` has.
    revision: u64,
    /// The bookmark that ends the initial events.
    mark: bool,
}

async fn start(call: &Call, options: &ListOptions, selection: &Selection, revision: u64) -> Result<Start, StatusError> {
    let objects = call.server.objects();
    let caches = objects.caches();
    caches.filled().await;
    let cache = objects.cache(&call.kind).clone();
    let route = selection.route(cache.index_field);
    let initial = match options.send_initial_events {
        Some(wanted) => wanted,
        // From nowhere in particular: the state first, then the changes.
        None => matches!(options.resource_version.as_str(), "" | "0"),
    };
    if initial || options.resource_version.is_empty() || revision == 0 {
        let wanted = match options.resource_version.as_str() {
            "" => objects.current_revision().await?,
            _ => revision,
        };
        if caches.proves_freshness() {
            caches.wait_for(wanted).await?;
        }
        let watermark = caches.watermark();
        let (snapshot, watcher) = cache.watch_from_now(route);
        let revision = watermark.max(snapshot.revision);
        let initial = if initial { initial_events(&snapshot, selection) } else { VecDeque::new() };
        let mark = options.send_initial_events == Some(true) && options.bookmarks;
        return Ok(Start { watcher, initial, revision, mark });
    }
    match cache.clone().watch(revision, route.clone()) {
        Ok(watcher) => Ok(Start { watcher, initial: VecDeque::new(), revision, mark: false }),
        // The ring is too short (or the server too young): the store may still know.
        Err(TooOld { floor }) => {
            let missed = replay(call, revision, floor).await?;
            let watcher = cache.watch(floor, route).map_err(|gone| too_old(revision, gone.floor))?;
            Ok(Start { watcher, initial: missed, revision, mark: false })
        }
    }
}

fn initial_events(snapshot: &Snapshot, selection: &Selection) -> VecDeque<Arc<CacheEvent>> {
    snapshot
        .in_namespace(&selection.namespace)
        .filter(|entry| selection.matches(entry))
        .map(|entry| Arc::new(CacheEvent::new(Change::Added, entry.revision, entry.clone(), None)))
        .collect()
}

/// Upstream's words for history that is gone.
fn too_old(asked: u64, floor: u64) -> StatusError {
    StatusError::resource_expired(format!("too old resource version: {asked} ({floor})"))
}

/// The changes after `from` and up to `to`, from the store's own history.
async fn replay(call: &Call, from: u64, to: u64) -> Result<VecDeque<Arc<CacheEvent>>, StatusError> {
    let objects = call.server.objects();
    if !objects.caches().proves_freshness() {
        return Err(too_old(from, to));
    }
    let prefix = &call.kind.prefix;
    let mut changes = objects.store().watch(KeyRange::prefix(prefix.clone()), Revision(from)).await.map_err(|error| store_error(&error))?;
    let mut found = VecDeque::new();
    while let Some(item) = changes.next().await {
        match item.map_err(|error| store_error(&error))? {
            Watched::Compacted(revision) => return Err(too_old(from, revision.get())),
            Watched::Watermark(revision) if revision.get() >= to => break,
            Watched::Watermark(_) => {}
            Watched::Events(events) if events.revision.get() > to => break,
            Watched::Events(events) => {
                let revision = events.revision.get();
                for event in events.events {
                    let key = event.key.slice(prefix.len()..);
                    let previous = match event.previous {
                        Some(item) => Some(Arc::new(Entry::decode(&call.kind, key.clone(), item.value, item.mod_revision.get())?.0)),
                        None => None,
                    };
                    let event = match (event.kind, previous) {
                        (EventKind::Put, previous) => {
                            let entry = Arc::new(Entry::decode(&call.kind, key, event.value, revision)?.0);
                            let change = if previous.is_some() { Change::Modified } else { Change::Added };
                            CacheEvent::new(change, revision, entry, previous)
                        }
                        (EventKind::Delete, Some(previous)) => {
                            CacheEvent::new(Change::Deleted, revision, Arc::new(previous.removed_at(revision)), Some(previous))
                        }
                        (EventKind::Delete, None) => continue,
                    };
                    found.push_back(Arc::new(event));
                }
                if revision == to {
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// Watches that are over before a bookmark is due get none.
fn first_bookmark(now: Instant, timeout: Duration) -> Instant {
    match timeout.checked_sub(LAST_BOOKMARK) {
        Some(before_end) if !before_end.is_zero() => now + BOOKMARK_PERIOD.min(before_end),
        _ => now + timeout + BOOKMARK_PERIOD,
    }
}

struct State {
    frames: Frames,
    waiting: VecDeque<Arc<CacheEvent>>,
    mark_after_initial: bool,
    watcher: Watcher,
    bookmarks: bool,
    /// Everything up to here has been told.
    sent: u64,
    next_bookmark: Instant,
    deadline: Instant,
    stop: tokio_util::sync::CancellationToken,
    over: bool,
}

impl State {
    /// The next chunk of the response; `None` ends it.
    async fn step(&mut self) -> Option<Result<Bytes, BoxError>> {
        if self.over {
            return None;
        }
        let mut chunk = BytesMut::new();
        loop {
            // What waits goes out together.
            let mut single = None;
            while chunk.len() < CHUNK {
                let event = match self.waiting.pop_front() {
                    Some(event) => event,
                    None if self.mark_after_initial => {
                        self.mark_after_initial = false;
                        put(&mut chunk, &mut single, self.frames.bookmark(self.sent, true));
                        continue;
                    }
                    None => match self.watcher.try_next() {
                        Some(event) => event,
                        None => break,
                    },
                };
                self.sent = self.sent.max(event.revision);
                match self.frames.event(&event) {
                    Ok(Some(frame)) => put(&mut chunk, &mut single, frame),
                    Ok(None) => {}
                    Err(error) => {
                        self.over = true;
                        put(&mut chunk, &mut single, self.frames.error(&error));
                        return Some(Ok(finish(chunk, single)));
                    }
                }
            }
            if !chunk.is_empty() || single.is_some() {
                return Some(Ok(finish(chunk, single)));
            }
            // All arms are cancel-safe: an event stays in the queue until it is taken.
            let next = tokio::select! {
                biased;
                next = self.watcher.next() => next,
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.deadline) => return None,
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = self.after_bookmark();
                    let watermark = self.frames.call.server.objects().caches().watermark();
                    // Events of revisions up to the watermark were queued before it moved.
                    if self.watcher.is_drained() {
                        self.sent = self.sent.max(watermark);
                        return Some(Ok(self.frames.bookmark(self.sent, false)));
                    }
                    continue;
                }
            };
            match next {
                Next::Event(event) => self.waiting.push_back(event),
                Next::Gone(TooOld { floor }) => {
                    self.over = true;
                    return Some(Ok(self.frames.error(&too_old(self.sent, floor))));
                }
            }
        }
    }

    fn after_bookmark(&self) -> Instant {
        let now = Instant::now();
        let last = self.deadline - LAST_BOOKMARK;
        if now < last && now + BOOKMARK_PERIOD > last { last } else { now + BOOKMARK_PERIOD }
    }
}

/// Adds a frame to a chunk; a frame that is alone is not copied.
fn put(chunk: &mut BytesMut, single: &mut Option<Bytes>, frame: Bytes) {
    if chunk.is_empty() && single.is_none() {
        *single = Some(frame);
        return;
    }
    if let Some(first) = single.take() {
        chunk.put(first);
    }
    chunk.put(frame);
}

fn finish(chunk: BytesMut, single: Option<Bytes>) -> Bytes {
    single.unwrap_or_else(|| chunk.freeze())
}

/// Makes frames of events, as one watcher sees them.
struct Frames {
    call: Call,
    output: Output,
    selection: Selection,
    /// No Table has gone out yet.
    first: bool,
}

impl Frames {
    /// The frame of an event; `None` if it is nothing to this watcher.
    fn event(&mut self, event: &CacheEvent) -> Result<Option<Bytes>, StatusError> {
        if !self.selection.namespace.is_empty() && event.entry.namespace() != self.selection.namespace {
            return Ok(None);
        }
        let now = event.change != Change::Deleted && self.selection.matches(&event.entry);
        let before = event.previous.as_ref().is_some_and(|entry| self.selection.matches(entry));
        let change = match (before, now) {
            (false, true) => Change::Added,
            (true, true) => Change::Modified,
            (true, false) => Change::Deleted,
            (false, false) => return Ok(None),
        };
        if self.output.shape == Shape::Object && change == event.change {
            let view = self.call.view(output::media(self.output.format));
            return event.frame(view, || self.object_frame(change, &event.entry)).map(Some);
        }
        // Leaving the selection: the old state, at the new revision.
        if change == Change::Deleted
            && event.change != Change::Deleted
            && let Some(previous) = &event.previous
        {
            return self.shaped_frame(change, &previous.removed_at(event.revision)).map(Some);
        }
        self.shaped_frame(change, &event.entry).map(Some)
    }

    fn shaped_frame(&mut self, change: Change, entry: &Entry) -> Result<Bytes, StatusError> {
        if self.output.shape == Shape::Object {
            return self.object_frame(change, entry);
        }
        let object = entry.object()?;
        if self.output.format == Format::Protobuf {
            let raw = proto::to_vec(&present::metadata_of(object.as_ref()));
            return Ok(proto_frame(change.as_str(), &proto::encode_envelope("meta.k8s.io/v1", "PartialObjectMetadata", &raw)));
        }
        let json = present::event_json(&self.call, self.output.shape, object.as_ref(), self.first)?;
        self.first = false;
        Ok(json_frame(change.as_str(), &json))
    }

    fn object_frame(&self, change: Change, entry: &Entry) -> Result<Bytes, StatusError> {
        let version = &self.call.kind.versions[self.call.version];
        let media = output::media(self.output.format);
        let body = entry.body(self.call.view(media))?;
        if media == Media::Protobuf {
            return Ok(proto_frame(change.as_str(), &proto::encode_envelope(&version.api_version, version.info.kind, &body)));
        }
        let mut frame = BytesMut::with_capacity(body.len() + 96);
        frame.put_slice(b"{\"type\":\"");
        frame.put_slice(change.as_str().as_bytes());
        frame.put_slice(b"\",\"object\":");
        respond::put_typed_json(&mut frame, version.info.kind, &version.api_version, &body);
        frame.put_slice(b"}\n");
        Ok(frame.freeze())
    }

    /// How far the watch is.
    fn bookmark(&mut self, revision: u64, initial_events_end: bool) -> Bytes {
        let version = &self.call.kind.versions[self.call.version];
        let mut object = (version.info.new)();
        object.metadata_mut().resource_version = revision.to_string();
        if initial_events_end {
            object.metadata_mut().annotations.insert("k8s.io/initial-events-end", "true".to_owned());
        }
        if self.output.shape != Shape::Object {
            if self.output.format == Format::Protobuf {
                let raw = proto::to_vec(&present::metadata_of(object.as_ref()));
                return proto_frame("BOOKMARK", &proto::encode_envelope("meta.k8s.io/v1", "PartialObjectMetadata", &raw));
            }
            return match present::bookmark_json(&self.call, self.output.shape, object.as_ref(), std::mem::take(&mut self.first)) {
                Ok(json) => json_frame("BOOKMARK", &json),
                Err(error) => self.error(&error),
            };
        }
        match self.output.format {
            Format::Protobuf => proto_frame("BOOKMARK", &object.to_proto_envelope()),
            _ => json_frame("BOOKMARK", &object.to_json()),
        }
    }

    fn error(&self, error: &StatusError) -> Bytes {
        match self.output.format {
            Format::Protobuf => proto_frame("ERROR", &respond::error_proto(error)),
            _ => json_frame("ERROR", &error.to_value().to_vec()),
        }
    }
}

fn json_frame(change: &str, object: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(object.len() + 40);
    frame.put_slice(b"{\"type\":\"");
    frame.put_slice(change.as_bytes());
    frame.put_slice(b"\",\"object\":");
    frame.put_slice(object);
    frame.put_slice(b"}\n");
    frame.freeze()
}

/// Four bytes of length, then a bare WatchEvent around the enveloped object.
fn proto_frame(change: &str, object: &[u8]) -> Bytes {
    let mut writer = ProtoWriter::with_capacity(object.len() + 32);
    writer.message_field(2, |writer| writer.bytes_field(1, object));
    writer.bytes_field(1, change.as_bytes());
    let event = writer.into_vec();
    let mut frame = BytesMut::with_capacity(event.len() + 4);
    frame.put_u32(u32::try_from(event.len()).unwrap_or(u32::MAX));
    frame.put_slice(&event);
    frame.freeze()
}
