//! One task per pod: starts it, keeps it as it should be, ends it. Nothing else touches a pod's containers.
//!
//! ```text
//!            wanted                      ended, deleted, evicted              all stopped
//!   sync ----------------> sync    sync ------------------------> terminate -------------> clean up --> removed
//! ```
//! A worker is woken by changes of the pod, of its containers and of its probes, and by its own timer. It goes through
//! `terminate` and `clean up` once, whatever happens meanwhile. Upstream: pkg/kubelet/pod_workers.go.

use crate::clock;
use crate::kuberuntime::{self, Reasons, gc, kill, status};
use crate::node::Node;
use crate::status::generate::{Inputs, generate};
use crate::volume::{self, Volumes};
use api::core::v1::{Pod, PodStatus};
use apimachinery::Time;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Waits after a pass that failed: the first, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(20));
/// How often volumes are brought up to date.
const VOLUME_REFRESH: Duration = Duration::from_secs(60);
/// A kill that the runtime refused is tried again after this.
const KILL_RETRY: Duration = Duration::from_secs(1);

/// Why a pod is ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    pub reason: String,
    pub message: String,
    pub grace: Option<i64>,
}

#[derive(Clone, Debug)]
struct Desired {
    pod: Arc<Pod>,
    eviction: Option<Eviction>,
    /// No source has the pod any more.
    removed: bool,
}

impl Desired {
    fn must_end(&self) -> bool {
        self.removed || self.eviction.is_some() || self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The seconds its containers get, if other than their own.
    fn grace(&self) -> Option<i64> {
        self.eviction.as_ref().and_then(|eviction| eviction.grace)
    }
}

#[derive(Default)]
struct Wake {
    notify: Notify,
    /// The runtime has to be asked anew.
    stale: AtomicBool,
}

struct Handle {
    desired: watch::Sender<Desired>,
    wake: Arc<Wake>,
}

/// All workers. Cheap to clone.
#[derive(Clone)]
pub struct PodWorkers {
    node: Arc<Node>,
    handles: Arc<Mutex<HashMap<String, Handle>>>,
}

impl PodWorkers {
    pub fn new(node: Arc<Node>) -> Self {
        PodWorkers { node, handles: Arc::default() }
    }

    /// Takes the pod as it should be from now on.
    pub fn update(&self, pod: Arc<Pod>) {
        let mut handles = self.handles.lock().expect("no holder panics");
        let uid = pod.metadata.uid.clone();
        if let Some(handle) = handles.get(&uid) {
            handle.desired.send_modify(|desired| {
                desired.pod = pod;
                desired.removed = false;
            });
            return;
        }
        self.spawn(&mut handles, uid, Desired { pod, eviction: None, removed: false });
    }

    /// The pod is gone from its source.
    pub fn remove(&self, uid: &str) {
        if let Some(handle) = self.handles.lock().expect("no holder panics").get(uid) {
            handle.desired.send_modify(|desired| desired.removed = true);
        }
    }

    /// Ends the pod with a reason that its status keeps.
    pub fn evict(&self, uid: &str, eviction: Eviction) {
        if let Some(handle) = self.handles.lock().expect("no holder panics").get(uid) {
            handle.desired.send_modify(|desired| {
                desired.eviction.get_or_insert(eviction);
            });
        }
    }

    /// Ends what the runtime has of a pod that no source knows.
    pub fn end_orphan(&self, uid: &str, name: &str, namespace: &str) {
        let mut handles = self.handles.lock().expect("no holder panics");
        if handles.contains_key(uid) {
            return;
        }
        let mut pod = Pod::default();
        pod.metadata.uid = uid.to_owned();
        pod.metadata.name = name.to_owned();
        pod.metadata.namespace = namespace.to_owned();
        self.spawn(&mut handles, uid.to_owned(), Desired { pod: Arc::new(pod), eviction: None, removed: true });
    }

    fn spawn(&self, handles: &mut HashMap<String, Handle>, uid: String, desired: Desired) {
        let (sender, receiver) = watch::channel(desired);
        let wake = Arc::new(Wake::default());
        handles.insert(uid.clone(), Handle { desired: sender, wake: wake.clone() });
        let workers = self.clone();
        tokio::spawn(async move {
            Worker::new(workers.node.clone(), uid.clone(), receiver, wake).run().await;
            let handle = workers.handles.lock().expect("no holder panics").remove(&uid);
            // The same static pod may have come back while its last incarnation was going.
            if let Some(desired) = handle.map(|handle| handle.desired.borrow().clone()).filter(|desired| !desired.removed) {
                workers.update(desired.pod);
            }
        });
    }

    /// Something happened to the pod's containers.
    pub fn runtime_changed(&self, uid: &str) {
        if let Some(handle) = self.handles.lock().expect("no holder panics").get(uid) {
            handle.wake.stale.store(true, Ordering::Release);
            handle.wake.notify.notify_one();
        }
    }

    /// A probe of the pod has a new answer.
    pub fn probe_changed(&self, uid: &str) {
        if let Some(handle) = self.handles.lock().expect("no holder panics").get(uid) {
            handle.wake.notify.notify_one();
        }
    }

    pub fn knows(&self, uid: &str) -> bool {
        self.handles.lock().expect("no holder panics").contains_key(uid)
    }

    /// Every pod a worker is busy with, those on their way out included.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.handles.lock().expect("no holder panics").values().map(|handle| handle.desired.borrow().pod.clone()).collect()
    }

    pub fn pod(&self, uid: &str) -> Option<Arc<Pod>> {
        self.handles.lock().expect("no holder panics").get(uid).map(|handle| handle.desired.borrow().pod.clone())
    }
}

struct Worker {
    node: Arc<Node>,
    uid: String,
    desired: watch::Receiver<Desired>,
    wake: Arc<Wake>,
    reasons: Reasons,
    volumes: Option<(Volumes, Instant)>,
    prepared: bool,
}

/// What a pass says about the next one.
enum Next {
    /// At once: the pass changed something.
    Again,
    /// After this time at the latest.
    Wait(Duration),
    /// The pod has come to its end by itself.
    Ended,
}

impl Worker {
    fn new(node: Arc<Node>, uid: String, desired: watch::Receiver<Desired>, wake: Arc<Wake>) -> Self {
        wake.stale.store(true, Ordering::Release);
        Worker { node, uid, desired, wake, reasons: Reasons::new(), volumes: None, prepared: false }
    }

    async fn run(&mut self) {
        self.keep().await;
        self.terminate().await;
        self.clean_up().await;
        self.wait_for_removal().await;
        let _ = gc::remove_pod(&self.node, &self.uid)
            .await
            .inspect_err(|err| tracing::debug!(uid = %self.uid, err = %err.message(), "containers left"));
        self.forget();
    }

    /// Keeps the pod as it should be until it must end or has ended.
    async fn keep(&mut self) {
        let mut retry = RETRY.0;
        loop {
            let desired = self.desired.borrow_and_update().clone();
            if desired.must_end() {
                return;
            }
            let mut ending = self.desired.clone();
            let node = self.node.clone();
            // A pass that is cut off leaves what the runtime has, which the end looks at anew.
            let next = tokio::select! {
                biased;
                () = async { drop(ending.wait_for(Desired::must_end).await) } => return,
                next = self.sync(&node, &desired.pod) => next,
            };
            let wait = match next {
                Ok(Next::Again) => {
                    retry = RETRY.0;
                    continue;
                }
                Ok(Next::Ended) => return,
                Ok(Next::Wait(wait)) => {
                    retry = RETRY.0;
                    wait
                }
                Err(err) => {
                    tracing::info!(object = %desired.pod.metadata.name, uid = %self.uid, err, "pod not synced yet");
                    let wait = retry;
                    retry = (retry * 2).min(RETRY.1);
                    wait
                }
            };
            // All arms are cancel-safe: what they tell of stays to be seen in the next pass.
            tokio::select! {
                changed = self.desired.changed() => if changed.is_err() { return },
                () = self.wake.notify.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The runtime's state, asked anew only after something may have changed.
    async fn look(&self) -> Result<Arc<status::PodStatus>, String> {
        if !self.wake.stale.swap(false, Ordering::AcqRel)
            && let Some(known) = self.node.cache.get(&self.uid)
        {
            return Ok(known);
        }
        match kuberuntime::pod_status(&self.node.runtime, &self.uid).await {
            Ok(status) => {
                let status = Arc::new(status);
                self.node.cache.set(status.clone());
                Ok(status)
            }
            Err(err) => {
                self.wake.stale.store(true, Ordering::Release);
                Err(format!("cannot ask the runtime: {}", err.message()))
            }
        }
    }

    fn api_status(&self, pod: &Pod, runtime: &status::PodStatus, ended: bool) -> PodStatus {
        let old = self.node.statuses.get(&self.uid).unwrap_or_else(|| pod.status.clone());
        generate(&Inputs {
            pod,
            old: &with_foreign_conditions(old, pod),
            runtime,
            reasons: &self.reasons,
            is_started: &|container, id| self.node.probes.is_started(container, id),
            is_ready: &|container, id| self.node.probes.is_ready(container, id),
            host_ips: &self.node.settings.node_ips,
            ended,
            now: Time::now(),
        })
    }

    async fn sync(&mut self, node: &Node, pod: &Pod) -> Result<Next, String> {
        let runtime = self.look().await?;
        let ips = if pod.spec.host_network { &node.settings.node_ips } else { &runtime.ips };
        node.probes.reconcile(pod, &runtime, ips);
        let status = self.api_status(pod, &runtime, false);
        let ended = matches!(status.phase.as_str(), "Succeeded" | "Failed");
        let deadline = deadline(pod, &status);
        if !ended && deadline == Some(Duration::ZERO) {
            let message = "Pod was active on the node longer than the specified deadline";
            node.events.pod(pod, None, "Normal", "DeadlineExceeded", message);
            node.statuses
                .set(&self.uid, PodStatus { phase: "Failed".into(), reason: "DeadlineExceeded".into(), message: message.into(), ..status });
            return Ok(Next::Ended);
        }
        node.statuses.set(&self.uid, status);
        if ended {
            return Ok(Next::Ended);
        }

        if !self.prepared {
            node.cgroups
                .ensure(pod)
                .map_err(|err| format!("failed to ensure that the pod: {} cgroups exist and are correctly applied: {err}", self.uid))?;
            let directory = node.settings.pod(&self.uid);
            for name in ["volumes", "plugins", "containers"] {
                std::fs::create_dir_all(directory.join(name)).map_err(|err| format!("cannot create {}: {err}", directory.display()))?;
            }
            self.prepared = true;
        }
        if self.volumes.as_ref().is_none_or(|(_, at)| at.elapsed() >= VOLUME_REFRESH) {
            match Volumes::set_up(node, pod).await {
                Ok(volumes) => self.volumes = Some((volumes, Instant::now())),
                // Containers that run go on with what they have.
                Err(err) if self.volumes.is_some() => tracing::info!(uid = %self.uid, err, "volumes not refreshed"),
                Err(err) => return Err(err),
            }
        }
        let no_volumes = Volumes::default();
        let volumes = self.volumes.as_ref().map_or(&no_volumes, |(volumes, _)| volumes);
        let before = self.reasons.clone();
        let outcome = kuberuntime::sync_pod(node, pod, &runtime, volumes, &mut self.reasons).await;
        if outcome.acted {
            self.wake.stale.store(true, Ordering::Release);
        }
        if let Some(error) = outcome.error {
            // What failed is shown before the wait for the next attempt.
            let runtime = self.look().await?;
            node.statuses.set(&self.uid, self.api_status(pod, &runtime, false));
            return match outcome.retry_after {
                Some(after) => Ok(Next::Wait(after)),
                None => Err(error),
            };
        }
        if outcome.acted {
            return Ok(Next::Again);
        }
        if before != self.reasons {
            node.statuses.set(&self.uid, self.api_status(pod, &runtime, false));
        }
        let wait = [outcome.retry_after, deadline].into_iter().flatten().fold(node.settings.sync_period, Duration::min);
        Ok(Next::Wait(wait))
    }

    /// Stops all containers. A shorter period given meanwhile takes effect at once.
    async fn terminate(&mut self) {
        let node = self.node.clone();
        loop {
            self.wake.stale.store(true, Ordering::Release);
            let desired = self.desired.borrow_and_update().clone();
            let pod = &desired.pod;
            let runtime = match self.look().await {
                Ok(runtime) => runtime,
                Err(err) => {
                    tracing::warn!(uid = %self.uid, err, "cannot look at a pod that is to end");
                    tokio::time::sleep(KILL_RETRY).await;
                    continue;
                }
            };
            if runtime.running().next().is_none() && runtime.ready_sandbox().is_none() {
                break;
            }
            let period = |desired: &Desired| (desired.grace(), desired.pod.metadata.deletion_grace_period_seconds);
            let now = period(&desired);
            let mut changes = self.desired.clone();
            tokio::select! {
                result = kill::pod(&node, pod, &runtime, desired.grace()) => {
                    if let Err(err) = result {
                        node.events.pod(pod, None, "Warning", "FailedKillPod", &format!("error killing pod: {}", err.message()));
                        tokio::time::sleep(KILL_RETRY).await;
                    }
                }
                () = async { drop(changes.wait_for(|desired| period(desired) != now).await) } => {}
                () = self.show_readiness(pod) => {}
            }
        }
        let desired = self.desired.borrow().clone();
        let pod = &desired.pod;
        if let Some(runtime) = node.cache.get(&self.uid) {
            let mut status = self.api_status(pod, &runtime, true);
            if let Some(eviction) = &desired.eviction {
                (status.phase, status.reason, status.message) = ("Failed".into(), eviction.reason.clone(), eviction.message.clone());
            }
            node.statuses.set(&self.uid, status);
        }
        node.probes.forget_pod(&self.uid);
    }

    /// Passes on what probes and exits tell while containers are being stopped. Never returns.
    async fn show_readiness(&self, pod: &Pod) {
        loop {
            self.wake.notify.notified().await;
            if let Ok(runtime) = self.look().await {
                let status = self.api_status(pod, &runtime, false);
                self.node.statuses.set(&self.uid, status);
            }
        }
    }

    /// Takes down what the pod had on the node besides containers.
    async fn clean_up(&mut self) {
        let mut retry = RETRY.0;
        self.volumes = None;
        loop {
            let result = volume::tear_down(&self.node, &self.uid).and_then(|()| self.node.cgroups.remove(&self.uid));
            let Err(err) = result else { return };
            tracing::debug!(uid = %self.uid, err = %err, "cannot clean up after a pod yet");
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(RETRY.1);
        }
    }

    /// A pod that ended stays, with its logs, until somebody deletes it; then its object goes and the source drops it.
    async fn wait_for_removal(&mut self) {
        loop {
            let desired = self.desired.borrow_and_update().clone();
            if desired.removed {
                return;
            }
            if desired.pod.metadata.deletion_timestamp.is_some() {
                self.node.statuses.delete(&self.uid).await;
                let _ = self.desired.wait_for(|desired| desired.removed).await;
                return;
            }
            if self.desired.changed().await.is_err() {
                return;
            }
        }
    }

    fn forget(&self) {
        let node = &self.node;
        let name = self.desired.borrow().pod.metadata.clone();
        node.cache.forget(&self.uid);
        node.statuses.forget(&self.uid);
        node.images.forget_pod(&self.uid);
        node.backoffs.forget_prefix(&format!("{}_", self.uid));
        node.objects.forget_pod(&self.uid);
        let logs = crate::logs::pod_directory(&node.settings.pod_logs, &name.namespace, &name.name, &self.uid);
        if let Err(err) = std::fs::remove_dir_all(&logs)
            && err.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(path = %logs.display(), err = %err, "cannot remove a pod's logs");
        }
    }
}

/// Conditions that others have written since are read from the pod as the API server shows it.
fn with_foreign_conditions(mut ours: PodStatus, pod: &Pod) -> PodStatus {
    let own = |kind: &str| crate::status::generate::OWN_CONDITIONS.contains(&kind);
    ours.conditions.retain(|condition| own(&condition.type_));
    ours.conditions.extend(pod.status.conditions.iter().filter(|condition| !own(&condition.type_)).cloned());
    ours
}

/// The time left until `activeDeadlineSeconds` is over.
fn deadline(pod: &Pod, status: &PodStatus) -> Option<Duration> {
    let seconds = pod.spec.active_deadline_seconds?;
    let start = status.start_time?;
    let end = (start.unix() + seconds) * 1_000_000_000;
    Some(Duration::from_nanos((end - clock::now_nanos()).max(0) as u64))
}
