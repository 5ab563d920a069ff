//! Who gets in and what they may do: authenticators, authorizers and admission plugins from the config.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apiserver::admission::Plugin;
use apiserver::authentication::Authenticator;
use apiserver::authentication::anonymous::Anonymous;
use apiserver::authentication::bootstrap_token::BootstrapToken;
use apiserver::authentication::request_header::RequestHeader;
use apiserver::authentication::service_account::ServiceAccountTokens;
use apiserver::authentication::token_file::TokenFile;
use apiserver::authentication::union::Union;
use apiserver::authentication::x509::X509;
use apiserver::authorization::Authorizer;
use apiserver::authorization::rbac::Rbac;
use apiserver::authorization::union::{self as authorizers, AlwaysAllow, AlwaysDeny, PrivilegedGroup};
use apiserver::objects::Objects;
use apiserver::service_account::{PublicKey, SigningKey, parse_public_keys};
use arc_swap::ArcSwap;
use component_base::http::BoxError;
use component_base::serving::peer::CaBundle;
use plugin::admission::Parts;
use plugin::auth::node::NodeAuthorizer;

use crate::Config;
use crate::config::AuthorizationMode;

/// The keys of service account tokens.
pub struct TokenKeys {
    pub signing: Option<Arc<SigningKey>>,
    pub verifying: Vec<PublicKey>,
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKeys ({} to verify with)", self.verifying.len())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BoxError> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()).into())
}

fn at<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> BoxError + '_ {
    move |error| format!("{}: {error}", path.display()).into()
}

/// A bundle of authorities from a file.
pub fn bundle(path: &Path) -> Result<CaBundle, BoxError> {
    CaBundle::from_pem(&read(path)?).map_err(at(path))
}

/// Reads the keys of service account tokens. Without key files the signing key verifies.
pub fn token_keys(config: &Config) -> Result<TokenKeys, BoxError> {
    let signing = match &config.service_account_signing_key_file {
        Some(path) => Some(Arc::new(SigningKey::from_pem(&read(path)?).map_err(at(path))?)),
        None => None,
    };
    let mut verifying = Vec::new();
    let mut files: Vec<&PathBuf> = config.service_account_key_files.iter().collect();
    if files.is_empty() {
        files.extend(&config.service_account_signing_key_file);
    }
    for path in files {
        verifying.extend(parse_public_keys(&read(path)?).map_err(at(path))?);
    }
    Ok(TokenKeys { signing, verifying })
}

/// In upstream's order: front proxies, certificates, static tokens, service accounts, bootstrap tokens, nobody.
pub fn authenticator(config: &Config, keys: &TokenKeys, objects: &Arc<dyn Objects>) -> Result<Arc<dyn Authenticator>, BoxError> {
    let mut members: Vec<Box<dyn Authenticator>> = Vec::new();
    if let Some(headers) = &config.request_header {
        members.push(Box::new(RequestHeader {
            authorities: Arc::new(bundle(&headers.client_ca_file)?),
            allowed_names: headers.allowed_names.clone(),
            username_headers: headers.username_headers.clone(),
            uid_headers: headers.uid_headers.clone(),
            group_headers: headers.group_headers.clone(),
            extra_prefixes: headers.extra_prefixes.clone(),
        }));
    }
    if let Some(path) = &config.client_ca_file {
        members.push(Box::new(X509 { authorities: Arc::new(ArcSwap::from_pointee(bundle(path)?)) }));
    }
    if let Some(path) = &config.token_file {
        let text = String::from_utf8(read(path)?).map_err(at(path))?;
        members.push(Box::new(TokenFile::parse(&text).map_err(at(path))?));
    }
    if !config.service_account_issuers.is_empty() {
        members.push(Box::new(ServiceAccountTokens {
            issuers: config.service_account_issuers.clone(),
            keys: keys.verifying.clone(),
            audiences: config.api_audiences.clone(),
            objects: objects.clone(),
        }));
    }
    if config.bootstrap_tokens {
        members.push(Box::new(BootstrapToken { objects: objects.clone() }));
    }
    let last: Option<Box<dyn Authenticator>> = if config.anonymous { Some(Box::new(Anonymous::default())) } else { None };
    Ok(Arc::new(Union { members, last }))
}

/// `system:masters` first, then the modes in the order of the flag.
pub fn authorizer(config: &Config, objects: &Arc<dyn Objects>) -> Arc<dyn Authorizer> {
    let mut members: Vec<Box<dyn Authorizer>> = vec![Box::new(PrivilegedGroup)];
    for mode in &config.authorization_modes {
        members.push(match mode {
            AuthorizationMode::AlwaysAllow => Box::new(AlwaysAllow),
            AuthorizationMode::AlwaysDeny => Box::new(AlwaysDeny),
            AuthorizationMode::Rbac => Box::new(Rbac::following(objects)),
            AuthorizationMode::Node => Box::new(NodeAuthorizer::following(objects)),
        });
    }
    Arc::new(authorizers::Union { members })
}

/// The plugins that are on, in upstream's order.
pub fn admission(config: &Config, objects: &Arc<dyn Objects>, authorizer: &Arc<dyn Authorizer>) -> Vec<Arc<dyn Plugin>> {
    let parts = Parts { objects: objects.clone(), authorizer: authorizer.clone() };
    plugin::admission::in_order()
        .into_iter()
        .filter(|entry| {
            let named = |names: &[String]| names.iter().any(|name| name == entry.name);
            !named(&config.disable_admission) && (entry.on_by_default || named(&config.enable_admission))
        })
        .map(|entry| (entry.make)(&parts))
        .collect()
}
