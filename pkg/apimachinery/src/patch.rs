//! Patches: documents that change documents.
//!
//! [`json`] is RFC 6902, [`merge`] RFC 7396 and [`strategic`] the merge of Kubernetes that knows lists with keys; the latter two can
//! also be made from the difference of documents, as `kubectl apply` does.

pub mod json;
pub mod merge;
pub mod strategic;

/// Why a patch cannot be applied or made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatchError(pub String);

pub(crate) fn fail<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError(message.into()))
}
