//! What a plugin is: its extension points, its verdicts, and how typed plugins are held in one list.
//!
//! A plugin is a pure function of the pod and the snapshot it is handed. What it works out before it looks at single nodes is its
//! own type, [`PreFilter::State`] or [`PreScore::State`]: no bag of values under string keys. Scores are raw; normalizing them
//! over all feasible nodes is a step of its own, so that raw scores can be kept per group of nodes.
//!
//! Upstream: staging/src/k8s.io/kube-scheduler/framework, pkg/scheduler/framework.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::events::ClusterEvent;
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

/// The highest normalized score of a plugin, before its weight.
pub const MAX_SCORE: i64 = 100;

/// Why a node is refused, as the user reads it.
pub type Reason = Cow<'static, str>;

/// One or more reasons; one, the common case, takes no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reasons {
    One(Reason),
    Many(Vec<Reason>),
}

impl Reasons {
    pub fn iter(&self) -> impl Iterator<Item = &Reason> {
        match self {
            Reasons::One(reason) => std::slice::from_ref(reason).iter(),
            Reasons::Many(reasons) => reasons.iter(),
        }
    }
}

impl From<&'static str> for Reasons {
    fn from(reason: &'static str) -> Reasons {
        Reasons::One(Cow::Borrowed(reason))
    }
}

impl From<String> for Reasons {
    fn from(reason: String) -> Reasons {
        Reasons::One(Cow::Owned(reason))
    }
}

/// What a filter says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fits,
    /// No, but it might if pods left the node.
    Unschedulable(Reasons),
    /// No, whichever pods left the node.
    Unresolvable(Reasons),
}

impl Verdict {
    pub fn unschedulable(reason: impl Into<Reasons>) -> Verdict {
        Verdict::Unschedulable(reason.into())
    }

    pub fn unresolvable(reason: impl Into<Reasons>) -> Verdict {
        Verdict::Unresolvable(reason.into())
    }

    pub fn fits(&self) -> bool {
        matches!(self, Verdict::Fits)
    }

    /// The reasons; none if the node fits.
    pub fn reasons(&self) -> impl Iterator<Item = &Reason> {
        let reasons = match self {
            Verdict::Fits => None,
            Verdict::Unschedulable(reasons) | Verdict::Unresolvable(reasons) => Some(reasons),
        };
        reasons.into_iter().flat_map(Reasons::iter)
    }
}

/// What a filter found before it looks at single nodes.
#[derive(Debug, PartialEq)]
pub enum PreFilterOutcome<S> {
    /// The plugin has nothing to say about this pod.
    Skip,
    Check(S),
    /// Only these nodes come into question.
    CheckOnly(S, BTreeSet<String>),
    /// No node will do, and preemption does not help.
    Reject(String),
}

/// A plugin's name, and what may change its mind.
pub trait Plugin: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// True if, after this event, a pod that the plugin rejected may fit. When in doubt, true: it costs one more try.
    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool;
}

/// Whether a pod may be tried at all.
pub trait PreEnqueue: Plugin {
    /// The error says what the pod waits for.
    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), String>;
}

pub trait PreFilter: Plugin {
    /// What the plugin works out once for a pod.
    type State: Clone + Send + Sync + 'static;

    fn pre_filter(&self, pod: &Arc<PodInfo>, nodes: &Snapshot) -> PreFilterOutcome<Self::State>;

    /// Brings the state up to date with one pod more on a node. `node` may or may not show it yet.
    fn add_pod(&self, _state: &mut Self::State, _added: &PodInfo, _node: &NodeInfo) {}

    /// Brings the state up to date with one pod less on a node.
    fn remove_pod(&self, _state: &mut Self::State, _removed: &PodInfo, _node: &NodeInfo) {}
}

pub trait Filter: PreFilter {
    /// Runs once per node: reads `node` only and, where it fits, allocates nothing.
    fn filter(&self, state: &Self::State, node: &NodeInfo) -> Verdict;
}

pub trait PreScore: Plugin {
    /// What the plugin works out once for a pod and the nodes that fit.
    type State: Send + Sync + 'static;

    /// `None`: the plugin tells no difference between the nodes.
    fn pre_score(&self, pod: &Arc<PodInfo>, feasible: &[Arc<NodeInfo>], nodes: &Snapshot) -> Option<Self::State>;
}

pub trait Score: PreScore {
    /// The raw score: comparable between nodes, in a range of the plugin's own.
    fn score(&self, state: &Self::State, node: &NodeInfo) -> i64;

    /// Brings the raw scores of all feasible nodes into 0 to [`MAX_SCORE`].
    fn normalize(&self, _state: &Self::State, _scores: &mut [i64]) {}
}

/// What is tried when no node fits.
pub trait PostFilter: Plugin {
    fn post_filter(&self, failed: &crate::cycle::Failed<'_>) -> PostFilterOutcome;
}

#[derive(Debug, PartialEq)]
pub enum PostFilterOutcome {
    /// Room can be made on a node by deleting these pods.
    Nominated(Nomination),
    /// Nothing helps, and why, as the user reads it.
    Unschedulable(String),
}

/// A node that will have room for a pod once the victims are gone.
#[derive(Debug)]
pub struct Nomination {
    pub node: String,
    pub victims: Vec<Arc<PodInfo>>,
}

impl PartialEq for Nomination {
    fn eq(&self, other: &Nomination) -> bool {
        self.node == other.node && self.victims.iter().map(|pod| pod.uid()).eq(other.victims.iter().map(|pod| pod.uid()))
    }
}

/// Scales scores to 0..=100 by their maximum; `reverse` makes the lowest raw score the best.
pub fn normalize_by_maximum(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if highest == 0 { 0 } else { MAX_SCORE * *score / highest };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

/// A filter at work on one pod: plugin and state together, whatever their types.
pub trait ActiveFilter: Send + Sync {
    fn name(&self) -> &'static str;
    fn filter(&self, node: &NodeInfo) -> Verdict;
    fn add_pod(&mut self, added: &PodInfo, node: &NodeInfo);
    fn remove_pod(&mut self, removed: &PodInfo, node: &NodeInfo);
    fn boxed_clone(&self) -> Box<dyn ActiveFilter>;
}

impl Clone for Box<dyn ActiveFilter> {
    fn clone(&self) -> Box<dyn ActiveFilter> {
        (**self).boxed_clone()
    }
}

/// A score at work on one pod.
pub trait ActiveScore: Send + Sync {
    fn name(&self) -> &'static str;
    fn score(&self, node: &NodeInfo) -> i64;
    fn normalize(&self, scores: &mut [i64]);
}

/// A filter plugin as the runtime holds it.
pub trait AnyFilter: Send + Sync {
    fn name(&self) -> &'static str;
    fn start(&self, pod: &Arc<PodInfo>, nodes: &Snapshot) -> PreFilterOutcome<Box<dyn ActiveFilter>>;
}

/// A score plugin as the runtime holds it.
pub trait AnyScore: Send + Sync {
    fn name(&self) -> &'static str;
    fn start(&self, pod: &Arc<PodInfo>, feasible: &[Arc<NodeInfo>], nodes: &Snapshot) -> Option<Box<dyn ActiveScore>>;
}

struct Held<P>(Arc<P>);

struct Running<P, S> {
    plugin: Arc<P>,
    state: S,
}

/// Hides the type of a filter plugin.
pub fn any_filter<P: Filter>(plugin: &Arc<P>) -> Arc<dyn AnyFilter> {
    Arc::new(Held(plugin.clone()))
}

/// Hides the type of a score plugin.
pub fn any_score<P: Score>(plugin: &Arc<P>) -> Arc<dyn AnyScore> {
    Arc::new(Held(plugin.clone()))
}

impl<P: Filter> AnyFilter for Held<P> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn start(&self, pod: &Arc<PodInfo>, nodes: &Snapshot) -> PreFilterOutcome<Box<dyn ActiveFilter>> {
        let running = |state| -> Box<dyn ActiveFilter> { Box::new(Running { plugin: self.0.clone(), state }) };
        match self.0.pre_filter(pod, nodes) {
            PreFilterOutcome::Skip => PreFilterOutcome::Skip,
            PreFilterOutcome::Check(state) => PreFilterOutcome::Check(running(state)),
            PreFilterOutcome::CheckOnly(state, names) => PreFilterOutcome::CheckOnly(running(state), names),
            PreFilterOutcome::Reject(reason) => PreFilterOutcome::Reject(reason),
        }
    }
}

impl<P: Filter> ActiveFilter for Running<P, P::State> {
    fn name(&self) -> &'static str {
        self.plugin.name()
    }

    fn filter(&self, node: &NodeInfo) -> Verdict {
        self.plugin.filter(&self.state, node)
    }

    fn add_pod(&mut self, added: &PodInfo, node: &NodeInfo) {
        self.plugin.add_pod(&mut self.state, added, node);
    }

    fn remove_pod(&mut self, removed: &PodInfo, node: &NodeInfo) {
        self.plugin.remove_pod(&mut self.state, removed, node);
    }

    fn boxed_clone(&self) -> Box<dyn ActiveFilter> {
        Box::new(Running { plugin: self.plugin.clone(), state: self.state.clone() })
    }
}

impl<P: Score> AnyScore for Held<P> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn start(&self, pod: &Arc<PodInfo>, feasible: &[Arc<NodeInfo>], nodes: &Snapshot) -> Option<Box<dyn ActiveScore>> {
        let state = self.0.pre_score(pod, feasible, nodes)?;
        Some(Box::new(Running { plugin: self.0.clone(), state }))
    }
}

impl<P: Score> ActiveScore for Running<P, P::State> {
    fn name(&self) -> &'static str {
        self.plugin.name()
    }

    fn score(&self, node: &NodeInfo) -> i64 {
        self.plugin.score(&self.state, node)
    }

    fn normalize(&self, scores: &mut [i64]) {
        self.plugin.normalize(&self.state, scores);
    }
}
