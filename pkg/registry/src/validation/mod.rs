//! Validation that several groups share: object metadata, selectors, pod templates. Upstream: apimachinery `pkg/api/validation`, pkg/apis/core/validation.
//!
//! Functions take what they check, its path, and return every error with upstream's text and in upstream's order.

pub mod fields;
pub mod go_value;
pub mod meta;
pub mod pod_template;
pub mod selector;

pub use fields::{extend_invalid, immutable, non_negative, positive};
pub use go_value::go_value;
pub use meta::{annotations, generic_object_meta, labels, object_meta, object_meta_update};
pub use selector::label_selector;
