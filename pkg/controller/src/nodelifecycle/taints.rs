//! The taints that follow from a node's conditions.

use api::core::v1::{Node, Taint};
use apimachinery::{List, Time};

use super::health::ready;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Condition, its status that counts, and the taint.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// The one of the two NoExecute taints that the node should have.
fn evicting(node: &Node) -> Option<&'static str> {
    match ready(node) {
        Some("False") => Some(NOT_READY),
        Some("Unknown") => Some(UNREACHABLE),
        _ => None,
    }
}

fn is_evicting(taint: &Taint) -> bool {
    taint.effect == "NoExecute" && matches!(taint.key.as_str(), NOT_READY | UNREACHABLE)
}

/// Whether pods would newly be evicted, which is what zones limit.
pub fn wants_eviction(node: &Node) -> bool {
    evicting(node).is_some() && !node.spec.taints.iter().any(is_evicting)
}

/// The node's taints as they should be; `None` if they are. Taints of others keep their places.
pub fn next_taints(node: &Node, may_evict: bool, now: Time) -> Option<List<Taint>> {
    let holds =
        |type_: &str, status: &str| node.status.conditions.iter().any(|condition| condition.type_ == type_ && condition.status == status);
    let mut wanted: Vec<(&str, &str)> =
        BY_CONDITION.iter().filter(|(type_, status, _)| holds(type_, status)).map(|(_, _, key)| (*key, "NoSchedule")).collect();
    if node.spec.unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    // One for the other is no new eviction.
    if may_evict || node.spec.taints.iter().any(is_evicting) {
        wanted.extend(evicting(node).map(|key| (key, "NoExecute")));
    }
    let managed = |taint: &Taint| {
        let by_us = taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key);
        is_evicting(taint) || (taint.effect == "NoSchedule" && by_us)
    };
    let has = |taint: &Taint, (key, effect): (&str, &str)| taint.key == key && taint.effect == effect;
    let mut taints: List<Taint> = node.spec.taints.clone();
    taints.retain(|taint| !managed(taint) || wanted.iter().any(|wanted| has(taint, *wanted)));
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| has(taint, (key, effect))) {
            taints.push(Taint { key: key.into(), effect: effect.into(), time_added: Some(now), ..Taint::default() });
        }
    }
    (taints[..] != node.spec.taints[..]).then_some(taints)
}

#[cfg(test)]
mod tests {
    use api::core::v1::NodeCondition;

    use super::*;

    const T0: Time = Time::from_unix(1000);

    /// `taints` reads like "not-ready:NoExecute"; keys are under node.kubernetes.io/ unless they have a slash.
    #[track_caller]
    fn check(conditions: &[(&str, &str)], taints: &str, may_evict: bool, expected: Option<&str>) {
        let mut node = Node::default();
        for (type_, status) in conditions {
            if *type_ == "unschedulable" {
                node.spec.unschedulable = true;
                continue;
            }
            node.status.conditions.push(NodeCondition { type_: (*type_).into(), status: (*status).into(), ..NodeCondition::default() });
        }
        for (key, effect) in taints.split_whitespace().filter_map(|taint| taint.split_once(':')) {
            let key = if key.contains('/') { key.to_string() } else { format!("node.kubernetes.io/{key}") };
            node.spec.taints.push(Taint { key, effect: effect.into(), ..Taint::default() });
        }
        let render = |taints: &List<Taint>| {
            let one = |taint: &Taint| format!("{}:{}", taint.key.trim_start_matches("node.kubernetes.io/"), taint.effect);
            taints.iter().map(one).collect::<Vec<_>>().join(" ")
        };
        let next = next_taints(&node, may_evict, T0);
        assert_eq!(next.as_ref().map(render).as_deref(), expected);
        if let Some(next) = next {
            node.spec.taints = next;
            assert_eq!(next_taints(&node, may_evict, T0), None, "planning twice must change nothing");
        }
    }

    #[test]
    fn taints_follow_conditions() {
        check(&[("Ready", "True")], "", true, None);
        check(&[("Ready", "True")], "not-ready:NoSchedule not-ready:NoExecute a/b:NoExecute", true, Some("a/b:NoExecute"));
        check(&[("Ready", "False")], "", true, Some("not-ready:NoSchedule not-ready:NoExecute"));
        check(&[("Ready", "False")], "", false, Some("not-ready:NoSchedule"));
        let swapped = Some("unreachable:NoSchedule unreachable:NoExecute");
        check(&[("Ready", "Unknown")], "not-ready:NoSchedule not-ready:NoExecute", false, swapped);
        check(&[("Ready", "True"), ("MemoryPressure", "True")], "", true, Some("memory-pressure:NoSchedule"));
        check(&[("Ready", "True"), ("unschedulable", "")], "", true, Some("unschedulable:NoSchedule"));
        check(&[("Ready", "True")], "unschedulable:NoSchedule", true, Some(""));
    }
}
