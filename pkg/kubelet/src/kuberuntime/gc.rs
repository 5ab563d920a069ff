//! Removes what no longer serves: dead containers but the newest of each name, sandboxes without containers, and all
//! of pods that are gone. Upstream: pkg/kubelet/kuberuntime/kuberuntime_gc.go.

use super::labels;
use crate::clock;
use crate::node::Node;
use cri_api::{Code, Status, v1};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// How many dead containers of one name are kept, for their logs and exit codes.
const KEEP_PER_CONTAINER: usize = 1;
/// A container that was just made, or whose pod is not known yet, is left alone.
const MIN_AGE: Duration = Duration::from_secs(60);

/// Ids to remove: containers first, then sandboxes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub containers: Vec<String>,
    pub sandboxes: Vec<String>,
}

/// `known` says of a pod's UID whether the kubelet still has to do with it.
pub fn plan(sandboxes: &[v1::PodSandbox], containers: &[v1::Container], known: impl Fn(&str) -> bool, now: i64) -> Plan {
    let old = |created: i64| now - created >= MIN_AGE.as_nanos() as i64;
    let uid = |labels: &BTreeMap<String, String>| labels.get(labels::POD_UID).cloned().unwrap_or_default();
    let mut dead: BTreeMap<(String, String), Vec<&v1::Container>> = BTreeMap::new();
    for container in containers.iter().filter(|c| c.state != v1::ContainerState::Running as i32 && old(c.created_at)) {
        let name = container.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default();
        dead.entry((uid(&container.labels), name)).or_default().push(container);
    }
    let mut plan = Plan::default();
    for ((uid, name), mut group) in dead {
        group.sort_by_key(|container| std::cmp::Reverse(container.created_at));
        // A newer one that runs makes no difference: its predecessor's logs are what people ask for.
        let keep = if known(&uid) { KEEP_PER_CONTAINER } else { 0 };
        plan.containers.extend(group.iter().skip(keep).map(|container| container.id.clone()));
        tracing::trace!(uid, name, "looked at dead containers");
    }
    let removed: HashSet<&String> = plan.containers.iter().collect();
    let in_use: HashSet<&String> = containers.iter().filter(|c| !removed.contains(&c.id)).map(|c| &c.pod_sandbox_id).collect();
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    for sandbox in sandboxes {
        let latest = newest.entry(uid(&sandbox.labels)).or_insert(i64::MIN);
        *latest = (*latest).max(sandbox.created_at);
    }
    let unused = sandboxes.iter().filter(|sandbox| {
        let uid = uid(&sandbox.labels);
        let is_newest = newest.get(&uid) == Some(&sandbox.created_at);
        let ready = sandbox.state == v1::PodSandboxState::Ready as i32;
        let wanted = known(&uid) && (ready || is_newest);
        !wanted && !ready && old(sandbox.created_at) && !in_use.contains(&sandbox.id)
    });
    plan.sandboxes = unused.map(|sandbox| sandbox.id.clone()).collect();
    plan
}

pub async fn collect(node: &Node, known: impl Fn(&str) -> bool) -> Result<(), Status> {
    let sandboxes = node.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default());
    let containers = node.runtime.list_containers(v1::ListContainersRequest::default());
    let (sandboxes, containers) = tokio::try_join!(sandboxes, containers)?;
    let plan = plan(&sandboxes.items, &containers.containers, known, clock::now_nanos());
    carry_out(node, &plan).await
}

/// Everything of one pod that has ended for good.
pub async fn remove_pod(node: &Node, uid: &str) -> Result<(), Status> {
    let status = super::pod_status(&node.runtime, uid).await?;
    let plan = Plan {
        containers: status.containers.into_iter().map(|container| container.id).collect(),
        sandboxes: status.sandboxes.into_iter().map(|sandbox| sandbox.id).collect(),
    };
    carry_out(node, &plan).await
}

async fn carry_out(node: &Node, plan: &Plan) -> Result<(), Status> {
    let gone = |result: Result<(), Status>| match result {
        Err(err) if err.code() != Code::NotFound => Err(err),
        _ => Ok(()),
    };
    for id in &plan.containers {
        gone(node.runtime.remove_container(v1::RemoveContainerRequest { container_id: id.clone() }).await.map(|_| ()))?;
        remove_links(node, id);
    }
    for id in &plan.sandboxes {
        super::kill::sandbox_stop(node, id).await?;
        gone(node.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: id.clone() }).await.map(|_| ()))?;
    }
    Ok(())
}

/// The links made for log collectors carry the container's id.
fn remove_links(node: &Node, id: &str) {
    let Some(directory) = &node.settings.container_logs else { return };
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let suffix = format!("-{id}.log");
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(&suffix)) {
        let _ = std::fs::remove_file(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(uid: &str, name: &str) -> BTreeMap<String, String> {
        [(labels::POD_UID, uid), (labels::CONTAINER_NAME, name)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    fn container(id: &str, uid: &str, sandbox: &str, state: v1::ContainerState, created_at: i64) -> v1::Container {
        v1::Container {
            id: id.into(),
            pod_sandbox_id: sandbox.into(),
            state: state as i32,
            created_at,
            labels: labels(uid, "c"),
            ..Default::default()
        }
    }

    fn sandbox(id: &str, uid: &str, ready: bool, created_at: i64) -> v1::PodSandbox {
        let state = if ready { v1::PodSandboxState::Ready } else { v1::PodSandboxState::Notready };
        v1::PodSandbox { id: id.into(), state: state as i32, created_at, labels: labels(uid, ""), ..Default::default() }
    }

    #[test]
    fn what_serves_stays() {
        use v1::ContainerState::{Exited, Running};
        let sandboxes = [sandbox("s0", "known", false, 1), sandbox("s1", "known", true, 2), sandbox("x", "gone", false, 1)];
        let containers = [
            container("old", "known", "s0", Exited, 1),
            container("older", "known", "s0", Exited, 0),
            container("live", "known", "s1", Running, 3),
            container("dead", "gone", "x", Exited, 1),
        ];
        let now = 3600 * 1_000_000_000;
        let known = |uid: &str| uid == "known";
        let plan_now = plan(&sandboxes, &containers, known, now);
        assert_eq!(plan_now, Plan { containers: vec!["dead".into(), "older".into()], sandboxes: vec!["x".into()] });
        assert_eq!(plan(&sandboxes, &containers, known, 10), Plan::default(), "too young to judge");
    }
}
