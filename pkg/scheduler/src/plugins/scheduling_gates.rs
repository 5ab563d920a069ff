//! SchedulingGates: a pod with gates is not tried until the last of them is taken away.

use crate::events::ClusterEvent;
use crate::framework::{Plugin, PreEnqueue};
use crate::pod_info::PodInfo;

pub const NAME: &str = "SchedulingGates";

#[derive(Debug)]
pub struct SchedulingGates;

impl PreEnqueue for SchedulingGates {
    fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), String> {
        let gates: Vec<&str> = pod.pod.spec.scheduling_gates.iter().map(|gate| gate.name.as_str()).collect();
        match gates.is_empty() {
            true => Ok(()),
            false => Err(format!("waiting for scheduling gates: [{}]", gates.join(" "))),
        }
    }
}

impl Plugin for SchedulingGates {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, pod: &PodInfo, event: &ClusterEvent) -> bool {
        event.is_update_of(pod)
    }
}
