//! Finds out that something happened to containers: by the runtime's events at once, by looking each second in any case.
//!
//! Upstream: pkg/kubelet/pleg.

use crate::kuberuntime::labels;
use cri_api::{Channel, RuntimeServiceClient, Status, v1};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const PERIOD: Duration = Duration::from_secs(1);
/// The runtime sends an event before its own lists show it: waits between the looks until they do.
const AFTER_EVENT: [Duration; 5] = [
    Duration::from_millis(5),
    Duration::from_millis(15),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(250),
];
/// Without a look for this long the node is not ready.
const THRESHOLD: Duration = Duration::from_secs(180);
/// Between two attempts to follow the runtime's events.
const RECONNECT: Duration = Duration::from_secs(5);

/// A pod in the runtime, as far as changes show: states of sandboxes and containers by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub name: String,
    pub namespace: String,
    states: Vec<(String, i32)>,
    /// Whether anything of it runs.
    pub alive: bool,
}

pub type Snapshots = HashMap<String, Snapshot>;

pub struct Pleg {
    runtime: RuntimeServiceClient,
    channel: Channel,
    last: Mutex<Option<Instant>>,
    snapshots: Mutex<Arc<Snapshots>>,
    hint: Notify,
}

fn snapshots(sandboxes: Vec<v1::PodSandbox>, containers: Vec<v1::Container>) -> Snapshots {
    let mut pods = Snapshots::new();
    let mut add = |labels: &std::collections::BTreeMap<String, String>, id: String, state: i32, alive: bool| {
        let label = |key: &str| labels.get(key).cloned().unwrap_or_default();
        let pod = pods.entry(label(labels::POD_UID)).or_default();
        (pod.name, pod.namespace) = (label(labels::POD_NAME), label(labels::POD_NAMESPACE));
        pod.states.push((id, state));
        pod.alive |= alive;
    };
    for sandbox in sandboxes {
        add(&sandbox.labels, sandbox.id, sandbox.state, sandbox.state == v1::PodSandboxState::Ready as i32);
    }
    for container in containers {
        add(&container.labels, container.id, container.state, container.state == v1::ContainerState::Running as i32);
    }
    pods.remove("");
    for pod in pods.values_mut() {
        pod.states.sort();
    }
    pods
}

impl Pleg {
    pub fn new(runtime: RuntimeServiceClient, channel: Channel) -> Self {
        Pleg { runtime, channel, last: Mutex::default(), snapshots: Mutex::default(), hint: Notify::new() }
    }

    /// What the last look found, by UID.
    pub fn snapshots(&self) -> Arc<Snapshots> {
        self.snapshots.lock().expect("no holder panics").clone()
    }

    pub fn health(&self) -> Result<(), String> {
        match *self.last.lock().expect("no holder panics") {
            None => Err("pleg has yet to be successful".to_owned()),
            Some(last) if last.elapsed() > THRESHOLD => Err(format!(
                "pleg was last seen active {} ago; threshold is {}",
                component_base::duration::format(last.elapsed()),
                component_base::duration::format(THRESHOLD)
            )),
            Some(_) => Ok(()),
        }
    }

    /// One look; whether anything was not as before.
    async fn relist(&self, changed: &(dyn Fn(&str) + Send + Sync)) -> Result<bool, Status> {
        let sandboxes = self.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default());
        let containers = self.runtime.list_containers(v1::ListContainersRequest::default());
        let (sandboxes, containers) = tokio::try_join!(sandboxes, containers)?;
        let fresh = Arc::new(snapshots(sandboxes.items, containers.containers));
        let old = std::mem::replace(&mut *self.snapshots.lock().expect("no holder panics"), fresh.clone());
        *self.last.lock().expect("no holder panics") = Some(Instant::now());
        let gone = old.keys().filter(|uid| !fresh.contains_key(*uid));
        let mut any = false;
        for uid in fresh.iter().filter(|(uid, pod)| old.get(*uid) != Some(pod)).map(|(uid, _)| uid).chain(gone) {
            any = true;
            changed(uid);
        }
        Ok(any)
    }

    /// Looks until stopped, and calls `changed` with the UID of each pod in which something is not as before.
    pub async fn run(&self, changed: &(dyn Fn(&str) + Send + Sync), stop: CancellationToken) {
        let look = || async {
            self.relist(changed).await.unwrap_or_else(|err| {
                tracing::warn!(err = %err.message(), "cannot list what the runtime runs");
                false
            })
        };
        let looking = async {
            loop {
                look().await;
                // Both arms are cancel-safe: a hint that is lost is made good by the next look.
                tokio::select! {
                    () = tokio::time::sleep(PERIOD) => {}
                    () = self.hint.notified() => {
                        for delay in AFTER_EVENT {
                            tokio::time::sleep(delay).await;
                            if look().await {
                                break;
                            }
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = looking => {}
            () = self.follow_events() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow_events(&self) {
        loop {
            match cri_api::containerd::task_ends(&self.channel).await {
                Ok(mut events) => {
                    while let Ok(Some(event)) = events.message().await {
                        if event.is_about_container() {
                            self.hint.notify_one();
                        }
                    }
                }
                Err(err) if err.code() == cri_api::Code::Unimplemented => std::future::pending().await,
                Err(err) => tracing::debug!(err = %err.message(), "the runtime's events cannot be followed"),
            }
            tokio::time::sleep(RECONNECT).await;
        }
    }
}
