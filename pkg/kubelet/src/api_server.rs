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

fn none<T>() -> ApiResult<T> {
    Err(ApiError::Refused("this kubelet runs without an API server".to_owned()))
}

/// Patches are JSON text; their kind is part of the method's contract. What is not overridden is refused, as by a kubelet
/// without an API server.
#[async_trait]
pub trait ApiServer: Send + Sync {
    async fn get_config_map(&self, _namespace: &str, _name: &str) -> ApiResult<ConfigMap> {
        none()
    }

    async fn get_secret(&self, _namespace: &str, _name: &str) -> ApiResult<Secret> {
        none()
    }

    async fn create_token(&self, _namespace: &str, _account: &str, _request: TokenRequest) -> ApiResult<TokenRequest> {
        none()
    }

    async fn create_pod(&self, _pod: &Pod) -> ApiResult<Pod> {
        none()
    }

    /// A strategic merge patch of the status subresource.
    async fn patch_pod_status(&self, _namespace: &str, _name: &str, _patch: Vec<u8>) -> ApiResult<Pod> {
        none()
    }

    /// Deletes this incarnation and no other.
    async fn delete_pod(&self, _namespace: &str, _name: &str, _uid: &str, _grace_seconds: i64) -> ApiResult<()> {
        none()
    }

    async fn get_node(&self, _name: &str) -> ApiResult<Node> {
        none()
    }

    async fn create_node(&self, _node: &Node) -> ApiResult<Node> {
        none()
    }

    /// A strategic merge patch.
    async fn patch_node(&self, _name: &str, _patch: Vec<u8>) -> ApiResult<Node> {
        none()
    }

    /// A strategic merge patch of the status subresource.
    async fn patch_node_status(&self, _name: &str, _patch: Vec<u8>) -> ApiResult<Node> {
        none()
    }

    async fn get_lease(&self, _namespace: &str, _name: &str) -> ApiResult<Lease> {
        none()
    }

    async fn create_lease(&self, _lease: &Lease) -> ApiResult<Lease> {
        none()
    }

    async fn update_lease(&self, _lease: &Lease) -> ApiResult<Lease> {
        none()
    }

    /// What a runtime class tells the runtime to use.
    async fn runtime_handler(&self, _class: &str) -> ApiResult<String> {
        none()
    }

    async fn review_token(&self, _review: &TokenReview) -> ApiResult<TokenReview> {
        none()
    }

    async fn review_access(&self, _review: &SubjectAccessReview) -> ApiResult<SubjectAccessReview> {
        none()
    }
}

/// A sink for what happened to pods and the node.
pub trait Events: Send + Sync {
    /// `kind` is "Normal" or "Warning"; `container` names the part of the pod it is about.
    fn pod(&self, pod: &Pod, field_path: Option<&str>, kind: &str, reason: &str, message: &str);
    fn node(&self, kind: &str, reason: &str, message: &str);
}
