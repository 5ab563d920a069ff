//! A pod as the runtime knows it: its sandboxes and containers, past and present.

use super::labels;
use cri_api::v1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    Created,
    Running,
    Exited,
    #[default]
    Unknown,
}

impl From<i32> for State {
    fn from(state: i32) -> Self {
        match v1::ContainerState::try_from(state) {
            Ok(v1::ContainerState::Created) => State::Created,
            Ok(v1::ContainerState::Running) => State::Running,
            Ok(v1::ContainerState::Exited) => State::Exited,
            _ => State::Unknown,
        }
    }
}

/// One container that exists in the runtime. Times are nanoseconds since 1970, 0 for never.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerStatus {
    pub id: String,
    pub name: String,
    pub state: State,
    pub created_at: i64,
    pub started_at: i64,
    pub finished_at: i64,
    pub exit_code: i32,
    pub image: String,
    /// What the runtime resolved the image to.
    pub image_ref: String,
    pub image_id: String,
    pub hash: u64,
    pub restart_count: u32,
    pub reason: String,
    pub message: String,
    pub log_path: String,
    /// Where the termination message file is on this machine, and whether the end of the log may stand in for it.
    pub termination_message_path: Option<String>,
    pub termination_message_fallback: bool,
    pub resources: Option<v1::LinuxContainerResources>,
    pub user: Option<v1::LinuxContainerUser>,
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl ContainerStatus {
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    pub fn succeeded(&self) -> bool {
        self.state == State::Exited && self.exit_code == 0
    }

    /// Ended badly, or in a state that cannot be told from that.
    pub fn failed(&self) -> bool {
        match self.state {
            State::Exited => self.exit_code != 0,
            State::Unknown => true,
            _ => false,
        }
    }

    pub fn from_cri(status: v1::ContainerStatus) -> Self {
        let info = labels::ContainerInfo::read(&status.labels, &status.annotations);
        let message_path = info.termination_message_path.as_deref();
        let host_path = message_path
            .and_then(|path| status.mounts.iter().find(|mount| mount.container_path == path))
            .map(|mount| mount.host_path.clone());
        ContainerStatus {
            id: status.id,
            name: info.name,
            state: State::from(status.state),
            created_at: status.created_at,
            started_at: status.started_at,
            finished_at: status.finished_at,
            exit_code: status.exit_code,
            image: status.image.map(|image| image.image).unwrap_or_default(),
            image_ref: status.image_ref,
            image_id: status.image_id,
            hash: info.hash,
            restart_count: info.restart_count,
            reason: status.reason,
            message: status.message,
            log_path: status.log_path,
            termination_message_path: host_path,
            termination_message_fallback: info.termination_message_policy == "FallbackToLogsOnError",
            resources: status.resources.and_then(|resources| resources.linux),
            user: status.user.and_then(|user| user.linux),
            annotations: status.annotations,
        }
    }
}

/// All that the runtime has of one pod: newest first in both lists.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodStatus {
    pub uid: String,
    pub name: String,
    pub namespace: String,
    /// Addresses of the newest ready sandbox.
    pub ips: Vec<String>,
    pub sandboxes: Vec<v1::PodSandboxStatus>,
    pub containers: Vec<ContainerStatus>,
}

impl PodStatus {
    /// The newest container of that name.
    pub fn container(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().find(|container| container.name == name)
    }

    pub fn running(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.containers.iter().filter(|container| container.is_running())
    }

    pub fn ready_sandbox(&self) -> Option<&v1::PodSandboxStatus> {
        self.sandboxes.iter().find(|sandbox| is_ready(sandbox))
    }
}

pub fn is_ready(sandbox: &v1::PodSandboxStatus) -> bool {
    sandbox.state == v1::PodSandboxState::Ready as i32
}
