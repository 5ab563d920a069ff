//! ServiceAccounts.

use api::core::v1::{ObjectReference, ServiceAccount};
use apimachinery::validation::field::{ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::{ResourceDef, Strategy};

use super::token::TokenCreater;
use crate::Config;
use crate::printers::age;
use crate::validation::{object_meta, object_meta_update};

/// Accounts and their tokens.
pub fn resource(config: &Config) -> ResourceDef {
    let tokens = TokenCreater { objects: config.objects.clone(), issuer: config.tokens.clone() };
    ResourceDef::stored(ServiceAccountStrategy).create("token", tokens)
}

/// Rules of ServiceAccounts.
#[derive(Clone, Copy, Debug)]
pub struct ServiceAccountStrategy;

const MOUNTABLE_SECRETS: &str = "kubernetes.io/enforce-mountable-secrets";

impl Strategy for ServiceAccountStrategy {
    type Object = ServiceAccount;

    fn prepare_for_create(&self, _: &RequestContext, account: &mut ServiceAccount) {
        clean_secret_references(account);
    }

    fn validate(&self, _: &RequestContext, account: &ServiceAccount) -> ErrorList {
        validate(account)
    }

    fn warnings_on_create(&self, _: &RequestContext, account: &ServiceAccount) -> Vec<String> {
        warnings(account)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut ServiceAccount, _: &ServiceAccount) {
        clean_secret_references(new);
    }

    fn validate_update(&self, _: &RequestContext, new: &ServiceAccount, old: &ServiceAccount) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        errors.extend(validate(new));
        errors
    }

    fn warnings_on_update(&self, _: &RequestContext, new: &ServiceAccount, old: &ServiceAccount) -> Vec<String> {
        if old.metadata.annotations.contains_key(MOUNTABLE_SECRETS) { Vec::new() } else { warnings(new) }
    }

    fn table_cells(&self, account: &ServiceAccount, now: Time) -> Option<Vec<Value>> {
        Some(vec![account.metadata.name.clone().into(), age(account.metadata.creation_timestamp, now)])
    }
}

fn validate(account: &ServiceAccount) -> ErrorList {
    object_meta(&account.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"))
}

/// Of a secret's reference only the name means anything.
fn clean_secret_references(account: &mut ServiceAccount) {
    for secret in &mut account.secrets {
        *secret = ObjectReference { name: std::mem::take(&mut secret.name), ..ObjectReference::default() };
    }
}

fn warnings(account: &ServiceAccount) -> Vec<String> {
    match account.metadata.annotations.contains_key(MOUNTABLE_SECRETS) {
        true => vec![format!(
            "metadata.annotations[{MOUNTABLE_SECRETS}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        )],
        false => Vec::new(),
    }
}
