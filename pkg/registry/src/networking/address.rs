//! IPAddresses and ServiceCIDRs: who has which service address, and the ranges they come from.

use api::networking::v1::{IPAddress, ServiceCIDR};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::{names, net};
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::printers::age;
use crate::validation::{object_meta, object_meta_update};

/// Rules of IPAddresses. The object's name is the address in its one canonical form.
#[derive(Clone, Copy, Debug)]
pub struct IPAddressStrategy;

fn canonical_ip(name: &str, _prefix: bool) -> Vec<String> {
    match name.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.to_string() == name => Vec::new(),
        Ok(_) => vec!["must be a canonical format IP address".to_owned()],
        Err(_) => vec!["must be a valid IP address".to_owned()],
    }
}

fn parent(address: &IPAddress) -> ErrorList {
    let spec = Path::new("spec");
    let path = spec.child("parentRef");
    let Some(parent) = &address.spec.parent_ref else { return vec![Error::required(&path, "")] };
    let mut errors = ErrorList::new();
    if !parent.group.is_empty() {
        let at = path.child("group");
        errors.extend(names::is_dns1123_subdomain(&parent.group).into_iter().map(|message| Error::invalid(&at, &parent.group, message)));
    }
    for (name, value) in [("resource", &parent.resource), ("name", &parent.name)] {
        let at = path.child(name);
        if value.is_empty() {
            errors.push(Error::required(&at, ""));
        } else {
            errors.extend(names::is_path_segment_name(value).into_iter().map(|message| Error::invalid(&at, value, message)));
        }
    }
    if !parent.namespace.is_empty() {
        let at = path.child("namespace");
        errors.extend(
            names::is_path_segment_name(&parent.namespace).into_iter().map(|message| Error::invalid(&at, &parent.namespace, message)),
        );
    }
    errors
}

impl Strategy for IPAddressStrategy {
    type Object = IPAddress;

    fn validate(&self, _: &RequestContext, address: &IPAddress) -> ErrorList {
        let mut errors = object_meta(&address.metadata, false, canonical_ip, &Path::new("metadata"));
        errors.extend(parent(address));
        errors
    }

    fn validate_update(&self, _: &RequestContext, new: &IPAddress, old: &IPAddress) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        if new.spec.parent_ref != old.spec.parent_ref {
            let shown = new.spec.parent_ref.as_deref().map_or(BadValue::json("null"), crate::validation::go_value);
            let spec = Path::new("spec");
            errors.push(Error::invalid(&spec.child("parentRef"), shown, "field is immutable"));
        }
        errors
    }

    fn selectable_fields(&self, _: &IPAddress) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn table_cells(&self, address: &IPAddress, _: Time) -> Option<Vec<Value>> {
        let parent = address.spec.parent_ref.as_deref().map(|parent| {
            let resource = if parent.group.is_empty() { parent.resource.clone() } else { format!("{}.{}", parent.resource, parent.group) };
            if parent.namespace.is_empty() {
                format!("{resource}/{}", parent.name)
            } else {
                format!("{resource}/{}/{}", parent.namespace, parent.name)
            }
        });
        Some(vec![address.metadata.name.clone().into(), parent.unwrap_or_default().into()])
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        canonical_ip(name, prefix)
    }
}

/// Rules of ServiceCIDRs.
#[derive(Clone, Copy, Debug)]
pub struct ServiceCIDRStrategy;

fn cidrs(object: &ServiceCIDR) -> ErrorList {
    let spec = Path::new("spec");
    let path = spec.child("cidrs");
    let cidrs = &object.spec.cidrs;
    let mut errors = ErrorList::new();
    match cidrs.len() {
        0 => return vec![Error::required(&path, "at least one CIDR required")],
        1 => {}
        2 => {
            let families: Vec<Option<bool>> = cidrs.iter().map(|cidr| net::parse_cidr_sloppy(cidr).map(|(ip, _)| ip.is_ipv4())).collect();
            if families[0].is_some() && families[0] == families[1] {
                errors.push(Error::invalid(
                    &path,
                    crate::validation::meta::string_list(cidrs),
                    "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64",
                ));
            }
        }
        more => {
            errors.push(Error::too_many(&path, more, 2));
            return errors;
        }
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        errors.extend(net::is_cidr(&path.index(index), cidr));
    }
    errors
}

impl Strategy for ServiceCIDRStrategy {
    type Object = ServiceCIDR;

    fn prepare_for_create(&self, _: &RequestContext, object: &mut ServiceCIDR) {
        object.status = Default::default();
    }

    fn validate(&self, _: &RequestContext, object: &ServiceCIDR) -> ErrorList {
        let mut errors = object_meta(&object.metadata, false, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(cidrs(object));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut ServiceCIDR, old: &ServiceCIDR) {
        new.status.clone_from(&old.status);
    }

    fn validate_update(&self, _: &RequestContext, new: &ServiceCIDR, old: &ServiceCIDR) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        let spec = Path::new("spec");
        // One family may become two; what is there stays.
        let grows = new.spec.cidrs.starts_with(&old.spec.cidrs);
        if !grows {
            errors.push(Error::invalid(&spec.child("cidrs"), crate::validation::meta::string_list(&new.spec.cidrs), "field is immutable"));
        } else {
            errors.extend(cidrs(new));
        }
        errors
    }

    fn table_cells(&self, object: &ServiceCIDR, now: Time) -> Option<Vec<Value>> {
        Some(vec![object.metadata.name.clone().into(), object.spec.cidrs.join(",").into(), age(object.metadata.creation_timestamp, now)])
    }
}

/// Rules of a ServiceCIDR's `status`.
#[derive(Clone, Copy, Debug)]
pub struct ServiceCIDRStatusStrategy;

impl Strategy for ServiceCIDRStatusStrategy {
    type Object = ServiceCIDR;

    fn prepare_for_update(&self, _: &RequestContext, new: &mut ServiceCIDR, old: &ServiceCIDR) {
        new.spec.clone_from(&old.spec);
    }

    fn validate_update(&self, _: &RequestContext, new: &ServiceCIDR, old: &ServiceCIDR) -> ErrorList {
        object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"))
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, object: &ServiceCIDR, now: Time) -> Option<Vec<Value>> {
        ServiceCIDRStrategy.table_cells(object, now)
    }
}
