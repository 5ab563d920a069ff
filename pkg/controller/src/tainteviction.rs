//! taint-eviction-controller: deletes pods from nodes whose NoExecute taints they do not tolerate, or no longer.
//!
//! Reads Nodes and Pods; deletes Pods. Upstream: pkg/controller/tainteviction.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use api::core::v1::{Node, Pod, PodCondition, Taint, Toleration};
use apimachinery::Time;
use client::{Api, DeleteParams};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use component_helpers::{pod, taints};
use informer::{Event, ObjectKey, Reconcile, Recorder, Requeue, Store, WorkQueue};
use parking_lot::Mutex;

use crate::node_pods;
use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration = Registration { name: "taint-eviction-controller", alias: None, default_on: true, start };

/// Pods that may be on their way out at a time.
const WORKERS: usize = 8;

/// How long a pod may stay.
#[derive(Debug, PartialEq)]
pub enum Stay {
    Forever,
    /// For so many seconds more.
    For(i64),
    /// Not any longer.
    Over,
}

/// Decides by the taints of the pod's node. A tolerated taint counts from when it was added.
pub fn stay(node_taints: &[Taint], tolerations: &[Toleration], now: Time) -> Stay {
    let mut left: Option<i64> = None;
    for taint in node_taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let tolerating: Vec<&Toleration> = tolerations.iter().filter(|toleration| taints::tolerates(toleration, taint)).collect();
        if tolerating.is_empty() {
            return Stay::Over;
        }
        // The shortest of those that set a time; one without does not prolong another.
        let Some(seconds) = tolerating.iter().filter_map(|toleration| toleration.toleration_seconds).min() else { continue };
        let passed = taint.time_added.map_or(0, |added| now.seconds_since(added).max(0));
        let rest = seconds.max(0) - passed;
        left = Some(left.map_or(rest, |known| known.min(rest)));
    }
    match left {
        None => Stay::Forever,
        Some(rest) if rest <= 0 => Stay::Over,
        Some(rest) => Stay::For(rest),
    }
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let nodes = sources.of::<Node>();
    let pods = sources.of::<Pod>();
    node_pods::index(&pods.store());
    let queue = WorkQueue::new("taint_eviction_pod");
    let for_pods = queue.clone();
    pods.on_event(move |event| {
        let unchanged = matches!(event, Event::Updated { old, new }
            if old.spec.node_name == new.spec.node_name && old.spec.tolerations == new.spec.tolerations && old.metadata.uid == new.metadata.uid);
        if !unchanged && !event.object().spec.node_name.is_empty() {
            for_pods.add(event.key());
        }
    });
    let (for_nodes, bound) = (queue.clone(), pods.store());
    nodes.on_event(move |event| {
        let evicting = |node: &Node| node.spec.taints.iter().filter(|taint| taint.effect == "NoExecute").cloned().collect::<Vec<_>>();
        if let Event::Updated { old, new } = event
            && evicting(old) == evicting(new)
        {
            return;
        }
        for pod in node_pods::on(&bound, &event.object().metadata.name) {
            for_nodes.add(ObjectKey::of_metadata(&pod.metadata));
        }
    });
    // Upstream's role for this is the node controller's.
    let client = context.client("node-controller")?;
    let reconciler = TaintEviction {
        nodes: nodes.store(),
        pods: pods.store(),
        api: Api::all(&client),
        recorder: context.recorder("taint-eviction-controller"),
        clock: context.clock.clone(),
        doomed: Mutex::default(),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, WORKERS);
    Ok(Started::Running)
}

struct TaintEviction {
    nodes: Arc<Store<Node>>,
    pods: Arc<Store<Pod>>,
    api: Api<Pod>,
    recorder: Recorder,
    clock: Arc<dyn Clock>,
    /// Pods whose time is running, to be told if it no longer is.
    doomed: Mutex<HashSet<ObjectKey>>,
}

impl Reconcile for TaintEviction {
    const NAME: &'static str = "taint-eviction-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let found = self.pods.get(key).filter(|found| found.metadata.deletion_timestamp.is_none() && !pod::is_terminal(found));
        let Some(found) = found else {
            self.doomed.lock().remove(key);
            return Ok(Requeue::OnChange);
        };
        // A node that is gone takes its pods along by another way: the pod garbage collector's.
        let Some(node) = self.nodes.get_named("", &found.spec.node_name) else { return Ok(Requeue::OnChange) };
        match stay(&node.spec.taints, &found.spec.tolerations, Time::from(self.clock.now())) {
            Stay::Forever => {
                if self.doomed.lock().remove(key) {
                    let message = format!("Cancelling deletion of Pod {key}");
                    self.recorder.about(found.as_ref(), "Normal", "TaintManagerEviction", &message);
                }
                Ok(Requeue::OnChange)
            }
            Stay::For(seconds) => {
                self.doomed.lock().insert(key.clone());
                Ok(Requeue::After(Duration::from_secs(u64::try_from(seconds).unwrap_or(1))))
            }
            Stay::Over => self.evict(key, &found).await.map(|()| Requeue::OnChange),
        }
    }
}

impl TaintEviction {
    async fn evict(&self, key: &ObjectKey, found: &Pod) -> Result<(), WriteError> {
        self.recorder.about(found, "Normal", "TaintManagerEviction", &format!("Marking for deletion Pod {key}"));
        let api = self.api.within(key.namespace());
        let mut marked = found.clone();
        let condition = PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            reason: "DeletionByTaintManager".into(),
            message: "Taint manager: deleting due to NoExecute taint".into(),
            observed_generation: found.metadata.generation,
            ..PodCondition::default()
        };
        if pod::set_condition(&mut marked.status, condition, Time::from(self.clock.now())) {
            match api.update_status(&marked).await {
                Err(err) if err.is_not_found() => return Ok(()),
                other => other.map_err(|err| WriteError::new("update the status of", format!("pod \"{key}\""), err))?,
            };
        }
        match api.delete(key.name(), &DeleteParams::of_uid(found.metadata.uid.clone())).await {
            Err(err) if !err.is_not_found() => Err(WriteError::new("delete", format!("pod \"{key}\""), err)),
            _ => {
                self.doomed.lock().remove(key);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `taints` and `tolerations` read like "a b" and "a=30 b"; taints were added at 100, it is 110.
    #[track_caller]
    fn check(taints: &str, tolerations: &str, expected: Stay) {
        let taint =
            |key: &str| Taint { key: key.into(), effect: "NoExecute".into(), time_added: Some(Time::from_unix(100)), ..Taint::default() };
        let toleration = |text: &str| {
            let (key, seconds) = text.split_once('=').map_or((text, None), |(key, seconds)| (key, seconds.parse().ok()));
            Toleration { key: key.into(), operator: "Exists".into(), toleration_seconds: seconds, ..Toleration::default() }
        };
        let taints: Vec<Taint> = taints.split_whitespace().map(taint).collect();
        let tolerations: Vec<Toleration> = tolerations.split_whitespace().map(toleration).collect();
        assert_eq!(stay(&taints, &tolerations, Time::from_unix(110)), expected);
    }

    #[test]
    fn a_pod_stays_as_long_as_it_tolerates_every_taint() {
        check("", "", Stay::Forever);
        check("a", "", Stay::Over);
        check("a", "a", Stay::Forever);
        check("a", "a=30", Stay::For(20));
        check("a", "a=5", Stay::Over);
        check("a", "a=0", Stay::Over);
        check("a b", "a=30", Stay::Over);
        check("a b", "a=30 b=60", Stay::For(20));
        check("a b", "a b=60", Stay::For(50));
    }
}
