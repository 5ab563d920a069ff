//! What is done now and then: ends pods nobody knows, removes what pods left, rotates logs, frees disks.

use crate::clock;
use crate::images::gc;
use crate::kuberuntime::{self, status::State};
use crate::logs::rotate;
use crate::machine;
use crate::node::Node;
use crate::pleg::Pleg;
use crate::pod_workers::PodWorkers;
use crate::volume;
use cri_api::v1;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ORPHANS: Duration = Duration::from_secs(2);
const CONTAINERS: Duration = Duration::from_secs(60);
const IMAGES: Duration = Duration::from_secs(300);

pub struct Housekeeping {
    node: Arc<Node>,
    workers: PodWorkers,
    pleg: Arc<Pleg>,
    /// Until every source has told of its pods, an unknown pod may be one that is yet to be told of.
    synced: Arc<AtomicBool>,
    images: gc::Policy,
}

impl Housekeeping {
    pub fn new(node: Arc<Node>, workers: PodWorkers, pleg: Arc<Pleg>, synced: Arc<AtomicBool>, images: gc::Policy) -> Self {
        Housekeeping { node, workers, pleg, synced, images }
    }

    pub async fn run(self, stop: CancellationToken) {
        let orphans = async {
            let mut suspects = BTreeSet::new();
            loop {
                tokio::time::sleep(ORPHANS).await;
                if self.synced.load(Ordering::Acquire) && self.pleg.health().is_ok() {
                    self.end_orphans(&mut suspects);
                }
            }
        };
        let containers = async {
            loop {
                tokio::time::sleep(CONTAINERS).await;
                if self.synced.load(Ordering::Acquire)
                    && let Err(err) = kuberuntime::gc::collect(&self.node, |uid| self.workers.knows(uid)).await
                {
                    tracing::warn!(err = %err.message(), "Container garbage collection failed");
                }
            }
        };
        let images = async {
            let mut records = gc::Records::default();
            loop {
                if let Err(err) = self.collect_images(&mut records).await {
                    tracing::warn!(err, "Image garbage collection failed");
                }
                tokio::time::sleep(IMAGES).await;
            }
        };
        let logs = async {
            loop {
                tokio::time::sleep(self.node.settings.log_monitor_period).await;
                self.rotate_logs().await;
            }
        };
        tokio::select! {
            () = async { tokio::join!(orphans, containers, images, logs); } => {}
            () = stop.cancelled() => {}
        }
    }

    /// Ends what runs for a pod nobody knows. Only what was so at the last look too: the news of a pod's end may be
    /// older than its worker's.
    fn end_orphans(&self, suspects: &mut BTreeSet<String>) {
        let snapshots = self.pleg.snapshots();
        let mut fresh = BTreeSet::new();
        for (uid, pod) in snapshots.iter().filter(|(uid, pod)| pod.alive && !self.workers.knows(uid)) {
            if suspects.contains(uid) {
                tracing::info!(uid, object = %pod.name, namespace = %pod.namespace, "ending a pod that no source knows");
                self.workers.end_orphan(uid, &pod.name, &pod.namespace);
            } else {
                fresh.insert(uid.clone());
            }
        }
        *suspects = fresh;
        let unknown = |uid: &str| !self.workers.knows(uid) && !snapshots.get(uid).is_some_and(|pod| pod.alive);
        for uid in directories(&self.node.settings.pods()).into_iter().filter(|uid| unknown(uid)) {
            if let Err(err) = volume::tear_down(&self.node, &uid) {
                tracing::warn!(uid, err = %err, "orphaned pod found, but its volumes cannot be taken down yet");
            }
        }
        for uid in self.node.cgroups.pods().into_iter().filter(|uid| unknown(uid)) {
            if let Err(err) = self.node.cgroups.remove(&uid) {
                tracing::debug!(uid, err = %err, "cgroup of an orphaned pod not removed yet");
            }
        }
    }

    async fn collect_images(&self, records: &mut gc::Records) -> Result<(), String> {
        let text = |err: cri_api::Status| err.message().to_owned();
        let client = self.node.images.client();
        let list = client.list_images(v1::ListImagesRequest::default()).await.map_err(text)?.images;
        let containers = self.node.runtime.list_containers(v1::ListContainersRequest::default()).await.map_err(text)?.containers;
        let mut used: BTreeSet<String> = BTreeSet::new();
        for container in containers {
            used.extend([container.image_ref, container.image_id]);
            used.extend(container.image.map(|image| image.image));
        }
        used.extend(self.sandbox_image().await);
        let now = clock::now_nanos();
        records.update(&list, &used, now);
        let info = client.image_fs_info(v1::ImageFsInfoRequest {}).await.map_err(text)?;
        let mount = info.image_filesystems.first().and_then(|fs| fs.fs_id.as_ref()).map(|id| id.mountpoint.clone());
        let (capacity, available) = mount.map_or((0, 0), |mount| machine::disk(Path::new(&mount)));
        let bytes = gc::excess(&self.images, capacity, available).unwrap_or(0);
        let plan = records.plan(&list, bytes, &self.images, now);
        for candidate in &plan {
            tracing::info!(image = %candidate.id, size = candidate.size, "Removing image to free bytes");
            let spec = v1::ImageSpec { image: candidate.id.clone(), ..Default::default() };
            client.remove_image(v1::RemoveImageRequest { image: Some(spec) }).await.map_err(text)?;
        }
        let freed: u64 = plan.iter().map(|candidate| candidate.size).sum();
        if freed < bytes {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {bytes} bytes, but only found {freed} bytes eligible to free."
            );
            self.node.events.node("Warning", "FreeDiskSpaceFailed", &message);
        }
        Ok(())
    }

    /// The image of sandboxes, which no container shows. Newer runtimes pin it; older ones name it in their configuration.
    async fn sandbox_image(&self) -> Option<String> {
        let status = self.node.runtime.status(v1::StatusRequest { verbose: true }).await.ok()?;
        let config = apimachinery::Value::parse(status.info.get("config")?.as_bytes()).ok()?;
        config.str_at(&["sandboxImage"]).map(str::to_owned)
    }

    async fn rotate_logs(&self) {
        for pod in self.workers.pods() {
            let Some(status) = self.node.cache.get(&pod.metadata.uid) else { continue };
            for container in status.containers.iter().filter(|container| container.state == State::Running) {
                if let Err(err) = self.rotate_log(&container.id, Path::new(&container.log_path)).await {
                    tracing::warn!(id = %container.id, err, "Failed to rotate log for container");
                }
            }
        }
    }

    async fn rotate_log(&self, id: &str, log: &Path) -> Result<(), String> {
        let settings = &self.node.settings;
        let Ok(meta) = std::fs::metadata(log) else { return Ok(()) };
        if meta.len() < settings.log_max_size {
            return Ok(());
        }
        let (path, files) = (log.to_owned(), settings.log_max_files);
        // Compression takes its time; it must not hold up those who wait for a thread.
        let prepared = tokio::task::spawn_blocking(move || rotate::prepare(&path, files)).await;
        prepared.map_err(|err| err.to_string())?.map_err(|err| err.to_string())?;
        let rotated = rotate::rotated_name(log, clock::now_nanos());
        std::fs::rename(log, &rotated).map_err(|err| err.to_string())?;
        let request = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
        if let Err(err) = self.node.runtime.reopen_container_log(request).await {
            // The runtime still writes to the renamed file; give it its name back.
            let _ = std::fs::rename(&rotated, log);
            return Err(err.message().to_owned());
        }
        Ok(())
    }
}

fn directories(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}
