//! What slices a service should have, and the fewest writes that lead there.
//!
//! ```text
//!   pods -> endpoints, grouped by address family and by the ports they resolve to
//!   per group:  1. slices keep the endpoints that are still wanted, changed ones in place
//!               2. the rest goes into slices that are written anyway, until they are full
//!               3. or into the fullest other slice that has room for all of it
//!               4. or into new slices
//! ```

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use api::core::v1::{Node, ObjectReference, Pod, Service};
use api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone};
use apimachinery::meta::v1::OwnerReference;
use apimachinery::{Map, Time};
use component_helpers::{owners, pod};

use super::{MANAGED_BY, SERVICE_NAME};
use crate::service_pods::{self, HEADLESS, TRIGGER_TIME, addresses, is_headless, is_ipv6};

/// The value of the label that marks slices as this controller's.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

/// One look at a service and what belongs to it.
pub struct Observed<'a> {
    pub service: &'a Service,
    /// In the order of their names.
    pub pods: &'a [Arc<Pod>],
    pub node: &'a (dyn Fn(&str) -> Option<Arc<Node>> + Sync),
    /// Those of this controller.
    pub slices: &'a [Arc<EndpointSlice>],
    /// Most endpoints in a slice.
    pub max: usize,
    /// When the oldest change was made that is published now.
    pub trigger: Option<Time>,
}

/// Writes to make, in this order: nothing is taken away before its replacement is there.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<EndpointSlice>,
    /// Nodes that pods name but nobody knows: those pods are left out for now.
    pub unknown_nodes: Vec<String>,
}

impl Plan {
    pub fn writes(&self) -> usize {
        self.create.len() + self.update.len() + self.delete.len()
    }
}

/// What tells groups of endpoints apart: the ports they resolve to.
type PortKey = Vec<(Option<String>, Option<String>, Option<i32>, Option<String>)>;

fn port_key(ports: &[EndpointPort]) -> PortKey {
    let key = |port: &EndpointPort| (port.name.clone(), port.protocol.clone(), port.port, port.app_protocol.clone());
    let mut key: PortKey = ports.iter().map(key).collect();
    key.sort();
    key
}

#[derive(Default)]
struct Group {
    ports: Vec<EndpointPort>,
    endpoints: Vec<Endpoint>,
}

/// Decides what to write. No client, clock, lock or log in here.
pub fn plan(seen: &Observed<'_>) -> Plan {
    let mut plan = Plan::default();
    let families = families(seen.service);
    for slice in seen.slices.iter().filter(|slice| !families.contains(&slice.address_type.as_str())) {
        plan.delete.push((**slice).clone());
    }
    for family in families {
        let existing: Vec<&EndpointSlice> =
            seen.slices.iter().map(|slice| slice.as_ref()).filter(|slice| slice.address_type == family).collect();
        plan_family(seen, family, &existing, &mut plan);
    }
    plan.unknown_nodes.sort();
    plan.unknown_nodes.dedup();
    for slice in plan.create.iter_mut().chain(&mut plan.update) {
        match seen.trigger {
            Some(time) => drop(slice.metadata.annotations.insert(TRIGGER_TIME, time.to_string())),
            None => drop(slice.metadata.annotations.remove(TRIGGER_TIME)),
        }
    }
    plan
}

/// The families a service wants endpoints of. A service from before there were two is of its cluster IP's family; a
/// headless one without any may have both.
fn families(service: &Service) -> Vec<&'static str> {
    let known = service.spec.ip_families.iter().map(|family| if family == "IPv6" { "IPv6" } else { "IPv4" });
    let known: Vec<&str> = known.collect();
    match service.spec.cluster_ip.as_str() {
        _ if !known.is_empty() => known,
        "" | "None" => vec!["IPv4", "IPv6"],
        address if is_ipv6(address) => vec!["IPv6"],
        _ => vec!["IPv4"],
    }
}

fn plan_family(seen: &Observed<'_>, family: &'static str, existing: &[&EndpointSlice], plan: &mut Plan) {
    let mut groups: BTreeMap<PortKey, Group> = BTreeMap::new();
    for pod in seen.pods.iter().filter(|pod| service_pods::can_serve(pod)) {
        let node = (seen.node)(&pod.spec.node_name);
        // Nobody can reach a pod on a node that is gone, unless its owner asked to publish it whatever its state.
        if node.is_none() && !pod.spec.node_name.is_empty() && !seen.service.spec.publish_not_ready_addresses {
            plan.unknown_nodes.push(pod.spec.node_name.clone());
            continue;
        }
        let Some(endpoint) = endpoint(seen.service, pod, node.as_deref(), family) else { continue };
        let ports = ports(seen.service, pod);
        let group = groups.entry(port_key(&ports)).or_insert_with(|| Group { ports, endpoints: Vec::new() });
        group.endpoints.push(endpoint);
    }

    let mut by_ports: HashMap<PortKey, Vec<&EndpointSlice>> = HashMap::new();
    for slice in existing {
        by_ports.entry(port_key(&slice.ports)).or_default().push(slice);
    }
    let (mut create, mut update, mut delete) = (Vec::new(), Vec::new(), Vec::new());
    let mut kept = 0;
    for (key, group) in groups {
        let slices = by_ports.remove(&key).unwrap_or_default();
        kept += plan_group(seen, family, group, &slices, (&mut create, &mut update, &mut delete));
    }
    // Ports that no pod has any more. A slice without ports and endpoints stands for a service without pods.
    let mut unused: Vec<&EndpointSlice> = by_ports.into_values().flatten().collect();
    unused.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
    delete.extend(unused.into_iter().cloned());
    if kept + create.len() + update.len() == 0 {
        let placeholder = slice(seen.service, family, &[], Vec::new());
        match delete.iter().position(|known: &EndpointSlice| known.endpoints.is_empty() && known.ports.is_empty()) {
            Some(at) => {
                let known = delete.remove(at);
                if let Some(mended) = with_metadata(seen.service, &known) {
                    update.push(mended);
                }
            }
            None => create.push(placeholder),
        }
    }
    // A slice that would go can as well become one that would be made: one write instead of two, and no gap.
    while !create.is_empty() && !delete.is_empty() {
        let (new, mut old) = (create.remove(0), delete.remove(0));
        old.metadata.labels = new.metadata.labels;
        old.metadata.owner_references = new.metadata.owner_references;
        old.endpoints = new.endpoints;
        old.ports = new.ports;
        update.push(old);
    }
    plan.create.extend(create);
    plan.update.extend(update);
    plan.delete.extend(delete);
}

type Writes<'a> = (&'a mut Vec<EndpointSlice>, &'a mut Vec<EndpointSlice>, &'a mut Vec<EndpointSlice>);

/// Plans the slices of one set of ports; returns how many stay as they are.
fn plan_group(seen: &Observed<'_>, family: &str, group: Group, slices: &[&EndpointSlice], writes: Writes<'_>) -> usize {
    let (create, update, delete) = writes;
    let order: Vec<Vec<String>> = group.endpoints.iter().map(identity).collect();
    let mut wanted: HashMap<Vec<String>, Endpoint> = order.iter().cloned().zip(group.endpoints).collect();
    let mut unchanged: Vec<&EndpointSlice> = Vec::new();
    let mut changed: Vec<EndpointSlice> = Vec::new();
    for known in slices {
        let endpoints: Vec<Endpoint> = known.endpoints.iter().filter_map(|endpoint| wanted.remove(&identity(endpoint))).collect();
        let mended = with_metadata(seen.service, known);
        // An empty one is filled or goes.
        if !endpoints.is_empty() && endpoints == known.endpoints[..] && mended.is_none() {
            unchanged.push(known);
        } else {
            let mut next = mended.unwrap_or_else(|| (*known).clone());
            next.endpoints = endpoints.into();
            changed.push(next);
        }
    }
    let mut rest: Vec<Endpoint> = order.iter().filter_map(|key| wanted.remove(key)).collect();
    for slice in &mut changed {
        let room = seen.max.saturating_sub(slice.endpoints.len()).min(rest.len());
        slice.endpoints.extend(rest.drain(..room));
    }
    if !rest.is_empty() {
        let fitting = unchanged.iter().enumerate().filter(|(_, slice)| slice.endpoints.len() + rest.len() <= seen.max);
        if let Some((at, _)) = fitting.max_by_key(|(_, slice)| slice.endpoints.len()) {
            let mut next = unchanged.remove(at).clone();
            next.endpoints.extend(rest.drain(..));
            changed.push(next);
        }
    }
    while !rest.is_empty() {
        let share = rest.len().min(seen.max);
        create.push(slice(seen.service, family, &group.ports, rest.drain(..share).collect()));
    }
    for slice in changed {
        if slice.endpoints.is_empty() { delete.push(slice) } else { update.push(slice) }
    }
    unchanged.len()
}

/// What makes an endpoint the same one in another state: its addresses and its pod.
fn identity(endpoint: &Endpoint) -> Vec<String> {
    let mut identity: Vec<String> = endpoint.addresses.to_vec();
    identity.sort();
    if let Some(target) = &endpoint.target_ref {
        identity.push(format!("{}/{}/{}/{}", target.kind, target.namespace, target.name, target.uid));
    }
    identity
}

/// `None` if the pod has no address of this family.
fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, family: &str) -> Option<Endpoint> {
    let addresses: Vec<String> = addresses(pod).filter(|address| is_ipv6(address) == (family == "IPv6")).map(str::to_string).collect();
    if addresses.is_empty() {
        return None;
    }
    let serving = pod::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let zone = node.and_then(zone).map(str::to_string);
    Some(Endpoint {
        addresses: addresses.into(),
        conditions: EndpointConditions { ready: Some(ready), serving: Some(serving), terminating: Some(terminating) },
        hostname: service_pods::hostname(service, pod),
        target_ref: Some(Box::new(ObjectReference {
            kind: "Pod".into(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        })),
        node_name: (!pod.spec.node_name.is_empty()).then(|| pod.spec.node_name.clone()),
        hints: if ready { hints(service, zone.as_deref(), &pod.spec.node_name) } else { None },
        zone,
        ..Endpoint::default()
    })
}

pub fn zone(node: &Node) -> Option<&str> {
    node.metadata.labels.get(ZONE).map(String::as_str).filter(|zone| !zone.is_empty())
}

/// Who should prefer the endpoint, by the service's traffic distribution.
fn hints(service: &Service, zone: Option<&str>, node: &str) -> Option<Box<EndpointHints>> {
    let distribution = service.spec.traffic_distribution.as_deref()?;
    let mut hints = EndpointHints::default();
    if matches!(distribution, "PreferClose" | "PreferSameZone" | "PreferSameNode") {
        hints.for_zones.extend(zone.map(|zone| ForZone { name: zone.into() }));
    }
    if distribution == "PreferSameNode" && !node.is_empty() {
        hints.for_nodes.push(ForNode { name: node.into() });
    }
    (hints != EndpointHints::default()).then(|| Box::new(hints))
}

/// The service's ports as this pod has them. Those it does not have are left out.
fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let resolved = service.spec.ports.iter().filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone()),
            protocol: Some(if port.protocol.is_empty() { "TCP".into() } else { port.protocol.clone() }),
            port: Some(service_pods::target_port(port, pod)?),
            app_protocol: port.app_protocol.clone(),
        })
    });
    resolved.collect()
}

fn slice(service: &Service, family: &str, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
    let mut slice = EndpointSlice::default();
    slice.metadata.generate_name = format!("{}-", service.metadata.name);
    slice.metadata.namespace = service.metadata.namespace.clone();
    slice.metadata.labels = labels(service);
    slice.metadata.owner_references.push(owner(service));
    slice.address_type = family.into();
    slice.ports = ports.to_vec().into();
    slice.endpoints = endpoints.into();
    slice
}

fn owner(service: &Service) -> OwnerReference {
    owners::controller_reference(service)
}

/// The service's own labels, and those that say whose slice it is.
fn labels(service: &Service) -> Map<String> {
    let mut labels = service.metadata.labels.clone();
    labels.remove(HEADLESS);
    if is_headless(service) {
        labels.insert(HEADLESS, String::new());
    }
    labels.insert(SERVICE_NAME, service.metadata.name.clone());
    labels.insert(MANAGED_BY, MANAGER.to_string());
    labels
}

/// The slice with its labels and owner put right, if they were not.
fn with_metadata(service: &Service, known: &EndpointSlice) -> Option<EndpointSlice> {
    let labels = labels(service);
    let owned = known.metadata.owner_references.iter().any(|owner| owner.uid == service.metadata.uid);
    if known.metadata.labels == labels && owned {
        return None;
    }
    let mut next = known.clone();
    next.metadata.labels = labels;
    if !owned {
        // Of a service of this name that is gone.
        next.metadata.owner_references.retain(|owner| owner.kind != "Service");
        next.metadata.owner_references.push(owner(service));
    }
    Some(next)
}
