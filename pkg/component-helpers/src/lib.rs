//! What components share about pods, nodes and owners. Pure functions on API types; no client, no clock.
//!
//! Upstream: staging/src/k8s.io/component-helpers, pkg/api/v1/{pod,resource}, pkg/controller/controller_ref_manager.go.

pub mod node_affinity;
pub mod node_ports;
pub mod owners;
pub mod pod;
pub mod qos;
pub mod quota;
pub mod resource;
pub mod taints;
