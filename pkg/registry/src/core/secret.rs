//! Secrets.

use api::core::v1::Secret;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::validation::names;
use apimachinery::{ByteString, Time, Value};
use apiserver::request::RequestContext;
use apiserver::rest::Strategy;

use super::config_map::IMMUTABLE_WHEN_SET;
use super::validation::MAX_SECRET_SIZE;
use crate::printers::age;
use crate::validation::fields::{IMMUTABLE, extend_invalid};
use crate::validation::{object_meta, object_meta_update};

/// The annotation that names the account of a token Secret.
pub const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// Rules of Secrets.
#[derive(Clone, Copy, Debug)]
pub struct SecretStrategy;

impl Strategy for SecretStrategy {
    type Object = Secret;

    fn default_object(&self, secret: &mut Secret) {
        // `stringData` is for writing only: it overwrites data and is never stored.
        for (key, text) in std::mem::take(&mut secret.string_data) {
            secret.data.insert(key, ByteString::from(text.into_bytes()));
        }
        crate::defaults::generated::core_v1_secret(secret);
    }

    fn validate(&self, _: &RequestContext, secret: &Secret) -> ErrorList {
        validate(secret)
    }

    fn warnings_on_create(&self, _: &RequestContext, secret: &Secret) -> Vec<String> {
        warnings(secret)
    }

    fn prepare_for_update(&self, _: &RequestContext, new: &mut Secret, old: &Secret) {
        if new.type_.is_empty() {
            new.type_.clone_from(&old.type_);
        }
    }

    fn validate_update(&self, _: &RequestContext, new: &Secret, old: &Secret) -> ErrorList {
        let mut errors = object_meta_update(&new.metadata, &old.metadata, &Path::new("metadata"));
        if new.type_ != old.type_ {
            errors.push(Error::invalid(&Path::new("type"), &new.type_, IMMUTABLE));
        }
        if old.immutable == Some(true) {
            if new.immutable != Some(true) {
                errors.push(Error::forbidden(&Path::new("immutable"), IMMUTABLE_WHEN_SET));
            }
            if new.data.entries() != old.data.entries() {
                errors.push(Error::forbidden(&Path::new("data"), IMMUTABLE_WHEN_SET));
            }
        }
        errors.extend(validate(new));
        errors
    }

    fn warnings_on_update(&self, _: &RequestContext, new: &Secret, _: &Secret) -> Vec<String> {
        warnings(new)
    }

    fn selectable_fields(&self, secret: &Secret) -> Vec<(&'static str, String)> {
        vec![("type", secret.type_.clone())]
    }

    fn table_cells(&self, secret: &Secret, now: Time) -> Option<Vec<Value>> {
        let count = secret.data.len() as i64;
        let name = secret.metadata.name.clone();
        Some(vec![name.into(), secret.type_.clone().into(), count.into(), age(secret.metadata.creation_timestamp, now)])
    }
}

fn validate(secret: &Secret) -> ErrorList {
    let mut errors = object_meta(&secret.metadata, true, names::name_is_dns_subdomain, &Path::new("metadata"));
    let data = Path::new("data");
    for key in secret.data.keys() {
        extend_invalid(&mut errors, &data.key(key), key, names::is_config_map_key(key));
    }
    if secret.data.values().map(|value| value.len()).sum::<usize>() > MAX_SECRET_SIZE {
        errors.push(Error::too_long(&data, MAX_SECRET_SIZE));
    }
    let missing = |key: &str| (!secret.data.contains_key(key)).then(|| Error::required(&data.key(key), ""));
    match secret.type_.as_str() {
        "kubernetes.io/service-account-token" if secret.metadata.annotations.get_str(SERVICE_ACCOUNT_NAME).is_empty() => {
            let (meta, name) = (Path::new("metadata"), SERVICE_ACCOUNT_NAME);
            errors.push(Error::required(&meta.child("annotations").key(name), ""));
        }
        "kubernetes.io/dockercfg" => errors.extend(json_data(secret, ".dockercfg")),
        "kubernetes.io/dockerconfigjson" => errors.extend(json_data(secret, ".dockerconfigjson")),
        "kubernetes.io/basic-auth" if !secret.data.contains_key("username") && !secret.data.contains_key("password") => {
            errors.extend(missing("username"));
            errors.extend(missing("password"));
        }
        "kubernetes.io/ssh-auth" => errors.extend(missing("ssh-privatekey")),
        "kubernetes.io/tls" => {
            errors.extend(missing("tls.crt"));
            errors.extend(missing("tls.key"));
        }
        _ => {}
    }
    errors
}

/// The value of `key` is there and is a JSON object.
fn json_data(secret: &Secret, key: &str) -> Option<Error> {
    let data = Path::new("data");
    let path = data.key(key);
    let Some(value) = secret.data.get(key) else { return Some(Error::required(&path, "")) };
    match Value::parse(value) {
        Ok(Value::Object(_) | Value::Null) => None,
        Ok(other) => {
            let detail = format!("json: cannot unmarshal {} into Go value of type map[string]interface {{}}", go_kind(&other));
            Some(Error::invalid(&path, "<secret contents redacted>", detail))
        }
        Err(error) => Some(Error::invalid(&path, "<secret contents redacted>", error.to_string())),
    }
}

fn go_kind(value: &Value) -> &'static str {
    match value.kind_name() {
        "boolean" => "bool",
        other => other,
    }
}

fn warnings(secret: &Secret) -> Vec<String> {
    let has_pem = |key: &str| secret.data.get(key).is_some_and(|value| value.windows(11).any(|window| window == b"-----BEGIN "));
    if secret.type_ != "kubernetes.io/tls" || !secret.data.contains_key("tls.crt") || !secret.data.contains_key("tls.key") {
        return Vec::new();
    }
    match (has_pem("tls.crt"), has_pem("tls.key")) {
        (false, _) => vec!["tls: failed to find any PEM data in certificate input".to_owned()],
        (true, false) => vec!["tls: failed to find any PEM data in key input".to_owned()],
        (true, true) => Vec::new(),
    }
}
