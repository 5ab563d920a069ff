//! Indexed Jobs: which index each Pod has, and lists of indexes as text (`1,3-5`).
//!
//! Upstream: pkg/controller/job/indexed_job_utils.go.

use std::collections::BTreeSet;
use std::sync::Arc;

use api::batch::v1::Job;
use api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::{Observed, Slot, Tally, is_indexed};

pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
pub(super) const FAILURE_COUNT: &str = "batch.kubernetes.io/job-index-failure-count";

/// The Pod's index, if its Job is indexed and it has one.
pub(super) fn of_pod(job: &Job, pod: &Pod) -> Option<i32> {
    if !is_indexed(job) {
        return None;
    }
    pod.metadata.annotations.get(INDEX)?.parse().ok()
}

/// Reads `1,3-5`; what cannot be read is left out.
pub(super) fn parse(text: &str) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            all.extend(first..=last);
        }
    }
    all
}

/// Writes `1,3-5`: two in a row stay apart, as upstream has them.
pub(super) fn format(all: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in all {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let run = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(run).collect::<Vec<_>>().join(",")
}

fn failure_count(pod: &Pod) -> i32 {
    pod.metadata.annotations.get(FAILURE_COUNT).and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Whether this failed Pod was its index's last try.
pub(super) fn is_out_of_tries(job: &Job, pod: &Pod) -> bool {
    job.spec.backoff_limit_per_index.is_some_and(|limit| failure_count(pod) >= limit)
}

/// Active Pods that no index needs: the second of one index, one beyond the completions, one whose index is done.
pub(super) fn needless(job: &Job, active: &[Arc<Pod>], done: &BTreeSet<i32>) -> Vec<Arc<Pod>> {
    let mut taken = done.clone();
    let mut by_age: Vec<&Arc<Pod>> = active.iter().collect();
    by_age.sort_by_key(|pod| (pod.metadata.creation_timestamp, pod.metadata.name.clone()));
    let completions = job.spec.completions.unwrap_or(0);
    let is_needless = |pod: &&Arc<Pod>| match of_pod(job, pod) {
        Some(index) => index >= completions || !taken.insert(index),
        None => true,
    };
    by_age.into_iter().filter(is_needless).cloned().collect()
}

/// Indexes that want a Pod, lowest first.
pub(super) fn free<'a>(seen: &'a Observed<'_>, active: &[Arc<Pod>], tally: &'a Tally<'_>) -> impl Iterator<Item = Slot> + 'a {
    let job = seen.job;
    let mut busy: BTreeSet<i32> = active.iter().filter_map(|pod| of_pod(job, pod)).collect();
    if super::replaces_only_failed(job) {
        let leaving = seen.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some());
        busy.extend(leaving.filter(|pod| !component_helpers::pod::is_terminal(pod)).filter_map(|pod| of_pod(job, pod)));
    }
    let wanted = move |index: &i32| !busy.contains(index) && !tally.done.contains(index) && !tally.lost.contains(index);
    (0..job.spec.completions.unwrap_or(0)).filter(wanted).map(move |index| {
        let failed = seen.pods.iter().filter(|pod| of_pod(job, pod) == Some(index) && super::has_failed(job, pod));
        let failures = job.spec.backoff_limit_per_index.map(|_| failed.map(|pod| failure_count(pod) + 1).max().unwrap_or(0));
        Slot { index: Some(index), failures }
    })
}

/// Gives a new Pod its index: name, host name, label, annotation and environment.
pub(super) fn put(job: &Job, pod: &mut Pod, slot: Slot) {
    let Some(index) = slot.index else { return };
    pod.metadata.generate_name = format!("{}-{index}-", job.metadata.name);
    pod.spec.hostname = format!("{}-{index}", job.metadata.name);
    pod.metadata.labels.insert(INDEX, index.to_string());
    pod.metadata.annotations.insert(INDEX, index.to_string());
    if let Some(failures) = slot.failures {
        pod.metadata.annotations.insert(FAILURE_COUNT, failures.to_string());
    }
    let name = "JOB_COMPLETION_INDEX";
    for container in pod.spec.containers.iter_mut().chain(pod.spec.init_containers.iter_mut()) {
        if container.env.iter().any(|variable| variable.name == name) {
            continue;
        }
        let field = ObjectFieldSelector { field_path: format!("metadata.labels['{INDEX}']"), ..Default::default() };
        let source = EnvVarSource { field_ref: Some(Box::new(field)), ..Default::default() };
        container.env.push(EnvVar { name: name.into(), value_from: Some(Box::new(source)), ..Default::default() });
    }
}
