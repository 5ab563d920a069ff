//! A pod's volumes: made before its containers, kept up to date while they run, taken down after them.
//!
//! One [`Plugin`] per kind, one line in [`PLUGINS`]. What no plugin supports is refused with an event and keeps the pod
//! waiting. Layout as upstream's: `pods/UID/volumes/kubernetes.io~KIND/NAME`. Upstream: pkg/volume, pkg/kubelet/volumemanager.

pub mod atomic_writer;
mod config_map;
mod downward_api;
mod empty_dir;
mod host_path;
pub mod mounts;
mod payload;
mod projected;
mod secret;
mod subpath;

use crate::node::Node;
use api::core::v1::{Container, Pod, Volume};
use async_trait::async_trait;
use cri_api::v1;
use futures_util::future::join_all;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// What a plugin is given to work with.
pub struct SetUp<'a> {
    pub node: &'a Node,
    pub pod: &'a Pod,
    pub volume: &'a Volume,
    /// The volume's own directory; the plugin makes it.
    pub directory: &'a Path,
}

impl SetUp<'_> {
    /// The group that is to own the volume's files.
    pub fn group(&self) -> Option<u32> {
        let group = self.pod.spec.security_context.as_ref()?.fs_group?;
        u32::try_from(group).ok()
    }
}

/// One kind of volume.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// As it appears in paths: `kubernetes.io~configmap`.
    fn directory_name(&self) -> &'static str;
    fn supports(&self, volume: &Volume) -> bool;
    /// Makes the volume, or brings it up to date: it is called again and again. Returns what containers mount.
    async fn set_up(&self, set_up: &SetUp<'_>) -> Result<PathBuf, String>;
}

/// Every kind there is.
static PLUGINS: [&dyn Plugin; 6] = [
    &empty_dir::EmptyDir,
    &host_path::HostPath,
    &config_map::ConfigMapVolume,
    &secret::SecretVolume,
    &downward_api::DownwardApi,
    &projected::Projected,
];

/// The volumes of one pod that are set up, by name.
#[derive(Debug, Default)]
pub struct Volumes {
    paths: HashMap<String, PathBuf>,
}

/// What a container mounts, and the groups it needs for that.
#[derive(Debug, Default)]
pub struct Mounts {
    pub list: Vec<v1::Mount>,
    pub groups: Vec<i64>,
}

/// Only what some container mounts is set up.
fn mounted_names(pod: &Pod) -> BTreeSet<&str> {
    let spec = &pod.spec;
    let containers = spec.init_containers.iter().chain(spec.containers.iter()).flat_map(|c| c.volume_mounts.iter());
    let ephemeral = spec.ephemeral_containers.iter().flat_map(|c| c.ephemeral_container_common.volume_mounts.iter());
    containers.chain(ephemeral).map(|mount| mount.name.as_str()).collect()
}

impl Volumes {
    /// Sets up or refreshes all volumes of the pod, side by side. Each that fails gets its event; the error is the first's.
    pub async fn set_up(node: &Node, pod: &Pod) -> Result<Volumes, String> {
        let wanted = mounted_names(pod);
        let results = join_all(pod.spec.volumes.iter().filter(|volume| wanted.contains(volume.name.as_str())).map(|volume| async move {
            let result = set_up_one(node, pod, volume).await;
            if let Err(err) = &result {
                let message = format!("MountVolume.SetUp failed for volume {:?} : {err}", volume.name);
                node.events.pod(pod, None, "Warning", "FailedMount", &message);
            }
            result.map(|path| (volume.name.clone(), path))
        }))
        .await;
        Ok(Volumes { paths: results.into_iter().collect::<Result<_, _>>()? })
    }

    /// The container's mounts; `lookup` finds variables for `subPathExpr`.
    pub fn mounts(&self, node: &Node, pod: &Pod, container: &Container, lookup: impl Fn(&str) -> Option<String>) -> Result<Mounts, String> {
        let mut mounts = Mounts::default();
        for (index, mount) in container.volume_mounts.iter().enumerate() {
            let path = self
                .paths
                .get(&mount.name)
                .ok_or_else(|| format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name))?;
            let sub_path = match mount.sub_path_expr.as_str() {
                "" => mount.sub_path.clone(),
                expression => crate::kuberuntime::expand::expand(expression, &lookup),
            };
            let host_path = match sub_path.as_str() {
                "" => path.clone(),
                sub_path => {
                    let target = node
                        .settings
                        .pod(&pod.metadata.uid)
                        .join("volume-subpaths")
                        .join(&mount.name)
                        .join(&container.name)
                        .join(index.to_string());
                    subpath::bind(path, sub_path, &target).map_err(|err| {
                        format!("failed to prepare subPath for volumeMount {:?} of container {:?}: {err}", mount.name, container.name)
                    })?;
                    target
                }
            };
            if mount.recursive_read_only.as_deref() == Some("Enabled") {
                return Err("recursiveReadOnly: Enabled is not supported by this node's runtime".to_owned());
            }
            let propagation = match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => v1::MountPropagation::HostToContainer,
                Some("Bidirectional") => v1::MountPropagation::Bidirectional,
                _ => v1::MountPropagation::Private,
            };
            let container_path =
                if mount.mount_path.starts_with('/') { mount.mount_path.clone() } else { format!("/{}", mount.mount_path) };
            mounts.list.push(v1::Mount {
                container_path,
                host_path: host_path.display().to_string(),
                readonly: mount.read_only,
                propagation: propagation as i32,
                ..Default::default()
            });
        }
        if !container.volume_devices.is_empty() {
            return Err("block volumes (volumeDevices) are not supported by this kubelet yet".to_owned());
        }
        Ok(mounts)
    }
}

async fn set_up_one(node: &Node, pod: &Pod, volume: &Volume) -> Result<PathBuf, String> {
    let Some(plugin) = PLUGINS.iter().find(|plugin| plugin.supports(volume)) else {
        return Err(match volume.volume_source {
            ref source if source.persistent_volume_claim.is_some() => {
                "persistent volume claims are not supported by this kubelet yet".to_owned()
            }
            ref source if source.csi.is_some() => "CSI volumes are not supported by this kubelet yet".to_owned(),
            ref source if source.ephemeral.is_some() => "generic ephemeral volumes are not supported by this kubelet yet".to_owned(),
            ref source if source.image.is_some() => "image volumes are not supported by this kubelet yet".to_owned(),
            _ => "no volume plugin matched".to_owned(),
        });
    };
    let directory = node.settings.pod(&pod.metadata.uid).join("volumes").join(plugin.directory_name()).join(&volume.name);
    plugin.set_up(&SetUp { node, pod, volume, directory: &directory }).await
}

/// Unmounts all of the pod's volumes and removes its directory, unless something is still mounted there: what is behind
/// a mount is not the pod's to delete.
pub fn tear_down(node: &Node, uid: &str) -> std::io::Result<()> {
    let directory = node.settings.pod(uid);
    if !directory.exists() {
        return Ok(());
    }
    mounts::unmount_below(&directory)?;
    std::fs::remove_dir_all(&directory)
}
