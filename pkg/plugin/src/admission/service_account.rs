//! ServiceAccount: every pod runs as an account that exists, and gets its token unless it says otherwise.

use std::sync::Arc;

use api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, LocalObjectReference, ObjectFieldSelector,
    Pod, ProjectedVolumeSource, ServiceAccount as Account, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
    VolumeSource,
};
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, is, object, object_mut};

/// Where a container finds its token.
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// An hour and seven seconds: long enough that an hourly renewal is never late.
const EXPIRATION_SECONDS: i64 = 3607;

/// Names of volumes we add start so; mirrors and templates are told by it.
const VOLUME_PREFIX: &str = "kube-api-access-";

pub struct ServiceAccount {
    objects: Arc<dyn Objects>,
}

impl ServiceAccount {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }

    async fn account(&self, review: &Review<'_>, name: &str) -> Result<Account, StatusError> {
        let found = match self.objects.get("", "serviceaccounts", review.namespace, name).await? {
            Some(found) => Some(found),
            None => self.objects.get_live("", "serviceaccounts", review.namespace, name).await?,
        };
        match found.as_deref().and_then(|account| account.downcast_ref::<Account>()) {
            Some(account) => Ok(account.clone()),
            None => {
                let why = format!("error looking up service account {}/{name}: serviceaccount {name:?} not found", review.namespace);
                Err(forbidden(review, why))
            }
        }
    }
}

/// Mirror pods must not use the API: their node made them from a file.
fn check_mirror(review: &Review<'_>, pod: &Pod) -> Result<(), StatusError> {
    if !pod.spec.service_account_name.is_empty() {
        return Err(forbidden(review, "a mirror pod may not reference service accounts"));
    }
    for volume in &pod.spec.volumes {
        let source = &volume.volume_source;
        let projects_token =
            source.projected.as_ref().is_some_and(|projected| projected.sources.iter().any(|s| s.service_account_token.is_some()));
        if source.secret.is_some() {
            return Err(forbidden(review, "a mirror pod may not reference secrets"));
        }
        if source.persistent_volume_claim.is_some() {
            return Err(forbidden(review, "a mirror pod may not reference persistentvolumeclaims"));
        }
        if projects_token {
            return Err(forbidden(review, "a mirror pod may not use ServiceAccountToken volume projections"));
        }
    }
    Ok(())
}

fn wants_token(account: &Account, pod: &Pod) -> bool {
    pod.spec.automount_service_account_token.or(account.automount_service_account_token).unwrap_or(true)
}

/// The volume with token, cluster CA and namespace.
fn token_volume(name: String) -> Volume {
    let token = VolumeProjection {
        service_account_token: Some(Box::new(ServiceAccountTokenProjection {
            path: "token".to_owned(),
            expiration_seconds: Some(EXPIRATION_SECONDS),
            ..ServiceAccountTokenProjection::default()
        })),
        ..VolumeProjection::default()
    };
    let authority = VolumeProjection {
        config_map: Some(Box::new(ConfigMapProjection {
            local_object_reference: LocalObjectReference { name: "kube-root-ca.crt".to_owned() },
            items: vec![KeyToPath { key: "ca.crt".to_owned(), path: "ca.crt".to_owned(), mode: None }].into(),
            optional: None,
        })),
        ..VolumeProjection::default()
    };
    let field = ObjectFieldSelector { api_version: "v1".to_owned(), field_path: "metadata.namespace".to_owned() };
    let file = DownwardAPIVolumeFile { path: "namespace".to_owned(), field_ref: Some(Box::new(field)), ..DownwardAPIVolumeFile::default() };
    let namespace = VolumeProjection {
        downward_api: Some(Box::new(DownwardAPIProjection { items: vec![file].into() })),
        ..VolumeProjection::default()
    };
    let projected = ProjectedVolumeSource { sources: vec![token, authority, namespace].into(), default_mode: Some(0o644) };
    Volume { name, volume_source: VolumeSource { projected: Some(Box::new(projected)), ..VolumeSource::default() } }
}

/// Mounts the token in every container that has nothing at its place.
fn mount_token(pod: &mut Pod) {
    let existing = pod.spec.volumes.iter().find(|volume| volume.name.starts_with(VOLUME_PREFIX)).map(|volume| volume.name.clone());
    let name = existing.clone().unwrap_or_else(|| apimachinery::names::generate_name(VOLUME_PREFIX));
    let mut used = false;
    let mut mount = |container: &mut Container| {
        if container.volume_mounts.iter().any(|mount| mount.mount_path == MOUNT_PATH) {
            return;
        }
        used = true;
        container.volume_mounts.push(VolumeMount {
            name: name.clone(),
            read_only: true,
            mount_path: MOUNT_PATH.to_owned(),
            ..VolumeMount::default()
        });
    };
    pod.spec.init_containers.iter_mut().for_each(&mut mount);
    pod.spec.containers.iter_mut().for_each(&mut mount);
    if used && existing.is_none() {
        pod.spec.volumes.push(token_volume(name));
    }
}

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "pods") || review.operation != Operation::Create {
            return Ok(());
        }
        let Some(pod) = object::<Pod>(review) else { return Ok(()) };
        if component_helpers::pod::is_mirror(pod) {
            return check_mirror(review, pod);
        }
        if let Some(pod) = object_mut::<Pod>(review)
            && pod.spec.service_account_name.is_empty()
        {
            pod.spec.service_account_name = "default".to_owned();
        }
        let name = object::<Pod>(review).map(|pod| pod.spec.service_account_name.clone()).unwrap_or_default();
        let account = self.account(review, &name).await?;
        let Some(pod) = object_mut::<Pod>(review) else { return Ok(()) };
        // The old name of the field is kept in step.
        pod.spec.service_account = pod.spec.service_account_name.clone();
        if wants_token(&account, pod) {
            mount_token(pod);
        }
        if pod.spec.image_pull_secrets.is_empty() && !account.image_pull_secrets.is_empty() {
            pod.spec.image_pull_secrets = account.image_pull_secrets.clone();
        }
        Ok(())
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if !review.group.is_empty() || review.resource != "pods" {
            return Ok(());
        }
        let Some(pod) = object::<Pod>(review) else { return Ok(()) };
        if review.operation == Operation::Create && review.subresource.is_empty() && component_helpers::pod::is_mirror(pod) {
            return check_mirror(review, pod);
        }
        // Accounts with this annotation confine their pods to the secrets they list.
        let creates = review.operation == Operation::Create && review.subresource.is_empty();
        if !creates || pod.spec.service_account_name.is_empty() {
            return Ok(());
        }
        let account = self.account(review, &pod.spec.service_account_name).await?;
        if account.metadata.annotations.get_str("kubernetes.io/enforce-mountable-secrets") != "true" {
            return Ok(());
        }
        let allowed = |name: &str| account.secrets.iter().any(|secret| secret.name == name);
        for volume in &pod.spec.volumes {
            if let Some(secret) = &volume.volume_source.secret
                && !allowed(&secret.secret_name)
            {
                let why = format!(
                    "volume with secret.secretName={:?} is not allowed because service account {} does not reference that secret",
                    secret.secret_name, account.metadata.name
                );
                return Err(forbidden(review, why));
            }
        }
        for container in pod.spec.init_containers.iter().chain(pod.spec.containers.iter()) {
            let references = container
                .env
                .iter()
                .filter_map(|env| env.value_from.as_ref()?.secret_key_ref.as_ref().map(|r| &r.local_object_reference.name))
                .chain(container.env_from.iter().filter_map(|from| from.secret_ref.as_ref().map(|r| &r.local_object_reference.name)));
            for name in references {
                if !allowed(name) {
                    let why = format!(
                        "container {} with envVar referencing secret.secretName={name:?} is not allowed because service account {} does not reference that secret",
                        container.name, account.metadata.name
                    );
                    return Err(forbidden(review, why));
                }
            }
        }
        for secret in &pod.spec.image_pull_secrets {
            if !account.image_pull_secrets.iter().any(|have| have.name == secret.name) {
                let why = format!(
                    "imagePullSecrets[0].name={:?} is not allowed because service account {} does not reference that imagePullSecret",
                    secret.name, account.metadata.name
                );
                return Err(forbidden(review, why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::json;

    #[test]
    fn the_token_is_mounted_where_nothing_else_is() {
        let mut pod: Pod = json::from_slice(
            br#"{"spec":{"containers":[{"name":"a"},{"name":"b","volumeMounts":[{"name":"own","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}]}]}}"#,
        )
        .unwrap();
        mount_token(&mut pod);
        assert_eq!(pod.spec.volumes.len(), 1);
        assert!(pod.spec.volumes[0].name.starts_with(VOLUME_PREFIX));
        assert_eq!(pod.spec.containers[0].volume_mounts[0].name, pod.spec.volumes[0].name);
        assert_eq!(pod.spec.containers[1].volume_mounts.len(), 1);
        let once = pod.clone();
        mount_token(&mut pod);
        assert_eq!(pod, once);
    }
}
