//! Which nodes a set's Pods belong on, and the Pod for one node.
//!
//! Upstream: pkg/controller/daemon/daemon_controller.go (NodeShouldRunDaemonPod), pkg/controller/daemon/util.

use api::apps::v1::DaemonSet;
use api::core::v1::{Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Toleration};
use component_helpers::owners::controller_reference;
use component_helpers::{node_affinity, taints};

use crate::history::HASH_LABEL;
use crate::pods::from_template;

/// What a node is to a set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fit {
    Run,
    /// No new Pod, but one that is there may stay: the node is tainted against scheduling.
    Stay,
    Leave,
}

/// Daemons run on nodes that are in trouble, too.
fn tolerations(host_network: bool) -> impl Iterator<Item = Toleration> {
    let all = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
        ("node.kubernetes.io/network-unavailable", "NoSchedule"),
    ];
    let wanted = move |(key, _): &(&str, &str)| host_network || !key.ends_with("network-unavailable");
    all.into_iter().filter(wanted).map(|(key, effect)| Toleration {
        key: key.into(),
        operator: "Exists".into(),
        effect: effect.into(),
        ..Toleration::default()
    })
}

fn add_tolerations(pod: &mut Pod) {
    for toleration in tolerations(pod.spec.host_network) {
        let known = pod.spec.tolerations.iter().any(|old| {
            old.key == toleration.key && old.operator == toleration.operator && old.effect == toleration.effect && old.value.is_empty()
        });
        if !known {
            pod.spec.tolerations.push(toleration);
        }
    }
}

/// Whether the set's Pods belong on the node.
pub(super) fn fit(set: &DaemonSet, node: &Node) -> Fit {
    let template = &set.spec.template.spec;
    if !template.node_name.is_empty() && template.node_name != node.metadata.name {
        return Fit::Leave;
    }
    let mut pod = Pod { spec: template.clone(), ..Pod::default() };
    add_tolerations(&mut pod);
    if !node_affinity::pod_fits(&pod, node) {
        return Fit::Leave;
    }
    let untolerated = |effects| taints::first_untolerated(&node.spec.taints, &pod.spec.tolerations, effects).is_some();
    match (untolerated(&["NoExecute"]), untolerated(&["NoSchedule"])) {
        (true, _) => Fit::Leave,
        (_, true) => Fit::Stay,
        _ => Fit::Run,
    }
}

/// The node a Pod is on; before it is bound, the one its affinity names.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    if !pod.spec.node_name.is_empty() {
        return Some(&pod.spec.node_name);
    }
    let required = pod.spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter());
    let field = fields.find(|field| field.key == "metadata.name" && field.operator == "In")?;
    field.values.first().map(String::as_str)
}

/// The set's Pod for one node: the scheduler binds it there and nowhere else.
pub(super) fn pod_for(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let mut pod = from_template(&set.spec.template, &set.metadata.namespace, controller_reference(set));
    add_tolerations(&mut pod);
    pod.metadata.labels.insert(HASH_LABEL, hash.to_string());
    if let Some(generation) = set.metadata.annotations.get("deprecated.daemonset.template.generation") {
        pod.metadata.labels.insert("pod-template-generation", generation.clone());
    }
    let name = NodeSelectorRequirement { key: "metadata.name".into(), operator: "In".into(), values: vec![node.to_string()].into() };
    let term = NodeSelectorTerm { match_fields: vec![name].into(), ..NodeSelectorTerm::default() };
    let affinity: &mut Affinity = pod.spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    // What the template requires of nodes was looked at already; the scheduler needs the name only.
    node_affinity.required_during_scheduling_ignored_during_execution =
        Some(Box::new(NodeSelector { node_selector_terms: vec![term].into() }));
    pod
}
