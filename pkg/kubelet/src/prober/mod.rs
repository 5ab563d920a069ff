//! Probes: asks containers how they are, and keeps the answers by container id.
//!
//! One task per container: first the startup probe until it succeeds, then liveness and readiness side by side. A change
//! of an answer wakes the pod's worker. Upstream: pkg/kubelet/prober.

pub mod http;

use crate::api_server::Events;
use crate::clock;
use crate::kuberuntime::actions::{Probes, is_sidecar};
use crate::kuberuntime::labels;
use crate::kuberuntime::status::PodStatus;
use crate::lifecycle::resolve_port;
use api::core::v1::{Container, Pod, Probe};
use cri_api::{Code, RuntimeServiceClient, health, v1};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Success,
    Failure,
    /// Not asked often enough to tell.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

/// What is known of one container.
struct Entry {
    pod: String,
    startup: Option<Verdict>,
    liveness: Option<Verdict>,
    readiness: Option<Verdict>,
    /// Ends all probing.
    stop: CancellationToken,
    /// Ends startup and liveness probing: a container that is being stopped may still say that it serves.
    stop_liveness: CancellationToken,
}

type Entries = Arc<Mutex<HashMap<String, Entry>>>;

pub struct Prober {
    runtime: RuntimeServiceClient,
    events: Arc<dyn Events>,
    /// Wakes the worker of the pod with this UID.
    wake: Arc<dyn Fn(&str) + Send + Sync>,
    entries: Entries,
}

impl Probes for Prober {
    fn liveness(&self, id: &str) -> Option<Verdict> {
        self.entries.lock().expect("no holder panics").get(id)?.liveness
    }

    fn startup(&self, id: &str) -> Option<Verdict> {
        self.entries.lock().expect("no holder panics").get(id)?.startup
    }
}

impl Prober {
    pub fn new(runtime: RuntimeServiceClient, events: Arc<dyn Events>, wake: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Prober { runtime, events, wake, entries: Entries::default() }
    }

    /// Whether a running container has come up, by its startup probe if it has one.
    pub fn is_started(&self, container: &Container, id: &str) -> bool {
        container.startup_probe.is_none() || self.startup(id) == Some(Verdict::Success)
    }

    /// Whether a running container may get requests.
    pub fn is_ready(&self, container: &Container, id: &str) -> bool {
        let readiness = || self.entries.lock().expect("no holder panics").get(id).and_then(|entry| entry.readiness);
        self.is_started(container, id) && (container.readiness_probe.is_none() || readiness() == Some(Verdict::Success))
    }

    /// Begins to probe the container, unless that has begun or there is nothing to ask.
    ///
    /// After the kubelet's own restart what the pod's status says of this very container is where probing goes on from.
    pub fn watch(&self, pod: &Pod, container: &Container, id: &str, ips: &[String], started_at: i64) {
        if container.startup_probe.is_none() && container.liveness_probe.is_none() && container.readiness_probe.is_none() {
            return;
        }
        let mut entries = self.entries.lock().expect("no holder panics");
        if entries.contains_key(id) {
            return;
        }
        let known = pod
            .status
            .container_statuses
            .iter()
            .chain(pod.status.init_container_statuses.iter())
            .find(|status| status.container_id.ends_with(id));
        let was_started = known.is_some_and(|status| status.started == Some(true));
        let was_ready = known.is_some_and(|status| status.ready);
        let (stop, stop_liveness) = (CancellationToken::new(), CancellationToken::new());
        entries.insert(
            id.to_owned(),
            Entry {
                pod: pod.metadata.uid.clone(),
                startup: container.startup_probe.as_ref().map(|_| if was_started { Verdict::Success } else { Verdict::Unknown }),
                liveness: container.liveness_probe.as_ref().map(|_| Verdict::Success),
                readiness: container.readiness_probe.as_ref().map(|_| if was_ready { Verdict::Success } else { Verdict::Failure }),
                stop: stop.clone(),
                stop_liveness: stop_liveness.clone(),
            },
        );
        drop(entries);
        let task = Task {
            runtime: self.runtime.clone(),
            events: self.events.clone(),
            wake: self.wake.clone(),
            entries: self.entries.clone(),
            pod: pod.clone(),
            container: container.clone(),
            id: id.to_owned(),
            ip: ips.first().cloned().unwrap_or_default(),
            started_at,
        };
        tokio::spawn(async move {
            // Probing holds no state that a cut could spoil.
            tokio::select! {
                () = task.run(was_started, &stop_liveness) => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Brings probing in line with what runs: after a restart of the kubelet, and when containers have ended.
    pub fn reconcile(&self, pod: &Pod, status: &PodStatus, ips: &[String]) {
        let sidecars = pod.spec.init_containers.iter().filter(|container| is_sidecar(container));
        for container in sidecars.chain(pod.spec.containers.iter()) {
            if let Some(current) = status.container(&container.name).filter(|current| current.is_running()) {
                self.watch(pod, container, &current.id, ips, current.started_at);
            }
        }
        self.retain(|id, uid| uid != pod.metadata.uid || status.running().any(|container| container.id == *id));
    }

    pub fn forget_pod(&self, uid: &str) {
        self.retain(|_, pod| pod != uid);
    }

    fn retain(&self, keep: impl Fn(&String, &str) -> bool) {
        self.entries.lock().expect("no holder panics").retain(|id, entry| {
            let keep = keep(id, &entry.pod);
            if !keep {
                entry.stop.cancel();
            }
            keep
        });
    }

    /// The container is about to be stopped: that it no longer lives well is no news.
    pub fn stop_liveness(&self, id: &str) {
        if let Some(entry) = self.entries.lock().expect("no holder panics").get(id) {
            entry.stop_liveness.cancel();
        }
    }
}

/// Counts answers until they make a verdict.
#[derive(Debug, Default)]
struct Counter {
    last: Option<bool>,
    run: i32,
}

impl Counter {
    /// `Some` once `success` has come often enough in a row.
    fn count(&mut self, success: bool, probe: &Probe) -> Option<Verdict> {
        if self.last == Some(success) {
            self.run += 1;
        } else {
            (self.last, self.run) = (Some(success), 1);
        }
        let threshold = if success { probe.success_threshold } else { probe.failure_threshold };
        let enough = self.run >= if threshold > 0 { threshold } else { 1 };
        enough.then_some(if success { Verdict::Success } else { Verdict::Failure })
    }
}

/// Everything the task of one container needs; it holds nothing of the kubelet.
struct Task {
    runtime: RuntimeServiceClient,
    events: Arc<dyn Events>,
    wake: Arc<dyn Fn(&str) + Send + Sync>,
    entries: Entries,
    pod: Pod,
    container: Container,
    id: String,
    ip: String,
    started_at: i64,
}

impl Task {
    async fn run(&self, started: bool, stop_liveness: &CancellationToken) {
        if let Some(probe) = self.container.startup_probe.as_deref().filter(|_| !started) {
            tokio::select! {
                () = self.repeat(Kind::Startup, probe) => {}
                () = stop_liveness.cancelled() => {}
            }
        }
        let liveness = async {
            if let Some(probe) = self.container.liveness_probe.as_deref() {
                tokio::select! {
                    () = self.repeat(Kind::Liveness, probe) => {}
                    () = stop_liveness.cancelled() => {}
                }
            }
        };
        let readiness = async {
            if let Some(probe) = self.container.readiness_probe.as_deref() {
                self.repeat(Kind::Readiness, probe).await;
            }
        };
        tokio::join!(liveness, readiness);
    }

    fn set(&self, kind: Kind, verdict: Verdict) {
        let mut entries = self.entries.lock().expect("no holder panics");
        let Some(entry) = entries.get_mut(&self.id) else { return };
        let slot = match kind {
            Kind::Startup => &mut entry.startup,
            Kind::Liveness => &mut entry.liveness,
            Kind::Readiness => &mut entry.readiness,
        };
        if *slot != Some(verdict) {
            *slot = Some(verdict);
            drop(entries);
            (self.wake)(&self.pod.metadata.uid);
        }
    }

    /// Asks each period. A startup probe ends with its first verdict, a liveness probe with a bad one: the container is
    /// killed then, and its successor has a task of its own.
    async fn repeat(&self, kind: Kind, probe: &Probe) {
        let delay = Duration::from_secs(probe.initial_delay_seconds.max(0) as u64);
        if let Some(left) = delay.checked_sub(clock::since(self.started_at)) {
            tokio::time::sleep(left).await;
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(probe.period_seconds.max(1) as u64));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut counter = Counter::default();
        loop {
            ticks.tick().await;
            let success = self.ask(kind, probe).await;
            let Some(verdict) = counter.count(success, probe) else { continue };
            self.set(kind, verdict);
            match (kind, verdict) {
                (Kind::Startup, Verdict::Success) | (Kind::Liveness, Verdict::Failure) => return,
                // Nothing else is probed until the container is killed for it.
                (Kind::Startup, _) => std::future::pending().await,
                _ => {}
            }
        }
    }

    async fn ask(&self, kind: Kind, probe: &Probe) -> bool {
        let timeout = Duration::from_secs(probe.timeout_seconds.max(1) as u64);
        match self.try_once(probe, timeout).await {
            Ok(()) => true,
            Err(Trouble::Failed(output)) => {
                self.tell(&format!("{} probe failed: {output}", kind.title()));
                false
            }
            Err(Trouble::Error(message)) => {
                self.tell(&format!("{} probe errored: {message}", kind.title()));
                false
            }
        }
    }

    fn tell(&self, message: &str) {
        let field = labels::field_path(&self.pod, &self.container.name);
        self.events.pod(&self.pod, field.as_deref(), "Warning", "Unhealthy", message);
    }

    async fn try_once(&self, probe: &Probe, timeout: Duration) -> Result<(), Trouble> {
        let handler = &probe.probe_handler;
        if let Some(exec) = &handler.exec {
            return self.exec(exec.command.to_vec(), timeout).await;
        }
        if let Some(action) = &handler.http_get {
            let request = http::request(action, Some(&self.container), &self.ip, "kube-probe").map_err(Trouble::Error)?;
            return match http::get(&request, timeout).await {
                Ok(answer) if (200..400).contains(&answer.status) => Ok(()),
                Ok(answer) => Err(Trouble::Failed(format!("HTTP probe failed with statuscode: {}", answer.status))),
                Err(err) => Err(Trouble::Failed(err)),
            };
        }
        if let Some(action) = &handler.tcp_socket {
            let port = resolve_port(&action.port, Some(&self.container)).map_err(Trouble::Error)?;
            let host = if action.host.is_empty() { &self.ip } else { &action.host };
            let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            return match tokio::time::timeout(timeout, tokio::net::TcpStream::connect(&address)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(err)) if err.kind() == std::io::ErrorKind::ConnectionRefused => {
                    Err(Trouble::Failed(format!("dial tcp {address}: connect: connection refused")))
                }
                Ok(Err(err)) => Err(Trouble::Failed(format!("dial tcp {address}: {err}"))),
                Err(_) => Err(Trouble::Failed(format!("dial tcp {address}: i/o timeout"))),
            };
        }
        if let Some(action) = &handler.grpc {
            return self.grpc(action.port, action.service.as_deref().unwrap_or_default(), timeout).await;
        }
        Err(Trouble::Error(format!("missing probe handler for {}:{}", self.pod.metadata.name, self.container.name)))
    }

    async fn exec(&self, cmd: Vec<String>, timeout: Duration) -> Result<(), Trouble> {
        let request = v1::ExecSyncRequest { container_id: self.id.clone(), cmd, timeout: timeout.as_secs() as i64 };
        match self.runtime.exec_sync(request).await {
            Ok(answer) if answer.exit_code == 0 => Ok(()),
            Ok(answer) => Err(Trouble::Failed(String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned())),
            Err(err) if err.code() == Code::DeadlineExceeded => {
                Err(Trouble::Failed(format!("command timed out: rpc error: code = DeadlineExceeded desc = {}", err.message())))
            }
            Err(err) => Err(Trouble::Error(format!("rpc error: code = {:?} desc = {}", err.code(), err.message()))),
        }
    }

    async fn grpc(&self, port: i32, service: &str, timeout: Duration) -> Result<(), Trouble> {
        let ip: IpAddr = self.ip.parse().map_err(|_| Trouble::Error("the pod has no address yet".to_owned()))?;
        let port = u16::try_from(port).map_err(|_| Trouble::Error(format!("invalid port number: {port}")))?;
        let address = std::net::SocketAddr::new(ip, port);
        match tokio::time::timeout(timeout, health::check(address, service)).await {
            Ok(Ok(health::ServingStatus::Serving)) => Ok(()),
            Ok(Ok(status)) => Err(Trouble::Failed(format!("service unhealthy (responded with \"{status:?}\")"))),
            Ok(Err(err)) if err.code() == Code::Unimplemented => {
                Err(Trouble::Failed("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned()))
            }
            Ok(Err(err)) if err.code() == Code::Unavailable => {
                Err(Trouble::Failed(format!("error: failed to connect service at \"{address}\": connection error: {}", err.message())))
            }
            Ok(Err(err)) => Err(Trouble::Failed(format!("error: health rpc probe failed: {}", err.message()))),
            Err(_) => {
                let text = component_base::duration::format(timeout);
                Err(Trouble::Failed(format!("timeout: failed to connect service \"{address}\" within {text}: context deadline exceeded")))
            }
        }
    }
}

enum Trouble {
    /// The container answered badly, or not.
    Failed(String),
    /// It could not be asked.
    Error(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_takes_a_run_of_answers() {
        let probe = Probe { success_threshold: 2, failure_threshold: 3, ..Default::default() };
        let mut counter = Counter::default();
        let verdicts: Vec<_> = [true, false, true, true, false, false, false].map(|answer| counter.count(answer, &probe)).into();
        let (yes, no) = (Some(Verdict::Success), Some(Verdict::Failure));
        assert_eq!(verdicts, [None, None, None, yes, None, None, no]);
    }
}
