//! Container logs on disk: the runtime writes them, the kubelet reads, follows and rotates them.
//!
//! Layout: `/var/log/pods/NAMESPACE_NAME_UID/CONTAINER/RESTARTS.log`, and for log collectors a link
//! `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log` to it. Upstream: pkg/kubelet/kuberuntime/logs, pkg/kubelet/logs.

pub mod read;
pub mod rotate;

use std::path::{Path, PathBuf};

/// The directory of all logs of one pod.
pub fn pod_directory(root: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    root.join(format!("{namespace}_{name}_{uid}"))
}

/// A container's log file below its pod's log directory.
pub fn container_file(container: &str, restarts: u32) -> String {
    format!("{container}/{restarts}.log")
}

/// The link under which collectors find the log of one container; names are cut so that it fits a file name.
pub fn legacy_link(directory: &Path, pod: &str, namespace: &str, container: &str, id: &str) -> PathBuf {
    let mut name = format!("{pod}_{namespace}_{container}");
    name.truncate(251 - id.len().min(200));
    directory.join(format!("{name}-{id}.log"))
}
