//! Config maps as files.

use super::payload::{self, DEFAULT_MODE};
use super::{Plugin, SetUp, atomic_writer};
use api::core::v1::Volume;
use async_trait::async_trait;
use std::path::PathBuf;

pub struct ConfigMapVolume;

#[async_trait]
impl Plugin for ConfigMapVolume {
    fn directory_name(&self) -> &'static str {
        "kubernetes.io~configmap"
    }

    fn supports(&self, volume: &Volume) -> bool {
        volume.volume_source.config_map.is_some()
    }

    async fn set_up(&self, set_up: &SetUp<'_>) -> Result<PathBuf, String> {
        let source = set_up.volume.volume_source.config_map.as_ref().ok_or("not a configMap volume")?;
        let optional = source.optional.unwrap_or(false);
        let name = &source.local_object_reference.name;
        let payload = match set_up.node.objects.config_map(set_up.pod, name).await {
            Ok(map) => payload::config_map(&map, &source.items, source.default_mode.unwrap_or(DEFAULT_MODE), optional)
                .map_err(|err| format!("configmap {err}"))?,
            Err(err) if err.is_not_found() && optional => Default::default(),
            Err(err) => return Err(err.to_string()),
        };
        std::fs::create_dir_all(set_up.directory).map_err(|err| err.to_string())?;
        atomic_writer::write(set_up.directory, &payload, set_up.group()).map_err(|err| err.to_string())?;
        Ok(set_up.directory.to_owned())
    }
}
