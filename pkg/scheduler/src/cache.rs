//! Nodes and the pods on them as the scheduler believes them to be: what the API server said, and what it will say once bindings under
//! way have gone through. Upstream: pkg/scheduler/backend/cache.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use api::core::v1::Node;

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;
use crate::snapshot::{Objects, Snapshot};

/// The view. A pod is *assumed* on a node from the decision until the API server confirms it, or until it is forgotten.
#[derive(Debug, Default)]
pub struct Cache {
    nodes: BTreeMap<String, Arc<NodeInfo>>,
    /// Pods on nodes that are not known, or no longer.
    strays: HashMap<String, Vec<Arc<PodInfo>>>,
    /// Where each pod is, by UID.
    pods: HashMap<String, Place>,
    pub objects: Objects,
    /// The nodes of the last snapshot, and what has changed since.
    shown: Arc<Vec<Arc<NodeInfo>>>,
    changed: HashSet<String>,
    /// A node came or went.
    reshaped: bool,
}

#[derive(Debug)]
struct Place {
    node: String,
    pod: Arc<PodInfo>,
    assumed: bool,
}

impl Cache {
    /// The world as it is believed to be now. Costs as much as has changed.
    pub fn snapshot(&mut self) -> Snapshot {
        if self.reshaped {
            self.shown = Arc::new(self.nodes.values().cloned().collect());
        } else if !self.changed.is_empty() {
            let nodes = Arc::make_mut(&mut self.shown);
            for name in &self.changed {
                if let (Some(now), Ok(at)) = (self.nodes.get(name), nodes.binary_search_by(|node| node.name().cmp(name))) {
                    nodes[at] = now.clone();
                }
            }
        }
        self.reshaped = false;
        self.changed.clear();
        Snapshot { nodes: self.shown.clone(), objects: self.objects.clone(), nominated: Arc::default() }
    }

    /// Adds a node, or changes it.
    pub fn put_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone();
        if let Some(known) = self.nodes.get_mut(&name) {
            Arc::make_mut(known).set_node(node);
            self.changed.insert(name);
            return;
        }
        let mut info = NodeInfo::new(node);
        for pod in self.strays.remove(&name).unwrap_or_default() {
            info.add_pod(pod);
        }
        self.nodes.insert(name, Arc::new(info));
        self.reshaped = true;
    }

    /// Forgets a node. Its pods are remembered until they are told to be gone, or the node comes back.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(gone) = self.nodes.remove(name) {
            if !gone.pods().is_empty() {
                self.strays.insert(name.to_owned(), gone.pods().to_vec());
            }
            self.reshaped = true;
        }
    }

    /// Takes a pod's place before the API server knows of it.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.place(pod, node, true);
    }

    /// Gives the place back if the API server has not confirmed it. True if so.
    pub fn forget(&mut self, uid: &str) -> bool {
        match self.is_assumed(uid) {
            true => self.remove_pod(uid).is_some(),
            false => false,
        }
    }

    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|place| place.assumed)
    }

    /// A pod on its node, as the API server has it: new, changed, or confirming what was assumed. Gives back what was known before
    /// from the API server.
    pub fn put_pod(&mut self, pod: Arc<PodInfo>) -> Option<Arc<PodInfo>> {
        let node = pod.pod.spec.node_name.clone();
        self.place(pod, &node, false).filter(|before| !before.assumed).map(|before| before.pod)
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: &str, assumed: bool) -> Option<Place> {
        let before = self.take(pod.uid());
        match self.nodes.get_mut(node) {
            Some(info) => {
                Arc::make_mut(info).add_pod(pod.clone());
                self.changed.insert(node.to_owned());
            }
            None => self.strays.entry(node.to_owned()).or_default().push(pod.clone()),
        }
        self.pods.insert(pod.uid().to_owned(), Place { node: node.to_owned(), pod, assumed });
        before
    }

    /// Takes a pod away; gives back what was known of it.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        self.take(uid).map(|place| place.pod)
    }

    fn take(&mut self, uid: &str) -> Option<Place> {
        let place = self.pods.remove(uid)?;
        if let Some(info) = self.nodes.get_mut(&place.node) {
            Arc::make_mut(info).remove_pod(uid);
            self.changed.insert(place.node.clone());
        } else if let Some(strays) = self.strays.get_mut(&place.node) {
            strays.retain(|stray| stray.uid() != uid);
            if strays.is_empty() {
                self.strays.remove(&place.node);
            }
        }
        Some(place)
    }

    /// Nodes, pods, and how many of the pods are assumed.
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.nodes.len(), self.pods.len(), self.pods.values().filter(|place| place.assumed).count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, raw_pod, requests};

    fn pod_on(name: &str, node: &str, cpu: &str) -> Arc<PodInfo> {
        let mut pod = raw_pod(name, &format!(r#"{{"spec":{{{}}}}}"#, requests(&format!("cpu={cpu}"))));
        pod.spec.node_name = node.to_owned();
        PodInfo::new(Arc::new(pod))
    }

    fn used(cache: &mut Cache) -> Vec<(String, i64)> {
        cache.snapshot().nodes().iter().map(|node| (node.name().to_owned(), node.requested.milli_cpu)).collect()
    }

    #[track_caller]
    fn check(cache: &mut Cache, expected: &[(&str, i64)]) {
        let expected: Vec<(String, i64)> = expected.iter().map(|(name, cpu)| ((*name).to_owned(), *cpu)).collect();
        assert_eq!(used(cache), expected);
    }

    #[test]
    fn what_is_assumed_is_taken_until_it_is_forgotten_or_confirmed() {
        let mut cache = Cache::default();
        cache.put_node(node("a", "", ""));
        cache.put_node(node("b", "", ""));
        cache.assume(pod_on("p", "", "1"), "a");
        check(&mut cache, &[("a", 1000), ("b", 0)]);
        assert!(cache.forget("p"));
        check(&mut cache, &[("a", 0), ("b", 0)]);
        cache.assume(pod_on("p", "", "1"), "a");
        assert!(cache.put_pod(pod_on("p", "a", "1")).is_none());
        assert!(!cache.forget("p"));
        check(&mut cache, &[("a", 1000), ("b", 0)]);
        assert_eq!(cache.sizes(), (2, 1, 0));
        // Somebody else bound it elsewhere.
        cache.assume(pod_on("q", "", "1"), "a");
        cache.put_pod(pod_on("q", "b", "1"));
        check(&mut cache, &[("a", 1000), ("b", 1000)]);
    }

    #[test]
    fn snapshots_do_not_change() {
        let mut cache = Cache::default();
        cache.put_node(node("a", "", ""));
        let before = cache.snapshot();
        cache.put_pod(pod_on("p", "a", "1"));
        let after = cache.snapshot();
        assert_eq!(before.nodes()[0].pods().len(), 0);
        assert_eq!(after.nodes()[0].pods().len(), 1);
    }

    #[test]
    fn pods_may_come_before_their_node_and_outlive_it() {
        let mut cache = Cache::default();
        cache.put_pod(pod_on("p", "a", "1"));
        check(&mut cache, &[]);
        cache.put_node(node("a", "", ""));
        check(&mut cache, &[("a", 1000)]);
        cache.remove_node("a");
        check(&mut cache, &[]);
        cache.put_node(node("a", "", ""));
        check(&mut cache, &[("a", 1000)]);
        cache.remove_node("a");
        cache.remove_pod("p");
        cache.put_node(node("a", "", ""));
        check(&mut cache, &[("a", 0)]);
    }

    #[test]
    fn sums_and_ports_follow_pods() {
        let mut cache = Cache::default();
        cache.put_node(node("a", "", ""));
        let with_port = |name: &str, port: i32| {
            let mut pod = raw_pod(name, &format!(r#"{{"spec":{{"containers":[{{"name":"c","ports":[{{"hostPort":{port}}}]}}]}}}}"#));
            pod.spec.node_name = "a".to_owned();
            PodInfo::new(Arc::new(pod))
        };
        cache.put_pod(with_port("p", 80));
        cache.put_pod(with_port("q", 81));
        cache.remove_pod("p");
        let snapshot = cache.snapshot();
        let ports: Vec<i32> = snapshot.nodes()[0].ports_in_use().iter().map(|port| port.port).collect();
        assert_eq!(ports, [81]);
        assert_eq!(snapshot.nodes()[0].nonzero_requested, with_port("q", 81).nonzero);
    }

    /// Whatever happens, in whatever order, the snapshot is what one would build from nothing.
    #[test]
    fn snapshots_kept_up_to_date_equal_snapshots_built_anew() {
        use rand::rngs::SmallRng;
        use rand::{Rng, SeedableRng};

        for seed in 0..50 {
            let mut random = SmallRng::seed_from_u64(seed);
            let mut cache = Cache::default();
            let mut nodes: BTreeMap<String, Arc<Node>> = BTreeMap::new();
            let mut pods: BTreeMap<String, (String, Arc<PodInfo>, bool)> = BTreeMap::new();
            for _ in 0..200 {
                let name = format!("n{}", random.random_range(0..4));
                let uid = format!("p{}", random.random_range(0..8));
                let cpu = format!("{}", random.random_range(1..4));
                match random.random_range(0..6) {
                    0 => {
                        let node = node(&name, &format!("cpu={cpu}"), "");
                        cache.put_node(node.clone());
                        nodes.insert(name, node);
                    }
                    1 => {
                        cache.remove_node(&name);
                        nodes.remove(&name);
                    }
                    2 => {
                        let pod = pod_on(&uid, "", &cpu);
                        cache.assume(pod.clone(), &name);
                        pods.insert(uid, (name, pod, true));
                    }
                    3 => {
                        let pod = pod_on(&uid, &name, &cpu);
                        cache.put_pod(pod.clone());
                        pods.insert(uid, (name, pod, false));
                    }
                    4 => {
                        let assumed = pods.get(&uid).is_some_and(|(_, _, assumed)| *assumed);
                        assert_eq!(cache.forget(&uid), assumed);
                        if assumed {
                            pods.remove(&uid);
                        }
                    }
                    _ => {
                        assert_eq!(cache.remove_pod(&uid).is_some(), pods.remove(&uid).is_some());
                    }
                }
                if random.random_bool(0.5) {
                    let shown = cache.snapshot();
                    let summary = |name: &str, info: &NodeInfo| {
                        let mut uids: Vec<String> = info.pods().iter().map(|pod| pod.uid().to_owned()).collect();
                        uids.sort();
                        (name.to_owned(), uids, info.requested.clone(), info.nonzero_requested, info.allocatable.clone())
                    };
                    let got: Vec<_> = shown.nodes().iter().map(|info| summary(info.name(), info)).collect();
                    let anew = nodes.values().map(|node| {
                        let mut info = NodeInfo::new(node.clone());
                        let here = pods.values().filter(|(on, ..)| *on == node.metadata.name);
                        here.for_each(|(_, pod, _)| info.add_pod(pod.clone()));
                        summary(&node.metadata.name, &info)
                    });
                    assert_eq!(got, anew.collect::<Vec<_>>(), "seed {seed}");
                }
            }
        }
    }
}
