//! NetworkPolicies.

use api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use apimachinery::validation::field::{BadValue, Error, ErrorList, Path};
use apimachinery::validation::{names, net};
use apimachinery::{IntOrString, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::printers::age;
use crate::validation::{label_selector, object_meta, object_meta_update};
use crate::workloads::label_selector_text;

/// Rules of NetworkPolicies.
#[derive(Clone, Copy, Debug)]
pub struct NetworkPolicyStrategy;

fn port(port: &NetworkPolicyPort, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(protocol) = &port.protocol
        && !matches!(protocol.as_str(), "TCP" | "UDP" | "SCTP")
    {
        errors.push(Error::not_supported(&path.child("protocol"), protocol, &["SCTP", "TCP", "UDP"]));
    }
    let (at, end_at) = (path.child("port"), path.child("endPort"));
    match &port.port {
        Some(IntOrString::Int(number)) => {
            errors.extend(names::is_port_number((*number).into()).into_iter().map(|message| Error::invalid(&at, *number, message)));
            if let Some(end) = port.end_port {
                if end < *number {
                    errors.push(Error::invalid(&end_at, end, "must be greater than or equal to `port`"));
                }
                errors.extend(names::is_port_number(end.into()).into_iter().map(|message| Error::invalid(&end_at, end, message)));
            }
        }
        Some(IntOrString::String(name)) => {
            if let Some(end) = port.end_port {
                errors.push(Error::invalid(&end_at, end, "may not be specified when `port` is non-numeric"));
            }
            errors.extend(names::is_port_name(name).into_iter().map(|message| Error::invalid(&at, name, message)));
        }
        None => {
            if let Some(end) = port.end_port {
                errors.push(Error::invalid(&end_at, end, "may not be specified when `port` is not specified"));
            }
        }
    }
    errors
}

fn peer(peer: &NetworkPolicyPeer, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let selects = peer.pod_selector.is_some() || peer.namespace_selector.is_some();
    errors.extend(label_selector(peer.pod_selector.as_deref(), &path.child("podSelector")));
    errors.extend(label_selector(peer.namespace_selector.as_deref(), &path.child("namespaceSelector")));
    match &peer.ip_block {
        Some(_) if selects => errors.push(Error::forbidden(path, "may not specify both ipBlock and another peer")),
        Some(block) => {
            let at = path.child("ipBlock");
            let cidr = at.child("cidr");
            if block.cidr.is_empty() {
                errors.push(Error::required(&cidr, ""));
                return errors;
            }
            let found = net::is_cidr(&cidr, &block.cidr);
            let bad = !found.is_empty();
            errors.extend(found);
            let outer = net::parse_cidr_sloppy(&block.cidr);
            let except = at.child("except");
            for (index, text) in block.except.iter().enumerate() {
                let at = except.index(index);
                errors.extend(net::is_cidr(&at, text));
                if let (Some(outer), Some(inner), false) = (outer, net::parse_cidr_sloppy(text), bad)
                    && !strictly_inside(inner, outer)
                {
                    errors.push(Error::invalid(&at, text, "must be a strict subset of `cidr`"));
                }
            }
        }
        None if !selects => errors.push(Error::required(path, "must specify a peer")),
        None => {}
    }
    errors
}

/// True if `inner` is a smaller part of `outer`.
fn strictly_inside(inner: (std::net::IpAddr, u8), outer: (std::net::IpAddr, u8)) -> bool {
    use std::net::IpAddr;
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)) << 96,
        IpAddr::V6(ip) => u128::from(ip),
    };
    let same_family = inner.0.is_ipv4() == outer.0.is_ipv4();
    let mask = if outer.1 == 0 { 0 } else { u128::MAX << (128 - u32::from(outer.1)) };
    same_family && inner.1 > outer.1 && bits(inner.0) & mask == bits(outer.0) & mask
}

fn spec(policy: &NetworkPolicy) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = label_selector(Some(&policy.spec.pod_selector), &path.child("podSelector"));
    let ingress = path.child("ingress");
    for (index, rule) in policy.spec.ingress.iter().enumerate() {
        let at = ingress.index(index);
        let (ports, from) = (at.child("ports"), at.child("from"));
        rule.ports.iter().enumerate().for_each(|(index, item)| errors.extend(port(item, &ports.index(index))));
        rule.from.iter().enumerate().for_each(|(index, item)| errors.extend(peer(item, &from.index(index))));
    }
    let egress = path.child("egress");
    for (index, rule) in policy.spec.egress.iter().enumerate() {
        let at = egress.index(index);
        let (ports, to) = (at.child("ports"), at.child("to"));
        rule.ports.iter().enumerate().for_each(|(index, item)| errors.extend(port(item, &ports.index(index))));
        rule.to.iter().enumerate().for_each(|(index, item)| errors.extend(peer(item, &to.index(index))));
    }
    let types = path.child("policyTypes");
    if policy.spec.policy_types.len() > 2 {
        let shown = BadValue::json(format!("{:?}", &*policy.spec.policy_types).replace(", ", ","));
        errors.push(Error::invalid(&types, shown, "may not specify more than two policyTypes"));
        return errors;
    }
    for (index, kind) in policy.spec.policy_types.iter().enumerate() {
        if !matches!(kind.as_str(), "Ingress" | "Egress") {
            errors.push(Error::not_supported(&types.index(index), kind, &["Egress", "Ingress"]));
        }
    }
    errors
}

impl Strategy for NetworkPolicyStrategy {
    type Object = NetworkPolicy;

    fn default_object(&self, policy: &mut NetworkPolicy) {
        crate::defaults::generated::networking_v1_network_policy(policy);
    }

    fn prepare_for_create(&self, _: &RequestContext, policy: &mut NetworkPolicy) {
        policy.metadata.generation = 1;
    }

    fn validate(&self, _: &RequestContext, policy: &NetworkPolicy) -> ErrorList {
        let mut errors = object_meta(&policy.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(spec(policy));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut NetworkPolicy, old: &NetworkPolicy) {
        if new.spec != old.spec {
            new.metadata.generation = old.metadata.generation + 1;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &NetworkPolicy, old: &NetworkPolicy) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        errors
    }

    fn table_cells(&self, policy: &NetworkPolicy, now: Time) -> Option<Vec<Value>> {
        Some(vec![
            policy.metadata.name.clone().into(),
            label_selector_text(Some(&policy.spec.pod_selector)).into(),
            age(policy.metadata.creation_timestamp, now),
        ])
    }
}
