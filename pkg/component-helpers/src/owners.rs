//! Owner references. Upstream: apimachinery/pkg/apis/meta/v1/controller_ref.go.

use apimachinery::meta::v1::{ObjectMeta, OwnerReference};
use apimachinery::{Kind, Resource};

/// The reference to the controller that manages the object.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().find(|owner| owner.controller == Some(true))
}

/// True if the object is managed by the controller with this UID.
pub fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_of(meta).is_some_and(|owner| owner.uid == uid)
}

/// A reference that makes `owner` the controller of another object.
pub fn controller_reference<R: Resource>(owner: &R) -> OwnerReference {
    OwnerReference {
        api_version: apimachinery::wire::api_version::<R>(),
        kind: <R as Kind>::KIND.to_owned(),
        name: owner.metadata().name.clone(),
        uid: owner.metadata().uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
