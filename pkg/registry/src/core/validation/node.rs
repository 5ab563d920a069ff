//! Nodes.

use api::core::v1::{Node, Taint};
use apimachinery::gotext::quote;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::{names, net};

use super::resource::resource_quantity_value;
use crate::validation::fields::{extend_invalid, supported};
use crate::validation::go_value::go_value;
use crate::validation::meta::{label_name, string_list};
use crate::validation::{object_meta, object_meta_update};

/// A new node.
pub fn validate(node: &Node) -> ErrorList {
    let meta = Path::new("metadata");
    let mut errors = object_meta(&node.metadata, false, names::name_is_dns_subdomain, &meta);
    // Upstream looks for taints below metadata, and says so.
    errors.extend(taints(&node.spec.taints, &meta.child("taints")));
    errors.extend(resources(node));
    errors.extend(declared_features(node));
    errors.extend(pod_cidrs(node));
    errors
}

/// What an update of a node or its status must keep.
pub fn validate_update(new: &Node, old: &Node) -> ErrorList {
    let meta = Path::new("metadata");
    let (spec, status) = (Path::new("spec"), Path::new("status"));
    let mut errors = object_meta_update(&new.metadata, &old.metadata, &meta);
    errors.extend(resources(new));
    errors.extend(declared_features(new));
    let addresses = status.child("addresses");
    for (index, address) in new.status.addresses.iter().enumerate() {
        if new.status.addresses[..index].contains(address) {
            errors.push(Error::duplicate(&addresses.index(index), go_value(address)));
        }
    }
    if !old.spec.pod_cidrs.is_empty() && new.spec.pod_cidrs != old.spec.pod_cidrs {
        errors.push(Error::forbidden(&spec.child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"));
    }
    if !old.spec.provider_id.is_empty() && new.spec.provider_id != old.spec.provider_id {
        errors.push(Error::forbidden(&spec.child("providerID"), "node updates may not change providerID except from \"\" to valid"));
    }
    errors.extend(taints(&new.spec.taints, &meta.child("taints")));
    if new.spec.external_id != old.spec.external_id {
        errors.push(Error::forbidden(&spec.child("externalID"), "may not be updated"));
    }
    errors
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn taints(taints: &[Taint], path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        errors.extend(label_name(&taint.key, &path.child("key")));
        extend_invalid(&mut errors, &path.child("value"), &taint.value, names::is_label_value(&taint.value));
        errors.extend(taint_effect(&taint.effect, &path.child("effect")));
        if taints[..index].iter().any(|other| other.key == taint.key && other.effect == taint.effect) {
            let duplicate = Error::duplicate(&path, go_value(taint));
            errors.push(Error { detail: "taints must be unique by key and effect pair".to_owned(), ..duplicate });
        }
    }
    errors
}

/// What a taint does to Pods that do not tolerate it.
pub fn taint_effect(effect: &str, path: &Path<'_>) -> ErrorList {
    if effect.is_empty() { vec![Error::required(path, "")] } else { supported(effect, &EFFECTS, path) }
}

fn resources(node: &Node) -> ErrorList {
    let mut errors = ErrorList::new();
    let status = Path::new("status");
    for (field, list) in [("capacity", &node.status.capacity), ("allocatable", &node.status.allocatable)] {
        let path = status.child(field);
        for (name, amount) in list {
            errors.extend(resource_quantity_value(name, amount, &path.child(name)));
        }
    }
    errors
}

fn declared_features(node: &Node) -> ErrorList {
    let mut errors = ErrorList::new();
    let status = Path::new("status");
    let path = status.child("declaredFeatures");
    for (index, feature) in node.status.declared_features.iter().enumerate() {
        let starts_upper = feature.starts_with(|first: char| first.is_ascii_uppercase());
        let segments = feature.split('/').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if !(starts_upper && segments) {
            let detail = format!(
                "invalid feature name {}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' \
                 (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes",
                quote(feature)
            );
            errors.push(Error::invalid(&path.index(index), feature, detail));
        }
    }
    errors
}

fn pod_cidrs(node: &Node) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = Path::new("spec");
    let path = spec.child("podCIDRs");
    let cidrs = &node.spec.pod_cidrs;
    for (index, cidr) in cidrs.iter().enumerate() {
        errors.extend(net::is_cidr(&path.index(index), cidr));
    }
    if cidrs.len() > 1 {
        let families: Vec<_> = cidrs.iter().filter_map(|cidr| net::parse_cidr_sloppy(cidr)).map(|(address, _)| address.is_ipv4()).collect();
        if cidrs.len() > 2 || families.len() == 2 && families[0] == families[1] {
            errors.push(Error::invalid(&path, string_list(cidrs), "may specify no more than one CIDR for each IP family"));
        }
    }
    errors
}
