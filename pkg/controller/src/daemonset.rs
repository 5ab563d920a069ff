//! DaemonSet controller: one Pod on each node that the template allows.
//!
//! Reads DaemonSets, Pods, Nodes and ControllerRevisions; writes Pods, ControllerRevisions and the sets' status.
//! Upstream: pkg/controller/daemon. Start reading at [`plan`].

mod nodes;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::apps::v1::{DaemonSet, DaemonSetStatus};
use api::core::v1::{Node, Pod};
use apimachinery::Time;
use component_helpers::pod;

use crate::context::Registration;
use crate::history::HASH_LABEL;
use crate::pods::seconds_to_available;
use nodes::{Fit, fit, node_of};

pub const DAEMON_SET: Registration =
    Registration { name: "daemonset-controller", alias: Some("daemonset"), default_on: true, start: shell::start };

/// Most Pods created or deleted in one pass.
const BURST: usize = 250;

/// One look at the world, taken from caches.
pub struct Observed<'a> {
    pub set: &'a DaemonSet,
    /// The hash of the template's revision.
    pub hash: &'a str,
    pub nodes: &'a [Arc<Node>],
    /// Owned and matching.
    pub pods: &'a [Arc<Pod>],
    /// Nodes where a Pod failed so lately that the next try has to wait.
    pub resting: &'a (dyn Fn(&str) -> bool + Sync),
    pub now: Time,
}

/// What to write.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Names of nodes that get a Pod.
    pub create: Vec<String>,
    pub delete: Vec<Deletion>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Deletion {
    pub name: String,
    pub uid: String,
    pub node: String,
    /// The Pod ended by itself: `Failed` or `Succeeded`.
    pub ended: Option<String>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }

    fn lose(&mut self, pod: &Pod) {
        let ended = pod::is_terminal(pod).then(|| pod.status.phase.clone());
        let (name, uid) = (pod.metadata.name.clone(), pod.metadata.uid.clone());
        self.delete.push(Deletion { name, uid, node: node_of(pod).unwrap_or_default().to_string(), ended });
    }
}

/// Pods by the node they are on, or are meant for. Sorted, so that a plan is the same for the same world.
type ByNode<'a> = BTreeMap<&'a str, Vec<&'a Pod>>;

fn by_node<'a>(pods: &'a [Arc<Pod>]) -> ByNode<'a> {
    let mut by_node = ByNode::new();
    for pod in pods {
        if let Some(node) = node_of(pod) {
            by_node.entry(node).or_default().push(pod);
        }
    }
    for pods in by_node.values_mut() {
        pods.sort_by_key(|pod| (pod.spec.node_name.is_empty(), pod.metadata.creation_timestamp, &pod.metadata.name));
    }
    by_node
}

/// Decides what to write. No client, clock, lock, log or `async` in here.
pub fn plan(seen: &Observed<'_>) -> Plan {
    if seen.set.metadata.deletion_timestamp.is_some() {
        return Plan::default();
    }
    let by_node = by_node(seen.pods);
    let mut plan = keep_up(seen, &by_node);
    if plan.is_empty() && seen.set.spec.update_strategy.type_ != "OnDelete" {
        plan = roll(seen, &by_node);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan
}

fn is_new(pod: &Pod, hash: &str) -> bool {
    pod.metadata.labels.get(HASH_LABEL).is_some_and(|label| label == hash)
}

fn is_available(seen: &Observed<'_>, pod: &Pod) -> bool {
    pod::is_available(pod, seen.set.spec.min_ready_seconds, seen.now)
}

/// A Pod where there should be one and is none, none where there should not, one where there are several.
fn keep_up(seen: &Observed<'_>, by_node: &ByNode<'_>) -> Plan {
    let mut plan = Plan::default();
    let surges = surge_limit(seen, 100) > 0;
    for node in seen.nodes {
        let here: &[&Pod] = by_node.get(node.metadata.name.as_str()).map_or(&[], Vec::as_slice);
        let fit = fit(seen.set, node);
        let alive = here.iter().copied().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        match fit {
            Fit::Run if here.is_empty() => plan.create.push(node.metadata.name.clone()),
            Fit::Run | Fit::Stay => {
                let (ended, running): (Vec<&Pod>, Vec<&Pod>) = alive.partition(|pod| pod::is_terminal(pod));
                let rests = (seen.resting)(&node.metadata.name);
                ended.into_iter().filter(|pod| !rests || pod.status.phase == "Succeeded").for_each(|pod| plan.lose(pod));
                if surges { keep_pair(seen, &running, &mut plan) } else { running.iter().skip(1).for_each(|pod| plan.lose(pod)) }
            }
            Fit::Leave => alive.for_each(|pod| plan.lose(pod)),
        }
    }
    // Waiting for a node that has gone.
    for (node, pods) in by_node {
        if !seen.nodes.iter().any(|known| known.metadata.name == *node) {
            let waiting = pods.iter().filter(|pod| pod.spec.node_name.is_empty() && pod.metadata.deletion_timestamp.is_none());
            waiting.for_each(|pod| plan.lose(pod));
        }
    }
    plan
}

/// While surging, an old and a new Pod share the node until the new one is available or the old one is no use.
fn keep_pair(seen: &Observed<'_>, running: &[&Pod], plan: &mut Plan) {
    let (new, old): (Vec<&Pod>, Vec<&Pod>) = running.iter().copied().partition(|pod| is_new(pod, seen.hash));
    new.iter().skip(1).for_each(|pod| plan.lose(pod));
    old.iter().skip(1).for_each(|pod| plan.lose(pod));
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!pod::is_ready(old) || is_available(seen, new))
    {
        plan.lose(old);
    }
}

fn desired(seen: &Observed<'_>) -> i32 {
    let count = seen.nodes.iter().filter(|node| fit(seen.set, node) == Fit::Run).count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn surge_limit(seen: &Observed<'_>, desired: i32) -> i32 {
    let rolling = seen.set.spec.update_strategy.rolling_update.as_deref();
    rolling.and_then(|rolling| rolling.max_surge.as_ref()).and_then(|surge| surge.scaled(desired, true)).unwrap_or(0)
}

/// One step from old Pods to new ones.
fn roll(seen: &Observed<'_>, by_node: &ByNode<'_>) -> Plan {
    let desired = desired(seen);
    let surge = surge_limit(seen, desired);
    let rolling = seen.set.spec.update_strategy.rolling_update.as_deref();
    let unavailable = match rolling.and_then(|rolling| rolling.max_unavailable.as_ref()) {
        Some(limit) => limit.scaled(desired, true).unwrap_or(1),
        None => 1,
    };
    let (mut plan, mut away, mut surging, mut candidates, mut extra) = (Plan::default(), 0, 0, Vec::new(), Vec::new());
    for node in seen.nodes.iter().filter(|node| fit(seen.set, node) == Fit::Run) {
        let here: &[&Pod] = by_node.get(node.metadata.name.as_str()).map_or(&[], Vec::as_slice);
        let alive = || here.iter().copied().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let (new, old) = (alive().find(|pod| is_new(pod, seen.hash)), alive().find(|pod| !is_new(pod, seen.hash)));
        match (new, old) {
            (None, None) => away += 1,
            (Some(new), None) => away += i32::from(!is_available(seen, new)),
            (None, Some(old)) if surge > 0 => match is_available(seen, old) {
                // Nothing is lost by starting beside a Pod that does not work.
                false => plan.create.push(node.metadata.name.clone()),
                true => extra.push(node.metadata.name.clone()),
            },
            (None, Some(old)) => match is_available(seen, old) {
                false => {
                    away += 1;
                    plan.lose(old);
                }
                true => candidates.push(old),
            },
            (Some(_), Some(_)) => surging += 1,
        }
    }
    if surge > 0 {
        let room = usize::try_from(surge - surging).unwrap_or(0);
        plan.create.extend(extra.into_iter().take(room));
    } else {
        let room = usize::try_from(unavailable - away).unwrap_or(0);
        candidates.into_iter().take(room).for_each(|pod| plan.lose(pod));
    }
    plan
}

/// The status as it should read; `None` if it does already.
pub fn next_status(seen: &Observed<'_>) -> Option<DaemonSetStatus> {
    let old = &seen.set.status;
    let mut status = DaemonSetStatus {
        observed_generation: seen.set.metadata.generation,
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
        ..DaemonSetStatus::default()
    };
    let by_node = by_node(seen.pods);
    for node in seen.nodes {
        let pod = by_node.get(node.metadata.name.as_str()).and_then(|pods| pods.first());
        if fit(seen.set, node) != Fit::Run {
            status.number_misscheduled += i32::from(pod.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = pod else { continue };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pod::is_ready(pod));
        status.number_available += i32::from(pod::is_ready(pod) && is_available(seen, pod));
        status.updated_number_scheduled += i32::from(is_new(pod, seen.hash));
    }
    status.number_unavailable = status.desired_number_scheduled - status.number_available;
    (status != *old).then_some(status)
}

/// Seconds until the next ready Pod becomes available only by waiting.
pub fn next_availability_change(seen: &Observed<'_>) -> Option<i64> {
    seen.pods.iter().filter_map(|pod| seconds_to_available(pod, seen.set.spec.min_ready_seconds, seen.now)).min()
}
