//! Strategic merge patch: lists merge by keys that the type declares, and directives say what plain merging cannot.
//!
//! | directive | where | meaning |
//! |---|---|---|
//! | `$patch: replace` | object, or an item of a list | the patch takes the whole place |
//! | `$patch: delete` | object, or an item with its key | the object, or that item, goes |
//! | `$retainKeys` | object | members not named go |
//! | `$setElementOrder/x` | beside list `x` | the order of the items named |
//! | `$deleteFromPrimitiveList/x` | beside list `x` of scalars | these values go |
//!
//! [`apply`] merges a patch into a document, [`create_two_way`] and [`create_three_way`] make patches.
//! Upstream: apimachinery `pkg/util/strategicpatch`.

mod create;
mod merge;
mod order;
#[cfg(test)]
mod tests;

pub use create::{create_three_way, create_two_way};
pub use merge::apply;

const PATCH: &str = "$patch";
const REPLACE: &str = "replace";
const DELETE: &str = "delete";
const MERGE: &str = "merge";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";
