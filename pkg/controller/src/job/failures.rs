//! Failed Pods: what the failure policy makes of one, and how long to rest before the next try.
//!
//! Upstream: pkg/controller/job/{pod_failure_policy,backoff_utils}.go.

use api::batch::v1::{Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule};
use api::core::v1::{ContainerStatus, Pod};
use apimachinery::Time;

use super::{BACKOFF, Observed, Slot, has_failed, indexes};

/// What a failed Pod means for its Job.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Count,
    /// As if it had never been.
    Ignore,
    FailIndex,
    /// The Job fails, for this reason.
    FailJob(String),
}

/// The first rule that matches decides.
pub(super) fn verdict(job: &Job, pod: &Pod) -> Verdict {
    let Some(policy) = &job.spec.pod_failure_policy else { return Verdict::Count };
    // A Pod on its way out has not told its exit codes yet.
    if pod.status.phase != "Failed" {
        return Verdict::Count;
    }
    for (number, rule) in policy.rules.iter().enumerate() {
        if let Some(what) = matched(rule, pod) {
            return match rule.action.as_str() {
                "Ignore" => Verdict::Ignore,
                "FailIndex" if job.spec.backoff_limit_per_index.is_some() => Verdict::FailIndex,
                "FailJob" => Verdict::FailJob(format!("{what} matching FailJob rule at index {number}")),
                _ => Verdict::Count,
            };
        }
    }
    Verdict::Count
}

fn matched(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let full_name = format!("{}/{}", pod.metadata.namespace, pod.metadata.name);
    if let Some(requirement) = &rule.on_exit_codes {
        let status = &pod.status;
        let all = status.container_statuses.iter().chain(status.init_container_statuses.iter());
        return all
            .filter_map(|container| exit_code(container).map(|code| (container, code)))
            .find(|(container, code)| fits(requirement, container, *code))
            .map(|(container, code)| format!("Container {} for pod {full_name} failed with exit code {code}", container.name));
    }
    let fits = |condition: &&api::core::v1::PodCondition| {
        rule.on_pod_conditions.iter().any(|pattern| pattern.type_ == condition.type_ && pattern.status == condition.status)
    };
    pod.status.conditions.iter().find(fits).map(|condition| format!("Pod {full_name} has condition {}", condition.type_))
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    container.state.terminated.as_ref().map(|ended| ended.exit_code).filter(|code| *code != 0)
}

fn fits(requirement: &PodFailurePolicyOnExitCodesRequirement, container: &ContainerStatus, code: i32) -> bool {
    let named = requirement.container_name.as_ref().is_none_or(|name| *name == container.name);
    named && (requirement.operator == "In") == requirement.values.contains(&code)
}

/// When a Pod came to its end, as well as can be told.
fn ended_at(pod: &Pod, now: Time) -> Time {
    let of = |container: &ContainerStatus| container.state.terminated.as_ref().map(|ended| ended.finished_at).filter(|at| !at.is_zero());
    let by_containers = pod.status.container_statuses.iter().filter_map(of).max();
    let by_condition =
        || component_helpers::pod::condition(&pod.status, "Ready").map(|ready| ready.last_transition_time).filter(|at| !at.is_zero());
    by_containers.or(pod.metadata.deletion_timestamp).or_else(by_condition).unwrap_or(now)
}

fn backoff(failures: usize) -> i64 {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    BACKOFF.0.checked_shl(doublings).filter(|seconds| doublings < 20 && *seconds > 0).unwrap_or(BACKOFF.1).min(BACKOFF.1)
}

/// Seconds until a Pod may be made again, counting the failures since the last success.
pub(super) fn rest(seen: &Observed<'_>) -> Option<i64> {
    let succeeded = seen.pods.iter().filter(|pod| pod.status.phase == "Succeeded").map(|pod| ended_at(pod, seen.now)).max();
    // A Pod that is merely deleted did not fail: it is replaced at once.
    let failed = seen.pods.iter().filter(|pod| pod.status.phase == "Failed" && verdict(seen.job, pod) != Verdict::Ignore);
    let ends: Vec<Time> = failed.map(|pod| ended_at(pod, seen.now)).filter(|at| succeeded.is_none_or(|last| *at > last)).collect();
    let left = backoff(ends.len()) - seen.now.seconds_since(*ends.iter().max()?);
    (left > 0).then_some(left)
}

/// As [`rest`], for one index that has a limit of its own.
pub(super) fn rest_of_index(seen: &Observed<'_>, slot: Slot) -> Option<i64> {
    let failures = usize::try_from(slot.failures?).ok().filter(|failures| *failures > 0)?;
    let failed = seen.pods.iter().filter(|pod| indexes::of_pod(seen.job, pod) == slot.index && has_failed(seen.job, pod));
    let last = failed.map(|pod| ended_at(pod, seen.now)).max()?;
    let left = backoff(failures) - seen.now.seconds_since(last);
    (left > 0).then_some(left)
}
