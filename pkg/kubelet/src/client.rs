//! The API server through the client library.

use crate::api_server::{ApiError, ApiResult, ApiServer};
use api::authentication::v1::{TokenRequest, TokenReview};
use api::authorization::v1::SubjectAccessReview;
use api::coordination::v1::Lease;
use api::core::v1::{ConfigMap, Node, Pod, Secret};
use api::node::v1::RuntimeClass;
use apimachinery::Value;
use async_trait::async_trait;
use client::{Api, Client, DeleteParams, Error, Patch, PatchParams};

pub struct ServerClient(Client);

impl ServerClient {
    pub fn new(client: Client) -> Self {
        ServerClient(client)
    }
}

/// The text of an error with all its causes.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text = format!("{text}: {err}");
        source = err.source();
    }
    text
}

fn sort(err: Error) -> ApiError {
    let text = chain(&err);
    if err.is_not_found() {
        ApiError::NotFound(text)
    } else if err.is_already_exists() {
        ApiError::AlreadyExists(text)
    } else if err.is_conflict() {
        ApiError::Conflict(text)
    } else if err.is_forbidden() || err.is_invalid() || err.is_bad_request() {
        ApiError::Refused(text)
    } else {
        ApiError::Unavailable(text)
    }
}

fn strategic(patch: &[u8]) -> ApiResult<Patch> {
    Value::parse(patch).map(Patch::Strategic).map_err(|err| ApiError::Refused(err.to_string()))
}

#[async_trait]
impl ApiServer for ServerClient {
    async fn get_config_map(&self, namespace: &str, name: &str) -> ApiResult<ConfigMap> {
        Api::namespaced(&self.0, namespace).get(name).await.map_err(sort)
    }

    async fn get_secret(&self, namespace: &str, name: &str) -> ApiResult<Secret> {
        Api::namespaced(&self.0, namespace).get(name).await.map_err(sort)
    }

    async fn create_token(&self, namespace: &str, account: &str, request: TokenRequest) -> ApiResult<TokenRequest> {
        let accounts = Api::<api::core::v1::ServiceAccount>::namespaced(&self.0, namespace);
        accounts.create_subresource(account, "token", &request).await.map_err(sort)
    }

    async fn create_pod(&self, pod: &Pod) -> ApiResult<Pod> {
        Api::namespaced(&self.0, &pod.metadata.namespace).create(pod).await.map_err(sort)
    }

    async fn patch_pod_status(&self, namespace: &str, name: &str, patch: Vec<u8>) -> ApiResult<Pod> {
        let pods = Api::<Pod>::namespaced(&self.0, namespace);
        pods.patch_status(name, &strategic(&patch)?, &PatchParams::default()).await.map_err(sort)
    }

    async fn delete_pod(&self, namespace: &str, name: &str, uid: &str, grace_seconds: i64) -> ApiResult<()> {
        let params = DeleteParams::of_uid(uid).grace(grace_seconds);
        Api::<Pod>::namespaced(&self.0, namespace).delete(name, &params).await.map(drop).map_err(sort)
    }

    async fn get_node(&self, name: &str) -> ApiResult<Node> {
        Api::all(&self.0).get(name).await.map_err(sort)
    }

    async fn create_node(&self, node: &Node) -> ApiResult<Node> {
        Api::all(&self.0).create(node).await.map_err(sort)
    }

    async fn patch_node(&self, name: &str, patch: Vec<u8>) -> ApiResult<Node> {
        Api::<Node>::all(&self.0).patch(name, &strategic(&patch)?, &PatchParams::default()).await.map_err(sort)
    }

    async fn patch_node_status(&self, name: &str, patch: Vec<u8>) -> ApiResult<Node> {
        Api::<Node>::all(&self.0).patch_status(name, &strategic(&patch)?, &PatchParams::default()).await.map_err(sort)
    }

    async fn get_lease(&self, namespace: &str, name: &str) -> ApiResult<Lease> {
        Api::namespaced(&self.0, namespace).get(name).await.map_err(sort)
    }

    async fn create_lease(&self, lease: &Lease) -> ApiResult<Lease> {
        Api::namespaced(&self.0, &lease.metadata.namespace).create(lease).await.map_err(sort)
    }

    async fn update_lease(&self, lease: &Lease) -> ApiResult<Lease> {
        Api::namespaced(&self.0, &lease.metadata.namespace).update(lease).await.map_err(sort)
    }

    async fn runtime_handler(&self, class: &str) -> ApiResult<String> {
        Api::<RuntimeClass>::all(&self.0).get(class).await.map(|class| class.handler).map_err(sort)
    }

    async fn review_token(&self, review: &TokenReview) -> ApiResult<TokenReview> {
        Api::all(&self.0).create(review).await.map_err(sort)
    }

    async fn review_access(&self, review: &SubjectAccessReview) -> ApiResult<SubjectAccessReview> {
        Api::all(&self.0).create(review).await.map_err(sort)
    }
}

/// No API server at all: pods come from files, and nobody is told about them.
pub struct Standalone;

impl ApiServer for Standalone {}
