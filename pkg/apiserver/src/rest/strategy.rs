//! [`Strategy`]: what a resource does to its objects between decoding and storing. Pure; no I/O.
//!
//! Order of calls on create: `default_object`, mutating admission, metadata is filled in (name, namespace, uid, creation time), hooks,
//! `prepare_for_create`, `validate`, `canonicalize`, validating admission, store; `warnings_on_create` go out as headers.
//! On update: `default_object`, mutating admission, hooks, `prepare_for_update`, `validate_update`, `canonicalize`, validating admission, store.
//! Upstream: apiserver/pkg/registry/rest/{create,update,delete}.go.

use std::sync::Arc;

use apimachinery::meta::v1::DeleteOptions;
use apimachinery::validation::field;
use apimachinery::{Object, Resource};

use crate::request::RequestContext;

/// What a delete with a grace period does to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Graceful {
    /// The object goes at once.
    No,
    /// The object stays for so many seconds with a deletion timestamp; its owner (the kubelet) deletes it in the end.
    Seconds(i64),
}

/// The rules of one resource (or of one of its subresources that writes the same object, such as `status`).
///
/// Only `prepare_*`, `canonicalize` and `default_object` change what they are given. Validation returns all errors, with upstream's paths and texts.
pub trait Strategy: Send + Sync + 'static {
    type Object: Resource;

    /// Fills in unset fields, as upstream's `SetDefaults_*` for the served version. Idempotent. Runs on every decoded object, stored ones too.
    fn default_object(&self, _object: &mut Self::Object) {}

    /// Clears what a client must not set on create (status, generation 1, dropped disabled fields, ...).
    fn prepare_for_create(&self, _context: &RequestContext, _object: &mut Self::Object) {}

    fn validate(&self, _context: &RequestContext, _object: &Self::Object) -> field::ErrorList {
        field::ErrorList::new()
    }

    fn warnings_on_create(&self, _context: &RequestContext, _object: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// Puts the object into its canonical form after validation.
    fn canonicalize(&self, _object: &mut Self::Object) {}

    /// Restores what this endpoint must not change (status on the main resource, spec on `status`), raises the generation.
    fn prepare_for_update(&self, _context: &RequestContext, _new: &mut Self::Object, _old: &Self::Object) {}

    fn validate_update(&self, _context: &RequestContext, _new: &Self::Object, _old: &Self::Object) -> field::ErrorList {
        field::ErrorList::new()
    }

    fn warnings_on_update(&self, _context: &RequestContext, _new: &Self::Object, _old: &Self::Object) -> Vec<String> {
        Vec::new()
    }

    /// PUT (and apply) of an object that does not exist creates it.
    fn allow_create_on_update(&self) -> bool {
        false
    }

    /// PUT without a resourceVersion overwrites whatever is there.
    fn allow_unconditional_update(&self) -> bool {
        true
    }

    /// How a delete with these options (grace already looked at: `None` = not given) goes; pods answer with seconds. May change `options`.
    fn graceful_deletion(&self, _object: &Self::Object, _options: &DeleteOptions) -> Graceful {
        Graceful::No
    }

    /// Marks an object that stays for a while after its deletion was asked for: a namespace's phase becomes `Terminating`.
    fn begin_deletion(&self, _object: &mut Self::Object) {}

    /// Something besides `metadata.finalizers` keeps a deleted object in the store: a namespace's `spec.finalizers`.
    fn has_own_finalizers(&self, _object: &Self::Object) -> bool {
        false
    }

    /// True if deletion without a policy orphans dependents (old ReplicationController behaviour).
    fn orphans_by_default(&self) -> bool {
        false
    }

    /// Field-selector values beyond `metadata.name` and `metadata.namespace`, as in api/field-selectors.json.
    fn selectable_fields(&self, _object: &Self::Object) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Paths (`spec`, `status`) that apply through this endpoint never owns.
    fn reset_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// Cells of the object's row, one JSON value per column of api/table-columns.json; `None` for name and age only.
    fn table_cells(&self, _object: &Self::Object, _now: apimachinery::Time) -> Option<Vec<apimachinery::Value>> {
        None
    }

    /// Seconds until the object expires by itself (events).
    fn ttl_seconds(&self, _object: &Self::Object) -> Option<u64> {
        None
    }

    /// Names made from generateName and names given: upstream's validator for this resource's `metadata.name`; texts of what is wrong.
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        apimachinery::validation::names::name_is_dns_subdomain(name, prefix)
    }
}

/// [`Strategy`] behind a pointer, for handlers that serve any kind. Made by [`erase`].
///
/// The methods panic if handed an object of another kind than `new_object` makes: that is a fault of the server, never of a request.
pub trait ErasedStrategy: Send + Sync + 'static {
    fn default_object(&self, object: &mut dyn Object);
    fn prepare_for_create(&self, context: &RequestContext, object: &mut dyn Object);
    fn validate(&self, context: &RequestContext, object: &dyn Object) -> field::ErrorList;
    fn warnings_on_create(&self, context: &RequestContext, object: &dyn Object) -> Vec<String>;
    fn canonicalize(&self, object: &mut dyn Object);
    fn prepare_for_update(&self, context: &RequestContext, new: &mut dyn Object, old: &dyn Object);
    fn validate_update(&self, context: &RequestContext, new: &dyn Object, old: &dyn Object) -> field::ErrorList;
    fn warnings_on_update(&self, context: &RequestContext, new: &dyn Object, old: &dyn Object) -> Vec<String>;
    fn allow_create_on_update(&self) -> bool;
    fn allow_unconditional_update(&self) -> bool;
    fn graceful_deletion(&self, object: &dyn Object, options: &DeleteOptions) -> Graceful;
    fn begin_deletion(&self, object: &mut dyn Object);
    fn has_own_finalizers(&self, object: &dyn Object) -> bool;
    fn orphans_by_default(&self) -> bool;
    fn selectable_fields(&self, object: &dyn Object) -> Vec<(&'static str, String)>;
    fn reset_fields(&self) -> &'static [&'static str];
    fn table_cells(&self, object: &dyn Object, now: apimachinery::Time) -> Option<Vec<apimachinery::Value>>;
    fn ttl_seconds(&self, object: &dyn Object) -> Option<u64>;
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String>;
}

/// Puts a strategy behind a pointer.
pub fn erase<S: Strategy>(strategy: S) -> Arc<dyn ErasedStrategy> {
    Arc::new(Erased(strategy))
}

struct Erased<S>(S);

/// The object as the strategy's own kind.
fn typed<T: 'static>(object: &dyn Object) -> &T {
    object.downcast_ref().expect("a handler passes objects of its strategy's kind")
}

fn typed_mut<T: 'static>(object: &mut dyn Object) -> &mut T {
    object.downcast_mut().expect("a handler passes objects of its strategy's kind")
}

impl<S: Strategy> ErasedStrategy for Erased<S> {
    fn default_object(&self, object: &mut dyn Object) {
        self.0.default_object(typed_mut(object));
    }
    fn prepare_for_create(&self, context: &RequestContext, object: &mut dyn Object) {
        self.0.prepare_for_create(context, typed_mut(object));
    }
    fn validate(&self, context: &RequestContext, object: &dyn Object) -> field::ErrorList {
        self.0.validate(context, typed(object))
    }
    fn warnings_on_create(&self, context: &RequestContext, object: &dyn Object) -> Vec<String> {
        self.0.warnings_on_create(context, typed(object))
    }
    fn canonicalize(&self, object: &mut dyn Object) {
        self.0.canonicalize(typed_mut(object));
    }
    fn prepare_for_update(&self, context: &RequestContext, new: &mut dyn Object, old: &dyn Object) {
        self.0.prepare_for_update(context, typed_mut(new), typed(old));
    }
    fn validate_update(&self, context: &RequestContext, new: &dyn Object, old: &dyn Object) -> field::ErrorList {
        self.0.validate_update(context, typed(new), typed(old))
    }
    fn warnings_on_update(&self, context: &RequestContext, new: &dyn Object, old: &dyn Object) -> Vec<String> {
        self.0.warnings_on_update(context, typed(new), typed(old))
    }
    fn allow_create_on_update(&self) -> bool {
        self.0.allow_create_on_update()
    }
    fn allow_unconditional_update(&self) -> bool {
        self.0.allow_unconditional_update()
    }
    fn graceful_deletion(&self, object: &dyn Object, options: &DeleteOptions) -> Graceful {
        self.0.graceful_deletion(typed(object), options)
    }
    fn begin_deletion(&self, object: &mut dyn Object) {
        self.0.begin_deletion(typed_mut(object));
    }
    fn has_own_finalizers(&self, object: &dyn Object) -> bool {
        self.0.has_own_finalizers(typed(object))
    }
    fn orphans_by_default(&self) -> bool {
        self.0.orphans_by_default()
    }
    fn selectable_fields(&self, object: &dyn Object) -> Vec<(&'static str, String)> {
        self.0.selectable_fields(typed(object))
    }
    fn reset_fields(&self) -> &'static [&'static str] {
        self.0.reset_fields()
    }
    fn table_cells(&self, object: &dyn Object, now: apimachinery::Time) -> Option<Vec<apimachinery::Value>> {
        self.0.table_cells(typed(object), now)
    }
    fn ttl_seconds(&self, object: &dyn Object) -> Option<u64> {
        self.0.ttl_seconds(typed(object))
    }
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        self.0.validate_name(name, prefix)
    }
}
