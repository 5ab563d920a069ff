//! Fields of a Pod whose feature gates are off by default: cleared in new objects, kept where a stored one has them. Upstream: pkg/api/pod.

use api::core::v1::{Container, PodSpec};

/// Clears fields nobody serves yet; those in use by the stored spec stay.
pub fn drop_disabled(new: &mut PodSpec, old: Option<&PodSpec>) {
    if old.is_none_or(|old| old.scheduling_group.is_none()) {
        new.scheduling_group = None;
    }
    let stops = |containers: &[Container]| {
        containers.iter().any(|container| container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.stop_signal.is_some()))
    };
    if old.is_none_or(|old| !stops(&old.containers) && !stops(&old.init_containers)) {
        for container in new.containers.iter_mut().chain(new.init_containers.iter_mut()) {
            if let Some(lifecycle) = &mut container.lifecycle {
                lifecycle.stop_signal = None;
            }
        }
    }
}
