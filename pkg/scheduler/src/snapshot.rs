//! The world as one scheduling cycle sees it: it does not change while the cycle runs. Upstream: pkg/scheduler/backend/cache/snapshot.go.

use std::collections::HashMap;
use std::sync::Arc;

use api::apps::v1::{ReplicaSet, StatefulSet};
use api::core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service};
use api::policy::v1::PodDisruptionBudget;
use apimachinery::{Map, Resource};

use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

/// Objects of one kind by namespace and name. A clone shares them until one of the two changes, and then all but one namespace.
#[derive(Debug)]
pub struct Table<K> {
    namespaces: Arc<HashMap<String, Arc<Named<K>>>>,
}

type Named<K> = HashMap<String, Arc<K>>;

impl<K> Clone for Table<K> {
    fn clone(&self) -> Table<K> {
        Table { namespaces: self.namespaces.clone() }
    }
}

impl<K> Default for Table<K> {
    fn default() -> Table<K> {
        Table { namespaces: Arc::default() }
    }
}

impl<K: Resource> Table<K> {
    /// The namespace is empty for kinds without.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.namespaces.get(namespace)?.get(name)
    }

    pub fn in_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<K>> {
        self.namespaces.get(namespace).into_iter().flat_map(|named| named.values())
    }

    pub fn put(&mut self, object: Arc<K>) {
        let meta = object.metadata();
        let (namespace, name) = (meta.namespace.clone(), meta.name.clone());
        Arc::make_mut(Arc::make_mut(&mut self.namespaces).entry(namespace).or_default()).insert(name, object);
    }

    pub fn remove(&mut self, namespace: &str, name: &str) {
        let namespaces = Arc::make_mut(&mut self.namespaces);
        if let Some(named) = namespaces.get_mut(namespace) {
            Arc::make_mut(named).remove(name);
            if named.is_empty() {
                namespaces.remove(namespace);
            }
        }
    }
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
