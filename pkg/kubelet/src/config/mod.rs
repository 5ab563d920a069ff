//! Where pods come from: files on the node, and the API server. Upstream: pkg/kubelet/config.

pub mod file;

use api::core::v1::Pod;
use std::sync::Arc;

pub const SOURCE: &str = "kubernetes.io/config.source";
pub const HASH: &str = "kubernetes.io/config.hash";
pub const SEEN: &str = "kubernetes.io/config.seen";
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// A change in one of the sources.
#[derive(Clone, Debug)]
pub enum PodChange {
    /// The pod as the API server has it.
    Set(Arc<Pod>),
    Gone(Arc<Pod>),
    /// All pods of the node's files.
    Files(Vec<Pod>),
    /// All pods of the API server were told at least once.
    Synced,
}

/// A pod that no API server made.
pub fn is_static(pod: &Pod) -> bool {
    pod.metadata.annotations.get(SOURCE).is_some_and(|source| source != "api")
}

/// The API server's picture of a static pod.
pub fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.contains_key(MIRROR)
}
