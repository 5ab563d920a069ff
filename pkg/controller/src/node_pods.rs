//! Pods by the node they are bound to.

use std::sync::Arc;

use api::core::v1::Pod;
use informer::Store;

const INDEX: &str = "spec.nodeName";

/// Makes [`on`] work. Asking twice is no mistake.
pub fn index(pods: &Store<Pod>) {
    pods.add_index(INDEX, |pod| if pod.spec.node_name.is_empty() { Vec::new() } else { vec![pod.spec.node_name.clone()] });
}

/// The pods bound to this node.
pub fn on(pods: &Store<Pod>, node: &str) -> Vec<Arc<Pod>> {
    pods.by_index(INDEX, node)
}
