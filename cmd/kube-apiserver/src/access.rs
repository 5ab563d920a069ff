//! Who gets in and what they may do: authenticators, authorizers and admission plugins from the config.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use apiserver::admission::Plugin;
use apiserver::authentication::anonymous::Anonymous;
use apiserver::authentication::bootstrap_token::BootstrapToken;
use apiserver::authentication::request_header::RequestHeader;
use apiserver::authentication::service_account::ServiceAccountTokens;
use apiserver::authentication::token_file::TokenFile;
use apiserver::authentication::union::Union;
use apiserver::authentication::x509::X509;
use apiserver::authentication::{Authenticated, Authenticator, Credentials};
use apiserver::authorization::rbac::{self, Rbac};
use apiserver::authorization::union::{self as authorizers, AlwaysAllow, AlwaysDeny, PrivilegedGroup};
use apiserver::authorization::{Attributes, Authorizer, Decision, RuleSet};
use apiserver::objects::Objects;
use apiserver::request::User;
use apiserver::service_account::{PublicKey, SigningKey, parse_public_keys};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use component_base::http::BoxError;
use component_base::serving::peer::CaBundle;
use plugin::admission::Parts;
use plugin::auth::node::NodeAuthorizer;
use registry::core::connect::NodeAccess;
use registry::core::token::TokenIssuer;

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

/// What makes service account tokens; none without a signing key.
pub fn token_issuer(config: &Config, keys: &TokenKeys) -> Option<TokenIssuer> {
    Some(TokenIssuer {
        key: keys.signing.clone()?,
        issuer: config.service_account_issuers.first()?.clone(),
        audiences: config.api_audiences.clone(),
        max_seconds: config.max_token_seconds,
        extends: config.extend_tokens,
    })
}

/// How kubelets are reached for logs, exec and the like.
pub fn node_access(config: &Config) -> Result<NodeAccess, BoxError> {
    Ok(NodeAccess::from_files(
        config.kubelet_ca_file.as_deref(),
        config.kubelet_client_cert_file.as_deref(),
        config.kubelet_client_key_file.as_deref(),
        config.kubelet_address_types.clone(),
    )?)
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

/// `system:masters` first, then the modes in the order of the flag. `rbac` has to be told of roles by [`follow_rbac`].
pub fn authorizer(config: &Config, rbac: &Rbac, objects: &Arc<dyn Objects>) -> Arc<dyn Authorizer> {
    let mut members: Vec<Box<dyn Authorizer>> = vec![Box::new(PrivilegedGroup)];
    for mode in &config.authorization_modes {
        members.push(match mode {
            AuthorizationMode::AlwaysAllow => Box::new(AlwaysAllow),
            AuthorizationMode::AlwaysDeny => Box::new(AlwaysDeny),
            AuthorizationMode::Rbac => Box::new(rbac.clone()),
            AuthorizationMode::Node => Box::new(NodeAuthorizer::following(objects)),
        });
    }
    Arc::new(authorizers::Union { members })
}

/// Tells an RBAC authorizer of every role and binding.
pub fn follow_rbac(rbac: &Rbac, objects: &dyn Objects) {
    for resource in ["roles", "clusterroles", "rolebindings", "clusterrolebindings"] {
        let rbac = rbac.clone();
        objects.follow(rbac::GROUP, resource, Box::new(move |change| rbac.change(change)));
    }
}

/// An authenticator or authorizer that is there a little later: resources ask it, and it is made from their objects.
pub struct Late<T: ?Sized>(Arc<OnceLock<Arc<T>>>);

impl<T: ?Sized> Clone for Late<T> {
    fn clone(&self) -> Self {
        Late(self.0.clone())
    }
}

impl<T: ?Sized> Default for Late<T> {
    fn default() -> Self {
        Late(Arc::default())
    }
}

impl<T: ?Sized> std::fmt::Debug for Late<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Late")
    }
}

impl<T: ?Sized> Late<T> {
    /// Hands it over. Later calls change nothing.
    pub fn set(&self, value: Arc<T>) {
        self.0.get_or_init(|| value);
    }
}

#[async_trait]
impl Authenticator for Late<dyn Authenticator> {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String> {
        match self.0.get() {
            Some(authenticator) => authenticator.authenticate(credentials).await,
            None => Err("the server is starting".to_owned()),
        }
    }
}

#[async_trait]
impl Authorizer for Late<dyn Authorizer> {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        match self.0.get() {
            Some(authorizer) => authorizer.authorize(attributes).await,
            None => Decision::NoOpinion("the server is starting".to_owned()),
        }
    }

    fn rules_for(&self, user: &User, namespace: &str) -> RuleSet {
        self.0.get().map(|authorizer| authorizer.rules_for(user, namespace)).unwrap_or_default()
    }
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
