//! Whether a node has been heard of lately, and what its conditions are once it has not.

use std::time::{Duration, Instant};

use api::coordination::v1::Lease;
use api::core::v1::{Node, NodeCondition};
use apimachinery::{MicroTime, Time};

/// The conditions a kubelet reports; the rest is not for us to call unknown.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// The status of a node's Ready condition.
pub fn ready(node: &Node) -> Option<&str> {
    node.status.conditions.iter().find(|condition| condition.type_ == "Ready").map(|condition| condition.status.as_str())
}

/// When a node was heard of last, by our own clock: theirs may be wrong.
#[derive(Clone, Debug)]
pub struct Health {
    heard: Instant,
    renewed: Option<MicroTime>,
    heartbeat: Option<Time>,
}

impl Health {
    /// A node seen for the first time counts as heard of.
    pub fn new(now: Instant) -> Health {
        Health { heard: now, renewed: None, heartbeat: None }
    }

    /// A lease renewed or a status reported since the last look is a sign of life.
    pub fn observe(&mut self, node: &Node, lease: Option<&Lease>, now: Instant) {
        let renewed = lease.and_then(|lease| lease.spec.renew_time);
        let condition = node.status.conditions.iter().find(|condition| condition.type_ == "Ready");
        // What we wrote ourselves is no sign of life: it leaves the heartbeat alone.
        let heartbeat = condition.map(|condition| condition.last_heartbeat_time);
        if (renewed.is_some() && renewed != self.renewed) || (heartbeat.is_some() && heartbeat != self.heartbeat) {
            self.heard = now;
        }
        self.renewed = renewed.or(self.renewed);
        self.heartbeat = heartbeat.or(self.heartbeat);
    }

    pub fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }
}

/// The node with what its kubelet used to report called unknown; `None` if it is already.
pub fn lapsed(node: &Node, now: Time) -> Option<Node> {
    let mut next = node.clone();
    for type_ in REPORTED {
        match next.status.conditions.iter_mut().find(|condition| condition.type_ == type_) {
            None => next.status.conditions.push(NodeCondition {
                type_: type_.into(),
                status: "Unknown".into(),
                last_heartbeat_time: node.metadata.creation_timestamp,
                last_transition_time: now,
                reason: "NodeStatusNeverUpdated".into(),
                message: "Kubelet never posted node status.".into(),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".into();
                condition.reason = "NodeStatusUnknown".into();
                condition.message = "Kubelet stopped posting node status.".into();
                condition.last_transition_time = now;
            }
            Some(_) => {}
        }
    }
    (next != *node).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(heartbeat: i64) -> Node {
        let mut node = Node::default();
        node.status.conditions.push(NodeCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_heartbeat_time: Time::from_unix(heartbeat),
            ..NodeCondition::default()
        });
        node
    }

    fn lease(renewed: i64) -> Lease {
        let mut lease = Lease::default();
        lease.spec.renew_time = Some(MicroTime::from_unix_micros(renewed));
        lease
    }

    #[test]
    fn a_lease_or_a_status_is_a_sign_of_life() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut health = Health::new(start);
        health.observe(&node(1), Some(&lease(1)), at(0));
        health.observe(&node(1), Some(&lease(2)), at(10));
        assert_eq!(health.silence(at(15)), Duration::from_secs(5));
        health.observe(&node(2), Some(&lease(2)), at(20));
        health.observe(&node(2), Some(&lease(2)), at(30));
        health.observe(&node(2), None, at(40));
        assert_eq!(health.silence(at(60)), Duration::from_secs(40));
        health.observe(&lapsed(&node(2), Time::from_unix(9)).unwrap(), None, at(70));
        assert_eq!(health.silence(at(70)), Duration::from_secs(50), "our own write is none");
    }

    #[test]
    fn silence_makes_conditions_unknown_once() {
        let next = lapsed(&node(1), Time::from_unix(50)).unwrap();
        let told: Vec<_> = next.status.conditions.iter().map(|condition| (condition.type_.as_str(), condition.reason.as_str())).collect();
        assert_eq!(
            told,
            [
                ("Ready", "NodeStatusUnknown"),
                ("MemoryPressure", "NodeStatusNeverUpdated"),
                ("DiskPressure", "NodeStatusNeverUpdated"),
                ("PIDPressure", "NodeStatusNeverUpdated"),
            ]
        );
        assert_eq!(lapsed(&next, Time::from_unix(60)), None);
    }
}
