//! CSIDrivers and CSINodes.

use api::storage::v1::{CSIDriver, CSINode};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::printers::age;
use crate::validation::{immutable, object_meta, object_meta_update};

/// A CSI driver's name: at most 63 characters of a DNS subdomain, in either case.
fn driver_name(name: &str, path: &Path<'_>) -> ErrorList {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = ErrorList::new();
    if name.len() > 63 {
        errors.push(Error::too_long(path, 63));
    }
    errors.extend(names::is_dns1123_subdomain(&name.to_lowercase()).into_iter().map(|message| Error::invalid(path, name, message)));
    errors
}

fn flag(value: Option<bool>, path: &Path<'_>) -> ErrorList {
    if value.is_none() { vec![Error::required(path, "")] } else { ErrorList::new() }
}

/// Rules of CSIDrivers.
#[derive(Clone, Copy, Debug)]
pub struct DriverStrategy;

fn spec(driver: &CSIDriver) -> ErrorList {
    let path = Path::new("spec");
    let spec = &driver.spec;
    let mut errors = flag(spec.attach_required, &path.child("attachedRequired"));
    errors.extend(flag(spec.pod_info_on_mount, &path.child("podInfoOnMount")));
    errors.extend(flag(spec.storage_capacity, &path.child("storageCapacity")));
    if let Some(policy) = &spec.fs_group_policy
        && !matches!(policy.as_str(), "ReadWriteOnceWithFSType" | "File" | "None")
    {
        errors.push(Error::not_supported(&path.child("fsGroupPolicy"), policy, &["ReadWriteOnceWithFSType", "File", "None"]));
    }
    let modes = path.child("volumeLifecycleModes");
    for mode in &spec.volume_lifecycle_modes {
        if !matches!(mode.as_str(), "Persistent" | "Ephemeral") {
            errors.push(Error::not_supported(&modes, mode, &["Persistent", "Ephemeral"]));
        }
    }
    let requests = path.child("tokenRequests");
    let mut seen = std::collections::HashSet::new();
    for (index, request) in spec.token_requests.iter().enumerate() {
        let at = requests.index(index);
        if !seen.insert(&request.audience) {
            errors.push(Error::duplicate(&at.child("audience"), &request.audience));
        }
        if let Some(seconds) = request.expiration_seconds {
            let at = at.child("expirationSeconds");
            if seconds < 600 {
                errors.push(Error::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
            }
            if seconds > 1 << 32 {
                errors.push(Error::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
            }
        }
    }
    errors
}

impl Strategy for DriverStrategy {
    type Object = CSIDriver;

    fn default_object(&self, driver: &mut CSIDriver) {
        crate::defaults::generated::storage_v1_csi_driver(driver);
    }

    fn validate(&self, _: &RequestContext, driver: &CSIDriver) -> ErrorList {
        let mut errors = object_meta(&driver.metadata, false, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(driver_name(&driver.metadata.name, &Path::new("name")));
        errors.extend(spec(driver));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut CSIDriver, old: &CSIDriver) {
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &CSIDriver, old: &CSIDriver) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        let path = Path::new("spec");
        let shown = BadValue::from(new.spec.attach_required);
        errors.extend(immutable(&new.spec.attach_required, &old.spec.attach_required, &path.child("attachedRequired"), shown));
        let shown = crate::validation::meta::string_list(&new.spec.volume_lifecycle_modes);
        errors.extend(immutable(
            &new.spec.volume_lifecycle_modes,
            &old.spec.volume_lifecycle_modes,
            &path.child("volumeLifecycleModes"),
            shown,
        ));
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn table_cells(&self, driver: &CSIDriver, now: Time) -> Option<Vec<Value>> {
        let spec = &driver.spec;
        let tokens: Vec<&str> = spec.token_requests.iter().map(|request| request.audience.as_str()).collect();
        let unset = |text: String| if text.is_empty() { "<unset>".to_owned() } else { text };
        let modes = if spec.volume_lifecycle_modes.is_empty() { "<none>".to_owned() } else { spec.volume_lifecycle_modes.join(",") };
        Some(vec![
            driver.metadata.name.clone().into(),
            Value::Bool(spec.attach_required.unwrap_or(true)),
            Value::Bool(spec.pod_info_on_mount.unwrap_or(false)),
            Value::Bool(spec.storage_capacity.unwrap_or(false)),
            unset(tokens.join(",")).into(),
            Value::Bool(spec.requires_republish.unwrap_or(false)),
            modes.into(),
            age(driver.metadata.creation_timestamp, now),
        ])
    }
}

/// Rules of CSINodes.
#[derive(Clone, Copy, Debug)]
pub struct NodeStrategy;

fn drivers(node: &CSINode) -> ErrorList {
    let spec = Path::new("spec");
    let path = spec.child("drivers");
    let mut errors = ErrorList::new();
    let mut seen = std::collections::HashSet::new();
    for (index, driver) in node.spec.drivers.iter().enumerate() {
        let at = path.index(index);
        errors.extend(driver_name(&driver.name, &at.child("name")));
        let id = at.child("nodeID");
        if driver.node_id.is_empty() {
            errors.push(Error::required(&id, ""));
        } else if driver.node_id.len() > 256 {
            errors.push(Error::invalid(&id, &driver.node_id, "must be 256 characters or less"));
        }
        if !seen.insert(&driver.name) {
            errors.push(Error::duplicate(&at.child("name"), &driver.name));
        }
        if let Some(count) = driver.allocatable.as_ref().and_then(|allocatable| allocatable.count)
            && count < 0
        {
            let at = at.child("allocatable");
            errors.push(Error::invalid(&at.child("count"), count, "must be greater than or equal to 0"));
        }
        let keys = at.child("topologyKeys");
        for key in &driver.topology_keys {
            errors.extend(names::is_qualified_name(key).into_iter().map(|message| Error::invalid(&keys, key, message)));
        }
    }
    errors
}

impl Strategy for NodeStrategy {
    type Object = CSINode;

    fn validate(&self, _: &RequestContext, node: &CSINode) -> ErrorList {
        let mut errors = object_meta(&node.metadata, false, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(drivers(node));
        errors
    }

    fn validate_update(&self, _: &RequestContext, new: &CSINode, old: &CSINode) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(drivers(new));
        errors
    }

    fn table_cells(&self, node: &CSINode, now: Time) -> Option<Vec<Value>> {
        Some(vec![
            node.metadata.name.clone().into(),
            Value::Int(node.spec.drivers.len() as i64),
            age(node.metadata.creation_timestamp, now),
        ])
    }
}
