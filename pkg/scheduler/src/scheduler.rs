//! The loop around the cycle: takes pods from the queue, carries decisions out, and never waits for an answer to go on.
//! Upstream: pkg/scheduler/{scheduler,schedule_one,eventhandlers}.go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use api::core::v1::{Binding, ObjectReference, Pod, PodCondition};
use apimachinery::meta::v1::Status;
use apimachinery::{Time, Value};
use client::{Api, Client, DeleteParams, Patch, PatchParams};
use component_base::clock::Clock;
use component_base::metrics::Registry;
use informer::Recorder;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::cycle::{self, Failure};
use crate::events::ClusterEvent;
use crate::framework::Nomination;
use crate::metrics::Metrics;
use crate::pod_info::PodInfo;
use crate::profile::Profile;
use crate::queue::{Patience, Queue, QueuedPod, Setback};

/// Upstream's limit for the text of an event.
const LONGEST_NOTE: usize = 1024;

/// How the scheduler is set up.
pub struct Settings {
    pub profiles: Vec<Profile>,
    pub patience: Patience,
    pub clock: Arc<dyn Clock>,
    /// Decides between equally good nodes.
    pub seed: u64,
}

/// The scheduler. Clones are handles on the same one.
#[derive(Clone)]
pub struct Scheduler {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// Held for bookkeeping only, never while a node is chosen or a request is under way.
    pub(crate) state: Mutex<State>,
    /// Told whenever the queue may have something to do.
    pub(crate) wake: Notify,
    profiles: Arc<BTreeMap<String, Profile>>,
    pods: Api<Pod>,
    recorder: Recorder,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    seed: u64,
}

pub(crate) struct State {
    pub(crate) cache: Cache,
    pub(crate) queue: Queue,
}

impl Scheduler {
    /// A scheduler that knows of nothing yet: see [`handlers`](crate::handlers).
    pub fn new(settings: Settings, client: &Client, recorder: Recorder, registry: &Registry) -> Scheduler {
        let profiles = settings.profiles.into_iter().map(|profile| (profile.name.clone(), profile));
        let profiles: Arc<BTreeMap<String, Profile>> = Arc::new(profiles.collect());
        let metrics = Metrics::new(registry);
        let queue = Queue::new(settings.patience, profiles.clone(), metrics.clone());
        let inner = Arc::new(Inner {
            state: Mutex::new(State { cache: Cache::default(), queue }),
            wake: Notify::new(),
            profiles,
            pods: Api::all(client),
            recorder,
            metrics,
            clock: settings.clock,
            seed: settings.seed,
        });
        let weak = Arc::downgrade(&inner);
        registry.before_each_scrape(move || {
            if let Some(inner) = weak.upgrade() {
                inner.show();
            }
        });
        Scheduler { inner }
    }

    /// Schedules until `stop`; bindings under way are then waited for.
    pub async fn run(&self, stop: CancellationToken) {
        let mut random = SmallRng::seed_from_u64(self.inner.seed);
        let mut writes: JoinSet<()> = JoinSet::new();
        while !stop.is_cancelled() {
            while writes.try_join_next().is_some() {}
            let (next, due) = {
                let mut state = self.inner.state.lock();
                let now = self.inner.clock.instant();
                state.queue.flush(now);
                let next = state.queue.pop(now).map(|pod| (pod, state.cache.snapshot(), state.queue.nominated()));
                (next, state.queue.next_due().map(|due| due.saturating_duration_since(now)))
            };
            match next {
                Some((pod, mut snapshot, nominated)) => {
                    snapshot.nominated = nominated;
                    self.inner.clone().schedule(pod, &snapshot, random.random(), &mut writes);
                    // Handlers and writes get their turn between two pods.
                    tokio::task::yield_now().await;
                }
                None => {
                    let until_due = async {
                        match due {
                            Some(due) => self.inner.clock.sleep(due).await,
                            None => std::future::pending().await,
                        }
                    };
                    // All arms are cancel-safe: a notice that comes while nobody waits is kept.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = self.inner.wake.notified() => {}
                        () = until_due => {}
                        Some(_) = writes.join_next() => {}
                    }
                }
            }
        }
        while writes.join_next().await.is_some() {}
    }
}

impl Inner {
    /// Tries one pod and carries out what follows.
    fn schedule(self: Arc<Inner>, pod: QueuedPod, snapshot: &crate::snapshot::Snapshot, random: u64, writes: &mut JoinSet<()>) {
        let started = self.clock.instant();
        let Some(profile) = self.profiles.get(&pod.info.pod.spec.scheduler_name) else {
            // Handlers let only pods of known profiles in.
            self.state.lock().queue.done(pod.info.uid());
            return;
        };
        if pod.info.is_being_deleted() || self.state.lock().queue.is_gone(pod.info.uid()) {
            self.state.lock().queue.done(pod.info.uid());
            return;
        }
        let decided = cycle::schedule(profile, &pod.info, snapshot, random);
        self.metrics.algorithm_duration.with(&[]).observe_duration(self.clock.instant().duration_since(started));
        match decided {
            Ok(choice) => {
                tracing::debug!(
                    object = pod.info.full_name(),
                    node = choice.node,
                    evaluated = choice.evaluated,
                    feasible = choice.feasible,
                    "Attempting to bind pod to node"
                );
                {
                    let mut state = self.state.lock();
                    // It may have been deleted, or bound by somebody else, while a node was chosen.
                    if state.queue.is_gone(pod.info.uid()) {
                        return state.queue.done(pod.info.uid());
                    }
                    state.cache.assume(pod.info.clone(), &choice.node);
                    state.queue.forget_nomination(pod.info.uid());
                }
                writes.spawn(async move { self.bind(pod, choice.node, started).await });
            }
            Err(failure) => self.fail(pod, failure, started, writes),
        }
    }

    /// Binds the pod; if that fails, its place is given back and the pod tried again.
    async fn bind(&self, pod: QueuedPod, node: String, started: Instant) {
        let mut binding = Binding::default();
        let meta = &pod.info.pod.metadata;
        binding.metadata.name = meta.name.clone();
        binding.metadata.namespace = meta.namespace.clone();
        binding.metadata.uid = meta.uid.clone();
        binding.target = ObjectReference { kind: "Node".to_owned(), name: node.clone(), ..ObjectReference::default() };
        let pods = self.pods.within(&meta.namespace);
        let result = pods.create_subresource::<Binding, Status>(&meta.name, "binding", &binding).await;
        let now = self.clock.instant();
        match result {
            Ok(_) => {
                self.state.lock().queue.done(&meta.uid);
                self.count_attempt(&pod, "scheduled", started);
                self.metrics.pod_attempts.with(&[]).observe(f64::from(pod.attempts));
                if let Some(first) = pod.first_attempt {
                    let attempts = if pod.attempts >= 16 { "16+".to_owned() } else { pod.attempts.to_string() };
                    self.metrics.pod_duration.with(&[&attempts]).observe_duration(now.duration_since(first));
                }
                let message = format!("Successfully assigned {} to {node}", pod.info.full_name());
                self.recorder.about(&*pod.info.pod, "Normal", "Scheduled", &message);
            }
            Err(error) => {
                let message = format!("binding rejected: {}", component_base::logs::chain(&error));
                tracing::error!(object = pod.info.full_name(), node, err = message, "Failed to bind pod");
                {
                    let mut state = self.state.lock();
                    if state.cache.forget(&meta.uid) {
                        // What was set aside is free for others.
                        state.queue.on_event(&ClusterEvent::AssignedPodDeleted(pod.info.clone()), now);
                    }
                }
                self.count_attempt(&pod, "error", started);
                let info = pod.info.clone();
                let wanted = self.put_back(pod, Setback::Error);
                if wanted {
                    self.report(&info, "SchedulerError", &message, Nominated::Keep).await;
                }
            }
        }
    }

    fn fail(self: Arc<Inner>, pod: QueuedPod, failure: Failure, started: Instant, writes: &mut JoinSet<()>) {
        self.count_attempt(&pod, "unschedulable", started);
        let message = failure.to_string();
        tracing::debug!(object = pod.info.full_name(), err = message, "Unable to schedule pod; no fit; waiting");
        let info = pod.info.clone();
        let (plugins, nomination) = match failure {
            // Any node that comes may do.
            Failure::NoNodes => ([crate::plugins::node_name::NAME].into(), None),
            Failure::Unfit(unfit) => {
                self.metrics.preemption_attempts.with(&[]).inc();
                (unfit.plugins, unfit.nomination)
            }
        };
        let nominated = match &nomination {
            Some(nomination) => {
                self.metrics.preemption_victims.with(&[]).observe(nomination.victims.len() as f64);
                self.state.lock().queue.nominate(info.clone(), &nomination.node);
                Nominated::Set(nomination.node.clone())
            }
            // Room that was made for it once did not help.
            None if !info.pod.status.nominated_node_name.is_empty() => {
                self.state.lock().queue.forget_nomination(info.uid());
                Nominated::Clear
            }
            None => Nominated::Keep,
        };
        if self.put_back(pod, Setback::Refused(plugins)) {
            writes.spawn(async move {
                self.report(&info, "Unschedulable", &message, nominated).await;
                if let Some(nomination) = nomination {
                    self.preempt(&info, nomination).await;
                }
            });
        }
    }

    /// True unless the pod is gone meanwhile.
    fn put_back(&self, pod: QueuedPod, setback: Setback) -> bool {
        let uid = pod.info.uid().to_owned();
        let wanted = {
            let mut state = self.state.lock();
            let wanted = !state.queue.is_gone(&uid);
            state.queue.put_back(pod, setback, self.clock.instant());
            wanted
        };
        self.wake.notify_one();
        wanted
    }

    /// Tells the user why the pod has no node: an event, and the pod's condition if that says something else so far.
    async fn report(&self, pod: &PodInfo, reason: &str, message: &str, nominated: Nominated) {
        self.recorder.about(&*pod.pod, "Warning", "FailedScheduling", shortened(message));
        let condition = PodCondition {
            type_: "PodScheduled".to_owned(),
            status: "False".to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: pod.pod.metadata.generation,
            ..PodCondition::default()
        };
        let Some(patch) = status_patch(&pod.pod, condition, &nominated, Time::from(self.clock.now())) else { return };
        self.patch_status(pod, patch).await;
    }

    async fn patch_status(&self, pod: &PodInfo, patch: Value) {
        let meta = &pod.pod.metadata;
        let patched = self.pods.within(&meta.namespace).patch_status(&meta.name, &Patch::Strategic(patch), &PatchParams::default()).await;
        if let Err(error) = patched
            && !error.is_not_found()
        {
            tracing::warn!(object = pod.full_name(), err = %component_base::logs::chain(&error), "Error updating pod");
        }
    }

    /// Deletes the victims. Their leaving wakes the pod that they make room for.
    async fn preempt(&self, preemptor: &PodInfo, nomination: Nomination) {
        let lesser: Vec<Arc<PodInfo>> = {
            let mut state = self.state.lock();
            let nominated = state.queue.nominated();
            let here = nominated.get(&nomination.node).map(Vec::as_slice).unwrap_or_default();
            let lesser: Vec<Arc<PodInfo>> = here.iter().filter(|other| other.priority() < preemptor.priority()).cloned().collect();
            lesser.iter().for_each(|other| state.queue.forget_nomination(other.uid()));
            lesser
        };
        let mut failed = false;
        for victim in &nomination.victims {
            let meta = &victim.pod.metadata;
            let pods = self.pods.within(&meta.namespace);
            let condition = PodCondition {
                type_: "DisruptionTarget".to_owned(),
                status: "True".to_owned(),
                reason: "PreemptionByScheduler".to_owned(),
                message: format!("{}: preempting to accommodate a higher priority pod", preemptor.pod.spec.scheduler_name),
                observed_generation: meta.generation,
                ..PodCondition::default()
            };
            if let Some(patch) = status_patch(&victim.pod, condition, &Nominated::Keep, Time::from(self.clock.now())) {
                self.patch_status(victim, patch).await;
            }
            match pods.delete(&meta.name, &DeleteParams::of_uid(meta.uid.clone())).await {
                Ok(_) => {
                    let message = format!("Preempted by pod {} on node {}", preemptor.uid(), nomination.node);
                    self.recorder.about(&*victim.pod, "Normal", "Preempted", &message);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    failed = true;
                    let err = component_base::logs::chain(&error).to_string();
                    tracing::error!(object = victim.full_name(), err, "Error preempting pod");
                }
            }
        }
        for other in lesser.iter().filter(|other| !other.pod.status.nominated_node_name.is_empty()) {
            self.patch_status(other, patch_of(&other.pod, vec![("nominatedNodeName", Value::Null)])).await;
        }
        if failed {
            // Without all victims gone the pod will not fit there: let it look again.
            self.state.lock().queue.forget_nomination(preemptor.uid());
            self.tell(&ClusterEvent::TimedOut);
        }
    }

    /// Passes an event on to the waiting pods.
    pub(crate) fn tell(&self, event: &ClusterEvent) {
        self.state.lock().queue.on_event(event, self.clock.instant());
        self.wake.notify_one();
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.instant()
    }

    /// True if this scheduler looks after the pod.
    pub(crate) fn is_responsible(&self, pod: &Pod) -> bool {
        self.profiles.contains_key(&pod.spec.scheduler_name)
    }

    fn count_attempt(&self, pod: &QueuedPod, result: &str, started: Instant) {
        let profile = pod.info.pod.spec.scheduler_name.as_str();
        self.metrics.attempts.with(&[profile, result]).inc();
        let elapsed = self.clock.instant().duration_since(started);
        self.metrics.attempt_duration.with(&[profile, result]).observe_duration(elapsed);
    }

    /// Sets the metrics that are read off the state.
    fn show(&self) {
        let state = self.state.lock();
        let lengths = state.queue.lengths();
        for (queue, length) in
            [("active", lengths.active), ("backoff", lengths.backoff), ("unschedulable", lengths.waiting), ("gated", lengths.gated)]
        {
            self.metrics.pending_pods.with(&[queue]).set(length as f64);
        }
        self.metrics.unschedulable_pods.clear();
        for ((profile, plugin), count) in state.queue.refusals() {
            self.metrics.unschedulable_pods.with(&[plugin, &profile]).set(count as f64);
        }
        let (nodes, pods, assumed) = state.cache.sizes();
        for (kind, size) in [("nodes", nodes), ("pods", pods), ("assumed_pods", assumed)] {
            self.metrics.cache_size.with(&[kind]).set(size as f64);
        }
    }
}

/// What becomes of the pod's nominated node.
#[derive(Clone, Debug, PartialEq)]
enum Nominated {
    Keep,
    Set(String),
    Clear,
}

/// Cuts an event's text to what the API allows.
fn shortened(message: &str) -> &str {
    match message.len() > LONGEST_NOTE {
        true => {
            let end = (0..=LONGEST_NOTE).rev().find(|at| message.is_char_boundary(*at));
            &message[..end.unwrap_or(0)]
        }
        false => message,
    }
}

/// A patch of the status that sets the condition; nothing if the pod says all of it already.
fn status_patch(pod: &Pod, condition: PodCondition, nominated: &Nominated, now: Time) -> Option<Value> {
    let mut status = pod.status.clone();
    let type_ = condition.type_.clone();
    let changed = component_helpers::pod::set_condition(&mut status, condition, now);
    let mut fields = Vec::new();
    if changed {
        let condition = component_helpers::pod::condition(&status, &type_).expect("it was just set");
        let json = apimachinery::json::part_to_vec(condition);
        let condition = Value::parse(&json).expect("what was written can be read");
        fields.push(("conditions", Value::Array(vec![condition])));
    }
    match nominated {
        Nominated::Keep => {}
        Nominated::Set(node) if *node == pod.status.nominated_node_name => {}
        Nominated::Set(node) => fields.push(("nominatedNodeName", Value::String(node.as_str().into()))),
        Nominated::Clear => fields.push(("nominatedNodeName", Value::Null)),
    }
    (!fields.is_empty()).then(|| patch_of(pod, fields))
}

/// A patch of fields of the status of this pod and no later one of its name.
fn patch_of(pod: &Pod, fields: Vec<(&str, Value)>) -> Value {
    let mut patch = Value::object();
    patch.set_at(&["metadata", "uid"], Value::String(pod.metadata.uid.as_str().into()));
    for (name, value) in fields {
        patch.set_at(&["status", name], value);
    }
    patch
}
