//! The discovery.k8s.io group. Upstream: pkg/registry/discovery, pkg/apis/discovery.

use api::discovery::v1::EndpointSlice;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::{ResourceDef, Strategy};

use crate::printers::age;
use crate::validation::{object_meta, object_meta_update};

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![ResourceDef::stored(EndpointSliceStrategy)]
}

/// Rules of EndpointSlices.
#[derive(Clone, Copy, Debug)]
pub struct EndpointSliceStrategy;

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_ZONE_HINTS: usize = 8;

fn content(slice: &EndpointSlice) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("addressType");
    match slice.address_type.as_str() {
        "" => errors.push(Error::required(&at, "")),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => errors.push(Error::not_supported(&at, other, &["FQDN", "IPv4", "IPv6"])),
    }
    endpoints(slice, &mut errors);
    ports(slice, &mut errors);
    errors
}

fn endpoints(slice: &EndpointSlice, errors: &mut ErrorList) {
    let path = Path::new("endpoints");
    if slice.endpoints.len() > MAX_ENDPOINTS {
        errors.push(Error::too_many(&path, slice.endpoints.len(), MAX_ENDPOINTS));
        return;
    }
    for (index, endpoint) in slice.endpoints.iter().enumerate() {
        let at = path.index(index);
        let addresses = at.child("addresses");
        if endpoint.addresses.is_empty() {
            errors.push(Error::required(&addresses, "must contain at least 1 address"));
        } else if endpoint.addresses.len() > MAX_ADDRESSES {
            errors.push(Error::too_many(&addresses, endpoint.addresses.len(), MAX_ADDRESSES));
        }
        for (index, address) in endpoint.addresses.iter().enumerate() {
            let at = addresses.index(index);
            match slice.address_type.as_str() {
                "IPv4" => errors.extend(ip_address(address, false, &at)),
                "IPv6" => errors.extend(ip_address(address, true, &at)),
                "FQDN" => {
                    errors.extend(names::is_dns1123_subdomain(address).into_iter().map(|message| Error::invalid(&at, address, message)))
                }
                _ => {}
            }
        }
        if let Some(node) = &endpoint.node_name {
            let at = at.child("nodeName");
            errors.extend(names::name_is_dns_subdomain(node, false).into_iter().map(|message| Error::invalid(&at, node, message)));
        }
        if let Some(hostname) = &endpoint.hostname {
            let at = at.child("hostname");
            errors.extend(names::is_dns1123_label(hostname).into_iter().map(|message| Error::invalid(&at, hostname, message)));
        }
        if let Some(hints) = &endpoint.hints {
            let at = at.child("hints");
            let zones = at.child("forZones");
            if hints.for_zones.len() > MAX_ZONE_HINTS {
                errors.push(Error::too_many(&zones, hints.for_zones.len(), MAX_ZONE_HINTS));
            }
            let mut seen = std::collections::HashSet::new();
            for (index, zone) in hints.for_zones.iter().enumerate() {
                let at = zones.index(index);
                if !seen.insert(&zone.name) {
                    errors.push(Error::duplicate(&at.child("name"), &zone.name));
                }
                let name = at.child("name");
                errors.extend(names::is_label_value(&zone.name).into_iter().map(|message| Error::invalid(&name, &zone.name, message)));
            }
        }
    }
}

/// An address of the family that a pod could have: no loopback, link-local, multicast or unspecified one.
fn ip_address(address: &str, v6: bool, path: &Path<'_>) -> ErrorList {
    let wanted = if v6 { "must be a valid IPv6 address" } else { "must be a valid IPv4 address" };
    let Ok(ip) = address.parse::<std::net::IpAddr>() else {
        return vec![Error::invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")];
    };
    if ip.is_ipv6() != v6 {
        return vec![Error::invalid(path, address, wanted)];
    }
    non_special(ip, address, path)
}

/// No address that means something else on every machine. Upstream: ValidateNonSpecialIP.
fn non_special(ip: std::net::IpAddr, address: &str, path: &Path<'_>) -> ErrorList {
    use std::net::IpAddr;
    let link_local_multicast = match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    };
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let mut errors = ErrorList::new();
    for (bad, text) in [
        (ip.is_unspecified(), format!("may not be unspecified ({ip})")),
        (ip.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned()),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned()),
        (link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned()),
    ] {
        if bad {
            errors.push(Error::invalid(path, address, text));
        }
    }
    errors
}

fn ports(slice: &EndpointSlice, errors: &mut ErrorList) {
    let path = Path::new("ports");
    if slice.ports.len() > MAX_PORTS {
        errors.push(Error::too_many(&path, slice.ports.len(), MAX_PORTS));
        return;
    }
    let mut seen = std::collections::HashSet::new();
    for (index, port) in slice.ports.iter().enumerate() {
        let at = path.index(index);
        let name = port.name.as_deref().unwrap_or("");
        if !name.is_empty() {
            let at = at.child("name");
            errors.extend(names::is_dns1123_label(name).into_iter().map(|message| Error::invalid(&at, name, message)));
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
        let protocol = at.child("protocol");
        match port.protocol.as_deref() {
            None => errors.push(Error::required(&protocol, "")),
            Some("TCP" | "UDP" | "SCTP") => {}
            Some(other) => errors.push(Error::not_supported(&protocol, other, &["SCTP", "TCP", "UDP"])),
        }
        if let Some(protocol) = &port.app_protocol {
            let at = at.child("appProtocol");
            errors.extend(names::is_qualified_name(protocol).into_iter().map(|message| Error::invalid(&at, protocol, message)));
        }
    }
}

impl Strategy for EndpointSliceStrategy {
    type Object = EndpointSlice;

    fn default_object(&self, slice: &mut EndpointSlice) {
        crate::defaults::generated::discovery_v1_endpoint_slice(slice);
    }

    fn prepare_for_create(&self, _: &RequestContext, slice: &mut EndpointSlice) {
        slice.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, slice: &EndpointSlice) -> ErrorList {
        let mut errors = object_meta(&slice.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(content(slice));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut EndpointSlice, old: &EndpointSlice) {
        // Generation counts changes to anything but the metadata the server writes itself.
        let same = new.endpoints == old.endpoints
            && new.ports == old.ports
            && new.address_type == old.address_type
            && new.metadata.labels == old.metadata.labels;
        new.metadata.generation = old.metadata.generation + i64::from(!same);
    }

    fn validate_update(&self, _: &RequestContext, new: &EndpointSlice, old: &EndpointSlice) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(content(new));
        if new.address_type != old.address_type {
            errors.push(Error::invalid(&Path::new("addressType"), &new.address_type, "field is immutable"));
        }
        errors
    }

    fn table_cells(&self, slice: &EndpointSlice, now: Time) -> Option<Vec<Value>> {
        Some(vec![
            slice.metadata.name.clone().into(),
            slice.address_type.clone().into(),
            ports_text(slice).into(),
            endpoints_text(slice).into(),
            age(slice.metadata.creation_timestamp, now),
        ])
    }
}

/// The first three of a list, and how many more there are.
fn first_three(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    match items.len() {
        0 => "<unset>".to_owned(),
        1..=3 => items.join(","),
        more => format!("{} + {} more...", items[..3].join(","), more - 3),
    }
}

fn ports_text(slice: &EndpointSlice) -> String {
    first_three(slice.ports.iter().map(|port| match (&port.port, port.name.as_deref()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) if !name.is_empty() => name.to_owned(),
        _ => "*".to_owned(),
    }))
}

fn endpoints_text(slice: &EndpointSlice) -> String {
    first_three(slice.endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().cloned()))
}
