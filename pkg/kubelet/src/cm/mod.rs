//! The node's cgroup tree: what belongs to pods, to a QoS class and to one pod.
//!
//! ```text
//! /kubepods                         all pods: the node's allocatable
//!   pod<UID>                        guaranteed pods
//!   burstable/pod<UID>
//!   besteffort/pod<UID>
//! ```
//! The `cgroupfs` driver alone; with the `systemd` driver systemd owns the tree and would have to be asked.
//! Upstream: pkg/kubelet/cm.

pub mod cgroups;
pub mod qos;

use api::core::v1::Pod;
use cgroups::{Cgroups, Limits, Usage};
use qos::QosClass;
use std::io;

const ROOT: &str = "kubepods";

/// What the configuration says about cgroups.
#[derive(Clone, Debug)]
pub struct CgroupConfig {
    /// `cgroupRoot`: where the tree hangs, "/" by default.
    pub root: String,
    /// `cgroupsPerQOS`: without it containers are left where the runtime puts them.
    pub per_qos: bool,
    pub cpu_cfs_quota: bool,
    /// Microseconds.
    pub cpu_period: i64,
    pub pod_pids_limit: i64,
    /// Whether pods together are held to the node's allocatable.
    pub enforce_allocatable: bool,
}

/// Makes, sizes and removes the cgroups of pods.
#[derive(Debug)]
pub struct PodCgroups {
    cgroups: Option<Cgroups>,
    config: CgroupConfig,
}

impl PodCgroups {
    pub fn new(cgroups: Option<Cgroups>, config: CgroupConfig) -> Self {
        PodCgroups { cgroups, config }
    }

    pub fn cgroups(&self) -> Option<&Cgroups> {
        self.cgroups.as_ref()
    }

    pub fn config(&self) -> &CgroupConfig {
        &self.config
    }

    fn managed(&self) -> Option<&Cgroups> {
        self.cgroups.as_ref().filter(|_| self.config.per_qos)
    }

    fn root(&self) -> String {
        format!("{}/{ROOT}", self.config.root.trim_end_matches('/'))
    }

    fn class_path(&self, class: QosClass) -> String {
        match class {
            QosClass::Guaranteed => self.root(),
            QosClass::Burstable => format!("{}/burstable", self.root()),
            QosClass::BestEffort => format!("{}/besteffort", self.root()),
        }
    }

    /// The pod's cgroup, which the runtime is told as parent of its containers; empty if cgroups are not ours to manage.
    pub fn pod_path(&self, pod: &Pod) -> String {
        match self.config.per_qos {
            true => format!("{}/pod{}", self.class_path(QosClass::of(pod)), pod.metadata.uid),
            false => String::new(),
        }
    }

    /// Makes the tree above the pods and holds it to the node's allocatable.
    pub fn start(&self, allocatable_milli_cpu: i64, allocatable_memory: i64) -> io::Result<()> {
        let Some(cgroups) = self.managed() else { return Ok(()) };
        for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
            cgroups.create(&self.class_path(class))?;
        }
        if self.config.enforce_allocatable {
            let limits = Limits {
                cpu_shares: Some(cgroups::milli_cpu_to_shares(allocatable_milli_cpu)),
                memory: Some(allocatable_memory),
                ..Default::default()
            };
            cgroups.limit(&self.root(), &limits)?;
        }
        cgroups.limit(&self.class_path(QosClass::BestEffort), &Limits { cpu_shares: Some(cgroups::MIN_SHARES), ..Default::default() })
    }

    /// Gives the burstable class the cpu weight of all its pods together.
    pub fn update_classes<'a>(&self, pods: impl Iterator<Item = &'a Pod>) -> io::Result<()> {
        let Some(cgroups) = self.managed() else { return Ok(()) };
        let milli: i64 = pods.filter(|pod| QosClass::of(pod) == QosClass::Burstable).map(|pod| qos::pod_request(pod, "cpu")).sum();
        let limits = Limits { cpu_shares: Some(cgroups::milli_cpu_to_shares(milli)), ..Default::default() };
        cgroups.limit(&self.class_path(QosClass::Burstable), &limits)
    }

    /// Makes the pod's cgroup, if it is not there yet, and writes its limits.
    pub fn ensure(&self, pod: &Pod) -> io::Result<()> {
        let Some(cgroups) = self.managed() else { return Ok(()) };
        let path = self.pod_path(pod);
        if cgroups.exists(&path) {
            return Ok(());
        }
        cgroups.create(&path)?;
        let mut limits = qos::pod_limits(pod, self.config.cpu_cfs_quota, self.config.cpu_period);
        limits.pids = Some(self.config.pod_pids_limit).filter(|limit| *limit > 0);
        cgroups.limit(&path, &limits)
    }

    /// Removes the pod's cgroup, in whichever class it was, after killing what the runtime left in it.
    pub fn remove(&self, uid: &str) -> io::Result<()> {
        let Some(cgroups) = self.managed() else { return Ok(()) };
        for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
            let path = format!("{}/pod{uid}", self.class_path(class));
            for process in cgroups.processes(&path) {
                if let Some(process) = rustix::process::Pid::from_raw(process) {
                    let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
                }
            }
            cgroups.remove(&path)?;
        }
        Ok(())
    }

    /// UIDs of all pods that have a cgroup.
    pub fn pods(&self) -> Vec<String> {
        let Some(cgroups) = self.managed() else { return Vec::new() };
        [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort]
            .into_iter()
            .flat_map(|class| cgroups.children(&self.class_path(class)))
            .filter_map(|name| name.strip_prefix("pod").map(str::to_owned))
            .collect()
    }

    pub fn pod_usage(&self, pod: &Pod) -> Usage {
        self.managed().map(|cgroups| cgroups.usage(&self.pod_path(pod))).unwrap_or_default()
    }

    /// Usage of one container, which the runtime puts below its pod.
    pub fn container_usage(&self, pod: &Pod, id: &str) -> Usage {
        self.managed().map(|cgroups| cgroups.usage(&format!("{}/{id}", self.pod_path(pod)))).unwrap_or_default()
    }

    /// Usage of all pods together.
    pub fn pods_usage(&self) -> Usage {
        self.managed().map(|cgroups| cgroups.usage(&self.root())).unwrap_or_default()
    }

    pub fn node_usage(&self) -> Usage {
        self.cgroups.as_ref().map(|cgroups| cgroups.usage("/")).unwrap_or_default()
    }
}
