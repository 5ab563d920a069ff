//! The pods that have no node yet. Upstream: pkg/scheduler/backend/queue.
//!
//! ```text
//!   new pod --> active --pop--> in flight --bound--> gone
//!     |           ^  ^               |
//!     v           |  +-- backoff <---+-- error, or refused while something that may help happened
//!   gated         |        ^         |
//!                 +--------+------ waiting  <-- refused
//!               an event that may help, or five minutes
//! ```
//! No clock in here: whoever calls says what time it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::events::ClusterEvent;
use crate::metrics::Metrics;
use crate::pod_info::PodInfo;
use crate::profile::Profile;

/// How long pods wait. The defaults are upstream's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// After the first failure; doubled with each further one, up to `max_backoff`.
    pub initial_backoff: Duration,
    pub max_backoff: Duration,
    /// Then a pod is tried again even if nothing happened.
    pub max_waiting: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { initial_backoff: Duration::from_secs(1), max_backoff: Duration::from_secs(10), max_waiting: Duration::from_secs(300) }
    }
}

/// A pod on its way through the queue.
#[derive(Clone, Debug)]
pub struct QueuedPod {
    pub info: Arc<PodInfo>,
    /// Since when it is in the queue, this time: among equals the longer waits, the sooner it is tried.
    since: Instant,
    pub attempts: u32,
    pub first_attempt: Option<Instant>,
    /// How often it was refused, and how often in a row something went wrong.
    refusals: u32,
    errors: u32,
    /// The plugins that refused it last.
    pub refused_by: BTreeSet<&'static str>,
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Setback {
    /// No node, by the verdict of these plugins.
    Refused(BTreeSet<&'static str>),
    /// Something else, such as a binding that the server refused.
    Error,
}

/// Highest priority first, then longest waiting, then first come.
type ActiveKey = (Reverse<i32>, Instant, u64);
/// Longest waiting first.
type WaitingKey = (Instant, u64);
/// Soonest first.
type BackoffKey = (Instant, Reverse<i32>, u64);

#[derive(Debug)]
enum Place {
    Active(ActiveKey),
    Backoff(BackoffKey),
    Waiting(WaitingKey),
    /// Not to be tried at all, by this plugin.
    Gated(&'static str),
}

#[derive(Debug)]
struct Entry {
    pod: QueuedPod,
    place: Place,
}

/// A pod that is being tried or bound.
#[derive(Debug)]
struct InFlight {
    /// Number of the first event that it has not seen.
    from: u64,
    /// The pod as it is now.
    latest: Arc<PodInfo>,
    gone: bool,
}

/// How many pods are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    pub active: usize,
    pub backoff: usize,
    pub waiting: usize,
    pub gated: usize,
}

pub struct Queue {
    patience: Patience,
    profiles: Arc<BTreeMap<String, Profile>>,
    metrics: Metrics,
    /// By UID.
    entries: HashMap<String, Entry>,
    active: BTreeMap<ActiveKey, String>,
    backoff: BTreeMap<BackoffKey, String>,
    waiting: BTreeMap<WaitingKey, String>,
    in_flight: HashMap<String, InFlight>,
    /// Events that some pod in flight has not seen, with their numbers.
    events: VecDeque<(u64, ClusterEvent)>,
    number: u64,
    /// Pods that preemption makes room for, and where.
    nominations: HashMap<String, (String, Arc<PodInfo>)>,
    nominated: Arc<HashMap<String, Vec<Arc<PodInfo>>>>,
}

impl Queue {
    pub fn new(patience: Patience, profiles: Arc<BTreeMap<String, Profile>>, metrics: Metrics) -> Queue {
        Queue {
            patience,
            profiles,
            metrics,
            entries: HashMap::new(),
            active: BTreeMap::new(),
            backoff: BTreeMap::new(),
            waiting: BTreeMap::new(),
            in_flight: HashMap::new(),
            events: VecDeque::new(),
            number: 0,
            nominations: HashMap::new(),
            nominated: Arc::default(),
        }
    }

    /// A pod that wants a node.
    pub fn add(&mut self, info: Arc<PodInfo>, now: Instant) {
        if self.entries.contains_key(info.uid()) || self.in_flight.contains_key(info.uid()) {
            return self.update(info, now);
        }
        self.keep_nomination(&info);
        let pod = QueuedPod { info, since: now, attempts: 0, first_attempt: None, refusals: 0, errors: 0, refused_by: BTreeSet::new() };
        self.activate(pod, "PodAdd");
    }

    /// The pod changed.
    pub fn update(&mut self, info: Arc<PodInfo>, now: Instant) {
        self.keep_nomination(&info);
        let uid = info.uid().to_owned();
        if let Some(flying) = self.in_flight.get_mut(&uid) {
            let old = std::mem::replace(&mut flying.latest, info.clone());
            if matters(&old, &info) {
                self.note(&ClusterEvent::PodUpdated { old, new: info });
            }
            return;
        }
        let Some(entry) = self.entries.get_mut(&uid) else { return self.add(info, now) };
        let old = std::mem::replace(&mut entry.pod.info, info.clone());
        match entry.place {
            Place::Active(key) if key.0 == Reverse(info.priority()) => {}
            Place::Backoff(key) if key.1 == Reverse(info.priority()) => {}
            Place::Active(_) | Place::Backoff(_) | Place::Gated(_) => {
                let still_backing_off = matches!(entry.place, Place::Backoff(_));
                let pod = self.take(&uid).expect("it was there a moment ago");
                match still_backing_off {
                    true => self.back_off(pod, now, "PodUpdate"),
                    false => self.activate(pod, "PodUpdate"),
                }
            }
            Place::Waiting(_) => {
                if matters(&old, &info) {
                    let event = ClusterEvent::PodUpdated { old, new: info };
                    if self.wakes(&self.entries[&uid].pod, &event) {
                        self.wake(&uid, &event, now);
                    }
                }
            }
        }
    }

    /// The pod is gone, or has a node.
    pub fn delete(&mut self, uid: &str) {
        self.take(uid);
        self.forget_nomination(uid);
        if let Some(flying) = self.in_flight.get_mut(uid) {
            flying.gone = true;
        }
    }

    /// The next pod to try. It is in flight until [`done`](Self::done) or [`put_back`](Self::put_back).
    pub fn pop(&mut self, now: Instant) -> Option<QueuedPod> {
        self.end_backoffs(now);
        let uid = match self.active.first_key_value() {
            Some((_, uid)) => uid.clone(),
            // Nothing better to do: no need to let a refused pod wait. After an error there is.
            None => self.backoff.values().find(|uid| self.entries[*uid].pod.errors == 0)?.clone(),
        };
        let mut pod = self.take(&uid).expect("queues and entries agree");
        pod.attempts += 1;
        pod.first_attempt.get_or_insert(now);
        self.in_flight.insert(uid, InFlight { from: self.number, latest: pod.info.clone(), gone: false });
        Some(pod)
    }

    /// True if the pod was deleted, or got a node from elsewhere, while in flight.
    pub fn is_gone(&self, uid: &str) -> bool {
        self.in_flight.get(uid).is_none_or(|flying| flying.gone)
    }

    /// True from [`pop`](Self::pop) to [`done`](Self::done) or [`put_back`](Self::put_back).
    pub fn is_in_flight(&self, uid: &str) -> bool {
        self.in_flight.contains_key(uid)
    }

    /// The pod has its node.
    pub fn done(&mut self, uid: &str) {
        self.in_flight.remove(uid);
        self.forget_nomination(uid);
        self.drop_seen_events();
    }

    /// Takes a pod back after a failed attempt.
    pub fn put_back(&mut self, mut pod: QueuedPod, setback: Setback, now: Instant) {
        let Some(flying) = self.in_flight.remove(pod.info.uid()) else { return };
        let missed: Vec<ClusterEvent> =
            self.events.iter().filter(|(number, _)| *number >= flying.from).map(|(_, event)| event.clone()).collect();
        self.drop_seen_events();
        if flying.gone {
            return;
        }
        pod.info = flying.latest;
        pod.since = now;
        match setback {
            Setback::Error => {
                pod.errors += 1;
                pod.refused_by.clear();
                self.back_off(pod, now, "ScheduleAttemptFailure");
            }
            Setback::Refused(plugins) => {
                pod.errors = 0;
                pod.refusals += 1;
                pod.refused_by = plugins;
                if missed.iter().any(|event| self.wakes(&pod, event)) {
                    return self.back_off(pod, now, "ScheduleAttemptFailure");
                }
                self.count("ScheduleAttemptFailure", "unschedulable");
                self.number += 1;
                let (key, uid) = ((now, self.number), pod.info.uid().to_owned());
                self.waiting.insert(key, uid.clone());
                self.entries.insert(uid, Entry { pod, place: Place::Waiting(key) });
            }
        }
    }

    /// Something happened: pods that it may help are tried again.
    pub fn on_event(&mut self, event: &ClusterEvent, now: Instant) {
        self.note(event);
        let interested = |uid: &&String| self.wakes(&self.entries[*uid].pod, event);
        let waiting: Vec<String> = self.waiting.values().filter(interested).cloned().collect();
        for uid in waiting {
            self.wake(&uid, event, now);
        }
    }

    /// Tries pods again that have waited for too long.
    pub fn flush(&mut self, now: Instant) {
        while let Some((key, uid)) = self.waiting.first_key_value()
            && now >= key.0 + self.patience.max_waiting
        {
            let uid = uid.clone();
            self.wake(&uid, &ClusterEvent::TimedOut, now);
        }
    }

    /// When there may be something to do even if nothing happens.
    pub fn next_due(&self) -> Option<Instant> {
        let overdue = self.waiting.keys().next().map(|(since, _)| *since + self.patience.max_waiting);
        let backoff = self.backoff.keys().next().map(|(due, ..)| *due);
        overdue.into_iter().chain(backoff).min()
    }

    /// Makes room for the pod on a node in everybody's calculations.
    pub fn nominate(&mut self, info: Arc<PodInfo>, node: &str) {
        self.nominations.insert(info.uid().to_owned(), (node.to_owned(), info));
        self.rebuild_nominated();
    }

    /// Withdraws what [`nominate`](Self::nominate) did.
    pub fn forget_nomination(&mut self, uid: &str) {
        if self.nominations.remove(uid).is_some() {
            self.rebuild_nominated();
        }
    }

    /// The pods that preemption makes room for, by node.
    pub fn nominated(&self) -> Arc<HashMap<String, Vec<Arc<PodInfo>>>> {
        self.nominated.clone()
    }

    pub fn lengths(&self) -> Lengths {
        let (active, backoff, waiting) = (self.active.len(), self.backoff.len(), self.waiting.len());
        Lengths { active, backoff, waiting, gated: self.entries.len() - active - backoff - waiting }
    }

    /// How many pods each plugin keeps waiting: profile, plugin.
    pub fn refusals(&self) -> BTreeMap<(String, &'static str), usize> {
        let mut counts = BTreeMap::new();
        for entry in self.entries.values() {
            let profile = &entry.pod.info.pod.spec.scheduler_name;
            let gate = match entry.place {
                Place::Gated(plugin) => Some(plugin),
                _ => None,
            };
            for plugin in entry.pod.refused_by.iter().copied().chain(gate) {
                *counts.entry((profile.clone(), plugin)).or_default() += 1;
            }
        }
        counts
    }

    /// A nomination that the API server knows of is taken from there; one that only we know of stays.
    fn keep_nomination(&mut self, info: &Arc<PodInfo>) {
        let known = &info.pod.status.nominated_node_name;
        if !known.is_empty() {
            self.nominate(info.clone(), known);
        } else if let Some((node, _)) = self.nominations.get(info.uid()) {
            let node = node.clone();
            self.nominate(info.clone(), &node);
        }
    }

    fn rebuild_nominated(&mut self) {
        let mut by_node: HashMap<String, Vec<Arc<PodInfo>>> = HashMap::new();
        for (node, info) in self.nominations.values() {
            by_node.entry(node.clone()).or_default().push(info.clone());
        }
        self.nominated = Arc::new(by_node);
    }

    fn take(&mut self, uid: &str) -> Option<QueuedPod> {
        let entry = self.entries.remove(uid)?;
        match entry.place {
            Place::Active(key) => drop(self.active.remove(&key)),
            Place::Backoff(key) => drop(self.backoff.remove(&key)),
            Place::Waiting(key) => drop(self.waiting.remove(&key)),
            Place::Gated(_) => {}
        }
        Some(entry.pod)
    }

    fn profile_of(&self, pod: &PodInfo) -> Option<&Profile> {
        self.profiles.get(&pod.pod.spec.scheduler_name)
    }

    fn activate(&mut self, pod: QueuedPod, event: &str) {
        let gate = self.profile_of(&pod.info).and_then(|profile| profile.gate(&pod.info));
        let uid = pod.info.uid().to_owned();
        let place = match gate {
            Some((plugin, _)) => {
                self.count(event, "gated");
                Place::Gated(plugin)
            }
            None => {
                self.number += 1;
                self.count(event, "active");
                let key = (Reverse(pod.info.priority()), pod.since, self.number);
                self.active.insert(key, uid.clone());
                Place::Active(key)
            }
        };
        self.entries.insert(uid, Entry { pod, place });
    }

    fn back_off(&mut self, pod: QueuedPod, now: Instant, event: &str) {
        let due = pod.since + self.backoff_of(&pod);
        if due <= now {
            return self.activate(pod, event);
        }
        self.number += 1;
        self.count(event, "backoff");
        let (key, uid) = ((due, Reverse(pod.info.priority()), self.number), pod.info.uid().to_owned());
        self.backoff.insert(key, uid.clone());
        self.entries.insert(uid, Entry { pod, place: Place::Backoff(key) });
    }

    fn backoff_of(&self, pod: &QueuedPod) -> Duration {
        let failures = if pod.errors > 0 { pod.errors } else { pod.refusals };
        match failures {
            0 => Duration::ZERO,
            failures => self
                .patience
                .initial_backoff
                .checked_mul(1 << (failures - 1).min(20))
                .map_or(self.patience.max_backoff, |backoff| backoff.min(self.patience.max_backoff)),
        }
    }

    fn end_backoffs(&mut self, now: Instant) {
        while let Some((key, uid)) = self.backoff.first_key_value()
            && key.0 <= now
        {
            let uid = uid.clone();
            let pod = self.take(&uid).expect("queues and entries agree");
            self.activate(pod, "BackoffComplete");
        }
    }

    fn wakes(&self, pod: &QueuedPod, event: &ClusterEvent) -> bool {
        self.profile_of(&pod.info).is_some_and(|profile| profile.wakes(&pod.refused_by, &pod.info, event))
    }

    fn wake(&mut self, uid: &str, event: &ClusterEvent, now: Instant) {
        if let Some(pod) = self.take(uid) {
            self.back_off(pod, now, event.label());
        }
    }

    /// Keeps an event for the pods in flight, which may be refused for what it changes.
    fn note(&mut self, event: &ClusterEvent) {
        if !self.in_flight.is_empty() {
            self.events.push_back((self.number, event.clone()));
            self.number += 1;
        }
    }

    fn drop_seen_events(&mut self) {
        match self.in_flight.values().map(|flying| flying.from).min() {
            None => self.events.clear(),
            Some(oldest) => {
                while self.events.front().is_some_and(|(number, _)| *number < oldest) {
                    self.events.pop_front();
                }
            }
        }
    }

    fn count(&self, event: &str, queue: &str) {
        self.metrics.incoming_pods.with(&[event, queue]).inc();
    }
}

/// True if the change may matter to any plugin that looks at waiting pods. What the scheduler itself writes into the status does not.
fn matters(old: &PodInfo, new: &PodInfo) -> bool {
    let (old, new) = (&old.pod, &new.pod);
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || old.metadata.annotations != new.metadata.annotations
        || old.status.resource_claim_statuses != new.status.resource_claim_statuses
}

#[cfg(test)]
mod tests;
