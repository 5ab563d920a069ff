//! One pod, one look at the world: which node, or why none. Pure; upstream: pkg/scheduler/schedule_one.go.
//!
//! This is the reference path: every node, every plugin. A quicker path may take its place for pods it understands, and has to
//! come to the same choice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thiserror::Error;

use crate::framework::{ActiveFilter, Nomination, PostFilterOutcome, PreFilterOutcome, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::profile::Profile;
use crate::snapshot::Snapshot;

/// The node chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub node: String,
    /// How many nodes were looked at, and how many of them would do.
    pub evaluated: usize,
    pub feasible: usize,
}

/// Why a pod got no node.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("no nodes available to schedule pods")]
    NoNodes,
    #[error("{0}")]
    Unfit(Box<Unfit>),
}

/// Why no node fits, and what can be done about it. Its text is what the user reads in the pod's condition and event.
#[derive(Debug, Default)]
pub struct Unfit {
    pub nodes: usize,
    /// Said before single nodes were looked at; then there are no verdicts.
    pub pre_filter: Option<String>,
    /// How many nodes gave a reason.
    pub reasons: BTreeMap<String, usize>,
    pub post_filter: String,
    /// The plugins that said no.
    pub plugins: BTreeSet<&'static str>,
    pub nomination: Option<Nomination>,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "0/{} nodes are available:", self.nodes)?;
        match &self.pre_filter {
            Some(reason) => write!(out, " {reason}.")?,
            None => {
                // Sorted as texts, count first: so upstream has it.
                let mut counted: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
                counted.sort();
                if !counted.is_empty() {
                    write!(out, " {}.", counted.join(", "))?;
                }
            }
        }
        match self.post_filter.is_empty() {
            true => Ok(()),
            false => write!(out, " {}", self.post_filter),
        }
    }
}

/// What is known after filtering found no node: the ground on which [`PostFilter`](crate::framework::PostFilter) works.
pub struct Failed<'a> {
    pub pod: &'a Arc<PodInfo>,
    pub snapshot: &'a Snapshot,
    pub filters: &'a [Box<dyn ActiveFilter>],
    /// One per node of the snapshot, none of which fits.
    pub verdicts: &'a [Verdict],
    pub random: u64,
}

/// Chooses a node. `random` decides between the best: its remainder by their number is the index among them, in the snapshot's
/// order.
pub fn schedule(profile: &Profile, pod: &Arc<PodInfo>, snapshot: &Snapshot, random: u64) -> Result<Choice, Failure> {
    if snapshot.nodes().is_empty() {
        return Err(Failure::NoNodes);
    }
    let filtered = match find_fitting(profile, pod, snapshot) {
        Ok(filtered) => filtered,
        Err(mut none) => {
            let failed = Failed { pod, snapshot, filters: &none.filters, verdicts: &none.verdicts, random };
            run_post_filters(profile, &failed, &mut none.unfit);
            return Err(Failure::Unfit(Box::new(none.unfit)));
        }
    };
    let Fitting { feasible, evaluated } = filtered;
    let node = match feasible.as_slice() {
        [only] => only,
        _ => {
            let scores = score(profile, pod, &feasible, snapshot);
            &feasible[best(&scores, random)]
        }
    };
    Ok(Choice { node: node.name().to_owned(), evaluated, feasible: feasible.len() })
}

struct Fitting {
    feasible: Vec<Arc<NodeInfo>>,
    evaluated: usize,
}

/// No node fits: why, and what preemption goes on from.
struct NoneFitting {
    unfit: Unfit,
    filters: Vec<Box<dyn ActiveFilter>>,
    verdicts: Vec<Verdict>,
}

fn find_fitting(profile: &Profile, pod: &Arc<PodInfo>, snapshot: &Snapshot) -> Result<Fitting, Box<NoneFitting>> {
    let nodes = snapshot.nodes();
    let mut unfit = Unfit { nodes: nodes.len(), ..Unfit::default() };
    let mut filters: Vec<Box<dyn ActiveFilter>> = Vec::new();
    let mut only: Option<BTreeSet<String>> = None;
    let mut restricting = BTreeSet::new();
    for plugin in &profile.filters {
        match plugin.start(pod, snapshot) {
            PreFilterOutcome::Skip => {}
            PreFilterOutcome::Check(filter) => filters.push(filter),
            PreFilterOutcome::CheckOnly(filter, names) => {
                filters.push(filter);
                restricting.insert(plugin.name());
                let both = match only.take() {
                    Some(before) => before.intersection(&names).cloned().collect(),
                    None => names,
                };
                only = Some(both);
            }
            PreFilterOutcome::Reject(reason) => {
                unfit.plugins.insert(plugin.name());
                let verdicts = vec![Verdict::unresolvable(reason.clone()); nodes.len()];
                unfit.pre_filter = Some(reason);
                return Err(Box::new(NoneFitting { unfit, filters, verdicts }));
            }
        }
    }
    let listed = || restricting.iter().copied().collect::<Vec<_>>().join(" ");
    if only.as_ref().is_some_and(BTreeSet::is_empty) {
        let reason = format!("node(s) didn't satisfy plugin(s) [{}] simultaneously", listed());
        unfit.plugins = restricting;
        unfit.pre_filter = Some(reason.clone());
        let verdicts = vec![Verdict::unresolvable(reason); nodes.len()];
        return Err(Box::new(NoneFitting { unfit, filters, verdicts }));
    }

    // A pod that room was made for goes there if it now fits, whatever else would do.
    let nominated = &pod.pod.status.nominated_node_name;
    if let Some(node) = snapshot.get(nominated).filter(|_| !nominated.is_empty())
        && only.as_ref().is_none_or(|only| only.contains(nominated))
        && check(&filters, pod, node, snapshot).is_ok()
    {
        return Ok(Fitting { feasible: vec![node.clone()], evaluated: 1 });
    }

    let mut feasible = Vec::new();
    let mut verdicts = Vec::with_capacity(nodes.len());
    let mut evaluated = 0;
    for node in nodes {
        if only.as_ref().is_some_and(|only| !only.contains(node.name())) {
            verdicts.push(Verdict::unresolvable(format!("node(s) didn't satisfy plugin(s) [{}]", listed())));
            unfit.plugins.extend(restricting.iter().copied());
            continue;
        }
        evaluated += 1;
        match check(&filters, pod, node, snapshot) {
            Ok(()) => {
                feasible.push(node.clone());
                verdicts.push(Verdict::Fits);
            }
            Err((plugin, verdict)) => {
                unfit.plugins.insert(plugin);
                verdicts.push(verdict);
            }
        }
    }
    if !feasible.is_empty() {
        return Ok(Fitting { feasible, evaluated });
    }
    for reason in verdicts.iter().flat_map(Verdict::reasons) {
        *unfit.reasons.entry(reason.to_string()).or_default() += 1;
    }
    Err(Box::new(NoneFitting { unfit, filters, verdicts }))
}

/// The first plugin that refuses the node.
fn run_filters(filters: &[Box<dyn ActiveFilter>], node: &NodeInfo) -> Result<(), (&'static str, Verdict)> {
    for filter in filters {
        let verdict = filter.filter(node);
        if !verdict.fits() {
            return Err((filter.name(), verdict));
        }
    }
    Ok(())
}

/// Whether the pod fits with, and also without, the pods that are to come here once preemption has made room for them.
///
/// With them, since it must not take their room; without, since it must not lean on pods that may never come.
pub fn check(
    filters: &[Box<dyn ActiveFilter>],
    pod: &PodInfo,
    node: &NodeInfo,
    snapshot: &Snapshot,
) -> Result<(), (&'static str, Verdict)> {
    let expected = snapshot.nominated.get(node.name()).map(Vec::as_slice).unwrap_or_default();
    let expected = expected.iter().filter(|other| other.priority() >= pod.priority() && other.uid() != pod.uid());
    let mut with: Option<(Vec<Box<dyn ActiveFilter>>, NodeInfo)> = None;
    for other in expected {
        let (filters, node) = with.get_or_insert_with(|| (filters.to_vec(), node.clone()));
        for filter in filters {
            filter.add_pod(other, node);
        }
        node.add_pod(other.clone());
    }
    if let Some((filters, node)) = with {
        run_filters(&filters, &node)?;
    }
    run_filters(filters, node)
}

fn run_post_filters(profile: &Profile, failed: &Failed<'_>, unfit: &mut Unfit) {
    let mut reasons = Vec::new();
    for plugin in &profile.post_filters {
        match plugin.post_filter(failed) {
            PostFilterOutcome::Nominated(nomination) => {
                unfit.nomination = Some(nomination);
                return;
            }
            PostFilterOutcome::Unschedulable(reason) => reasons.push(reason),
        }
    }
    unfit.post_filter = reasons.join(", ");
}

/// The weighted sum of the normalized scores of each feasible node.
pub fn score(profile: &Profile, pod: &Arc<PodInfo>, feasible: &[Arc<NodeInfo>], snapshot: &Snapshot) -> Vec<i64> {
    let mut sums = vec![0; feasible.len()];
    for (plugin, weight) in &profile.scores {
        let Some(active) = plugin.start(pod, feasible, snapshot) else { continue };
        let mut scores: Vec<i64> = feasible.iter().map(|node| active.score(node)).collect();
        active.normalize(&mut scores);
        for (sum, score) in sums.iter_mut().zip(scores) {
            *sum += score * weight;
        }
    }
    sums
}

/// The index of a highest score: the one that `random` points at among the equals.
pub fn best(scores: &[i64], random: u64) -> usize {
    let highest = scores.iter().copied().max().unwrap_or(0);
    let tied: Vec<usize> = (0..scores.len()).filter(|at| scores[*at] == highest).collect();
    tied[(random % tied.len().max(1) as u64) as usize]
}

#[cfg(test)]
mod tests;
