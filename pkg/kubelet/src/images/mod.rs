//! Images: makes sure that a container's image is on the node, and removes unused ones when the disk fills up.
//!
//! Upstream: pkg/kubelet/images.

pub mod credentials;
pub mod gc;

use crate::api_server::Events;
use crate::backoff::Backoffs;
use crate::kuberuntime::labels;
use crate::objects::Objects;
use api::core::v1::{Container, Pod};
use cri_api::{Code, ImageServiceClient, Status, v1};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Why a container cannot have its image: `reason` is its waiting reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullError {
    pub reason: &'static str,
    pub message: String,
}

pub struct Puller {
    client: ImageServiceClient,
    events: Arc<dyn Events>,
    objects: Arc<dyn Objects>,
    backoffs: Backoffs,
    /// One at a time (`serializeImagePulls`), or as many as `maxParallelImagePulls` says.
    slots: Semaphore,
}

/// The API's default: `latest` and no tag at all are pulled each time, the rest once.
fn policy(container: &Container) -> &str {
    match container.image_pull_policy.as_str() {
        "" => {
            let name = container.image.rsplit('/').next().unwrap_or_default();
            let fixed = container.image.contains('@') || name.split_once(':').is_some_and(|(_, tag)| tag != "latest");
            if fixed { "IfNotPresent" } else { "Always" }
        }
        policy => policy,
    }
}

impl Puller {
    pub fn new(client: ImageServiceClient, events: Arc<dyn Events>, objects: Arc<dyn Objects>, parallel: usize) -> Self {
        let backoffs = Backoffs::new(Duration::from_secs(10), Duration::from_secs(300));
        Puller { client, events, objects, backoffs, slots: Semaphore::new(parallel) }
    }

    pub fn client(&self) -> &ImageServiceClient {
        &self.client
    }

    pub async fn status(&self, image: &v1::ImageSpec) -> Result<Option<v1::Image>, Status> {
        let request = v1::ImageStatusRequest { image: Some(image.clone()), verbose: false };
        Ok(self.client.image_status(request).await?.image.filter(|image| !image.id.is_empty()))
    }

    /// Returns the image, pulled if its policy or its absence demands that.
    pub async fn ensure(&self, pod: &Pod, container: &Container, sandbox: &v1::PodSandboxConfig) -> Result<v1::Image, PullError> {
        let field = labels::field_path(pod, &container.name);
        let event = |kind: &str, reason: &str, message: &str| self.events.pod(pod, field.as_deref(), kind, reason, message);
        let image = &container.image;
        let spec = v1::ImageSpec { image: image.clone(), user_specified_image: image.clone(), ..Default::default() };
        let present = match self.status(&spec).await {
            Ok(present) => present,
            Err(err) => {
                let message = format!("Failed to inspect image \"{image}\": {}", err.message());
                event("Warning", "InspectFailed", &message);
                return Err(PullError { reason: "ImageInspectError", message });
            }
        };
        match (policy(container), present) {
            ("IfNotPresent" | "Never", Some(present)) => {
                event(
                    "Normal",
                    "Pulled",
                    &format!("Container image \"{image}\" already present on machine and can be accessed by the pod"),
                );
                return Ok(present);
            }
            ("Never", None) => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                event("Warning", "ErrImageNeverPull", &message);
                return Err(PullError { reason: "ErrImageNeverPull", message });
            }
            _ => {}
        }

        let key = format!("{}_{image}", pod.metadata.uid);
        if let Some((_, last)) = self.backoffs.waiting(&key) {
            let message = format!("Back-off pulling image \"{image}\"");
            event("Normal", "BackOff", &message);
            let message = if last.is_empty() { message } else { format!("{message}: {last}") };
            return Err(PullError { reason: "ImagePullBackOff", message });
        }
        let queued = Instant::now();
        event("Normal", "Pulling", &format!("Pulling image \"{image}\""));
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let started = Instant::now();
        match self.pull(pod, &spec, sandbox).await {
            Ok(()) => {}
            Err(err) => {
                let text = err.message().to_owned();
                event("Warning", "Failed", &format!("Failed to pull image \"{image}\": {text}"));
                event("Warning", "Failed", "Error: ErrImagePull");
                self.backoffs.failed(&key, &format!("ErrImagePull: {text}"));
                let reason = match err.code() {
                    Code::Unavailable if text.contains("RegistryUnavailable") => "RegistryUnavailable",
                    _ => "ErrImagePull",
                };
                return Err(PullError { reason, message: text });
            }
        }
        self.backoffs.forget(&key);
        let pulled = match self.status(&spec).await {
            Ok(Some(pulled)) => pulled,
            Ok(None) => {
                return Err(PullError { reason: "ErrImagePull", message: format!("image \"{image}\" is gone right after its pull") });
            }
            Err(err) => return Err(PullError { reason: "ImageInspectError", message: err.message().to_owned() }),
        };
        event(
            "Normal",
            "Pulled",
            &format!(
                "Successfully pulled image \"{image}\" in {} ({} including waiting). Image size: {} bytes.",
                short(started.elapsed()),
                short(queued.elapsed()),
                pulled.size
            ),
        );
        Ok(pulled)
    }

    /// Tries each credential that fits; without any, none at all.
    async fn pull(&self, pod: &Pod, spec: &v1::ImageSpec, sandbox: &v1::PodSandboxConfig) -> Result<(), Status> {
        let mut configs = Vec::new();
        for reference in pod.spec.image_pull_secrets.iter().filter(|reference| !reference.name.is_empty()) {
            match self.objects.secret(pod, &reference.name).await {
                Ok(secret) => configs.extend(credentials::from_secret(&secret, &spec.image)),
                Err(err) => {
                    let names = &reference.name;
                    let message =
                        format!("Unable to retrieve some image pull secrets ({names}); attempting to pull the image may not succeed.");
                    self.events.pod(pod, None, "Warning", "FailedToRetrieveImagePullSecret", &message);
                    tracing::debug!(secret = names, err = %err, "image pull secret not read");
                }
            }
        }
        let mut tries: Vec<Option<v1::AuthConfig>> = configs.into_iter().map(Some).collect();
        if tries.is_empty() {
            tries.push(None);
        }
        let mut result = Ok(());
        for auth in tries {
            let request = v1::PullImageRequest { image: Some(spec.clone()), auth, sandbox_config: Some(sandbox.clone()) };
            match self.client.pull_image(request).await {
                Ok(_) => return Ok(()),
                Err(err) => result = Err(err),
            }
        }
        result
    }

    /// When the next pull of a container's image may be tried, if one has failed of late.
    pub fn retry_after(&self, pod: &Pod, image: &str) -> Option<Duration> {
        self.backoffs.waiting(&format!("{}_{image}", pod.metadata.uid)).map(|(left, _)| left)
    }

    pub fn forget_pod(&self, uid: &str) {
        self.backoffs.forget_prefix(&format!("{uid}_"));
    }
}

/// Go's way to print a duration, to the millisecond.
fn short(duration: Duration) -> String {
    component_base::duration::format(Duration::from_millis(duration.as_millis() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_policies() {
        for (image, own, expected) in [
            ("nginx", "", "Always"),
            ("nginx:latest", "", "Always"),
            ("nginx:1.25", "", "IfNotPresent"),
            ("localhost:5000/nginx", "", "Always"),
            ("nginx@sha256:00", "", "IfNotPresent"),
            ("nginx", "Never", "Never"),
        ] {
            let container = Container { image: image.into(), image_pull_policy: own.into(), ..Default::default() };
            assert_eq!(policy(&container), expected, "{image}");
        }
    }
}
