//! Telling users what happened: Events, counted and thinned out before they are sent. Upstream: `client-go/tools/record`.
//!
//! ```text
//!   Recorder.event --bounded queue--> Broadcaster: spam filter -> aggregation -> counting -> create or patch
//! ```

mod correlate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::core::v1::{Event, EventSource, ObjectReference};
use apimachinery::{Object, Time, Value};
use client::{Api, Client, Patch, PatchParams};
use component_base::backoff::jittered;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use correlate::Correlator;
use correlate::Verdict;

/// Upstream's `maxQueuedEvents`: a burst larger than this loses events, not memory.
const QUEUE: usize = 1000;
/// Upstream's tries, and the pause between them.
const TRIES: usize = 12;
const PAUSE: Duration = Duration::from_secs(10);

/// Takes events for one component. Cheap to clone; never blocks.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Event>,
    source: Arc<EventSource>,
    dropped: Arc<AtomicU64>,
}

/// Sends what recorders take.
#[derive(Debug)]
pub struct Broadcaster {
    sender: mpsc::Sender<Event>,
    receiver: Mutex<Option<mpsc::Receiver<Event>>>,
    dropped: Arc<AtomicU64>,
}

impl Default for Broadcaster {
    fn default() -> Broadcaster {
        Broadcaster::new()
    }
}

impl Broadcaster {
    pub fn new() -> Broadcaster {
        let (sender, receiver) = mpsc::channel(QUEUE);
        Broadcaster { sender, receiver: Mutex::new(Some(receiver)), dropped: Arc::default() }
    }

    /// A recorder that signs as `component` on `host` (a node's name, or empty).
    pub fn recorder(&self, component: &str, host: &str) -> Recorder {
        let source = EventSource { component: component.into(), host: host.into() };
        Recorder { queue: self.sender.clone(), source: Arc::new(source), dropped: self.dropped.clone() }
    }

    /// How many events found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// What recorders took, for a test to read instead of sending it.
    pub fn into_receiver(self) -> mpsc::Receiver<Event> {
        self.receiver.into_inner().expect("into_receiver instead of run")
    }

    /// Sends events until `stop`; a second call returns at once.
    pub async fn run(&self, client: Client, stop: CancellationToken) {
        let Some(mut receiver) = self.receiver.lock().take() else { return };
        let mut sink = Sink { client, correlator: Correlator::default() };
        tokio::select! {
            () = stop.cancelled() => {}
            // What is under way at the end is not worth waiting for: events are best effort.
            () = async {
                while let Some(event) = receiver.recv().await {
                    sink.send(event).await;
                }
            } => {}
        }
    }
}

impl Recorder {
    /// A recorder whose events a test reads.
    pub fn for_test() -> (Recorder, mpsc::Receiver<Event>) {
        let broadcaster = Broadcaster::new();
        (broadcaster.recorder("test", ""), broadcaster.into_receiver())
    }

    /// Says that `reason` happened to `about`. `kind` is `Normal` or `Warning`.
    pub fn event(&self, about: &ObjectReference, kind: &str, reason: &str, message: &str) {
        let event = self.make(about, kind, reason, message);
        if self.queue.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(reason, object = about.name, "unable to record event: too many queued events, dropped event");
        }
    }

    /// As [`event`](Self::event), about an object at hand.
    pub fn about(&self, object: &dyn Object, kind: &str, reason: &str, message: &str) {
        self.event(&reference(object), kind, reason, message);
    }

    fn make(&self, about: &ObjectReference, kind: &str, reason: &str, message: &str) -> Event {
        let now = SystemTime::now();
        let nanos = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut event = Event::default();
        event.metadata.name = format!("{}.{nanos:x}", about.name);
        // Events of cluster-scoped objects live in the default namespace.
        event.metadata.namespace = if about.namespace.is_empty() { "default".into() } else { about.namespace.clone() };
        event.involved_object = about.clone();
        event.reason = reason.into();
        event.message = message.into();
        event.type_ = kind.into();
        event.count = 1;
        event.first_timestamp = Time::from(now);
        event.last_timestamp = Time::from(now);
        event.source = (*self.source).clone();
        event.reporting_component = self.source.component.clone();
        event.reporting_instance = self.source.host.clone();
        event
    }
}

/// What an event says it is about.
pub fn reference(object: &dyn Object) -> ObjectReference {
    let metadata = object.metadata();
    ObjectReference {
        kind: object.kind().into(),
        api_version: object.api_version(),
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        uid: metadata.uid.clone(),
        resource_version: metadata.resource_version.clone(),
        field_path: String::new(),
    }
}

struct Sink {
    client: Client,
    correlator: Correlator,
}

impl Sink {
    async fn send(&mut self, event: Event) {
        let (event, patch) = match self.correlator.judge(event) {
            Verdict::Drop => return,
            Verdict::Create(event) => (event, None),
            Verdict::Patch(event, patch) => (event, Some(patch)),
        };
        for attempt in 1..=TRIES {
            match self.try_send(&event, patch.as_ref()).await {
                Ok(sent) => return self.correlator.sent(&sent),
                // The server has spoken; asking again would not change its mind.
                Err(err) if err.api().is_some() => {
                    if !err.is_already_exists() && !err.is_namespace_terminating() {
                        tracing::warn!(
                            reason = event.reason,
                            object = event.involved_object.name,
                            err = &err as &dyn std::error::Error,
                            "server rejected event (will not retry)"
                        );
                    }
                    return;
                }
                Err(err) => {
                    tracing::debug!(attempt, err = &err as &dyn std::error::Error, "unable to write event (may retry after sleeping)");
                    tokio::time::sleep(if attempt == 1 { jittered(PAUSE / 10, 9.0) } else { PAUSE }).await;
                }
            }
        }
        tracing::warn!(reason = event.reason, object = event.involved_object.name, "unable to write event (retry limit exceeded)");
    }

    async fn try_send(&self, event: &Event, patch: Option<&Value>) -> Result<Event, client::Error> {
        let api = Api::<Event>::namespaced(&self.client, &event.metadata.namespace);
        if let Some(patch) = patch {
            match api.patch(&event.metadata.name, &Patch::Strategic(patch.clone()), &PatchParams::default()).await {
                // It ran out of its time to live: begin anew.
                Err(err) if err.is_not_found() => {}
                other => return other,
            }
        }
        let mut fresh = event.clone();
        fresh.metadata.resource_version.clear();
        api.create(&fresh).await
    }
}
