//! Several sources in one directory; the service account token every pod gets comes this way.

use super::atomic_writer::{File, Payload};
use super::payload::{self, DEFAULT_MODE};
use super::{Plugin, SetUp, atomic_writer, mounts};
use api::core::v1::{Pod, Volume, VolumeProjection};
use async_trait::async_trait;
use std::path::PathBuf;

pub struct Projected;

/// The user that all containers run as, if it is one and the same.
fn common_user(pod: &Pod) -> Option<u32> {
    let pod_wide = pod.spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let containers = pod.spec.init_containers.iter().chain(pod.spec.containers.iter());
    let mut users = containers.map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user).or(pod_wide));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

async fn source(set_up: &SetUp<'_>, source: &VolumeProjection, mode: i32) -> Result<Payload, String> {
    let (node, pod) = (set_up.node, set_up.pod);
    if let Some(from) = &source.config_map {
        let optional = from.optional.unwrap_or(false);
        return match node.objects.config_map(pod, &from.local_object_reference.name).await {
            Ok(map) => payload::config_map(&map, &from.items, mode, optional).map_err(|err| format!("configmap {err}")),
            Err(err) if err.is_not_found() && optional => Ok(Payload::new()),
            Err(err) => Err(err.to_string()),
        };
    }
    if let Some(from) = &source.secret {
        let optional = from.optional.unwrap_or(false);
        return match node.objects.secret(pod, &from.local_object_reference.name).await {
            Ok(secret) => payload::secret(&secret, &from.items, mode, optional),
            Err(err) if err.is_not_found() && optional => Ok(Payload::new()),
            Err(err) => Err(err.to_string()),
        };
    }
    if let Some(from) = &source.downward_api {
        return payload::downward_api(node, pod, &from.items, mode);
    }
    if let Some(from) = &source.service_account_token {
        let token = node.objects.token(pod, &from.audience, from.expiration_seconds).await;
        let token = token.map_err(|err| format!("failed to fetch token: {err}"))?;
        let user = common_user(pod);
        // Whoever is named as owner needs no other to read it.
        let mode = if user.is_some() || set_up.group().is_some() { 0o600 } else { mode as u32 };
        return Ok([(from.path.clone(), File { data: token.into_bytes(), mode, user })].into());
    }
    if source.cluster_trust_bundle.is_some() {
        return Err("clusterTrustBundle projections are not supported by this kubelet yet".to_owned());
    }
    if source.pod_certificate.is_some() {
        return Err("podCertificate projections are not supported by this kubelet yet".to_owned());
    }
    Err("a projected source names none of the known kinds".to_owned())
}

#[async_trait]
impl Plugin for Projected {
    fn directory_name(&self) -> &'static str {
        "kubernetes.io~projected"
    }

    fn supports(&self, volume: &Volume) -> bool {
        volume.volume_source.projected.is_some()
    }

    async fn set_up(&self, set_up: &SetUp<'_>) -> Result<PathBuf, String> {
        let projected = set_up.volume.volume_source.projected.as_ref().ok_or("not a projected volume")?;
        let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
        let sources = projected.sources.iter().map(|from| source(set_up, from, mode));
        let payloads = futures_util::future::try_join_all(sources).await?;
        // Later sources go over earlier ones.
        let payload: Payload = payloads.into_iter().flatten().collect();
        mounts::tmpfs(set_up.directory, None, 0o777).map_err(|err| err.to_string())?;
        atomic_writer::write(set_up.directory, &payload, set_up.group()).map_err(|err| err.to_string())?;
        Ok(set_up.directory.to_owned())
    }
}
