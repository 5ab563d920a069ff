//! NodeResourcesFit and NodeResourcesBalancedAllocation. Upstream: pkg/scheduler/framework/plugins/noderesources.

use std::borrow::Cow;
use std::sync::Arc;

use crate::events::ClusterEvent;
use crate::framework::{Filter, MAX_SCORE, Plugin, PreFilter, PreFilterOutcome, PreScore, Reason, Reasons, Score, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::resources::{Amounts, is_extended, is_scalar};
use crate::snapshot::Snapshot;

pub const FIT: &str = "NodeResourcesFit";
pub const BALANCED: &str = "NodeResourcesBalancedAllocation";
pub const TOO_MANY_PODS: &str = "Too many pods";

/// A resource that scoring looks at, and how much it counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighted {
    pub name: String,
    pub weight: i64,
}

impl Weighted {
    /// Cpu and memory, equally.
    pub fn defaults() -> Vec<Weighted> {
        ["cpu", "memory"].map(|name| Weighted { name: name.to_owned(), weight: 1 }).to_vec()
    }
}

/// How the use of a node's resources becomes a score.
#[derive(Clone, Debug, PartialEq)]
pub enum Strategy {
    /// The emptier the better.
    LeastAllocated,
    /// The fuller the better.
    MostAllocated,
    /// A line through points of (utilization in percent, score up to [`MAX_SCORE`]), ascending.
    RequestedToCapacityRatio(Vec<(i64, i64)>),
}

/// NodeResourcesFit: the node must have room for what the pod requests.
#[derive(Debug)]
pub struct Fit {
    pub strategy: Strategy,
    pub resources: Vec<Weighted>,
    /// Extended resources that the filter does not look at: by name, and by the part before the slash.
    pub ignored: Vec<String>,
    pub ignored_groups: Vec<String>,
}

impl Default for Fit {
    fn default() -> Fit {
        Fit { strategy: Strategy::LeastAllocated, resources: Weighted::defaults(), ignored: Vec::new(), ignored_groups: Vec::new() }
    }
}

impl Fit {
    fn ignores(&self, name: &str) -> bool {
        is_extended(name)
            && (self.ignored.iter().any(|ignored| ignored == name)
                || name.split_once('/').is_some_and(|(group, _)| self.ignored_groups.iter().any(|ignored| ignored == group)))
    }
}

fn insufficient(name: &str) -> Reason {
    match name {
        "cpu" => Cow::Borrowed("Insufficient cpu"),
        "memory" => Cow::Borrowed("Insufficient memory"),
        "ephemeral-storage" => Cow::Borrowed("Insufficient ephemeral-storage"),
        name => Cow::Owned(format!("Insufficient {name}")),
    }
}

impl PreFilter for Fit {
    type State = Amounts;

    fn pre_filter(&self, pod: &Arc<PodInfo>, _nodes: &Snapshot) -> PreFilterOutcome<Amounts> {
        PreFilterOutcome::Check(pod.requests.clone())
    }
}

impl Filter for Fit {
    fn filter(&self, wanted: &Amounts, node: &NodeInfo) -> Verdict {
        let mut reasons: Vec<Reason> = Vec::new();
        let mut never = false;
        if node.pods().len() as i64 + 1 > node.allowed_pods {
            reasons.push(Cow::Borrowed(TOO_MANY_PODS));
        }
        let mut check = |name: &str, wanted: i64, allocatable: i64, requested: i64| {
            if wanted > 0 && wanted > allocatable - requested {
                reasons.push(insufficient(name));
                // The whole node would be too small.
                never |= wanted > allocatable;
            }
        };
        let (have, taken) = (&node.allocatable, &node.requested);
        check("cpu", wanted.milli_cpu, have.milli_cpu, taken.milli_cpu);
        check("memory", wanted.memory, have.memory, taken.memory);
        check("ephemeral-storage", wanted.ephemeral_storage, have.ephemeral_storage, taken.ephemeral_storage);
        for (name, amount) in wanted.scalar().filter(|(name, _)| !self.ignores(name)) {
            check(name, amount, have.get(name), taken.get(name));
        }
        let reasons = match reasons.len() {
            0 => return Verdict::Fits,
            1 => Reasons::One(reasons.remove(0)),
            _ => Reasons::Many(reasons),
        };
        if never { Verdict::Unresolvable(reasons) } else { Verdict::Unschedulable(reasons) }
    }
}

/// What a pod adds to each of the resources looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    amounts: Vec<i64>,
}

impl PreScore for Fit {
    type State = Wanted;

    fn pre_score(&self, pod: &Arc<PodInfo>, _feasible: &[Arc<NodeInfo>], _nodes: &Snapshot) -> Option<Wanted> {
        let of = |resource: &Weighted| match resource.name.as_str() {
            "cpu" => pod.nonzero.0,
            "memory" => pod.nonzero.1,
            name => pod.requests.get(name),
        };
        Some(Wanted { amounts: self.resources.iter().map(of).collect() })
    }
}

/// What of a resource a node has, and what would be taken of it with the pod there; `None` if it does not count.
fn use_of(node: &NodeInfo, name: &str, wanted: i64, taken: i64) -> Option<(i64, i64)> {
    // A pod that does not ask for an extended resource does not care who has it.
    if wanted == 0 && is_scalar(name) {
        return None;
    }
    let have = node.allocatable.get(name);
    (have != 0).then_some((have, taken + wanted))
}

impl Score for Fit {
    fn score(&self, wanted: &Wanted, node: &NodeInfo) -> i64 {
        let (mut sum, mut weights) = (0, 0);
        for (resource, wanted) in self.resources.iter().zip(&wanted.amounts) {
            let taken = match resource.name.as_str() {
                "cpu" => node.nonzero_requested.0,
                "memory" => node.nonzero_requested.1,
                name => node.requested.get(name),
            };
            let Some((have, taken)) = use_of(node, &resource.name, *wanted, taken) else { continue };
            let score = match &self.strategy {
                Strategy::LeastAllocated if taken > have => 0,
                Strategy::LeastAllocated => (have - taken) * MAX_SCORE / have,
                Strategy::MostAllocated => taken.min(have) * MAX_SCORE / have,
                Strategy::RequestedToCapacityRatio(shape) => {
                    let score = on_line(shape, if taken > have { 100 } else { taken * 100 / have });
                    // Upstream leaves resources that score nothing out of the average.
                    if score == 0 {
                        continue;
                    }
                    score
                }
            };
            sum += score * resource.weight;
            weights += resource.weight;
        }
        match (&self.strategy, weights) {
            (_, 0) => 0,
            (Strategy::RequestedToCapacityRatio(_), _) => (sum as f64 / weights as f64).round() as i64,
            _ => sum / weights,
        }
    }
}

/// The value at `at` of the line through the points; level before the first and after the last.
fn on_line(points: &[(i64, i64)], at: i64) -> i64 {
    let Some(next) = points.iter().position(|(x, _)| at <= *x) else { return points.last().map_or(0, |(_, y)| *y) };
    let (x1, y1) = points[next];
    if next == 0 {
        return y1;
    }
    let (x0, y0) = points[next - 1];
    y0 + (y1 - y0) * (at - x0) / (x1 - x0)
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        FIT
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        match event {
            // A pod that asks for nothing was refused for the number of pods.
            ClusterEvent::AssignedPodDeleted(_) => true,
            ClusterEvent::AssignedPodUpdated { old, new } => {
                let less = |name: &str| new.requests.get(name) < old.requests.get(name) && pod.requests.get(name) > 0;
                less("cpu") || less("memory") || less("ephemeral-storage") || pod.requests.scalar().any(|(name, _)| less(name))
            }
            ClusterEvent::PodUpdated { old, new } => event.is_update_of(pod) && old.requests != new.requests,
            _ => {
                event.node_changed(|node| node.status.allocatable.clone())
                    && event.node().is_some_and(|node| {
                        let empty = NodeInfo::new(Arc::new(node.clone()));
                        self.filter(&pod.requests, &empty).fits()
                    })
            }
        }
    }
}

/// NodeResourcesBalancedAllocation: prefers nodes whose resources are used to like degrees.
#[derive(Debug)]
pub struct Balanced {
    pub resources: Vec<Weighted>,
}

impl Default for Balanced {
    fn default() -> Balanced {
        Balanced { resources: Weighted::defaults() }
    }
}

impl PreScore for Balanced {
    type State = Wanted;

    fn pre_score(&self, pod: &Arc<PodInfo>, _feasible: &[Arc<NodeInfo>], _nodes: &Snapshot) -> Option<Wanted> {
        let amounts: Vec<i64> = self.resources.iter().map(|resource| pod.requests.get(&resource.name)).collect();
        // Pods without requests would all go to one node.
        amounts.iter().any(|amount| *amount != 0).then_some(Wanted { amounts })
    }
}

impl Score for Balanced {
    /// The less the used shares deviate from their mean, the higher.
    fn score(&self, wanted: &Wanted, node: &NodeInfo) -> i64 {
        let resources = self.resources.iter().zip(&wanted.amounts);
        let uses = resources.filter_map(|(resource, wanted)| use_of(node, &resource.name, *wanted, node.requested.get(&resource.name)));
        let shares: Vec<f64> = uses.map(|(have, taken)| (taken as f64 / have as f64).min(1.0)).collect();
        let deviation = match shares.as_slice() {
            [] | [_] => 0.0,
            [first, second] => ((first - second) / 2.0).abs(),
            shares => {
                let mean = shares.iter().sum::<f64>() / shares.len() as f64;
                (shares.iter().map(|share| (share - mean) * (share - mean)).sum::<f64>() / shares.len() as f64).sqrt()
            }
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }
}

impl Plugin for Balanced {
    fn name(&self) -> &'static str {
        BALANCED
    }

    fn wakes(&self, _pod: &PodInfo, _event: &ClusterEvent) -> bool {
        false
    }
}
