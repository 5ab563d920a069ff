//! NodeRestriction: a kubelet writes only its own Node and Lease, and pods bound to it. Upstream: plugin/pkg/admission/noderestriction.

use std::sync::Arc;

use api::authentication::v1::TokenRequest;
use api::core::v1::{Node, Pod};
use apimachinery::Map;
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, object, old};
use crate::auth::node::node_name;

pub struct NodeRestriction {
    objects: Arc<dyn Objects>,
}

impl NodeRestriction {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }

    async fn pod(&self, review: &Review<'_>) -> Result<Option<Pod>, StatusError> {
        let found = match self.objects.get("", "pods", review.namespace, review.name).await? {
            Some(found) => Some(found),
            None => self.objects.get_live("", "pods", review.namespace, review.name).await?,
        };
        Ok(found.and_then(|pod| pod.downcast_ref::<Pod>().cloned()))
    }

    async fn check_pod(&self, review: &Review<'_>, node: &str) -> Result<(), StatusError> {
        match (review.subresource, review.operation) {
            ("", Operation::Create) => {
                let Some(pod) = object::<Pod>(review) else { return Ok(()) };
                if !component_helpers::pod::is_mirror(pod) {
                    return Err(forbidden(
                        review,
                        format!("pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"),
                    ));
                }
                if pod.spec.node_name != node {
                    return Err(forbidden(review, format!("node {node:?} can only create pods with spec.nodeName set to itself")));
                }
                let owner = match &*pod.metadata.owner_references {
                    [owner] => owner,
                    [] => return Ok(()),
                    _ => {
                        return Err(forbidden(
                            review,
                            format!("node {node:?} can only create pods with a single owner reference set to itself"),
                        ));
                    }
                };
                if owner.kind != "Node" || owner.name != node {
                    return Err(forbidden(review, format!("node {node:?} can only create pods with an owner reference set to itself")));
                }
                Ok(())
            }
            ("", Operation::Delete) => match old::<Pod>(review).cloned() {
                Some(pod) if pod.spec.node_name != node => {
                    Err(forbidden(review, format!("node {node:?} can only delete pods with spec.nodeName set to itself")))
                }
                _ => Ok(()),
            },
            ("status", Operation::Update) => {
                let Some(before) = old::<Pod>(review) else { return Ok(()) };
                if before.spec.node_name != node {
                    return Err(forbidden(
                        review,
                        format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"),
                    ));
                }
                if object::<Pod>(review).is_some_and(|pod| pod.metadata.labels != before.metadata.labels) {
                    return Err(forbidden(review, format!("node {node:?} cannot update labels through pod status")));
                }
                Ok(())
            }
            ("eviction", Operation::Create) => match self.pod(review).await? {
                Some(pod) if pod.spec.node_name != node => {
                    Err(forbidden(review, format!("node {node} can only evict pods with spec.nodeName set to itself")))
                }
                _ => Ok(()),
            },
            (subresource, operation) => {
                Err(forbidden(review, format!("unexpected pod subresource or operation {subresource:?} {}", operation.as_str())))
            }
        }
    }

    fn check_node(review: &Review<'_>, node: &str) -> Result<(), StatusError> {
        if review.operation == Operation::Delete {
            return Ok(()); // Authorization's business.
        }
        let name = object::<Node>(review).map_or(review.name, |node| &node.metadata.name);
        if name != node {
            return Err(forbidden(review, format!("node {node:?} is not allowed to modify node {name:?}")));
        }
        let Some(new) = object::<Node>(review) else { return Ok(()) };
        if new.spec.config_source.is_some() && old::<Node>(review).is_none_or(|before| before.spec.config_source != new.spec.config_source)
        {
            return Err(forbidden(review, format!("node {node:?} is not allowed to set configSource")));
        }
        if !new.metadata.owner_references.is_empty()
            && old::<Node>(review).is_none_or(|before| before.metadata.owner_references != new.metadata.owner_references)
        {
            return Err(forbidden(review, format!("node {node:?} is not allowed to modify its ownerReferences")));
        }
        let none = Map::nil();
        let (labels_before, taints_before) =
            old::<Node>(review).map_or((&none, None), |before| (&before.metadata.labels, Some(&before.spec.taints)));
        let changed: Vec<&str> =
            changed_keys(labels_before, &new.metadata.labels).into_iter().filter(|key| is_restricted_label(key)).collect();
        if !changed.is_empty() {
            return Err(forbidden(review, format!("is not allowed to modify labels: {}", changed.join(", "))));
        }
        if review.operation == Operation::Update && taints_before.is_some_and(|before| *before != new.spec.taints) {
            return Err(forbidden(review, format!("node {node:?} is not allowed to modify taints")));
        }
        Ok(())
    }

    async fn check_token(&self, review: &Review<'_>, node: &str) -> Result<(), StatusError> {
        let Some(request) = object::<TokenRequest>(review) else { return Ok(()) };
        let Some(bound) = request
            .spec
            .bound_object_ref
            .as_ref()
            .filter(|bound| bound.api_version == "v1" && bound.kind == "Pod" && !bound.name.is_empty())
        else {
            return Err(forbidden(review, "node requested token not bound to a pod"));
        };
        if bound.uid.is_empty() {
            return Err(forbidden(review, "node requested token with a pod binding without a uid"));
        }
        let found = self.objects.get("", "pods", review.namespace, &bound.name).await?;
        let pod = found.as_deref().and_then(|pod| pod.downcast_ref::<Pod>());
        match pod {
            None => Err(forbidden(review, format!("node requested token bound to a pod that does not exist: {}", bound.name))),
            Some(pod) if pod.metadata.uid != bound.uid => Err(forbidden(
                review,
                format!(
                    "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                    bound.uid
                ),
            )),
            Some(pod) if pod.spec.node_name != node => {
                Err(forbidden(review, "node requested token bound to a pod scheduled on a different node"))
            }
            Some(_) => Ok(()),
        }
    }
}

fn changed_keys<'a>(before: &'a Map<String>, after: &'a Map<String>) -> Vec<&'a str> {
    let mut keys: Vec<&str> = before.keys().filter(|key| before.get(key) != after.get(key)).collect();
    keys.extend(after.keys().filter(|key| !before.contains_key(key)));
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Labels of the cluster's own domains that a kubelet must not set, but for the well-known ones.
fn is_restricted_label(key: &str) -> bool {
    const OWN: [&str; 11] = [
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
    ];
    let Some((domain, _)) = key.split_once('/') else { return false };
    let under = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if under("node-restriction.kubernetes.io") {
        return true;
    }
    let ours = under("kubernetes.io") || under("k8s.io");
    ours && !OWN.contains(&key) && !under("kubelet.kubernetes.io") && !under("node.kubernetes.io")
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        let user = &review.context.user;
        let Some(node) = node_name(user) else {
            return if user.in_group(apiserver::authentication::names::NODES) {
                Err(forbidden(review, format!("could not determine node from user {:?}", user.name)))
            } else {
                Ok(())
            };
        };
        let foreign = |what: &str, name: &str| {
            Err(forbidden(review, format!("can only access {what} with the same name as the requesting node: {name}")))
        };
        match (review.group, review.resource) {
            ("", "pods") => self.check_pod(review, node).await,
            ("", "nodes") => Self::check_node(review, node),
            ("", "serviceaccounts") if review.subresource == "token" => self.check_token(review, node).await,
            ("coordination.k8s.io", "leases") => {
                if review.namespace != "kube-node-lease" {
                    return Err(forbidden(review, "can only access leases in the \"kube-node-lease\" system namespace"));
                }
                let name = review.object.as_deref().map_or(review.name, |lease| &lease.metadata().name);
                if name == node { Ok(()) } else { foreign("node lease", name) }
            }
            ("storage.k8s.io", "csinodes") => {
                let name = review.object.as_deref().map_or(review.name, |csi_node| &csi_node.metadata().name);
                if name == node { Ok(()) } else { foreign("CSINode", name) }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_known_labels_of_the_clusters_domains_are_a_nodes_own() {
        for (key, restricted) in [
            ("kubernetes.io/hostname", false),
            ("example.com/x", false),
            ("plain", false),
            ("node.kubernetes.io/x", false),
            ("node-restriction.kubernetes.io/x", true),
            ("kubernetes.io/x", true),
            ("node-role.kubernetes.io/master", true),
        ] {
            assert_eq!(is_restricted_label(key), restricted, "{key}");
        }
    }
}
