//! pod-garbage-collector-controller: deletes pods nobody will ever finish: too many terminated ones, those of nodes that are
//! gone or out of service, and those deleted before they got a node.
//!
//! Reads Pods and Nodes; deletes Pods. Upstream: pkg/controller/podgc.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::core::v1::{Node, Pod, PodCondition};
use apimachinery::Time;
use client::{Api, DeleteParams};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use component_helpers::pod;
use informer::Store;
use tokio_util::sync::CancellationToken;

use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration =
    Registration { name: "pod-garbage-collector-controller", alias: Some("podgc"), default_on: true, start };

/// Upstream's number.
const PERIOD: Duration = Duration::from_secs(20);
/// A node must have been missed for so long before its pods go; upstream's number.
const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Why a pod goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    Terminated,
    NodeGone,
    NodeOutOfService,
    NeverScheduled,
}

impl Reason {
    /// What its DisruptionTarget condition says, if it was disrupted.
    fn disruption(self) -> Option<&'static str> {
        match self {
            Reason::NodeGone => Some("PodGC: node no longer exists"),
            Reason::NodeOutOfService => Some("PodGC: node is out of service"),
            Reason::Terminated | Reason::NeverScheduled => None,
        }
    }
}

/// How a node looks from here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeState {
    There,
    OutOfService,
    /// Not there, and that for long enough.
    Gone,
    /// Not there, but nobody knows for how long.
    Missed,
}

/// The pods to delete, by their place in `pods`. A threshold of zero or less keeps all terminated ones.
pub fn plan(pods: &[Arc<Pod>], threshold: i64, node: &dyn Fn(&str) -> NodeState) -> Vec<(usize, Reason)> {
    let mut doomed = Vec::new();
    let mut terminated = Vec::new();
    for (at, pod) in pods.iter().enumerate() {
        let deleting = pod.metadata.deletion_timestamp.is_some();
        if pod.spec.node_name.is_empty() {
            if deleting {
                doomed.push((at, Reason::NeverScheduled));
            }
        } else {
            match node(&pod.spec.node_name) {
                NodeState::Gone => {
                    doomed.push((at, Reason::NodeGone));
                    continue;
                }
                NodeState::OutOfService if deleting => {
                    doomed.push((at, Reason::NodeOutOfService));
                    continue;
                }
                _ => {}
            }
        }
        if pod::is_terminal(pod) && !deleting {
            terminated.push(at);
        }
    }
    let keep = usize::try_from(threshold).unwrap_or(0);
    if keep > 0 && terminated.len() > keep {
        // Evicted ones first, then the oldest.
        let rank =
            |at: &usize| (pods[*at].status.reason != "Evicted", pods[*at].metadata.creation_timestamp, pods[*at].metadata.name.clone());
        terminated.sort_by_key(rank);
        let surplus = terminated.len() - keep;
        doomed.extend(terminated.into_iter().take(surplus).map(|at| (at, Reason::Terminated)));
    }
    doomed
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let pods = sources.of::<Pod>();
    let nodes = sources.of::<Node>();
    let client = context.client("pod-garbage-collector")?;
    let collector = PodCollector {
        pods: pods.store(),
        nodes: nodes.store(),
        node_api: Api::all(&client),
        pod_api: Api::all(&client),
        clock: context.clock.clone(),
        threshold: context.settings.terminated_pod_gc_threshold,
        missed: HashMap::new(),
    };
    tasks.spawn("pod-garbage-collector-controller", move |stop| async move {
        if sources.ready(&stop).await {
            collector.run(stop).await;
        }
    });
    Ok(Started::Running)
}

struct PodCollector {
    pods: Arc<Store<Pod>>,
    nodes: Arc<Store<Node>>,
    node_api: Api<Node>,
    pod_api: Api<Pod>,
    clock: Arc<dyn Clock>,
    threshold: i64,
    /// Since when nodes that pods name are missed.
    missed: HashMap<String, Instant>,
}

impl PodCollector {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            // Cancel-safe: a round that is dropped is made again after the next start.
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.round() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.sleep(PERIOD) => {}
            }
        }
    }

    async fn round(&mut self) {
        let pods = self.pods.list();
        let states = self.node_states(&pods).await;
        let node = |name: &str| states.get(name).copied().unwrap_or(NodeState::There);
        for (at, reason) in plan(&pods, self.threshold, &node) {
            if let Err(err) = self.delete(&pods[at], reason).await {
                tracing::warn!(
                    controller = "pod-garbage-collector-controller",
                    object = pods[at].metadata.name,
                    err = &err as &dyn std::error::Error,
                    "cannot delete pod"
                );
            }
        }
    }

    async fn node_states(&mut self, pods: &[Arc<Pod>]) -> HashMap<String, NodeState> {
        let mut states: HashMap<String, NodeState> = HashMap::new();
        let now = self.clock.instant();
        for pod in pods.iter().filter(|pod| !pod.spec.node_name.is_empty()) {
            let name = &pod.spec.node_name;
            if states.contains_key(name) {
                continue;
            }
            let state = match self.nodes.get_named("", name) {
                Some(node) if node.spec.taints.iter().any(|taint| taint.key == OUT_OF_SERVICE) => NodeState::OutOfService,
                Some(_) => NodeState::There,
                None => {
                    let since = *self.missed.entry(name.clone()).or_insert(now);
                    let long = now.saturating_duration_since(since) >= QUARANTINE;
                    // The cache may be wrong; the server has the last word on whether a node is gone.
                    match long && matches!(self.node_api.get_opt(name).await, Ok(None)) {
                        true => NodeState::Gone,
                        false => NodeState::Missed,
                    }
                }
            };
            states.insert(name.clone(), state);
        }
        self.missed.retain(|name, _| matches!(states.get(name), Some(NodeState::Gone | NodeState::Missed)));
        states
    }

    async fn delete(&self, found: &Pod, reason: Reason) -> Result<(), WriteError> {
        let (name, api) = (&found.metadata.name, self.pod_api.within(&found.metadata.namespace));
        // Nobody else will ever say how it ended.
        if reason != Reason::Terminated && !pod::is_terminal(found) {
            let mut failed = found.clone();
            failed.status.phase = "Failed".into();
            if let Some(message) = reason.disruption() {
                let condition = PodCondition {
                    type_: "DisruptionTarget".into(),
                    status: "True".into(),
                    reason: "DeletionByPodGC".into(),
                    message: message.into(),
                    observed_generation: found.metadata.generation,
                    ..PodCondition::default()
                };
                pod::set_condition(&mut failed.status, condition, Time::from(self.clock.now()));
            }
            match api.update_status(&failed).await {
                Err(err) if err.is_not_found() => return Ok(()),
                other => other.map_err(|err| WriteError::new("update the status of", format!("pod {name:?}"), err))?,
            };
        }
        match api.delete(name, &DeleteParams::of_uid(found.metadata.uid.clone()).grace(0)).await {
            Err(err) if !err.is_not_found() => Err(WriteError::new("delete", format!("pod {name:?}"), err)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name node flags`, flags of `t`erminated, `d`eleting, `e`victed.
    #[track_caller]
    fn check(pods: &[(&str, &str, &str)], threshold: i64, expected: &[(usize, Reason)]) {
        let pod = |(at, (name, node, flags)): (usize, &(&str, &str, &str))| {
            let mut pod = Pod::default();
            pod.metadata.name = (*name).into();
            pod.metadata.creation_timestamp = Time::from_unix(i64::try_from(at).unwrap());
            pod.metadata.deletion_timestamp = flags.contains('d').then_some(Time::from_unix(1));
            pod.spec.node_name = (*node).into();
            pod.status.phase = if flags.contains('t') { "Failed".into() } else { "Running".into() };
            pod.status.reason = if flags.contains('e') { "Evicted".into() } else { String::new() };
            Arc::new(pod)
        };
        let pods: Vec<_> = pods.iter().enumerate().map(pod).collect();
        let node = |name: &str| match name {
            "gone" => NodeState::Gone,
            "missed" => NodeState::Missed,
            "out" => NodeState::OutOfService,
            _ => NodeState::There,
        };
        assert_eq!(plan(&pods, threshold, &node), expected);
    }

    #[test]
    fn pods_without_a_future_go() {
        check(&[("a", "n", ""), ("b", "missed", ""), ("c", "out", ""), ("d", "", "")], 1, &[]);
        check(&[("a", "gone", ""), ("b", "gone", "t")], 0, &[(0, Reason::NodeGone), (1, Reason::NodeGone)]);
        check(&[("a", "out", "d"), ("b", "", "d")], 0, &[(0, Reason::NodeOutOfService), (1, Reason::NeverScheduled)]);
    }

    #[test]
    fn of_terminated_pods_the_oldest_go() {
        let pods = [("a", "n", "t"), ("b", "n", "t"), ("c", "n", "te"), ("d", "n", "")];
        check(&pods, 2, &[(2, Reason::Terminated)]);
        check(&pods, 1, &[(2, Reason::Terminated), (0, Reason::Terminated)]);
        check(&pods, 0, &[]);
    }
}
