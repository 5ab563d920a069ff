//! Scratch space that lives as long as the pod, on disk or in memory.

use super::{Plugin, SetUp, mounts};
use api::core::v1::Volume;
use apimachinery::Quantity;
use async_trait::async_trait;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

pub struct EmptyDir;

#[async_trait]
impl Plugin for EmptyDir {
    fn directory_name(&self) -> &'static str {
        "kubernetes.io~empty-dir"
    }

    fn supports(&self, volume: &Volume) -> bool {
        volume.volume_source.empty_dir.is_some()
    }

    async fn set_up(&self, set_up: &SetUp<'_>) -> Result<PathBuf, String> {
        let source = set_up.volume.volume_source.empty_dir.as_ref().ok_or("not an emptyDir volume")?;
        let directory = set_up.directory;
        let group = set_up.group();
        let mode = if group.is_some() { 0o2777 } else { 0o777 };
        let make = || -> std::io::Result<()> {
            if directory.exists() {
                return Ok(());
            }
            match source.medium.as_str() {
                "Memory" => {
                    let size = source.size_limit.as_ref().map(Quantity::value).filter(|size| *size > 0);
                    mounts::tmpfs(directory, size, mode)?;
                }
                _ => std::fs::create_dir_all(directory)?,
            }
            if let Some(group) = group {
                std::os::unix::fs::chown(directory, None, Some(group))?;
            }
            // Whatever the process's umask and the owner's change made of it.
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))
        };
        if source.medium.starts_with("HugePages") {
            return Err("the medium HugePages is not supported by this kubelet yet".to_owned());
        }
        make().map_err(|err| format!("cannot make {}: {err}", directory.display()))?;
        Ok(directory.to_owned())
    }
}
