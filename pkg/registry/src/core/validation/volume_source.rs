//! Kinds of volumes, as Pods and PersistentVolumes have them.

use api::core::v1::{
    AzureDiskVolumeSource, FCVolumeSource, FlockerVolumeSource, HostPathVolumeSource, KeyToPath, NFSVolumeSource, QuobyteVolumeSource,
};
use apimachinery::Map;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;

use super::paths::{local_non_reserved, mode, no_backsteps};
use crate::validation::fields::{extend_invalid, supported};
use crate::validation::meta::string_list;

/// Kinds of volumes in upstream's order of looking: name, and what is wrong with it if it is set.
pub type Kinds<'a> = Vec<(&'a str, Option<ErrorList>)>;

/// The name of the one kind that is checked whatever else is set.
pub const FLEX_OF_VOLUME: &str = "persistent flexVolume";

/// Exactly one kind is set, and it is right.
pub fn one_kind(kinds: Kinds<'_>, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut count = 0;
    for (name, wrong) in kinds {
        let Some(wrong) = wrong else { continue };
        match count {
            0 => errors.extend(wrong),
            // Upstream does not count how many there are before this one of PersistentVolumes.
            _ if name == FLEX_OF_VOLUME => errors.extend(wrong),
            _ => errors.push(Error::forbidden(&path.child(name), "may not specify more than 1 volume type")),
        }
        count += 1;
    }
    if count == 0 {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    errors
}

/// Fields that must not be empty.
pub fn required(fields: &[(&str, bool)], path: &Path<'_>) -> ErrorList {
    fields.iter().filter(|(_, empty)| *empty).map(|(name, _)| Error::required(&path.child(name), "")).collect()
}

const HOST_PATH_TYPES: [&str; 8] = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

pub fn host_path(source: &HostPathVolumeSource, path: &Path<'_>) -> ErrorList {
    if source.path.is_empty() {
        return vec![Error::required(&path.child("path"), "")];
    }
    let mut errors: ErrorList = no_backsteps(&source.path, &path.child("path")).into_iter().collect();
    if let Some(kind) = &source.type_ {
        errors.extend(supported(kind, &HOST_PATH_TYPES, &path.child("type")));
    }
    errors
}

pub fn partition(partition: i32, path: &Path<'_>) -> Option<Error> {
    (!(0..=255).contains(&partition)).then(|| Error::invalid(&path.child("partition"), partition, names::inclusive_range_error(0, 255)))
}

pub fn nfs(source: &NFSVolumeSource, path: &Path<'_>) -> ErrorList {
    let mut errors = required(&[("server", source.server.is_empty()), ("path", source.path.is_empty())], path);
    if !source.path.starts_with('/') {
        errors.push(Error::invalid(&path.child("path"), &source.path, "must be an absolute path"));
    }
    errors
}

/// What iSCSI volumes of Pods and PersistentVolumes share.
pub struct Iscsi<'a> {
    pub target_portal: &'a str,
    pub iqn: &'a str,
    pub lun: i32,
    pub chap: bool,
    pub has_secret: bool,
    pub initiator: Option<&'a str>,
}

impl Iscsi<'_> {
    pub fn validate(&self, path: &Path<'_>) -> ErrorList {
        let mut errors = required(&[("targetPortal", self.target_portal.is_empty()), ("iqn", self.iqn.is_empty())], path);
        let known = |name: &str| ["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix));
        if !self.iqn.is_empty() && !known(self.iqn) {
            errors.push(Error::invalid(&path.child("iqn"), self.iqn, "must be valid format starting with iqn, eui, or naa"));
        }
        if !(0..=255).contains(&self.lun) {
            errors.push(Error::invalid(&path.child("lun"), self.lun, names::inclusive_range_error(0, 255)));
        }
        if self.chap && !self.has_secret {
            errors.push(Error::required(&path.child("secretRef"), ""));
        }
        if let Some(initiator) = self.initiator.filter(|initiator| !known(initiator)) {
            errors.push(Error::invalid(&path.child("initiatorname"), initiator, "must be valid format"));
        }
        errors
    }
}

pub fn flocker(source: &FlockerVolumeSource, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    match (source.dataset_name.is_empty(), source.dataset_uuid.is_empty()) {
        (true, true) => errors.push(Error::required(path, "one of datasetName and datasetUUID is required")),
        (false, false) => {
            errors.push(Error::invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously"));
        }
        _ => {}
    }
    if source.dataset_name.contains('/') {
        errors.push(Error::invalid(&path.child("datasetName"), &source.dataset_name, "must not contain '/'"));
    }
    errors
}

pub fn quobyte(source: &QuobyteVolumeSource, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if source.registry.is_empty() {
        errors.push(Error::required(&path.child("registry"), "must be a host:port pair or multiple pairs separated by commas"));
    } else if source.tenant.len() >= 65 {
        errors.push(Error::required(&path.child("tenant"), "must be a UUID and may not exceed a length of 64 characters"));
    } else if source.registry.split(',').any(|pair| pair.rsplit_once(':').is_none()) {
        errors.push(Error::invalid(
            &path.child("registry"),
            &source.registry,
            "must be a host:port pair or multiple pairs separated by commas",
        ));
    }
    errors.extend(required(&[("volume", source.volume.is_empty())], path));
    errors
}

pub fn fc(source: &FCVolumeSource, path: &Path<'_>) -> ErrorList {
    let names_path = path.child("targetWWNs");
    let why = "must specify either targetWWNs or wwids, but not both";
    let mut errors = ErrorList::new();
    match (source.target_wwns.is_empty(), source.wwids.is_empty()) {
        (true, true) => errors.push(Error::required(&names_path, why)),
        (false, false) => errors.push(Error::invalid(&names_path, string_list(&source.target_wwns), why)),
        _ => {}
    }
    if !source.target_wwns.is_empty() {
        match source.lun {
            None => errors.push(Error::required(&path.child("lun"), "lun is required if targetWWNs is specified")),
            Some(lun) if !(0..=255).contains(&lun) => {
                errors.push(Error::invalid(&path.child("lun"), lun, names::inclusive_range_error(0, 255)));
            }
            Some(_) => {}
        }
    }
    errors
}

pub fn flex(driver: &str, options: &Map<String>, path: &Path<'_>) -> ErrorList {
    let mut errors = required(&[("driver", driver.is_empty())], path);
    for key in options.keys() {
        let domain = key.split('/').next().unwrap_or(key);
        let reserved = [".kubernetes.io", ".k8s.io"].iter().any(|reserved| format!(".{domain}").ends_with(reserved));
        if reserved {
            let detail = "must not use reserved domains kubernetes.io or k8s.io";
            let options = path.child("options");
            errors.push(Error::invalid(&options.key(key), key, detail));
        }
    }
    errors
}

pub fn azure_disk(source: &AzureDiskVolumeSource, path: &Path<'_>) -> ErrorList {
    let mut errors = required(&[("diskName", source.disk_name.is_empty()), ("diskURI", source.disk_uri.is_empty())], path);
    if let Some(caching) = &source.caching_mode {
        errors.extend(supported(caching, &["None", "ReadOnly", "ReadWrite"], &path.child("cachingMode")));
    }
    if let Some(kind) = &source.kind {
        errors.extend(supported(kind, &["Dedicated", "Managed", "Shared"], &path.child("kind")));
        let managed = source.disk_uri.starts_with("/subscriptions");
        if kind == "Managed" && !managed {
            let detail = "diskURI must be in the form /subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
            errors.push(Error::not_supported(&path.child("diskURI"), &source.disk_uri, &[detail]));
        } else if kind != "Managed" && managed {
            let form = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
            errors.push(Error::not_supported(&path.child("diskURI"), &source.disk_uri, &[form]));
        }
    }
    errors
}

/// The name of a CSI driver.
pub fn csi_driver_name(driver: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if driver.is_empty() {
        return vec![Error::required(path, "")];
    }
    if driver.len() > 63 {
        errors.push(Error::too_long(path, 63));
    }
    let lower = driver.to_lowercase();
    extend_invalid(&mut errors, path, driver, names::is_dns1123_subdomain(&lower));
    errors
}

/// Keys of a ConfigMap or Secret and the files they become.
pub fn items(items: &[KeyToPath], default_mode: Option<i32>, path: &Path<'_>) -> ErrorList {
    let mut errors: ErrorList = mode(default_mode, &path.child("defaultMode")).into_iter().collect();
    let list = path.child("items");
    for (index, item) in items.iter().enumerate() {
        errors.extend(key_to_path(item, &list.index(index)));
    }
    errors
}

pub fn key_to_path(item: &KeyToPath, path: &Path<'_>) -> ErrorList {
    let mut errors = required(&[("key", item.key.is_empty()), ("path", item.path.is_empty())], path);
    if !item.path.is_empty() {
        errors.extend(local_non_reserved(&item.path, &path.child("path")));
    }
    errors.extend(mode(item.mode, &path.child("mode")));
    errors
}
