//! What the kubelet asks of an API server, as one narrow trait: the real one speaks through the client library, tests
//! answer from memory.

use api::authentication::v1::{TokenRequest, TokenReview};
use api::authorization::v1::SubjectAccessReview;
use api::coordination::v1::Lease;
use api::core::v1::{ConfigMap, Node, Pod, Secret};
use async_trait::async_trait;

/// Why a request had no success, as far as the kubelet tells cases apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    AlreadyExists(String),
    #[error("{0}")]
    Conflict(String),
    /// Refused for good: repeating it changes nothing.
    #[error("{0}")]
    Refused(String),
    /// The server was not reached, or has trouble of its own.
    #[error("{0}")]
    Unavailable(String),
}

impl ApiError {
    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::NotFound(_))
    }
}

pub type ApiResult<T> = Result<T, ApiError>;

/// Patches are JSON text; their kind is part of the method's contract.
#[async_trait]
pub trait ApiServer: Send + Sync {
    async fn get_config_map(&self, namespace: &str, name: &str) -> ApiResult<ConfigMap>;
    async fn get_secret(&self, namespace: &str, name: &str) -> ApiResult<Secret>;
    async fn create_token(&self, namespace: &str, account: &str, request: TokenRequest) -> ApiResult<TokenRequest>;

    async fn get_pod(&self, namespace: &str, name: &str) -> ApiResult<Pod>;
    async fn create_pod(&self, pod: &Pod) -> ApiResult<Pod>;
    /// A strategic merge patch of the status subresource.
    async fn patch_pod_status(&self, namespace: &str, name: &str, patch: Vec<u8>) -> ApiResult<Pod>;
    /// Deletes this incarnation and no other.
    async fn delete_pod(&self, namespace: &str, name: &str, uid: &str, grace_seconds: i64) -> ApiResult<()>;

    async fn get_node(&self, name: &str) -> ApiResult<Node>;
    async fn create_node(&self, node: &Node) -> ApiResult<Node>;
    /// A strategic merge patch.
    async fn patch_node(&self, name: &str, patch: Vec<u8>) -> ApiResult<Node>;
    /// A strategic merge patch of the status subresource.
    async fn patch_node_status(&self, name: &str, patch: Vec<u8>) -> ApiResult<Node>;

    async fn get_lease(&self, namespace: &str, name: &str) -> ApiResult<Lease>;
    async fn create_lease(&self, lease: &Lease) -> ApiResult<Lease>;
    async fn update_lease(&self, lease: &Lease) -> ApiResult<Lease>;

    /// What a runtime class tells the runtime to use.
    async fn runtime_handler(&self, class: &str) -> ApiResult<String>;

    async fn review_token(&self, review: &TokenReview) -> ApiResult<TokenReview>;
    async fn review_access(&self, review: &SubjectAccessReview) -> ApiResult<SubjectAccessReview>;
}

/// A sink for what happened to pods and the node.
pub trait Events: Send + Sync {
    /// `kind` is "Normal" or "Warning"; `container` names the part of the pod it is about.
    fn pod(&self, pod: &Pod, field_path: Option<&str>, kind: &str, reason: &str, message: &str);
    fn node(&self, kind: &str, reason: &str, message: &str);
}
