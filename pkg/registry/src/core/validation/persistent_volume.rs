//! PersistentVolumes.

use api::core::v1::{CSIPersistentVolumeSource, LocalVolumeSource, PersistentVolume, PersistentVolumeSource, SecretReference};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::value::Object as Members;
use apimachinery::{Map, Quantity, Value};

use super::affinity::node_selector;
use super::paths::no_backsteps;
use super::persistent_volume_claim::{VOLUME_MODES, access_modes};
use super::resource::positive_quantity;
use super::volume_source::{self as source, Iscsi, Kinds, required};
use crate::validation::fields::{IMMUTABLE, extend_invalid, same, supported};
use crate::validation::go_value::go_value;
use crate::validation::{object_meta, object_meta_update};

/// A volume.
pub fn validate(volume: &PersistentVolume) -> ErrorList {
    let mut errors = object_meta(&volume.metadata, false, names::name_is_dns_subdomain, &Path::new("metadata"));
    let path = Path::new("spec");
    let spec = &volume.spec;
    if spec.access_modes.is_empty() {
        errors.push(Error::required(&path.child("accessModes"), ""));
    }
    errors.extend(access_modes(&spec.access_modes, &path.child("accessModes")));
    errors.extend(capacity(&spec.capacity, &path.child("capacity")));
    if !spec.persistent_volume_reclaim_policy.is_empty() {
        let known = ["Delete", "Recycle", "Retain"];
        errors.extend(supported(&spec.persistent_volume_reclaim_policy, &known, &path.child("persistentVolumeReclaimPolicy")));
    }
    if let Some(affinity) = &spec.node_affinity {
        let path = path.child("nodeAffinity");
        match &affinity.required {
            Some(required) => errors.extend(node_selector(required, false, &path.child("required"))),
            None => errors.push(Error::required(&path.child("required"), "must specify required node constraints")),
        }
    }
    errors.extend(source::one_kind(kinds(&spec.persistent_volume_source, &path), &path));
    let root = spec
        .persistent_volume_source
        .host_path
        .as_ref()
        .is_some_and(|found| found.path.trim_matches('/').is_empty() && !found.path.is_empty());
    if root && spec.persistent_volume_reclaim_policy == "Recycle" {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(Error::forbidden(&path.child("persistentVolumeReclaimPolicy"), detail));
    }
    if !spec.storage_class_name.is_empty() {
        let class = &spec.storage_class_name;
        extend_invalid(&mut errors, &path.child("storageClassName"), class, names::is_dns1123_subdomain(class));
    }
    if let Some(mode) = &spec.volume_mode {
        errors.extend(supported(mode, &VOLUME_MODES, &path.child("volumeMode")));
    }
    if let Some(class) = &spec.volume_attributes_class_name {
        let at = path.child("volumeAttributesClassName");
        match class.as_str() {
            "" => errors.push(Error::required(&at, "an empty string is disallowed")),
            class => extend_invalid(&mut errors, &at, class, names::is_dns1123_subdomain(class)),
        }
        if spec.persistent_volume_source.csi.is_none() {
            errors.push(Error::required(&path.child("csi"), "has to be specified when using volumeAttributesClassName"));
        }
    }
    errors
}

/// A changed volume: its source, mode and (once set) affinity stay.
pub fn validate_update(new: &PersistentVolume, old: &PersistentVolume) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    errors.extend(validate(new));
    let (mut changed, mut before) = (new.spec.persistent_volume_source.clone(), old.spec.persistent_volume_source.clone());
    // The secret for growing may be added to a volume that was made without one.
    if let (Some(changed), Some(before)) = (&mut changed.csi, &mut before.csi)
        && before.controller_expand_secret_ref.is_none()
    {
        changed.controller_expand_secret_ref = None;
    }
    if !same(&changed, &before) {
        let path = Path::new("spec");
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.push(Error::forbidden(&path.child("persistentvolumesource"), detail));
    }
    if new.spec.volume_mode != old.spec.volume_mode {
        errors.push(Error::invalid(&Path::new("volumeMode"), new.spec.volume_mode.clone(), IMMUTABLE));
    }
    if let Some(before) = &old.spec.node_affinity
        && new.spec.node_affinity.as_ref().is_none_or(|changed| !same(&**changed, &**before))
    {
        let shown = new.spec.node_affinity.as_deref().map_or(BadValue::json("null"), go_value);
        errors.push(Error::invalid(&Path::new("nodeAffinity"), shown, "field is immutable, except for updating from beta label to GA"));
    }
    errors
}

/// A changed status.
pub fn validate_status_update(new: &PersistentVolume, old: &PersistentVolume) -> ErrorList {
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
    if new.metadata.resource_version.is_empty() {
        errors.push(Error::required(&Path::new("resourceVersion"), ""));
    }
    errors
}

fn capacity(capacity: &Map<Quantity>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if capacity.is_empty() {
        errors.push(Error::required(path, ""));
    }
    if !capacity.contains_key("storage") || capacity.len() > 1 {
        let members: Members = capacity.iter().map(|(name, amount)| (name.to_owned(), Value::from(amount.to_string()))).collect();
        let shown = if capacity.is_nil() { Value::Null } else { Value::Object(members) };
        errors.push(Error::not_supported(path, BadValue::json(shown.to_string()), &["storage"]));
    }
    for (name, amount) in capacity {
        errors.extend(positive_quantity(amount, &path.key(name)));
    }
    errors
}

fn kinds<'a>(volume: &PersistentVolumeSource, path: &Path<'_>) -> Kinds<'a> {
    let at = |name: &'static str| path.child(name);
    vec![
        ("hostPath", volume.host_path.as_ref().map(|found| source::host_path(found, &at("hostPath")))),
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
            "glusterfs",
            volume
                .glusterfs
                .as_ref()
                .map(|found| required(&[("endpoints", found.endpoints.is_empty()), ("path", found.path.is_empty())], &at("glusterfs"))),
        ),
        ("flocker", volume.flocker.as_ref().map(|found| source::flocker(found, &at("flocker")))),
        ("nfs", volume.nfs.as_ref().map(|found| source::nfs(found, &at("nfs")))),
        (
            "rbd",
            volume
                .rbd
                .as_ref()
                .map(|found| required(&[("monitors", found.monitors.is_empty()), ("image", found.image.is_empty())], &at("rbd"))),
        ),
        ("quobyte", volume.quobyte.as_ref().map(|found| source::quobyte(found, &at("quobyte")))),
        ("cephFS", volume.cephfs.as_ref().map(|found| required(&[("monitors", found.monitors.is_empty())], &at("cephfs")))),
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
        ("cinder", volume.cinder.as_ref().map(|found| required(&[("volumeID", found.volume_id.is_empty())], &at("cinder")))),
        ("fc", volume.fc.as_ref().map(|found| source::fc(found, &at("fc")))),
        (source::FLEX_OF_VOLUME, volume.flex_volume.as_ref().map(|found| source::flex(&found.driver, &found.options, &at("flexVolume")))),
        (
            "azureFile",
            volume.azure_file.as_ref().map(|found| {
                let fields = [("secretName", found.secret_name.is_empty()), ("shareName", found.share_name.is_empty())];
                required(&fields, &at("azureFile"))
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
        ("local", volume.local.as_ref().map(|found| local(found, &at("local")))),
        ("storageos", volume.storageos.as_ref().map(|found| required(&[("volumeName", found.volume_name.is_empty())], &at("storageos")))),
        ("csi", volume.csi.as_ref().map(|found| csi(found, &at("csi")))),
    ]
}

fn local(volume: &LocalVolumeSource, path: &Path<'_>) -> ErrorList {
    if volume.path.is_empty() {
        return vec![Error::required(&path.child("path"), "")];
    }
    no_backsteps(&volume.path, &path.child("path")).into_iter().collect()
}

fn csi(volume: &CSIPersistentVolumeSource, path: &Path<'_>) -> ErrorList {
    let mut errors = source::csi_driver_name(&volume.driver, &path.child("driver"));
    errors.extend(required(&[("volumeHandle", volume.volume_handle.is_empty())], path));
    let secrets = [
        ("controllerPublishSecretRef", &volume.controller_publish_secret_ref),
        ("controllerExpandSecretRef", &volume.controller_expand_secret_ref),
        ("nodePublishSecretRef", &volume.node_publish_secret_ref),
        ("nodeExpandSecretRef", &volume.node_expand_secret_ref),
        ("nodeStageSecretRef", &volume.node_stage_secret_ref),
    ];
    for (name, secret) in secrets {
        if let Some(secret) = secret {
            errors.extend(secret_reference(secret, &path.child(name)));
        }
    }
    errors
}

fn secret_reference(secret: &SecretReference, path: &Path<'_>) -> ErrorList {
    let mut errors = required(&[("name", secret.name.is_empty()), ("namespace", secret.namespace.is_empty())], path);
    if !secret.name.is_empty() {
        extend_invalid(&mut errors, &path.child("name"), &secret.name, names::is_dns1123_subdomain(&secret.name));
    }
    if !secret.namespace.is_empty() {
        extend_invalid(&mut errors, &path.child("namespace"), &secret.namespace, names::is_dns1123_label(&secret.namespace));
    }
    errors
}
