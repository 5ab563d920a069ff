//! Plugins that fill in or refuse small things on pods, nodes and services.

use std::sync::Arc;

use api::core::v1::{Binding, Node, Pod, Service, Taint, Toleration};
use apimachinery::status::StatusError;
use apiserver::admission::{Operation, Plugin, Review};
use apiserver::objects::Objects;
use async_trait::async_trait;

use super::{Parts, forbidden, is, object, object_mut, old};

/// TaintNodesByCondition: a new node takes no pods until its controller has seen it ready.
pub struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "nodes") {
            return Ok(());
        }
        let Some(node) = object_mut::<Node>(review) else { return Ok(()) };
        const NOT_READY: &str = "node.kubernetes.io/not-ready";
        if !node.spec.taints.iter().any(|taint| taint.key == NOT_READY && taint.effect == "NoSchedule") {
            node.spec.taints.push(Taint { key: NOT_READY.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() });
        }
        Ok(())
    }
}

/// AlwaysPullImages: no pod uses an image its namespace has no right to pull.
pub struct AlwaysPullImages;

#[async_trait]
impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "pods") {
            return Ok(());
        }
        let Some(pod) = object_mut::<Pod>(review) else { return Ok(()) };
        for container in pod.spec.init_containers.iter_mut().chain(pod.spec.containers.iter_mut()) {
            container.image_pull_policy = "Always".to_owned();
        }
        for container in pod.spec.ephemeral_containers.iter_mut() {
            container.ephemeral_container_common.image_pull_policy = "Always".to_owned();
        }
        Ok(())
    }
}

/// DefaultTolerationSeconds: pods stay five minutes on a node that is lost.
pub struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "pods") {
            return Ok(());
        }
        let Some(pod) = object_mut::<Pod>(review) else { return Ok(()) };
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let covered = pod.spec.tolerations.iter().any(|toleration| {
                (toleration.key.is_empty() || toleration.key == key) && (toleration.effect.is_empty() || toleration.effect == "NoExecute")
            });
            if !covered {
                pod.spec.tolerations.push(Toleration {
                    key: key.to_owned(),
                    operator: "Exists".to_owned(),
                    effect: "NoExecute".to_owned(),
                    toleration_seconds: Some(300),
                    ..Toleration::default()
                });
            }
        }
        Ok(())
    }
}

/// ExtendedResourceToleration: who asks for a device tolerates the taint that keeps others away from it.
pub struct ExtendedResourceToleration;

#[async_trait]
impl Plugin for ExtendedResourceToleration {
    fn name(&self) -> &'static str {
        "ExtendedResourceToleration"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "pods") {
            return Ok(());
        }
        let Some(pod) = object_mut::<Pod>(review) else { return Ok(()) };
        let extended = |name: &str| name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
        let mut names: Vec<String> = pod
            .spec
            .containers
            .iter()
            .chain(pod.spec.init_containers.iter())
            .flat_map(|container| container.resources.requests.keys())
            .filter(|name| extended(name))
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        for key in names {
            let toleration = Toleration { key, operator: "Exists".to_owned(), effect: "NoSchedule".to_owned(), ..Toleration::default() };
            if !pod.spec.tolerations.contains(&toleration) {
                pod.spec.tolerations.push(toleration);
            }
        }
        Ok(())
    }
}

/// DenyServiceExternalIPs: no new use of `spec.externalIPs`.
pub struct DenyServiceExternalIps;

#[async_trait]
impl Plugin for DenyServiceExternalIps {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, review: &Review<'_>) -> Result<(), StatusError> {
        if !is(review, "", "services") {
            return Ok(());
        }
        let Some(service) = object::<Service>(review) else { return Ok(()) };
        let before = old::<Service>(review).map(|service| &*service.spec.external_ips).unwrap_or_default();
        if service.spec.external_ips.iter().any(|ip| !before.contains(ip)) {
            return Err(forbidden(review, "Use of external IPs is denied by admission control"));
        }
        Ok(())
    }
}

/// PodTopologyLabels: a pod bound to a node gets the node's zone and region as labels.
pub struct PodTopologyLabels {
    objects: Arc<dyn Objects>,
}

impl PodTopologyLabels {
    pub fn new(parts: &Parts) -> Self {
        Self { objects: Arc::clone(&parts.objects) }
    }

    async fn labels_of(&self, node: &str) -> Result<Vec<(&'static str, String)>, StatusError> {
        let Some(node) = self.objects.get("", "nodes", "", node).await? else { return Ok(Vec::new()) };
        let labels = &node.metadata().labels;
        Ok(["topology.kubernetes.io/zone", "topology.kubernetes.io/region"]
            .into_iter()
            .filter_map(|key| Some((key, labels.get(key)?.clone())))
            .collect())
    }
}

#[async_trait]
impl Plugin for PodTopologyLabels {
    fn name(&self) -> &'static str {
        "PodTopologyLabels"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, review: &mut Review<'_>) -> Result<(), StatusError> {
        if !review.group.is_empty() {
            return Ok(());
        }
        let node = match (review.resource, review.subresource) {
            ("pods", "binding") | ("bindings", "") => {
                object::<Binding>(review).filter(|b| b.target.kind.is_empty() || b.target.kind == "Node").map(|b| b.target.name.clone())
            }
            ("pods", "") => object::<Pod>(review).map(|pod| pod.spec.node_name.clone()).filter(|name| !name.is_empty()),
            _ => None,
        };
        let Some(node) = node else { return Ok(()) };
        let labels = self.labels_of(&node).await?;
        if let Some(object) = review.object.as_deref_mut() {
            for (key, value) in labels {
                object.metadata_mut().labels.insert(key, value);
            }
        }
        Ok(())
    }
}
