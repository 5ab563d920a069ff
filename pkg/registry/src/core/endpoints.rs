//! Endpoints, the old form of EndpointSlices.

use api::core::v1::{EndpointAddress, EndpointPort, Endpoints};
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::{names, net};
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::validation::ports::{non_special_ip, port_number};
use crate::printers::{age, or_none};
use crate::validation::fields::{extend_invalid, supported};
use crate::validation::{object_meta, object_meta_update};

/// Rules of Endpoints.
#[derive(Clone, Copy, Debug)]
pub struct EndpointsStrategy;

const DEPRECATED: &str = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";

/// A table shows so many endpoints.
const SHOWN: usize = 3;

impl Strategy for EndpointsStrategy {
    type Object = Endpoints;

    fn default_object(&self, endpoints: &mut Endpoints) {
        crate::defaults::generated::core_v1_endpoints(endpoints);
    }

    fn validate(&self, _: &RequestContext, endpoints: &Endpoints) -> ErrorList {
        let mut errors = object_meta(&endpoints.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(subsets(endpoints));
        errors
    }

    fn warnings_on_create(&self, _: &RequestContext, _: &Endpoints) -> Vec<String> {
        vec![DEPRECATED.to_owned()]
    }

    fn validate_update(&self, _: &RequestContext, new: &Endpoints, old: &Endpoints) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(subsets(new));
        errors
    }

    fn warnings_on_update(&self, _: &RequestContext, _: &Endpoints, _: &Endpoints) -> Vec<String> {
        vec![DEPRECATED.to_owned()]
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn table_cells(&self, endpoints: &Endpoints, now: Time) -> Option<Vec<Value>> {
        Some(vec![
            endpoints.metadata.name.clone().into(),
            addresses_text(endpoints).into(),
            age(endpoints.metadata.creation_timestamp, now),
        ])
    }
}

fn addresses_text(endpoints: &Endpoints) -> String {
    let mut texts = Vec::new();
    for subset in &endpoints.subsets {
        if subset.ports.is_empty() {
            texts.extend(subset.addresses.iter().map(|address| address.ip.clone()));
        }
        for port in &subset.ports {
            texts.extend(subset.addresses.iter().map(|address| match address.ip.contains(':') {
                true => format!("[{}]:{}", address.ip, port.port),
                false => format!("{}:{}", address.ip, port.port),
            }));
        }
    }
    let more = texts.len().saturating_sub(SHOWN);
    texts.truncate(SHOWN);
    let text = texts.join(",");
    if more > 0 { format!("{text} + {more} more...") } else { or_none(text) }
}

fn subsets(endpoints: &Endpoints) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("subsets");
    for (index, subset) in endpoints.subsets.iter().enumerate() {
        let path = path.index(index);
        if subset.addresses.is_empty() && subset.not_ready_addresses.is_empty() {
            errors.push(Error::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for (name, addresses) in [("addresses", &subset.addresses), ("notReadyAddresses", &subset.not_ready_addresses)] {
            let path = path.child(name);
            for (index, address) in addresses.iter().enumerate() {
                errors.extend(endpoint_address(address, &path.index(index)));
            }
        }
        let ports = path.child("ports");
        for (index, port) in subset.ports.iter().enumerate() {
            errors.extend(endpoint_port(port, subset.ports.len() > 1, &ports.index(index)));
        }
    }
    errors
}

fn endpoint_address(address: &EndpointAddress, path: &Path<'_>) -> ErrorList {
    let ip = path.child("ip");
    let mut errors = net::is_ip(&ip, &address.ip);
    if !address.hostname.is_empty() {
        extend_invalid(&mut errors, &path.child("hostname"), &address.hostname, names::is_dns1123_label(&address.hostname));
    }
    if let Some(node) = &address.node_name {
        extend_invalid(&mut errors, &path.child("nodeName"), node, names::is_dns1123_subdomain(node));
    }
    errors.extend(non_special_ip(&address.ip, &ip));
    errors
}

fn endpoint_port(port: &EndpointPort, needs_name: bool, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    match port.name.as_str() {
        "" if needs_name => errors.push(Error::required(&path.child("name"), "")),
        "" => {}
        name => extend_invalid(&mut errors, &path.child("name"), name, names::is_dns1123_label(name)),
    }
    errors.extend(port_number(port.port, &path.child("port")));
    match port.protocol.as_str() {
        "" => errors.push(Error::required(&path.child("protocol"), "")),
        protocol => errors.extend(supported(protocol, &["SCTP", "TCP", "UDP"], &path.child("protocol"))),
    }
    if let Some(protocol) = &port.app_protocol {
        extend_invalid(&mut errors, &path.child("appProtocol"), protocol, names::is_qualified_name(protocol));
    }
    errors
}
