//! Nodes and pods for tests, written as JSON.

use std::sync::Arc;

use api::core::v1::{Node, Pod};
use apimachinery::json;

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::{Objects, Snapshot};

/// A node with `size` (`cpu=4 memory=8Gi pods=10`) and the rest of its JSON.
pub fn node(name: &str, size: &str, rest: &str) -> Arc<Node> {
    let mut node: Node = match rest {
        "" => Node::default(),
        rest => json::from_slice(rest.as_bytes()).expect(rest),
    };
    node.metadata.name = name.to_owned();
    for pair in ["cpu=4", "memory=8Gi", "pods=110"].into_iter().chain(size.split_whitespace()) {
        let (name, amount) = pair.split_once('=').expect(pair);
        node.status.allocatable.insert(name, amount.parse().expect(amount));
    }
    Arc::new(node)
}

/// A pod of namespace `default`; its name is its UID.
pub fn pod(name: &str, rest: &str) -> Arc<PodInfo> {
    PodInfo::new(Arc::new(raw_pod(name, rest)))
}

pub fn raw_pod(name: &str, rest: &str) -> Pod {
    let mut pod: Pod = match rest {
        "" => Pod::default(),
        rest => json::from_slice(rest.as_bytes()).expect(rest),
    };
    pod.metadata.name = name.to_owned();
    if pod.metadata.namespace.is_empty() {
        pod.metadata.namespace = "default".to_owned();
    }
    pod.metadata.uid = name.to_owned();
    pod.spec.scheduler_name = "default-scheduler".to_owned();
    pod
}

/// The spec of a container with these requests (`cpu=1 memory=1Gi`), as part of a pod's JSON.
pub fn requests(amounts: &str) -> String {
    let pairs: Vec<String> = amounts
        .split_whitespace()
        .map(|pair| {
            let (name, amount) = pair.split_once('=').expect(pair);
            format!("{name:?}:{amount:?}")
        })
        .collect();
    format!(r#""containers":[{{"name":"c","resources":{{"requests":{{{}}}}}}}]"#, pairs.join(","))
}

/// A snapshot of nodes with pods on them.
pub fn cluster(nodes: Vec<(Arc<Node>, Vec<Arc<PodInfo>>)>) -> Snapshot {
    cluster_with(nodes, Objects::default())
}

pub fn cluster_with(nodes: Vec<(Arc<Node>, Vec<Arc<PodInfo>>)>, objects: Objects) -> Snapshot {
    let filled = nodes.into_iter().map(|(node, pods)| {
        let mut info = NodeInfo::new(node);
        pods.into_iter().for_each(|pod| info.add_pod(pod));
        Arc::new(info)
    });
    Snapshot::new(filled.collect(), objects)
}
