//! DefaultPreemption: makes room by deleting pods of lower priority. Upstream: pkg/scheduler/framework/{preemption,plugins/defaultpreemption}.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use api::policy::v1::PodDisruptionBudget;
use apimachinery::Time;

use crate::cycle::{Failed, Unfit, check};
use crate::events::ClusterEvent;
use crate::framework::{Nomination, Plugin, PostFilter, PostFilterOutcome, Verdict};
use crate::node_info::NodeInfo;
use crate::pod_info::{PodInfo, selector_of};
use crate::snapshot::Objects;

pub const NAME: &str = "DefaultPreemption";
pub const REASON_NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
pub const REASON_NO_VICTIMS: &str = "No preemption victims found for incoming pod";

#[derive(Debug)]
pub struct DefaultPreemption {
    /// At least this share of the nodes, in percent, and at least this number is looked at for candidates.
    pub min_candidates_percentage: usize,
    pub min_candidates: usize,
}

impl Default for DefaultPreemption {
    fn default() -> DefaultPreemption {
        DefaultPreemption { min_candidates_percentage: 10, min_candidates: 100 }
    }
}

/// A node and who would have to go from it.
#[derive(Debug)]
struct Candidate {
    node: String,
    /// Most important first.
    victims: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget would rather keep.
    violations: usize,
}

/// Why the pod must not preempt anybody.
fn not_eligible(failed: &Failed<'_>) -> Option<&'static str> {
    let pod = failed.pod;
    if pod.pod.spec.preemption_policy.as_deref() == Some("Never") {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let at = failed.snapshot.position(&pod.pod.status.nominated_node_name)?;
    if matches!(failed.verdicts.get(at), Some(Verdict::Unresolvable(_))) {
        return None; // The node has become impossible: look for another.
    }
    let leaving = |other: &Arc<PodInfo>| other.priority() < pod.priority() && is_leaving_for_preemption(other);
    failed.snapshot.nodes()[at].pods().iter().any(leaving).then_some("not eligible due to a terminating pod on the nominated node.")
}

fn is_leaving_for_preemption(pod: &Arc<PodInfo>) -> bool {
    let target = component_helpers::pod::condition(&pod.pod.status, "DisruptionTarget");
    pod.is_being_deleted() && target.is_some_and(|target| target.status == "True" && target.reason == "PreemptionByScheduler")
}

/// Most important first: by priority, then by how long it has run.
fn importance(pod: &PodInfo) -> (Reverse<i32>, i64) {
    (Reverse(pod.priority()), started(pod).unix())
}

fn started(pod: &PodInfo) -> Time {
    pod.pod.status.start_time.unwrap_or(Time::from_unix(i64::MAX / 2))
}

impl DefaultPreemption {
    /// How many candidates are enough, of so many nodes that come into question.
    fn enough(&self, nodes: usize) -> usize {
        (nodes * self.min_candidates_percentage / 100).max(self.min_candidates).min(nodes)
    }

    fn find(&self, failed: &Failed<'_>) -> Result<Candidate, Box<Unfit>> {
        let nodes = failed.snapshot.nodes();
        let possible: Vec<&Arc<NodeInfo>> = nodes
            .iter()
            .zip(failed.verdicts)
            .filter(|(_, verdict)| matches!(verdict, Verdict::Unschedulable(_)))
            .map(|(node, _)| node)
            .collect();
        let mut unfit = Box::new(Unfit { nodes: nodes.len(), ..Unfit::default() });
        let mut note = |reason: &str, count: usize| *unfit.reasons.entry(reason.to_owned()).or_default() += count;
        if possible.len() < nodes.len() {
            note(REASON_NOT_HELPFUL, nodes.len() - possible.len());
        }
        let (enough, offset) = (self.enough(possible.len()), failed.random as usize);
        let mut candidates: Vec<Candidate> = Vec::new();
        for step in 0..possible.len() {
            let node = possible[offset.wrapping_add(step) % possible.len()];
            match victims_on(failed, node) {
                Ok(candidate) => candidates.push(candidate),
                Err(verdict) => verdict.reasons().for_each(|reason| note(reason, 1)),
            }
            // Nodes whose victims nobody's budget protects are wanted among the candidates.
            if candidates.len() >= enough && candidates.iter().any(|candidate| candidate.violations == 0) {
                break;
            }
        }
        candidates.into_iter().min_by_key(cost).ok_or(unfit)
    }
}

/// What it would cost to choose the candidate; the least wins, the earlier of equals.
fn cost(candidate: &Candidate) -> (usize, i32, i64, usize, Reverse<i64>) {
    let highest = candidate.victims.first().map_or(i32::MIN, |victim| victim.priority());
    // Shifted so that more victims of negative priority cost more, not less.
    let sum = candidate.victims.iter().map(|victim| i64::from(victim.priority()) + i64::from(i32::MAX) + 1).sum();
    let most_important = candidate.victims.iter().filter(|victim| victim.priority() == highest);
    let earliest = most_important.map(|victim| started(victim).unix()).min().unwrap_or(i64::MAX);
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(earliest))
}

/// The least important pods whose going lets the pod fit.
fn victims_on(failed: &Failed<'_>, node: &NodeInfo) -> Result<Candidate, Verdict> {
    let pod = failed.pod;
    let mut filters = failed.filters.to_vec();
    let mut without = node.clone();
    let mut potential: Vec<Arc<PodInfo>> = node.pods().iter().filter(|other| other.priority() < pod.priority()).cloned().collect();
    if potential.is_empty() {
        return Err(Verdict::unresolvable(REASON_NO_VICTIMS));
    }
    for other in &potential {
        without.remove_pod(other.uid());
        for filter in &mut filters {
            filter.remove_pod(other, &without);
        }
    }
    check(&filters, pod, &without, failed.snapshot).map_err(|(_, verdict)| verdict)?;

    // Bring back as many as possible, those protected by a budget first, the most important first.
    potential.sort_by_key(|other| importance(other));
    let (violating, others) = split_by_budgets(potential, &failed.snapshot.objects);
    let mut victims = Vec::new();
    let mut violations = 0;
    for (other, violates) in violating.into_iter().map(|pod| (pod, true)).chain(others.into_iter().map(|pod| (pod, false))) {
        without.add_pod(other.clone());
        for filter in &mut filters {
            filter.add_pod(&other, &without);
        }
        if check(&filters, pod, &without, failed.snapshot).is_err() {
            without.remove_pod(other.uid());
            for filter in &mut filters {
                filter.remove_pod(&other, &without);
            }
            violations += usize::from(violates);
            victims.push(other);
        }
    }
    victims.sort_by_key(|victim| importance(victim));
    Ok(Candidate { node: node.name().to_owned(), victims, violations })
}

/// Parts pods into those whose going would break a disruption budget and the others, keeping their order.
fn split_by_budgets(pods: Vec<Arc<PodInfo>>, objects: &Objects) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let namespaces: BTreeSet<&str> = pods.iter().map(|pod| pod.namespace()).collect();
    let budgets: Vec<&Arc<PodDisruptionBudget>> =
        namespaces.into_iter().flat_map(|namespace| objects.budgets.in_namespace(namespace)).collect();
    let mut allowed: Vec<i32> = budgets.iter().map(|budget| budget.status.disruptions_allowed).collect();
    pods.into_iter().partition(|pod| {
        let mut violates = false;
        for (budget, allowed) in budgets.iter().zip(&mut allowed) {
            let selector = selector_of(budget.spec.selector.as_deref());
            let covers = budget.metadata.namespace == pod.namespace()
                && !pod.labels().is_empty()
                && !selector.is_everything()
                && selector.matches(pod.labels())
                // Already counted by the budget's own status.
                && !budget.status.disrupted_pods.contains_key(&pod.pod.metadata.name);
            if covers {
                *allowed -= 1;
                violates |= *allowed < 0;
            }
        }
        violates
    })
}

impl PostFilter for DefaultPreemption {
    fn post_filter(&self, failed: &Failed<'_>) -> PostFilterOutcome {
        let refuse = |reason: &dyn std::fmt::Display| PostFilterOutcome::Unschedulable(format!("preemption: {reason}"));
        if let Some(reason) = not_eligible(failed) {
            return refuse(&reason);
        }
        match self.find(failed) {
            Ok(Candidate { node, victims, .. }) => PostFilterOutcome::Nominated(Nomination { node, victims }),
            Err(unfit) => refuse(&unfit),
        }
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, _pod: &PodInfo, event: &ClusterEvent) -> bool {
        matches!(event, ClusterEvent::AssignedPodDeleted(_))
    }
}
