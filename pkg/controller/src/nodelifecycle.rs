//! node-lifecycle-controller: notices nodes that fall silent, and tells by taints what their conditions mean for pods.
//!
//! Reads Nodes, Leases of kube-node-lease and Pods; writes node conditions (`Unknown`), node taints, and the Ready condition
//! of pods on nodes that are not ready. Upstream: pkg/controller/nodelifecycle.
//!
//! ```text
//!   lease, conditions -> [health] silent too long? -> conditions Unknown -> [taints] NoSchedule at once,
//!                                                                           NoExecute as fast as [zones] allow
//! ```

mod health;
mod taints;
mod zones;

use std::collections::HashMap;
use std::sync::Arc;

use api::coordination::v1::Lease;
use api::core::v1::{Node, Pod};
use apimachinery::Time;
use client::Api;
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use component_helpers::pod;
use informer::{Event, Recorder, Selection, Store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use health::{Health, lapsed, ready};
pub use taints::next_taints;
pub use zones::{Rates, Zones};

use crate::node_pods;
use crate::{ControllerContext, Registration, Settings, StartError, Started, WriteError};

pub const REGISTRATION: Registration =
    Registration { name: "node-lifecycle-controller", alias: Some("nodelifecycle"), default_on: true, start };

/// Where kubelets renew their leases.
const LEASES: &str = "kube-node-lease";
/// How often a write is tried again on what the server has by now.
const TRIES: usize = 3;

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let nodes = sources.of::<Node>();
    let pods = sources.of::<Pod>();
    let leases = sources.select::<Lease>(Selection { namespace: LEASES.into(), ..Selection::default() });
    node_pods::index(&pods.store());
    let news = Arc::new(Notify::new());
    let changed = news.clone();
    nodes.on_event(move |event| {
        // Heartbeats are read at the next round; what a taint follows from is acted on at once.
        let look = |node: &Node| {
            let conditions: Vec<_> = node.status.conditions.iter().map(|known| (known.type_.clone(), known.status.clone())).collect();
            (conditions, node.spec.taints.clone(), node.spec.unschedulable)
        };
        if let Event::Updated { old, new } = event
            && look(old) == look(new)
        {
            return;
        }
        changed.notify_one();
    });
    let client = context.client("node-controller")?;
    let controller = NodeLifecycle {
        nodes: nodes.store(),
        pods: pods.store(),
        leases: leases.store(),
        node_api: Api::all(&client),
        pod_api: Api::all(&client),
        recorder: context.recorder("node-controller"),
        clock: context.clock.clone(),
        settings: context.settings.clone(),
        known: HashMap::new(),
        zones: Zones::new(Rates::of(&context.settings)),
    };
    tasks.spawn("node-lifecycle-controller", move |stop| async move {
        if sources.ready(&stop).await {
            controller.run(&news, stop).await;
        }
    });
    Ok(Started::Running)
}

struct NodeLifecycle {
    nodes: Arc<Store<Node>>,
    pods: Arc<Store<Pod>>,
    leases: Arc<Store<Lease>>,
    node_api: Api<Node>,
    pod_api: Api<Pod>,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    settings: Arc<Settings>,
    known: HashMap<String, Known>,
    zones: Zones,
}

/// What is remembered of a node between rounds.
struct Known {
    uid: String,
    health: Health,
    /// Its pods still have to be told that it is not ready.
    pods_to_mark: bool,
}

impl NodeLifecycle {
    async fn run(mut self, news: &Notify, stop: CancellationToken) {
        loop {
            // All arms are cancel-safe.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(self.settings.node_monitor_period) => {}
                () = news.notified() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                // Dropped half way, a round has written for some nodes; the next one does the rest.
                () = self.round() => {}
            }
        }
    }

    async fn round(&mut self) {
        let mut nodes = self.nodes.list();
        nodes.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
        self.forget(&nodes);
        for node in &mut nodes {
            if let Err(err) = self.watch_health(node).await {
                tracing::warn!(node = node.metadata.name, err = &err as &dyn std::error::Error, "cannot update the node's status");
            }
        }
        self.zones.survey(&nodes);
        for node in &nodes {
            if let Err(err) = self.taint(node).await {
                tracing::warn!(node = node.metadata.name, err = &err as &dyn std::error::Error, "cannot update the node's taints");
            }
            if let Err(err) = self.mark_pods(node).await {
                tracing::warn!(
                    node = node.metadata.name,
                    err = &err as &dyn std::error::Error,
                    "cannot tell pods that their node is not ready"
                );
            }
        }
    }

    fn forget(&mut self, nodes: &[Arc<Node>]) {
        let uids: HashMap<&str, &str> = nodes.iter().map(|node| (node.metadata.name.as_str(), node.metadata.uid.as_str())).collect();
        self.known.retain(|name, known| uids.get(name.as_str()) == Some(&known.uid.as_str()));
        for node in nodes {
            let name = &node.metadata.name;
            if !self.known.contains_key(name) {
                let message = format!("Node {name} event: Registered Node {name} in Controller");
                self.recorder.about(node.as_ref(), "Normal", "RegisteredNode", &message);
                let known = Known { uid: node.metadata.uid.clone(), health: Health::new(self.clock.instant()), pods_to_mark: false };
                self.known.insert(name.clone(), known);
            }
        }
    }

    /// Writes `Unknown` for a node that has been silent for too long; `node` is then what the server has.
    async fn watch_health(&mut self, node: &mut Arc<Node>) -> Result<(), WriteError> {
        let name = node.metadata.name.clone();
        let lease = self.leases.get_named(LEASES, &name);
        let Some(known) = self.known.get_mut(&name) else { return Ok(()) };
        known.health.observe(node, lease.as_deref(), self.clock.instant());
        let never_heard = ready(node).is_none();
        let grace = if never_heard { self.settings.node_startup_grace_period } else { self.settings.node_monitor_grace_period };
        if known.health.silence(self.clock.instant()) > grace
            && let Some(next) = lapsed(node, Time::from(self.clock.now()))
        {
            let updated = self.node_api.update_status(&next).await;
            let updated = updated.map_err(|err| WriteError::new("update the status of", format!("node {name:?}"), err))?;
            // A kubelet that reports itself as not ready goes on to report its pods; one that fell silent does not.
            if ready(node) == Some("True") {
                known.pods_to_mark = true;
                let message = format!("Node {name} status is now: NodeNotReady");
                self.recorder.about(node.as_ref(), "Normal", "NodeNotReady", &message);
            }
            *node = Arc::new(updated);
        }
        known.pods_to_mark &= ready(node) != Some("True");
        Ok(())
    }

    async fn taint(&mut self, node: &Node) -> Result<(), WriteError> {
        let now = Time::from(self.clock.now());
        let may_evict = match taints::wants_eviction(node) {
            false => true,
            true => self.zones.may_evict(node, self.clock.instant()),
        };
        let Some(mut taints) = next_taints(node, may_evict, now) else { return Ok(()) };
        let mut next = node.clone();
        for attempt in 1.. {
            next.spec.taints = taints;
            let err = match self.node_api.update(&next).await {
                Ok(_) => return Ok(()),
                Err(err) if err.is_not_found() => return Ok(()),
                Err(err) => err,
            };
            let refused = |err| WriteError::new("update", format!("node {:?}", node.metadata.name), err);
            if !err.is_conflict() || attempt == TRIES {
                return Err(refused(err));
            }
            next = self.node_api.get(&node.metadata.name).await.map_err(refused)?;
            match next_taints(&next, may_evict, now) {
                Some(again) => taints = again,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Nobody will report these pods as not ready: their kubelet is the one that fell silent.
    async fn mark_pods(&mut self, node: &Node) -> Result<(), WriteError> {
        let name = &node.metadata.name;
        if !self.known.get(name).is_some_and(|known| known.pods_to_mark) {
            return Ok(());
        }
        let now = Time::from(self.clock.now());
        for found in node_pods::on(&self.pods, name).into_iter().filter(|found| pod::is_ready(found)) {
            let mut next = (*found).clone();
            let Some(condition) = next.status.conditions.iter_mut().find(|condition| condition.type_ == "Ready") else { continue };
            condition.status = "False".into();
            condition.last_transition_time = now;
            match self.pod_api.within(&found.metadata.namespace).update_status(&next).await {
                // Gone, or its kubelet is alive after all.
                Err(err) if err.is_not_found() || err.is_conflict() => {}
                Err(err) => return Err(WriteError::new("update the status of", format!("pod {:?}", found.metadata.name), err)),
                Ok(_) => self.recorder.about(found.as_ref(), "Warning", "NodeNotReady", "Node is not ready"),
            }
        }
        if let Some(known) = self.known.get_mut(name) {
            known.pods_to_mark = false;
        }
        Ok(())
    }
}
