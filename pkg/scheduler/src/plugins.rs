//! The plugins: one file each. What they are called, in which order they run and how much they count is in [`DEFAULTS`].

pub mod default_preemption;
pub mod dynamic_resources;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
pub mod node_name;
pub mod node_ports;
pub mod node_resources;
pub mod node_unschedulable;
pub mod pod_topology_spread;
pub mod scheduling_gates;
pub mod taint_toleration;
pub mod volumes;

/// How the queue is ordered: by priority, then by time. Part of the queue itself; named here since profiles name it.
pub const PRIORITY_SORT: &str = "PrioritySort";
/// Binds through the API server. Part of the scheduler itself; named here since profiles name it.
pub const DEFAULT_BINDER: &str = "DefaultBinder";

/// Upstream's default plugins in their order, with their weights. Those that this build does not have are marked.
pub const DEFAULTS: &[(&str, i64, bool)] = &[
    (scheduling_gates::NAME, 0, true),
    (PRIORITY_SORT, 0, true),
    (node_unschedulable::NAME, 0, true),
    (node_name::NAME, 0, true),
    (taint_toleration::NAME, 3, true),
    (node_affinity::NAME, 2, true),
    (node_ports::NAME, 0, true),
    (node_resources::FIT, 1, true),
    (volumes::RESTRICTIONS, 0, true),
    ("NodeVolumeLimits", 0, false),
    (volumes::BINDING, 0, true),
    (volumes::ZONE, 0, true),
    (pod_topology_spread::NAME, 2, true),
    (inter_pod_affinity::NAME, 2, true),
    (dynamic_resources::NAME, 2, true),
    (default_preemption::NAME, 0, true),
    (node_resources::BALANCED, 1, true),
    (image_locality::NAME, 1, true),
    (DEFAULT_BINDER, 0, true),
    ("NodeDeclaredFeatures", 0, false),
];

#[cfg(test)]
mod tests;
