//! Secrets as files, in memory so that they never reach a disk.

use super::payload::{self, DEFAULT_MODE};
use super::{Plugin, SetUp, atomic_writer, mounts};
use api::core::v1::Volume;
use async_trait::async_trait;
use std::path::PathBuf;

pub struct SecretVolume;

#[async_trait]
impl Plugin for SecretVolume {
    fn directory_name(&self) -> &'static str {
        "kubernetes.io~secret"
    }

    fn supports(&self, volume: &Volume) -> bool {
        volume.volume_source.secret.is_some()
    }

    async fn set_up(&self, set_up: &SetUp<'_>) -> Result<PathBuf, String> {
        let source = set_up.volume.volume_source.secret.as_ref().ok_or("not a secret volume")?;
        let optional = source.optional.unwrap_or(false);
        let payload = match set_up.node.objects.secret(set_up.pod, &source.secret_name).await {
            Ok(secret) => payload::secret(&secret, &source.items, source.default_mode.unwrap_or(DEFAULT_MODE), optional)?,
            Err(err) if err.is_not_found() && optional => Default::default(),
            Err(err) => return Err(err.to_string()),
        };
        mounts::tmpfs(set_up.directory, None, 0o777).map_err(|err| err.to_string())?;
        atomic_writer::write(set_up.directory, &payload, set_up.group()).map_err(|err| err.to_string())?;
        Ok(set_up.directory.to_owned())
    }
}
