//! `/pods` and `/runningpods`.

use super::Context;
use api::core::v1::{Container, Pod, PodList};
use component_base::http::{Response, json, text};
use cri_api::v1;
use http::StatusCode;

fn list(pods: Vec<Pod>) -> Response {
    json(StatusCode::OK, apimachinery::json::to_vec(&PodList { items: pods.into(), ..Default::default() }))
}

/// Every pod of this node, with the status the kubelet holds.
pub fn pods(context: &Context) -> Response {
    let pods = context.workers.pods().into_iter().map(|pod| {
        let mut pod = (*pod).clone();
        if let Some(status) = context.node.statuses.get(&pod.metadata.uid) {
            pod.status = status;
        }
        pod
    });
    list(pods.collect())
}

/// What the runtime says is running, whoever asked for it.
pub async fn running(context: &Context) -> Response {
    let request = v1::ListContainersRequest {
        filter: Some(v1::ContainerFilter {
            state: Some(v1::ContainerStateValue { state: v1::ContainerState::Running as i32 }),
            ..Default::default()
        }),
    };
    let containers = match context.node.runtime.list_containers(request).await {
        Ok(answer) => answer.containers,
        Err(err) => return text(StatusCode::INTERNAL_SERVER_ERROR, err.message().to_owned()),
    };
    let mut pods: std::collections::BTreeMap<String, Pod> = Default::default();
    for container in containers {
        let label = |key: &str| container.labels.get(key).cloned().unwrap_or_default();
        let uid = label(crate::kuberuntime::labels::POD_UID);
        let pod = pods.entry(uid.clone()).or_default();
        pod.metadata.uid = uid;
        pod.metadata.name = label(crate::kuberuntime::labels::POD_NAME);
        pod.metadata.namespace = label(crate::kuberuntime::labels::POD_NAMESPACE);
        let image = container.image.as_ref().map(|image| image.image.clone()).unwrap_or_default();
        pod.spec.containers.push(Container { name: label(crate::kuberuntime::labels::CONTAINER_NAME), image, ..Default::default() });
    }
    list(pods.into_values().collect())
}
