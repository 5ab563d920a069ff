//! Which pods there are: joins what the sources say, and hands each pod to its worker.
//!
//! A static pod is shown to the API server as a mirror: a pod of the same name, made by the kubelet, whose status the
//! kubelet writes and whose deletion has no effect but that it is made again. Upstream: pkg/kubelet/pod.

use crate::cm::qos;
use crate::config::{HASH, MIRROR, PodChange, is_mirror, is_static};
use crate::node::Node;
use crate::pod_workers::{Eviction, PodWorkers};
use api::core::v1::Pod;
use apimachinery::meta::v1::OwnerReference;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a pod may be refused for on arrival: (reason, message).
type Refusal = (String, String);

fn full_name(pod: &Pod) -> (String, String) {
    (pod.metadata.namespace.clone(), pod.metadata.name.clone())
}

/// Kernel settings that no pod can harm another with.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// `allowed` holds names, and prefixes that end in a star.
fn sysctl_allowed(name: &str, allowed: &[String]) -> bool {
    let name = name.replace('/', ".");
    SAFE_SYSCTLS.contains(&name.as_str())
        || allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        })
}

pub struct Pods {
    node: Arc<Node>,
    workers: PodWorkers,
    /// Admitted pods of both sources, by UID.
    admitted: HashMap<String, Arc<Pod>>,
    refused: HashSet<String>,
    statics: HashMap<(String, String), Arc<Pod>>,
    mirrors: HashMap<(String, String), Arc<Pod>>,
    synced: Arc<std::sync::atomic::AtomicBool>,
}

impl Pods {
    pub fn new(node: Arc<Node>, workers: PodWorkers, synced: Arc<std::sync::atomic::AtomicBool>) -> Self {
        Pods { node, workers, admitted: HashMap::new(), refused: HashSet::new(), statics: HashMap::new(), mirrors: HashMap::new(), synced }
    }

    pub async fn run(mut self, mut changes: mpsc::Receiver<PodChange>, stop: CancellationToken) {
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => self.take(change),
                    None => return stop.cancelled().await,
                },
                () = stop.cancelled() => return,
            }
        }
    }

    fn take(&mut self, change: PodChange) {
        match change {
            PodChange::Set(pod) if is_mirror(&pod) => self.mirror_set(pod),
            PodChange::Gone(pod) if is_mirror(&pod) => self.mirror_gone(&pod),
            PodChange::Set(pod) => self.set(pod),
            PodChange::Gone(pod) => self.gone(&pod.metadata.uid),
            PodChange::Files(pods) => self.files(pods),
            PodChange::Synced => {
                self.synced.store(true, std::sync::atomic::Ordering::Release);
                for pod in self.statics.values() {
                    self.ensure_mirror(pod);
                }
            }
        }
    }

    fn set(&mut self, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone();
        if !is_static(&pod) {
            self.node.statuses.observe(&uid, &pod);
        }
        let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        if !self.admitted.contains_key(&uid)
            && !self.refused.contains(&uid)
            && !ended
            && pod.metadata.deletion_timestamp.is_none()
            && let Err((reason, message)) = self.admit(&pod)
        {
            self.refused.insert(uid.clone());
            self.node.events.pod(&pod, None, "Warning", &reason, &message);
            let mut status = pod.status.clone();
            status.phase = "Failed".into();
            status.message = format!("Pod was rejected: {message}");
            status.reason = reason;
            status.observed_generation = pod.metadata.generation;
            status.start_time.get_or_insert_with(apimachinery::Time::now);
            self.node.statuses.set(&uid, status);
        }
        if self.refused.contains(&uid) {
            // Its worker has nothing to run; it waits for the deletion.
            self.workers.update(pod);
            self.workers.evict(&uid, Eviction { reason: String::new(), message: String::new(), grace: Some(0) });
            return;
        }
        let is_new = self.admitted.insert(uid, pod.clone()).is_none();
        self.workers.update(pod);
        if is_new {
            self.update_classes();
        }
    }

    fn gone(&mut self, uid: &str) {
        self.admitted.remove(uid);
        self.refused.remove(uid);
        self.workers.remove(uid);
        self.update_classes();
    }

    fn update_classes(&self) {
        let ended = |pod: &&Arc<Pod>| matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        let pods = self.admitted.values().filter(|pod| !ended(pod)).map(|pod| &**pod);
        if let Err(err) = self.node.cgroups.update_classes(pods) {
            tracing::warn!(err = %err, "cannot size the cgroups of QoS classes");
        }
    }

    /// Whether the node has room: the scheduler may have decided on old news, and files ask nobody.
    fn admit(&self, pod: &Pod) -> Result<(), Refusal> {
        let active: Vec<&Arc<Pod>> =
            self.admitted.values().filter(|other| !matches!(other.status.phase.as_str(), "Succeeded" | "Failed")).collect();
        if active.len() >= self.node.settings.max_pods {
            let (used, max) = (active.len(), self.node.settings.max_pods);
            return Err((
                "OutOfpods".into(),
                format!("Node didn't have enough resource: pods, requested: 1, used: {used}, capacity: {max}"),
            ));
        }
        let sysctls = pod.spec.security_context.iter().flat_map(|context| context.sysctls.iter());
        for sysctl in sysctls {
            if !sysctl_allowed(&sysctl.name, &self.node.settings.allowed_unsafe_sysctls) {
                return Err(("SysctlForbidden".into(), format!("forbidden sysctl: {:?} not allowlisted", sysctl.name)));
            }
        }
        for name in ["cpu", "memory"] {
            let capacity = self.node.allocatable.get(name).map_or(0, |q| if name == "cpu" { q.milli_value() } else { q.value() });
            let used: i64 = active.iter().map(|other| qos::pod_request(other, name)).sum();
            let wanted = qos::pod_request(pod, name);
            if wanted > 0 && wanted + used > capacity {
                let message = format!("Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}");
                return Err((format!("OutOf{name}"), message));
            }
        }
        Ok(())
    }

    fn files(&mut self, pods: Vec<Pod>) {
        let fresh: HashMap<_, _> = pods.into_iter().map(|pod| (full_name(&pod), Arc::new(pod))).collect();
        let gone: Vec<_> = self
            .statics
            .iter()
            .filter(|(name, old)| fresh.get(*name).is_none_or(|new| new.metadata.uid != old.metadata.uid))
            .map(|(name, old)| (name.clone(), old.clone()))
            .collect();
        for (name, old) in gone {
            self.gone(&old.metadata.uid);
            if let Some(mirror) = self.mirrors.get(&name) {
                self.delete_mirror(mirror.clone());
            }
        }
        for (name, pod) in &fresh {
            // The time at which a file was read is no news about its pod.
            if self.statics.get(name).is_none_or(|old| old.metadata.uid != pod.metadata.uid) {
                self.set(pod.clone());
                self.ensure_mirror(pod);
            }
        }
        self.statics = fresh;
    }

    fn mirror_set(&mut self, mirror: Arc<Pod>) {
        let name = full_name(&mirror);
        self.mirrors.insert(name.clone(), mirror.clone());
        match self.statics.get(&name) {
            Some(pod)
                if mirror.metadata.annotations.get(MIRROR) == pod.metadata.annotations.get(HASH)
                    && mirror.metadata.deletion_timestamp.is_none() =>
            {
                self.node.statuses.observe(&pod.metadata.uid, &mirror);
            }
            // Nobody's, or of an old manifest.
            Some(_) | None => self.delete_mirror(mirror),
        }
    }

    fn mirror_gone(&mut self, mirror: &Pod) {
        let name = full_name(mirror);
        self.mirrors.remove(&name);
        if let Some(pod) = self.statics.get(&name) {
            self.ensure_mirror(pod);
        }
    }

    fn delete_mirror(&self, mirror: Arc<Pod>) {
        let node = self.node.clone();
        tokio::spawn(async move {
            let meta = &mirror.metadata;
            if let Err(err) = node.server.delete_pod(&meta.namespace, &meta.name, &meta.uid, 0).await {
                tracing::debug!(object = %meta.name, err = %err, "mirror pod not deleted");
            }
        });
    }

    /// Makes the mirror of a static pod, once the API server's pods are known.
    fn ensure_mirror(&self, pod: &Arc<Pod>) {
        if !self.synced.load(std::sync::atomic::Ordering::Acquire) || self.mirrors.contains_key(&full_name(pod)) || !self.node.has_server {
            return;
        }
        let (node, pod) = (self.node.clone(), pod.clone());
        tokio::spawn(async move {
            let mut mirror = (*pod).clone();
            mirror.metadata.uid = String::new();
            mirror.metadata.creation_timestamp = Default::default();
            mirror.status = Default::default();
            let hash = mirror.metadata.annotations.get(HASH).cloned().unwrap_or_default();
            mirror.metadata.annotations.insert(MIRROR, hash);
            if let Ok(own) = node.server.get_node(&node.settings.node_name).await {
                mirror.metadata.owner_references.push(OwnerReference {
                    api_version: "v1".into(),
                    kind: "Node".into(),
                    name: own.metadata.name,
                    uid: own.metadata.uid,
                    controller: Some(true),
                    ..Default::default()
                });
            }
            if let Err(err) = node.server.create_pod(&mirror).await {
                tracing::error!(object = %mirror.metadata.name, err = %err, "Failed creating a mirror pod");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::sysctl_allowed;

    #[test]
    fn sysctls() {
        let allowed = ["kernel.msg*".to_owned(), "net.core.somaxconn".to_owned()];
        for (name, fine) in [
            ("net.ipv4.tcp_rmem", true),
            ("net/ipv4/tcp_rmem", true),
            ("kernel.msgmax", true),
            ("net.core.somaxconn", true),
            ("kernel.sem", false),
        ] {
            assert_eq!(sysctl_allowed(name, &allowed), fine, "{name}");
        }
    }
}
