//! Who owns whom.
//!
//! ```text
//!   Deployment d ---> ReplicaSet r ---> Pod a, Pod b        (dependents; each names its owners)
//!   ? x ............> ConfigMap c                           (virtual: c names it, no watch has shown it)
//! ```

use std::collections::{HashMap, HashSet};

use apimachinery::meta::v1::{ObjectMeta, OwnerReference};
use informer::ObjectKey;

use super::{FOREGROUND, ORPHAN};

/// An object by all its names. Owner references may be wrong about any of them, so all must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    pub api_version: String,
    pub kind: String,
    /// Empty for a cluster-scoped object.
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl Identity {
    /// What an object in `namespace` means by `owner`, if that is namespaced too.
    pub fn of_owner(owner: &OwnerReference, namespace: &str) -> Identity {
        Identity {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            namespace: namespace.into(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        }
    }
}

/// The queue's name of an object.
pub fn key(uid: &str) -> ObjectKey {
    ObjectKey::new("", uid)
}

/// What a watch showed.
#[derive(Clone, Debug)]
pub enum Observation {
    Exists { identity: Identity, state: State },
    Gone(Identity),
}

/// What the collector wants to know of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub owners: Vec<OwnerReference>,
    pub deleting: bool,
    pub foreground: bool,
    pub orphaning: bool,
}

impl State {
    pub fn of(metadata: &ObjectMeta) -> State {
        let deleting = metadata.deletion_timestamp.is_some();
        let has = |finalizer: &str| metadata.finalizers.iter().any(|name| name == finalizer);
        State {
            owners: metadata.owner_references.to_vec(),
            deleting,
            foreground: deleting && has(FOREGROUND),
            orphaning: deleting && has(ORPHAN),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Node {
    pub identity: Identity,
    pub state: State,
    /// UIDs of those that name it as an owner.
    pub dependents: HashSet<String>,
    /// Named by a dependent, and shown by no watch so far.
    pub is_virtual: bool,
}

/// All objects by UID.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<String, Node>,
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid)
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub fn dependents(&self, uid: &str) -> Vec<&Node> {
        let uids = self.nodes.get(uid).into_iter().flat_map(|node| &node.dependents);
        uids.filter_map(|uid| self.nodes.get(uid)).collect()
    }

    /// Takes a change in; returns the UIDs of the objects that have to be looked at because of it.
    pub fn observe(&mut self, observation: Observation) -> Vec<String> {
        match observation {
            Observation::Exists { identity, state } => self.put(identity, state),
            Observation::Gone(identity) => self.remove(&identity, false),
        }
    }

    fn put(&mut self, identity: Identity, state: State) -> Vec<String> {
        let uid = identity.uid.clone();
        let mut affected = Vec::new();
        let before = match self.nodes.get_mut(&uid) {
            None => {
                let node = Node { identity: identity.clone(), state: state.clone(), dependents: HashSet::new(), is_virtual: false };
                self.nodes.insert(uid.clone(), node);
                State::default()
            }
            Some(node) => {
                if node.is_virtual && node.identity != identity {
                    // Dependents that meant another object by this UID have an owner that is not there.
                    affected.extend(node.dependents.iter().cloned());
                }
                node.is_virtual = false;
                node.identity = identity.clone();
                std::mem::replace(&mut node.state, state.clone())
            }
        };
        for owner in before.owners.iter().filter(|owner| !state.owners.iter().any(|kept| kept.uid == owner.uid)) {
            self.unlink(&owner.uid, &uid, &mut affected);
        }
        for owner in &state.owners {
            self.link(&identity, owner, &mut affected);
        }
        // Dependents no longer block their owner, or block it anew.
        let blocking =
            |state: &State, uid: &str| state.owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true));
        for owner in before.owners.iter().filter(|owner| blocking(&before, &owner.uid) && !blocking(&state, &owner.uid)) {
            affected.extend(self.nodes.get(&owner.uid).filter(|owner| owner.state.foreground).map(|owner| owner.identity.uid.clone()));
        }
        let begins = |now: bool, before: bool| now && !before;
        if begins(state.foreground, before.foreground) {
            affected.extend(self.nodes[&uid].dependents.iter().cloned());
            affected.push(uid.clone());
        }
        if begins(state.orphaning, before.orphaning) {
            affected.push(uid.clone());
        }
        affected.sort();
        affected.dedup();
        affected
    }

    fn link(&mut self, dependent: &Identity, owner: &OwnerReference, affected: &mut Vec<String>) {
        let named = Identity::of_owner(owner, &dependent.namespace);
        let node = self.nodes.entry(owner.uid.clone()).or_insert_with(|| {
            // Somebody has to find out whether there is such an owner.
            affected.push(owner.uid.clone());
            Node { identity: named.clone(), state: State::default(), dependents: HashSet::new(), is_virtual: true }
        });
        let new = node.dependents.insert(dependent.uid.clone());
        let known = &node.identity;
        let agrees = known.kind == named.kind
            && known.name == named.name
            && group(&known.api_version) == group(&named.api_version)
            && (known.namespace == named.namespace || known.namespace.is_empty() || node.is_virtual);
        if new && (!agrees || node.state.foreground) {
            affected.push(dependent.uid.clone());
        }
    }

    fn unlink(&mut self, owner: &str, dependent: &str, affected: &mut Vec<String>) {
        let Some(node) = self.nodes.get_mut(owner) else { return };
        node.dependents.remove(dependent);
        if node.state.foreground {
            affected.push(owner.to_string());
        }
        if node.is_virtual && node.dependents.is_empty() {
            self.nodes.remove(owner);
        }
    }

    /// Forgets an object, or only if no watch has shown it; returns whom that concerns.
    pub fn remove(&mut self, identity: &Identity, only_virtual: bool) -> Vec<String> {
        let mut affected = Vec::new();
        match self.nodes.get(&identity.uid) {
            None => return affected,
            Some(node) if only_virtual && !node.is_virtual => return affected,
            Some(_) => {}
        }
        let Some(node) = self.nodes.remove(&identity.uid) else { return affected };
        for owner in &node.state.owners {
            self.unlink(&owner.uid, &identity.uid, &mut affected);
        }
        affected.extend(node.dependents);
        affected.sort();
        affected.dedup();
        affected
    }
}

pub fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `uid` owned by `owners` (`!` in front: not blocking), in state `flags` of `d`eleting, `f`oreground, `o`rphaning.
    fn exists(uid: &str, owners: &str, flags: &str) -> Observation {
        let owner = |text: &str| OwnerReference {
            api_version: "v1".into(),
            kind: "K".into(),
            name: text.trim_start_matches('!').into(),
            uid: text.trim_start_matches('!').into(),
            block_owner_deletion: Some(!text.starts_with('!')),
            ..OwnerReference::default()
        };
        let state = State {
            owners: owners.split_whitespace().map(owner).collect(),
            deleting: flags.contains(['d', 'f', 'o']),
            foreground: flags.contains('f'),
            orphaning: flags.contains('o'),
        };
        Observation::Exists { identity: identity(uid), state }
    }

    fn identity(uid: &str) -> Identity {
        Identity { api_version: "v1".into(), kind: "K".into(), namespace: "ns".into(), name: uid.into(), uid: uid.into() }
    }

    #[track_caller]
    fn check(graph: &mut Graph, observation: Observation, affected: &[&str]) {
        assert_eq!(graph.observe(observation), affected);
    }

    #[test]
    fn dependents_are_looked_at_when_their_owner_goes() {
        let mut graph = Graph::default();
        check(&mut graph, exists("d", "", ""), &[]);
        check(&mut graph, exists("r", "d", ""), &[]);
        check(&mut graph, exists("a", "r", ""), &[]);
        check(&mut graph, exists("b", "r", ""), &[]);
        check(&mut graph, Observation::Gone(identity("d")), &["r"]);
        check(&mut graph, Observation::Gone(identity("r")), &["a", "b"]);
        assert_eq!(graph.len(), 2);
    }

    #[test]
    fn an_owner_nobody_has_seen_is_looked_for_once() {
        let mut graph = Graph::default();
        check(&mut graph, exists("a", "x", ""), &["x"]);
        check(&mut graph, exists("b", "x", ""), &[]);
        assert!(graph.get("x").unwrap().is_virtual);
        // It was only late.
        check(&mut graph, exists("x", "", ""), &[]);
        assert!(!graph.get("x").unwrap().is_virtual);
        assert!(graph.remove(&identity("x"), true).is_empty(), "a watch has shown it since");
    }

    #[test]
    fn a_virtual_owner_that_turns_out_as_another_object_is_no_owner() {
        let mut graph = Graph::default();
        check(&mut graph, exists("a", "x", ""), &["x"]);
        let elsewhere = Identity { namespace: "other".into(), ..identity("x") };
        check(&mut graph, Observation::Exists { identity: elsewhere, state: State::default() }, &["a"]);
        check(&mut graph, exists("b", "x", ""), &["b"]);
    }

    #[test]
    fn foreground_deletion_waits_for_dependents() {
        let mut graph = Graph::default();
        graph.observe(exists("r", "", ""));
        graph.observe(exists("a", "r", ""));
        graph.observe(exists("b", "r", ""));
        check(&mut graph, exists("r", "", "f"), &["a", "b", "r"]);
        check(&mut graph, exists("r", "", "f"), &[]);
        check(&mut graph, exists("c", "r", ""), &["c"]);
        check(&mut graph, Observation::Gone(identity("a")), &["r"]);
        check(&mut graph, exists("b", "!r", ""), &["r"]);
        check(&mut graph, exists("c", "", ""), &["r"]);
    }

    #[test]
    fn orphaning_is_looked_at_once() {
        let mut graph = Graph::default();
        graph.observe(exists("r", "", ""));
        graph.observe(exists("a", "r", ""));
        check(&mut graph, exists("r", "", "o"), &["r"]);
        check(&mut graph, exists("r", "", "o"), &[]);
    }
}
