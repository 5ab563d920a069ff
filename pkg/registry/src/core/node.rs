//! Nodes and their `status`.

use api::core::v1::Node;
use apimachinery::validation::field::ErrorList;
use apimachinery::{List, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::validation::node;
use crate::printers::{age, or_none, or_unknown};

/// Rules of Nodes.
#[derive(Clone, Copy, Debug)]
pub struct NodeStrategy;

/// `podCIDR` is the first of `podCIDRs`; each stands for both where the other is missing.
fn normalize(node: &mut Node) {
    let spec = &mut node.spec;
    match spec.pod_cidrs.first() {
        None if !spec.pod_cidr.is_empty() => spec.pod_cidrs = List::from(vec![spec.pod_cidr.clone()]),
        Some(first) if spec.pod_cidr.is_empty() => spec.pod_cidr = first.clone(),
        Some(first) if *first != spec.pod_cidr => spec.pod_cidrs = List::from(vec![spec.pod_cidr.clone()]),
        _ => {}
    }
}

impl Strategy for NodeStrategy {
    type Object = Node;

    fn default_object(&self, node: &mut Node) {
        normalize(node);
        crate::defaults::generated::core_v1_node(node);
    }

    fn prepare_for_create(&self, _: &RequestContext, node: &mut Node) {
        // Configuration by the API server is gone; its fields are only read from old objects.
        node.spec.config_source = None;
        node.status.config = None;
    }

    fn validate(&self, _: &RequestContext, node: &Node) -> ErrorList {
        node::validate(node)
    }

    fn warnings_on_create(&self, _: &RequestContext, node: &Node) -> Vec<String> {
        warnings(node)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Node, old: &Node) {
        new.status.clone_from(&old.status);
        if old.spec.config_source.is_none() {
            new.spec.config_source = None;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Node, old: &Node) -> ErrorList {
        let mut errors = node::validate(new);
        errors.extend(node::validate_update(new, old));
        errors
    }

    fn warnings_on_update(&self, _: &RequestContext, new: &Node, _: &Node) -> Vec<String> {
        warnings(new)
    }

    fn selectable_fields(&self, node: &Node) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", node.spec.unschedulable.to_string())]
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["status"]
    }

    fn table_cells(&self, node: &Node, now: Time) -> Option<Vec<Value>> {
        Some(cells(node, now))
    }
}

/// Rules of a node's `status`.
#[derive(Clone, Copy, Debug)]
pub struct StatusStrategy;

impl Strategy for StatusStrategy {
    type Object = Node;

    fn default_object(&self, node: &mut Node) {
        NodeStrategy.default_object(node);
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Node, old: &Node) {
        new.spec.clone_from(&old.spec);
        if old.status.config.is_none() {
            new.status.config = None;
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Node, old: &Node) -> ErrorList {
        node::validate_update(new, old)
    }

    fn warnings_on_update(&self, _: &RequestContext, new: &Node, _: &Node) -> Vec<String> {
        warnings(new)
    }

    fn reset_fields(&self) -> &'static [&'static str] {
        &["spec"]
    }

    fn table_cells(&self, node: &Node, now: Time) -> Option<Vec<Value>> {
        Some(cells(node, now))
    }
}

fn warnings(node: &Node) -> Vec<String> {
    let mut warnings = Vec::new();
    if node.spec.config_source.is_some() {
        warnings.push("spec.configSource: the feature is no longer supported".to_owned());
    }
    if !node.spec.external_id.is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    warnings
}

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE: &str = "kubernetes.io/role";

fn cells(node: &Node, now: Time) -> Vec<Value> {
    let ready = node.status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let mut status = match ready.map(|condition| condition.status.as_str()) {
        None => "Unknown",
        Some("True") => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if node.spec.unschedulable {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in &node.metadata.labels {
        match key.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => roles.push(role),
            _ if key == ROLE && !value.is_empty() => roles.push(value),
            _ => {}
        }
    }
    roles.sort_unstable();
    roles.dedup();
    let address = |kind: &str| {
        let found = node.status.addresses.iter().find(|address| address.type_ == kind);
        or_none(found.map_or("", |address| address.address.as_str()))
    };
    let info = &node.status.node_info;
    let kernel = match (info.kernel_version.is_empty(), info.architecture.is_empty()) {
        (false, false) => format!("{} ({})", info.kernel_version, info.architecture),
        _ => or_unknown(&info.kernel_version).to_owned(),
    };
    vec![
        node.metadata.name.clone().into(),
        status.into(),
        or_none(roles.join(",")).into(),
        age(node.metadata.creation_timestamp, now),
        info.kubelet_version.clone().into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        or_unknown(&info.os_image).into(),
        kernel.into(),
        or_unknown(&info.container_runtime_version).into(),
    ]
}
