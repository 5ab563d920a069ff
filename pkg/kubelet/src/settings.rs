//! What the kubelet's parts need to know of its configuration: complete, checked and constant while it runs.

use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Settings {
    pub node_name: String,
    /// `--hostname-override` or the machine's name.
    pub hostname: String,
    pub node_ips: Vec<String>,
    /// `/var/lib/kubelet`.
    pub root: PathBuf,
    /// `/var/log/pods`.
    pub pod_logs: PathBuf,
    /// `/var/log/containers`, `None` where collectors need no links.
    pub container_logs: Option<PathBuf>,
    pub cluster_domain: String,
    pub max_pods: usize,
    pub sync_period: Duration,
    pub runtime_request_timeout: Duration,
    pub seccomp_default: bool,
    pub log_max_size: u64,
    pub log_max_files: usize,
    pub log_monitor_period: Duration,
    pub max_container_backoff: Duration,
    pub allowed_unsafe_sysctls: Vec<String>,
    pub memory_capacity: i64,
}

impl Settings {
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    pub fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    pub fn container(&self, uid: &str, name: &str) -> PathBuf {
        self.pod(uid).join("containers").join(name)
    }

    pub fn seccomp(&self) -> PathBuf {
        self.root.join("seccomp")
    }
}
