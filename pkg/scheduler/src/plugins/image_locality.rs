//! ImageLocality: prefers nodes that have the pod's images already.

use std::sync::Arc;

use crate::events::ClusterEvent;
use crate::framework::{MAX_SCORE, Plugin, PreScore, Score};
use crate::node_info::{NodeInfo, normalized_image};
use crate::pod_info::PodInfo;
use crate::snapshot::Snapshot;

pub const NAME: &str = "ImageLocality";

/// Less than this on a node is not worth a preference.
const SMALL: i64 = 23 * 1024 * 1024;
/// Per container, more than this makes no difference any more.
const LARGE: i64 = 1000 * 1024 * 1024;

#[derive(Debug)]
pub struct ImageLocality;

/// An image of the pod, and how many nodes have it.
#[derive(Debug)]
pub struct Wanted {
    images: Vec<(String, usize)>,
    nodes: usize,
}

impl PreScore for ImageLocality {
    type State = Wanted;

    fn pre_score(&self, pod: &Arc<PodInfo>, _feasible: &[Arc<NodeInfo>], nodes: &Snapshot) -> Option<Wanted> {
        let spec = &pod.pod.spec;
        let names = spec.init_containers.iter().chain(spec.containers.iter()).map(|container| normalized_image(&container.image));
        let volumes = spec.volumes.iter().filter_map(|volume| volume.volume_source.image.as_ref());
        let names = names.chain(volumes.map(|image| normalized_image(&image.reference)));
        let with = |name: String| {
            let count = nodes.nodes().iter().filter(|node| node.image_size(&name).is_some()).count();
            (name, count)
        };
        Some(Wanted { images: names.map(with).collect(), nodes: nodes.nodes().len() })
    }
}

impl Score for ImageLocality {
    /// An image counts by its size, less where few nodes have it, so that not all pods flock to one node.
    fn score(&self, wanted: &Wanted, node: &NodeInfo) -> i64 {
        let weigh = |(name, with): &(String, usize)| {
            node.image_size(name).map_or(0, |size| (size as f64 * (*with as f64 / wanted.nodes as f64)) as i64)
        };
        let sum: i64 = wanted.images.iter().map(weigh).sum();
        let large = LARGE * wanted.images.len() as i64;
        match large > SMALL {
            true => MAX_SCORE * (sum.clamp(SMALL, large) - SMALL) / (large - SMALL),
            false => 0,
        }
    }
}

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        NAME
    }

    fn wakes(&self, _pod: &PodInfo, _event: &ClusterEvent) -> bool {
        false
    }
}
