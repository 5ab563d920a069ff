//! The Node authorizer: a kubelet reads and writes only what concerns its own node and the pods bound to it.
//!
//! A graph from objects to nodes is kept by following pods: pod -> node, and secret, config map, claim, service account -> pod.
//! Upstream: plugin/pkg/auth/authorizer/node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use api::core::v1::{PersistentVolume, Pod};
use apiserver::authentication::names;
use apiserver::authorization::{Attributes, Authorizer, Decision};
use apiserver::objects::{Change, Objects};
use apiserver::request::User;
use async_trait::async_trait;
use parking_lot::RwLock;

/// The node a user is, if it is one.
pub fn node_name(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(names::NODE_PREFIX)?;
    (!name.is_empty() && user.in_group(names::NODES)).then_some(name)
}

/// Something pods refer to: kind, namespace, name.
type Referent = (&'static str, String, String);

/// What pods refer to, by node.
#[derive(Debug, Default)]
struct Graph {
    /// Pod (namespace, name) -> its node and what it refers to.
    pods: HashMap<(String, String), (String, Vec<Referent>)>,
    /// Referent -> nodes, with the number of pods there that refer to it.
    nodes: HashMap<Referent, HashMap<String, usize>>,
    /// Claim (namespace, name) -> volume bound to it.
    volumes: HashMap<(String, String), String>,
    /// Volume -> secrets its driver needs.
    volume_secrets: HashMap<String, Vec<(String, String)>>,
}

impl Graph {
    fn remove_pod(&mut self, key: &(String, String)) {
        let Some((node, referents)) = self.pods.remove(key) else { return };
        for referent in referents {
            if let Some(counts) = self.nodes.get_mut(&referent) {
                if let Some(count) = counts.get_mut(&node) {
                    *count -= 1;
                    if *count == 0 {
                        counts.remove(&node);
                    }
                }
                if counts.is_empty() {
                    self.nodes.remove(&referent);
                }
            }
        }
    }

    fn set_pod(&mut self, pod: &Pod) {
        let key = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        self.remove_pod(&key);
        // A mirror pod gives its node nothing: the node made it.
        if pod.spec.node_name.is_empty() || component_helpers::pod::is_mirror(pod) {
            return;
        }
        let referents = referents(pod);
        for referent in &referents {
            *self.nodes.entry(referent.clone()).or_default().entry(pod.spec.node_name.clone()).or_default() += 1;
        }
        self.pods.insert(key, (pod.spec.node_name.clone(), referents));
    }

    fn set_volume(&mut self, volume: &PersistentVolume, removed: bool) {
        let name = volume.metadata.name.clone();
        self.volumes.retain(|_, bound| *bound != name);
        self.volume_secrets.remove(&name);
        if removed {
            return;
        }
        if let Some(claim) = &volume.spec.claim_ref {
            self.volumes.insert((claim.namespace.clone(), claim.name.clone()), name.clone());
        }
        if let Some(csi) = &volume.spec.persistent_volume_source.csi {
            let secrets =
                [&csi.node_stage_secret_ref, &csi.node_publish_secret_ref, &csi.controller_publish_secret_ref, &csi.node_expand_secret_ref];
            self.volume_secrets
                .insert(name, secrets.into_iter().flatten().map(|secret| (secret.namespace.clone(), secret.name.clone())).collect());
        }
    }

    fn reaches(&self, node: &str, kind: &'static str, namespace: &str, name: &str) -> bool {
        let direct = |kind, namespace: &str, name: &str| {
            self.nodes.get(&(kind, namespace.to_owned(), name.to_owned())).is_some_and(|nodes| nodes.contains_key(node))
        };
        match kind {
            // A volume is reached through the claim bound to it.
            "volume" => self.volumes.iter().any(|((ns, claim), volume)| volume == name && direct("claim", ns, claim)),
            "secret" if !direct(kind, namespace, name) => self
                .volume_secrets
                .iter()
                .filter(|(_, secrets)| secrets.iter().any(|(ns, secret)| ns == namespace && secret == name))
                .any(|(volume, _)| self.reaches(node, "volume", "", volume)),
            _ => direct(kind, namespace, name),
        }
    }
}

/// What a pod's node has to read to run it.
fn referents(pod: &Pod) -> Vec<Referent> {
    let namespace = &pod.metadata.namespace;
    let mut found: HashSet<Referent> = HashSet::new();
    let mut add = |kind, name: &str| {
        if !name.is_empty() {
            found.insert((kind, namespace.clone(), name.to_owned()));
        }
    };
    add("serviceaccount", &pod.spec.service_account_name);
    add("pod", &pod.metadata.name);
    for secret in &pod.spec.image_pull_secrets {
        add("secret", &secret.name);
    }
    let ephemeral =
        pod.spec.ephemeral_containers.iter().map(|c| (&c.ephemeral_container_common.env, &c.ephemeral_container_common.env_from));
    let containers = pod.spec.init_containers.iter().chain(pod.spec.containers.iter()).map(|c| (&c.env, &c.env_from));
    for (env, env_from) in containers.chain(ephemeral) {
        for source in env.iter().filter_map(|env| env.value_from.as_ref()) {
            if let Some(reference) = &source.secret_key_ref {
                add("secret", &reference.local_object_reference.name);
            }
            if let Some(reference) = &source.config_map_key_ref {
                add("configmap", &reference.local_object_reference.name);
            }
        }
        for from in env_from.iter() {
            if let Some(reference) = &from.secret_ref {
                add("secret", &reference.local_object_reference.name);
            }
            if let Some(reference) = &from.config_map_ref {
                add("configmap", &reference.local_object_reference.name);
            }
        }
    }
    for volume in &pod.spec.volumes {
        let source = &volume.volume_source;
        if let Some(secret) = &source.secret {
            add("secret", &secret.secret_name);
        }
        if let Some(config_map) = &source.config_map {
            add("configmap", &config_map.local_object_reference.name);
        }
        if let Some(claim) = &source.persistent_volume_claim {
            add("claim", &claim.claim_name);
        }
        if source.ephemeral.is_some() {
            add("claim", &format!("{}-{}", pod.metadata.name, volume.name));
        }
        if let Some(secret) = source.csi.as_ref().and_then(|csi| csi.node_publish_secret_ref.as_ref()) {
            add("secret", &secret.name);
        }
        for projection in source.projected.iter().flat_map(|projected| projected.sources.iter()) {
            if let Some(secret) = &projection.secret {
                add("secret", &secret.local_object_reference.name);
            }
            if let Some(config_map) = &projection.config_map {
                add("configmap", &config_map.local_object_reference.name);
            }
        }
    }
    for claim in &pod.status.resource_claim_statuses {
        if let Some(name) = &claim.resource_claim_name {
            add("resourceclaim", name);
        }
    }
    found.into_iter().collect()
}

/// The authorizer. Clones share the graph.
#[derive(Clone, Debug, Default)]
pub struct NodeAuthorizer {
    graph: Arc<RwLock<Graph>>,
}

impl NodeAuthorizer {
    /// An authorizer that follows the stored pods and volumes.
    pub fn following(objects: &Arc<dyn Objects>) -> Self {
        let authorizer = Self::default();
        for resource in ["pods", "persistentvolumes"] {
            let own = authorizer.clone();
            objects.follow("", resource, Box::new(move |change| own.change(change)));
        }
        authorizer
    }

    /// Takes one change in.
    pub fn change(&self, change: &Change) {
        let (object, removed) = match change {
            Change::Set(object) => (object, false),
            Change::Removed(object) => (object, true),
        };
        if let Some(pod) = object.downcast_ref::<Pod>() {
            if removed {
                self.graph.write().remove_pod(&(pod.metadata.namespace.clone(), pod.metadata.name.clone()));
            } else {
                self.graph.write().set_pod(pod);
            }
        } else if let Some(volume) = object.downcast_ref::<PersistentVolume>() {
            self.graph.write().set_volume(volume, removed);
        }
    }

    /// True if a pod on the node refers to the object.
    fn reaches(&self, node: &str, kind: &'static str, asked: &Attributes<'_>) -> bool {
        self.graph.read().reaches(node, kind, asked.namespace, asked.name)
    }
}

/// Verbs on resources every node has, whatever runs on it. Upstream: bootstrappolicy.NodeRules.
fn any_node_may(asked: &Attributes<'_>) -> bool {
    let verb = |verbs: &[&str]| verbs.contains(&asked.verb);
    match (asked.group, asked.resource, asked.subresource) {
        ("authentication.k8s.io", "tokenreviews", "") => verb(&["create"]),
        ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", "") => verb(&["create"]),
        ("", "services", "") => verb(&["get", "list", "watch"]),
        ("", "nodes", "") => verb(&["create", "get", "list", "watch", "update", "patch"]),
        ("", "nodes", "status") => verb(&["update", "patch"]),
        ("", "events", "") => verb(&["create", "update", "patch"]),
        ("events.k8s.io", "events", "") => verb(&["create", "update", "patch"]),
        ("", "pods", "") => verb(&["get", "list", "watch", "create", "delete"]),
        ("", "pods", "status") => verb(&["update", "patch"]),
        ("", "pods", "eviction") => verb(&["create"]),
        ("certificates.k8s.io", "certificatesigningrequests", "") => verb(&["create", "get", "list", "watch"]),
        ("certificates.k8s.io", "podcertificaterequests", "") => verb(&["create", "get", "list", "watch"]),
        ("certificates.k8s.io", "clustertrustbundles", "") => verb(&["get", "list", "watch"]),
        ("node.k8s.io", "runtimeclasses", "") => verb(&["get", "list", "watch"]),
        ("storage.k8s.io", "csidrivers", "") => verb(&["get", "list", "watch"]),
        _ => false,
    }
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, asked: &Attributes<'_>) -> Decision {
        let Some(node) = node_name(asked.user) else {
            let unnamed = asked.user.in_group(names::NODES) && asked.user.name == names::NODE_PREFIX;
            return Decision::NoOpinion(if unnamed { format!("unknown node for user {:?}", asked.user.name) } else { String::new() });
        };
        if !asked.is_resource {
            return Decision::NoOpinion(String::new());
        }
        let read_one = matches!(asked.verb, "get" | "list" | "watch") && !asked.name.is_empty() && asked.subresource.is_empty();
        let no = |why: &str| Decision::NoOpinion(why.to_owned());
        let unrelated = || no(&format!("no relationship found between node '{node}' and this object"));
        match (asked.group, asked.resource) {
            ("", "secrets" | "configmaps") => {
                if !read_one {
                    return no("can only read namespaced object of this type");
                }
                let kind = if asked.resource == "secrets" { "secret" } else { "configmap" };
                if self.reaches(node, kind, asked) { Decision::Allow(String::new()) } else { unrelated() }
            }
            ("", "persistentvolumeclaims") if asked.subresource == "status" && matches!(asked.verb, "get" | "update" | "patch") => {
                if self.reaches(node, "claim", asked) { Decision::Allow(String::new()) } else { unrelated() }
            }
            ("", "persistentvolumeclaims") => {
                if asked.verb != "get" || asked.name.is_empty() {
                    return no("can only get individual resources of this type");
                }
                if self.reaches(node, "claim", asked) { Decision::Allow(String::new()) } else { unrelated() }
            }
            ("", "persistentvolumes") => {
                if asked.verb != "get" || asked.name.is_empty() {
                    return no("can only get individual resources of this type");
                }
                if self.reaches(node, "volume", asked) { Decision::Allow(String::new()) } else { unrelated() }
            }
            ("resource.k8s.io", "resourceclaims") => {
                if read_one && self.reaches(node, "resourceclaim", asked) {
                    Decision::Allow(String::new())
                } else {
                    unrelated()
                }
            }
            ("resource.k8s.io", "resourceslices") => {
                let own = asked.field_selector == format!("spec.nodeName={node}");
                match asked.verb {
                    "create" | "update" | "patch" | "get" | "delete" => Decision::Allow(String::new()), // NodeRestriction holds them to their own.
                    "list" | "watch" | "deletecollection" if own => Decision::Allow(String::new()),
                    _ => no("only the node itself may access its ResourceSlices"),
                }
            }
            ("", "serviceaccounts") if asked.subresource == "token" => {
                if asked.verb == "create" && self.reaches(node, "serviceaccount", asked) {
                    Decision::Allow(String::new())
                } else {
                    unrelated()
                }
            }
            ("", "serviceaccounts") => {
                if asked.verb == "get" && asked.subresource.is_empty() && self.reaches(node, "serviceaccount", asked) {
                    Decision::Allow(String::new())
                } else {
                    no("can only get or create tokens for individual service accounts")
                }
            }
            ("coordination.k8s.io", "leases") => {
                let own = asked.namespace == "kube-node-lease" && (asked.name == node || (asked.verb == "create" && asked.name.is_empty()));
                match asked.verb {
                    "get" | "create" | "update" | "patch" | "delete" if own => Decision::Allow(String::new()),
                    _ => no("can only access node lease with the same name as the requesting node"),
                }
            }
            ("storage.k8s.io", "csinodes") => match asked.verb {
                "get" | "create" | "update" | "patch" | "delete"
                    if asked.name == node || (asked.verb == "create" && asked.name.is_empty()) =>
                {
                    Decision::Allow(String::new())
                }
                _ => no("can only access CSINode with the same name as the requesting node"),
            },
            ("", "nodes") if asked.subresource.is_empty() && asked.verb == "get" && asked.name != node => {
                no(&format!("node '{node}' cannot read '{}', only its own Node object", asked.name))
            }
            ("", "nodes")
                if matches!(asked.verb, "list" | "watch")
                    && asked.name != node
                    && asked.field_selector != format!("metadata.name={node}") =>
            {
                no(&format!("node '{node}' cannot read all nodes, only its own Node object"))
            }
            ("", "pods")
                if matches!(asked.verb, "list" | "watch")
                    && asked.name.is_empty()
                    && !asked.field_selector.contains(&format!("spec.nodeName={node}")) =>
            {
                no("can only list/watch pods with spec.nodeName field selector")
            }
            ("", "pods") if asked.verb == "get" && asked.subresource.is_empty() && !self.reaches(node, "pod", asked) => unrelated(),
            _ if any_node_may(asked) => Decision::Allow(String::new()),
            _ => no(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use apimachinery::json;

    #[tokio::test]
    async fn a_node_reads_only_what_its_pods_refer_to() {
        let authorizer = NodeAuthorizer::default();
        let pod = |node: &str| {
            json::from_slice::<Pod>(format!(r#"{{"metadata":{{"name":"p","namespace":"a"}},"spec":{{"nodeName":"{node}","serviceAccountName":"s","volumes":[{{"name":"v","secret":{{"secretName":"x"}}}}]}}}}"#).as_bytes())
                .unwrap()
        };
        authorizer.change(&Change::Set(Arc::new(pod("n1"))));
        let user = |node: &str| User { name: format!("system:node:{node}"), groups: vec!["system:nodes".to_owned()], ..User::default() };
        let allowed = async |node: &str, verb: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
            let user = user(node);
            let asked = Attributes {
                user: &user,
                verb,
                is_resource: true,
                group: "",
                version: "v1",
                namespace,
                resource,
                subresource,
                name,
                path: "",
                field_selector: "",
                label_selector: "",
            };
            matches!(authorizer.authorize(&asked).await, Decision::Allow(_))
        };
        assert!(allowed("n1", "get", "secrets", "", "a", "x").await);
        assert!(!allowed("n2", "get", "secrets", "", "a", "x").await);
        assert!(!allowed("n1", "get", "secrets", "", "a", "y").await);
        assert!(!allowed("n1", "list", "secrets", "", "a", "").await);
        assert!(allowed("n1", "create", "serviceaccounts", "token", "a", "s").await);
        assert!(allowed("n1", "patch", "nodes", "status", "", "n1").await);
        assert!(!allowed("n1", "delete", "nodes", "", "", "n1").await);
        authorizer.change(&Change::Set(Arc::new(pod("n2"))));
        assert!(!allowed("n1", "get", "secrets", "", "a", "x").await);
        authorizer.change(&Change::Removed(Arc::new(pod("n2"))));
        assert!(!allowed("n2", "get", "secrets", "", "a", "x").await);
    }
}
