//! A node with the sums over its pods. Upstream: `NodeInfo` of pkg/scheduler/framework.

use std::sync::Arc;

use api::core::v1::Node;
use component_helpers::node_ports::HostPort;

use crate::pod_info::PodInfo;
use crate::resources::Amounts;

/// A node and the pods on it. Shared and unchanging in a snapshot; the cache copies it before it changes it.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    pub node: Arc<Node>,
    pods: Vec<Arc<PodInfo>>,
    /// How many of the pods have terms of pod affinity, and required terms of anti-affinity.
    with_affinity: usize,
    with_required_anti_affinity: usize,
    pub requested: Amounts,
    /// Cpu and memory with the defaults for containers that do not say.
    pub nonzero_requested: (i64, i64),
    pub allocatable: Amounts,
    pub allowed_pods: i64,
    ports: Vec<HostPort>,
    /// Normalized names and sizes of the images on the node, sorted.
    images: Arc<Vec<(String, i64)>>,
}

impl NodeInfo {
    /// A node without pods.
    pub fn new(node: Arc<Node>) -> NodeInfo {
        let allocatable = Amounts::of(&node.status.allocatable);
        let allowed_pods = node.status.allocatable.get("pods").map_or(0, |pods| pods.value());
        let images = images_of(&node);
        NodeInfo {
            node,
            pods: Vec::new(),
            with_affinity: 0,
            with_required_anti_affinity: 0,
            requested: Amounts::default(),
            nonzero_requested: (0, 0),
            allocatable,
            allowed_pods,
            ports: Vec::new(),
            images,
        }
    }

    /// The same pods on a changed node.
    pub fn set_node(&mut self, node: Arc<Node>) {
        self.allocatable = Amounts::of(&node.status.allocatable);
        self.allowed_pods = node.status.allocatable.get("pods").map_or(0, |pods| pods.value());
        if node.status.images != self.node.status.images {
            self.images = images_of(&node);
        }
        self.node = node;
    }

    pub fn name(&self) -> &str {
        &self.node.metadata.name
    }

    /// The value of one of the node's labels.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.get(key).map(String::as_str)
    }

    pub fn pods(&self) -> &[Arc<PodInfo>] {
        &self.pods
    }

    /// The pods with any term of pod affinity or anti-affinity.
    pub fn pods_with_affinity(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        let any = self.with_affinity > 0;
        self.pods.iter().filter(move |pod| any && pod.has_affinity())
    }

    /// The pods that must not share the node's domain with some others.
    pub fn pods_with_required_anti_affinity(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        let any = self.with_required_anti_affinity > 0;
        self.pods.iter().filter(move |pod| any && !pod.required_anti_affinity.is_empty())
    }

    /// Host ports that are taken.
    pub fn ports_in_use(&self) -> &[HostPort] {
        &self.ports
    }

    /// The size of an image if the node has it. The name is a normalized one.
    pub fn image_size(&self, name: &str) -> Option<i64> {
        let at = self.images.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        Some(self.images[at].1)
    }

    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.count(&pod, 1);
        self.ports.extend(pod.host_ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Takes the pod of this UID away. False if it is not here.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(at) = self.pods.iter().position(|pod| pod.uid() == uid) else { return false };
        let pod = self.pods.swap_remove(at);
        self.count(&pod, -1);
        for port in &pod.host_ports {
            if let Some(at) = self.ports.iter().position(|taken| taken == port) {
                self.ports.swap_remove(at);
            }
        }
        true
    }

    fn count(&mut self, pod: &PodInfo, sign: i64) {
        match sign > 0 {
            true => self.requested.add(&pod.requests),
            false => self.requested.subtract(&pod.requests),
        }
        self.nonzero_requested.0 += sign * pod.nonzero.0;
        self.nonzero_requested.1 += sign * pod.nonzero.1;
        let step = |count: &mut usize, counts: bool| match (counts, sign > 0) {
            (true, true) => *count += 1,
            (true, false) => *count -= 1,
            (false, _) => {}
        };
        step(&mut self.with_affinity, pod.has_affinity());
        step(&mut self.with_required_anti_affinity, !pod.required_anti_affinity.is_empty());
    }
}

fn images_of(node: &Node) -> Arc<Vec<(String, i64)>> {
    let names = node.status.images.iter().flat_map(|image| image.names.iter().map(|name| (normalized_image(name), image.size_bytes)));
    let mut images: Vec<(String, i64)> = names.collect();
    images.sort();
    images.dedup_by(|later, earlier| later.0 == earlier.0);
    Arc::new(images)
}

/// The name with `:latest` where it has neither tag nor digest, as the runtime lists it.
pub fn normalized_image(name: &str) -> String {
    match name.rfind(':') > name.rfind('/') {
        true => name.to_owned(),
        false => format!("{name}:latest"),
    }
}
