//! Leases: who holds a lock, or that a node is alive.

use api::coordination::v1::Lease;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use crate::printers::age;
use crate::validation::{non_negative, object_meta, object_meta_update, positive};

/// Rules of Leases.
#[derive(Clone, Copy, Debug)]
pub struct LeaseStrategy;

/// The fields of coordinated leader election, whose gate is off by default.
fn drop_disabled(new: &mut Lease, old: Option<&Lease>) {
    if old.is_none_or(|old| old.spec.strategy.is_none()) {
        new.spec.strategy = None;
    }
    if old.is_none_or(|old| old.spec.preferred_holder.is_none()) {
        new.spec.preferred_holder = None;
    }
}

impl Strategy for LeaseStrategy {
    type Object = Lease;

    fn prepare_for_create(&self, _: &RequestContext, lease: &mut Lease) {
        drop_disabled(lease, None);
    }

    fn validate(&self, _: &RequestContext, lease: &Lease) -> ErrorList {
        let mut errors = object_meta(&lease.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
        errors.extend(spec(lease));
        errors
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Lease, old: &Lease) {
        drop_disabled(new, Some(old));
    }

    fn validate_update(&self, _: &RequestContext, new: &Lease, old: &Lease) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(spec(new));
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn table_cells(&self, lease: &Lease, now: Time) -> Option<Vec<Value>> {
        let holder = lease.spec.holder_identity.clone().unwrap_or_default();
        Some(vec![lease.metadata.name.clone().into(), holder.into(), age(lease.metadata.creation_timestamp, now)])
    }
}

fn spec(lease: &Lease) -> ErrorList {
    let path = Path::new("spec");
    let spec = &lease.spec;
    let mut errors = ErrorList::new();
    if let Some(seconds) = spec.lease_duration_seconds {
        errors.extend(positive(seconds.into(), &path.child("leaseDurationSeconds")));
    }
    if let Some(transitions) = spec.lease_transitions {
        errors.extend(non_negative(transitions.into(), &path.child("leaseTransitions")));
    }
    let preferred = spec.preferred_holder.as_deref().is_some_and(|holder| !holder.is_empty());
    if preferred && spec.strategy.as_deref().is_none_or(str::is_empty) {
        errors.push(Error::forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined"));
    }
    errors
}
