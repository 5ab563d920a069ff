//! Volumes of Pods.

use api::core::v1::{
    CSIVolumeSource, DownwardAPIVolumeFile, EphemeralVolumeSource, ImageVolumeSource, ProjectedVolumeSource, ServiceAccountTokenProjection,
    Volume, VolumeProjection, VolumeSource,
};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;

use super::paths::{local_descending, local_non_reserved, mode};
use super::persistent_volume_claim;
use super::references::{FILE_FIELDS, field_selector, resource_selector};
use super::volume_source::{self as source, Iscsi, Kinds, required};
use crate::validation::fields::{extend_invalid, supported};

/// Checks volumes, and finds out which of them are right: mounts of others are mounts of nothing.
pub fn volumes<'a>(volumes: &'a [Volume], pod: bool, path: &Path<'_>) -> (Vec<&'a Volume>, ErrorList) {
    let mut errors = ErrorList::new();
    let mut good: Vec<&Volume> = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let name_path = path.child("name");
        let mut wrong = source::one_kind(kinds(&volume.volume_source, pod, &path), &path);
        match volume.name.as_str() {
            "" => wrong.push(Error::required(&name_path, "")),
            name => extend_invalid(&mut wrong, &name_path, name, names::is_dns1123_label(name)),
        }
        if good.iter().any(|other| other.name == volume.name) {
            wrong.push(Error::duplicate(&name_path, &volume.name));
        }
        if wrong.is_empty() {
            good.push(volume);
        }
        errors.extend(wrong);
    }
    (good, errors)
}

fn kinds<'a>(volume: &VolumeSource, pod: bool, path: &Path<'_>) -> Kinds<'a> {
    let at = |name: &'static str| path.child(name);
    vec![
        (
            "emptyDir",
            volume.empty_dir.as_ref().map(|dir| {
                let negative = dir.size_limit.as_ref().is_some_and(|limit| limit.is_negative());
                let (path, detail) = (at("emptyDir"), "SizeLimit field must be a valid resource quantity");
                if negative { vec![Error::forbidden(&path.child("sizeLimit"), detail)] } else { ErrorList::new() }
            }),
        ),
        ("hostPath", volume.host_path.as_ref().map(|found| source::host_path(found, &at("hostPath")))),
        (
            "gitRepo",
            volume.git_repo.as_ref().map(|found| {
                let path = at("gitRepo");
                let mut errors = required(&[("repository", found.repository.is_empty())], &path);
                errors.extend(local_descending(&found.directory, &path.child("directory")));
                errors
            }),
        ),
        (
            "gcePersistentDisk",
            volume.gce_persistent_disk.as_ref().map(|found| {
                let path = at("persistentDisk");
                let mut errors = required(&[("pdName", found.pd_name.is_empty())], &path);
                errors.extend(source::partition(found.partition, &path));
                errors
            }),
        ),
        (
            "awsElasticBlockStore",
            volume.aws_elastic_block_store.as_ref().map(|found| {
                let path = at("awsElasticBlockStore");
                let mut errors = required(&[("volumeID", found.volume_id.is_empty())], &path);
                errors.extend(source::partition(found.partition, &path));
                errors
            }),
        ),
        (
            "secret",
            volume.secret.as_ref().map(|found| {
                let path = at("secret");
                let mut errors = required(&[("secretName", found.secret_name.is_empty())], &path);
                errors.extend(source::items(&found.items, found.default_mode, &path));
                errors
            }),
        ),
        ("nfs", volume.nfs.as_ref().map(|found| source::nfs(found, &at("nfs")))),
        (
            "iscsi",
            volume.iscsi.as_ref().map(|found| {
                let shared = Iscsi {
                    target_portal: &found.target_portal,
                    iqn: &found.iqn,
                    lun: found.lun,
                    chap: found.chap_auth_discovery || found.chap_auth_session,
                    has_secret: found.secret_ref.is_some(),
                    initiator: found.initiator_name.as_deref(),
                };
                shared.validate(&at("iscsi"))
            }),
        ),
        (
            "glusterfs",
            volume
                .glusterfs
                .as_ref()
                .map(|found| required(&[("endpoints", found.endpoints.is_empty()), ("path", found.path.is_empty())], &at("glusterfs"))),
        ),
        ("flocker", volume.flocker.as_ref().map(|found| source::flocker(found, &at("flocker")))),
        (
            "persistentVolumeClaim",
            volume
                .persistent_volume_claim
                .as_ref()
                .map(|found| required(&[("claimName", found.claim_name.is_empty())], &at("persistentVolumeClaim"))),
        ),
        (
            "rbd",
            volume
                .rbd
                .as_ref()
                .map(|found| required(&[("monitors", found.monitors.is_empty()), ("image", found.image.is_empty())], &at("rbd"))),
        ),
        ("cinder", volume.cinder.as_ref().map(|found| required(&[("volumeID", found.volume_id.is_empty())], &at("cinder")))),
        ("cephFS", volume.cephfs.as_ref().map(|found| required(&[("monitors", found.monitors.is_empty())], &at("cephfs")))),
        ("quobyte", volume.quobyte.as_ref().map(|found| source::quobyte(found, &at("quobyte")))),
        // Upstream's spelling.
        (
            "downwarAPI",
            volume.downward_api.as_ref().map(|found| {
                let path = at("downwardAPI");
                let mut errors: ErrorList = mode(found.default_mode, &path.child("defaultMode")).into_iter().collect();
                for file in &found.items {
                    errors.extend(downward_file(file, &path));
                }
                errors
            }),
        ),
        ("fc", volume.fc.as_ref().map(|found| source::fc(found, &at("fc")))),
        ("flexVolume", volume.flex_volume.as_ref().map(|found| source::flex(&found.driver, &found.options, &at("flexVolume")))),
        (
            "configMap",
            volume.config_map.as_ref().map(|found| {
                let path = at("configMap");
                let mut errors = required(&[("name", found.local_object_reference.name.is_empty())], &path);
                errors.extend(source::items(&found.items, found.default_mode, &path));
                errors
            }),
        ),
        (
            "azureFile",
            volume.azure_file.as_ref().map(|found| {
                required(&[("secretName", found.secret_name.is_empty()), ("shareName", found.share_name.is_empty())], &at("azureFile"))
            }),
        ),
        (
            "vsphereVolume",
            volume.vsphere_volume.as_ref().map(|found| required(&[("volumePath", found.volume_path.is_empty())], &at("vsphereVolume"))),
        ),
        (
            "photonPersistentDisk",
            volume.photon_persistent_disk.as_ref().map(|found| required(&[("pdID", found.pd_id.is_empty())], &at("photonPersistentDisk"))),
        ),
        (
            "portworxVolume",
            volume.portworx_volume.as_ref().map(|found| required(&[("volumeID", found.volume_id.is_empty())], &at("portworxVolume"))),
        ),
        ("azureDisk", volume.azure_disk.as_ref().map(|found| source::azure_disk(found, &at("azureDisk")))),
        ("storageos", volume.storageos.as_ref().map(|found| required(&[("volumeName", found.volume_name.is_empty())], &at("storageos")))),
        ("projected", volume.projected.as_ref().map(|found| projected(found, &at("projected")))),
        (
            "scaleIO",
            volume.scale_io.as_ref().map(|found| {
                let fields = [
                    ("gateway", found.gateway.is_empty()),
                    ("system", found.system.is_empty()),
                    ("volumeName", found.volume_name.is_empty()),
                ];
                required(&fields, &at("scaleIO"))
            }),
        ),
        ("csi", volume.csi.as_ref().map(|found| csi(found, &at("csi")))),
        ("ephemeral", volume.ephemeral.as_ref().map(|found| ephemeral(found, &at("ephemeral")))),
        ("image", volume.image.as_ref().map(|found| image(found, pod, &at("image")))),
    ]
}

fn downward_file(file: &DownwardAPIVolumeFile, path: &Path<'_>) -> ErrorList {
    let mut errors = required(&[("path", file.path.is_empty())], path);
    errors.extend(local_non_reserved(&file.path, &path.child("path")));
    match (&file.field_ref, &file.resource_field_ref) {
        (Some(field), resource) => {
            errors.extend(field_selector(field, FILE_FIELDS, &path.child("fieldRef")));
            if resource.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(Error::invalid(path, "resource", detail));
            }
        }
        (None, Some(resource)) => errors.extend(resource_selector(resource, true, &path.child("resourceFieldRef"))),
        (None, None) => errors.push(Error::required(path, "one of fieldRef and resourceFieldRef is required")),
    }
    errors.extend(mode(file.mode, &path.child("mode")));
    errors
}

fn projected(volume: &ProjectedVolumeSource, path: &Path<'_>) -> ErrorList {
    let mut errors: ErrorList = mode(volume.default_mode, &path.child("defaultMode")).into_iter().collect();
    let mut files: Vec<&str> = Vec::new();
    let sources = path.child("sources");
    for (index, projection) in volume.sources.iter().enumerate() {
        errors.extend(projection_errors(projection, path, &sources.index(index), &mut files));
    }
    errors
}

/// `volume` is the projected volume's own path: some errors name it and not the source.
fn projection_errors<'a>(projection: &'a VolumeProjection, volume: &Path<'_>, path: &Path<'_>, files: &mut Vec<&'a str>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut count = 0;
    let mut another = |errors: &mut ErrorList, at: &Path<'_>| {
        count += 1;
        if count > 1 {
            errors.push(Error::forbidden(at, "may not specify more than 1 volume type"));
        }
        count == 1
    };
    let mut file = |errors: &mut ErrorList, file: &'a str, shown: &str| {
        if file.is_empty() {
            return;
        }
        if files.contains(&file) {
            errors.push(Error::invalid(volume, shown, "conflicting duplicate paths"));
        } else {
            files.push(file);
        }
    };
    if let Some(secret) = &projection.secret {
        let path = path.child("secret");
        another(&mut errors, &path);
        errors.extend(required(&[("name", secret.local_object_reference.name.is_empty())], &path));
        errors.extend(source::items(&secret.items, None, &path));
        for item in &secret.items {
            file(&mut errors, &item.path, &secret.local_object_reference.name);
        }
    }
    if let Some(map) = &projection.config_map {
        let path = path.child("configMap");
        if another(&mut errors, &path) {
            errors.extend(required(&[("name", map.local_object_reference.name.is_empty())], &path));
            errors.extend(source::items(&map.items, None, &path));
            for item in &map.items {
                file(&mut errors, &item.path, &map.local_object_reference.name);
            }
        }
    }
    if let Some(downward) = &projection.downward_api {
        let path = path.child("downwardAPI");
        if another(&mut errors, &path) {
            for item in &downward.items {
                errors.extend(downward_file(item, &path));
                file(&mut errors, &item.path, &item.path);
            }
        }
    }
    if let Some(token) = &projection.service_account_token {
        let path = path.child("serviceAccountToken");
        if another(&mut errors, &path) {
            errors.extend(token_projection(token, volume, &path));
        }
    }
    for (name, set) in
        [("clusterTrustBundle", projection.cluster_trust_bundle.is_some()), ("podCertificate", projection.pod_certificate.is_some())]
    {
        if set {
            another(&mut errors, &path.child(name));
        }
    }
    errors
}

fn token_projection(token: &ServiceAccountTokenProjection, volume: &Path<'_>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let seconds = token.expiration_seconds.unwrap_or(3600);
    if seconds < 600 {
        errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        errors.push(Error::invalid(&path.child("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds"));
    }
    match token.path.as_str() {
        "" => errors.push(Error::required(&volume.child("path"), "")),
        target => errors.extend(local_non_reserved(target, &volume.child("path"))),
    }
    errors
}

fn csi(volume: &CSIVolumeSource, path: &Path<'_>) -> ErrorList {
    let mut errors = source::csi_driver_name(&volume.driver, &path.child("driver"));
    if let Some(secret) = &volume.node_publish_secret_ref {
        let path = path.child("nodePublishSecretRef");
        match secret.name.as_str() {
            "" => errors.push(Error::required(&path.child("name"), "")),
            name => extend_invalid(&mut errors, &path.child("name"), name, names::is_dns1123_subdomain(name)),
        }
    }
    errors
}

fn ephemeral(volume: &EphemeralVolumeSource, path: &Path<'_>) -> ErrorList {
    let path = path.child("volumeClaimTemplate");
    let Some(template) = &volume.volume_claim_template else { return vec![Error::required(&path, "")] };
    persistent_volume_claim::spec(&template.spec, &path.child("spec"))
}

fn image(volume: &ImageVolumeSource, pod: bool, path: &Path<'_>) -> ErrorList {
    // A template may leave the image to whoever makes Pods of it.
    let mut errors = required(&[("reference", pod && volume.reference.is_empty())], path);
    if !volume.pull_policy.is_empty() {
        errors.extend(supported(&volume.pull_policy, &["Always", "IfNotPresent", "Never"], &path.child("pullPolicy")));
    }
    errors
}
