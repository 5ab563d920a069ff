//! The cached objects of one kind, with indexes. Upstream: `client-go/tools/cache/thread_safe_store.go`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use apimachinery::wire::Resource;
use parking_lot::RwLock;

use crate::key::ObjectKey;

/// Says under which values an object is found in an index.
pub(crate) type IndexFn<K> = Arc<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// The name of the index that every store has.
const NAMESPACE: &str = "namespace";

/// A cache that one reflector fills and anyone reads. Objects are shared and never change in place.
///
/// Reads take a lock for as long as copying the pointers takes; never hold more than that.
pub struct Store<K> {
    contents: RwLock<Contents<K>>,
}

struct Contents<K> {
    objects: HashMap<ObjectKey, Arc<K>>,
    indexes: Vec<Index<K>>,
}

struct Index<K> {
    name: &'static str,
    values_of: IndexFn<K>,
    entries: HashMap<String, HashSet<ObjectKey>>,
}

impl<K> Index<K> {
    fn put(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values_of)(object) {
            self.entries.entry(value).or_default().insert(key.clone());
        }
    }

    fn take(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values_of)(object) {
            if let Some(keys) = self.entries.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }
}

impl<K: Resource> Default for Store<K> {
    fn default() -> Store<K> {
        let by_namespace = |object: &K| vec![object.metadata().namespace.clone()];
        let index = Index { name: NAMESPACE, values_of: Arc::new(by_namespace), entries: HashMap::new() };
        Store { contents: RwLock::new(Contents { objects: HashMap::new(), indexes: vec![index] }) }
    }
}

impl<K: Resource> Store<K> {
    /// An empty store: filled by an informer, or by hand in a test.
    pub fn new() -> Arc<Store<K>> {
        Arc::default()
    }

    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.contents.read().objects.get(key).cloned()
    }

    pub fn get_named(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(&ObjectKey::new(namespace, name))
    }

    /// Every object, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.contents.read().objects.values().cloned().collect()
    }

    pub fn keys(&self) -> Vec<ObjectKey> {
        self.contents.read().objects.keys().cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.contents.read().objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects of one namespace, in no order.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.by_index(NAMESPACE, namespace)
    }

    /// The objects found under `value` in the index `name`, in no order.
    ///
    /// Panics if there is no such index: that is a mistake in the program.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let contents = self.contents.read();
        let index = contents.indexes.iter().find(|index| index.name == name);
        let index = index.unwrap_or_else(|| panic!("no index {name} on {}", K::KIND));
        let keys = index.entries.get(value).into_iter().flatten();
        keys.filter_map(|key| contents.objects.get(key).cloned()).collect()
    }

    /// The values of the index `name` that have objects.
    pub fn index_values(&self, name: &str) -> Vec<String> {
        let contents = self.contents.read();
        contents.indexes.iter().find(|index| index.name == name).map(|index| index.entries.keys().cloned().collect()).unwrap_or_default()
    }

    /// Adds an index; objects already there are put in. An index of that name that exists stays.
    pub fn add_index(&self, name: &'static str, values_of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        let mut contents = self.contents.write();
        if contents.indexes.iter().any(|index| index.name == name) {
            return;
        }
        let mut index = Index { name, values_of: Arc::new(values_of), entries: HashMap::new() };
        for (key, object) in &contents.objects {
            index.put(key, object);
        }
        contents.indexes.push(index);
    }

    /// Puts `object` in and returns what it replaced.
    pub fn put(&self, object: Arc<K>) -> Option<Arc<K>> {
        let key = ObjectKey::of_metadata(object.metadata());
        let mut contents = self.contents.write();
        let Contents { objects, indexes } = &mut *contents;
        let old = objects.insert(key.clone(), object.clone());
        for index in indexes {
            if let Some(old) = &old {
                index.take(&key, old);
            }
            index.put(&key, &object);
        }
        old
    }

    pub fn remove(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let mut contents = self.contents.write();
        let Contents { objects, indexes } = &mut *contents;
        let old = objects.remove(key)?;
        for index in indexes {
            index.take(key, &old);
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use api::core::v1::Pod;

    use super::*;

    fn pod(namespace: &str, name: &str, node: &str) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.namespace = namespace.into();
        pod.metadata.name = name.into();
        pod.spec.node_name = node.into();
        Arc::new(pod)
    }

    #[track_caller]
    fn check(found: Vec<Arc<Pod>>, expected: &[&str]) {
        let mut keys: Vec<String> = found.iter().map(|pod| ObjectKey::of(pod.as_ref()).to_string()).collect();
        keys.sort();
        assert_eq!(keys, expected);
    }

    #[test]
    fn indexes_follow_the_objects() {
        let store = Store::<Pod>::new();
        store.put(pod("a", "1", ""));
        store.put(pod("b", "2", "n1"));
        store.add_index("node", |pod| vec![pod.spec.node_name.clone()]);
        store.put(pod("a", "3", "n1"));
        check(store.by_index("node", "n1"), &["a/3", "b/2"]);
        assert!(store.put(pod("b", "2", "n2")).is_some());
        check(store.by_index("node", "n1"), &["a/3"]);
        check(store.by_index("node", "n2"), &["b/2"]);
        check(store.in_namespace("a"), &["a/1", "a/3"]);
        assert!(store.remove(&"a/1".parse().unwrap()).is_some());
        check(store.in_namespace("a"), &["a/3"]);
        assert_eq!(store.index_values("node").len(), 2);
        assert_eq!(store.len(), 2);
    }
}
