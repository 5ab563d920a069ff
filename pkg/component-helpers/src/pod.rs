//! What a pod's status says. Upstream: pkg/api/v1/pod, pkg/controller.

use api::core::v1::{Pod, PodCondition, PodStatus};
use apimachinery::Time;

/// The condition of this type.
pub fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().find(|condition| condition.type_ == kind)
}

/// True if the pod's Ready condition holds.
pub fn is_ready(pod: &Pod) -> bool {
    condition(&pod.status, "Ready").is_some_and(|ready| ready.status == "True")
}

/// True if the pod has been ready for so many seconds.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Time) -> bool {
    let Some(ready) = condition(&pod.status, "Ready").filter(|ready| ready.status == "True") else { return false };
    let since = ready.last_transition_time;
    min_ready_seconds == 0 || (!since.is_zero() && now.seconds_since(since) >= i64::from(min_ready_seconds))
}

/// True if the pod has run to its end.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

/// True if the pod counts towards a controller's replicas: neither finished nor on its way out.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Sets a condition; its transition time changes only with its status. True if anything changed.
pub fn set_condition(status: &mut PodStatus, mut new: PodCondition, now: Time) -> bool {
    new.last_transition_time = now;
    let Some(old) = status.conditions.iter_mut().find(|condition| condition.type_ == new.type_) else {
        status.conditions.push(new);
        return true;
    };
    if old.status == new.status {
        new.last_transition_time = old.last_transition_time;
    }
    let changed = *old != new;
    *old = new;
    changed
}

/// Priority as admission resolved it.
pub fn priority(pod: &Pod) -> i32 {
    pod.spec.priority.unwrap_or(0)
}

/// True for pods that a file on the node made; the API server has only their mirror.
pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.contains_key("kubernetes.io/config.mirror")
}
