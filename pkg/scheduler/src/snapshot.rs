//! The world as one scheduling cycle sees it: it does not change while the cycle runs. Upstream: pkg/scheduler/backend/cache/snapshot.go.

use std::collections::HashMap;
use std::sync::Arc;

use api::apps::v1::{ReplicaSet, StatefulSet};
use api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service};
use api::policy::v1::PodDisruptionBudget;
use apimachinery::{Map, Resource};

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// Objects of one kind by `namespace/name` (or `name`). A clone shares them until one of the two changes.
#[derive(Debug)]
pub struct Table<K> {
    objects: Arc<HashMap<String, Arc<K>>>,
}

impl<K> Clone for Table<K> {
    fn clone(&self) -> Table<K> {
        Table { objects: self.objects.clone() }
    }
}

impl<K> Default for Table<K> {
    fn default() -> Table<K> {
        Table { objects: Arc::default() }
    }
}

impl<K: Resource> Table<K> {
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(&key(namespace, name))
    }

    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values().filter(move |object| object.metadata().namespace == namespace)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    pub fn put(&mut self, object: Arc<K>) {
        let key = key(&object.metadata().namespace, &object.metadata().name);
        Arc::make_mut(&mut self.objects).insert(key, object);
    }

    pub fn remove(&mut self, namespace: &str, name: &str) {
        Arc::make_mut(&mut self.objects).remove(&key(namespace, name));
    }
}

fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// What plugins read besides nodes and pods.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    pub namespaces: Table<Namespace>,
    pub claims: Table<PersistentVolumeClaim>,
    pub volumes: Table<PersistentVolume>,
    pub budgets: Table<PodDisruptionBudget>,
    pub services: Table<Service>,
    pub replication_controllers: Table<ReplicationController>,
    pub replica_sets: Table<ReplicaSet>,
    pub stateful_sets: Table<StatefulSet>,
}

impl Objects {
    /// The labels of a namespace; none if it is not known.
    pub fn namespace_labels(&self, name: &str) -> Map<String> {
        self.namespaces.get("", name).map(|namespace| namespace.metadata.labels.clone()).unwrap_or_default()
    }
}

/// Nodes with their pods, in the order of their names, and the other objects. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) nodes: Arc<Vec<Arc<NodeInfo>>>,
    pub objects: Objects,
    /// Pods that preemption makes room for, by node.
    pub nominated: Arc<HashMap<String, Vec<Arc<PodInfo>>>>,
}

impl Snapshot {
    /// A snapshot of these nodes.
    pub fn new(mut nodes: Vec<Arc<NodeInfo>>, objects: Objects) -> Snapshot {
        nodes.sort_by(|left, right| left.name().cmp(right.name()));
        Snapshot { nodes: Arc::new(nodes), objects, nominated: Arc::default() }
    }

    pub fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    pub fn get(&self, name: &str) -> Option<&Arc<NodeInfo>> {
        self.position(name).map(|at| &self.nodes[at])
    }

    /// Where the node is among [`nodes`](Self::nodes).
    pub fn position(&self, name: &str) -> Option<usize> {
        self.nodes.binary_search_by(|node| node.name().cmp(name)).ok()
    }
}
