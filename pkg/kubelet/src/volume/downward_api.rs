//! What a pod may know of itself, as files.

use super::payload::{self, DEFAULT_MODE};
use super::{Plugin, SetUp, atomic_writer, mounts};
use api::core::v1::Volume;
use async_trait::async_trait;
use std::path::PathBuf;

pub struct DownwardApi;

#[async_trait]
impl Plugin for DownwardApi {
    fn directory_name(&self) -> &'static str {
        "kubernetes.io~downward-api"
    }

    fn supports(&self, volume: &Volume) -> bool {
        volume.volume_source.downward_api.is_some()
    }

    async fn set_up(&self, set_up: &SetUp<'_>) -> Result<PathBuf, String> {
        let source = set_up.volume.volume_source.downward_api.as_ref().ok_or("not a downwardAPI volume")?;
        let payload = payload::downward_api(set_up.node, set_up.pod, &source.items, source.default_mode.unwrap_or(DEFAULT_MODE))?;
        mounts::tmpfs(set_up.directory, None, 0o777).map_err(|err| err.to_string())?;
        atomic_writer::write(set_up.directory, &payload, set_up.group()).map_err(|err| err.to_string())?;
        Ok(set_up.directory.to_owned())
    }
}
