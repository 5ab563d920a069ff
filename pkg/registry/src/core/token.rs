//! `serviceaccounts/NAME/token`. Upstream: TokenREST of pkg/registry/core/serviceaccount/storage, pkg/serviceaccount.

use std::sync::Arc;

use api::authentication::v1::{BoundObjectReference, TokenRequest};
use api::core::v1::Pod;
use apimachinery::gvk::{GroupKind, GroupResource, GroupVersionKind};
use apimachinery::status::StatusError;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apimachinery::{List, Object, Time};
use apiserver::handlers::create::new_uid;
use apiserver::objects::Objects;
use apiserver::request::RequestContext;
use apiserver::rest::{Answer, Creater};
use apiserver::service_account::{Bound, Claims, SigningKey, jwt};
use async_trait::async_trait;
use http::StatusCode;

use crate::config::LateObjects;

/// What tokens are made with, from the flags `--service-account-*` and `--api-audiences`.
#[derive(Clone, Debug)]
pub struct TokenIssuer {
    pub key: Arc<SigningKey>,
    pub issuer: String,
    /// For requests that name none; a token for just these is one for the API server.
    pub audiences: Vec<String>,
    /// `--service-account-max-token-expiration`; longer requests are cut.
    pub max_seconds: Option<i64>,
    /// `--service-account-extend-token-expiration`
    pub extends: bool,
}

/// The kubelet asks for this odd time for the token it projects by default: a client that does not reread its token gets a year instead.
const EXTENDED_REQUEST_SECONDS: i64 = 3607;
const EXTENSION_SECONDS: i64 = 365 * 24 * 60 * 60;

const MIN_SECONDS: i64 = 10 * 60;
const MAX_SECONDS: i64 = 1 << 32;

/// Makes tokens.
#[derive(Clone)]
pub struct TokenCreater {
    pub objects: Arc<LateObjects>,
    /// None if the server has no key: then there are no tokens.
    pub issuer: Option<TokenIssuer>,
}

/// What a token is bound to besides its account.
#[derive(Default)]
struct Binding {
    pod: Option<Bound>,
    secret: Option<Bound>,
    node: Option<Bound>,
}

#[async_trait]
impl Creater for TokenCreater {
    async fn create(&self, context: &RequestContext, body: Box<dyn Object>) -> Result<Answer, StatusError> {
        let Some(issuer) = &self.issuer else {
            return Err(StatusError::new(
                405,
                apimachinery::status::reason::METHOD_NOT_ALLOWED,
                "this server has no key to sign tokens with",
            ));
        };
        let mut request = *body.into_any().downcast::<TokenRequest>().map_err(|_| StatusError::bad_request("not a TokenRequest object"))?;
        let (namespace, name) = (context.info.namespace.as_str(), context.info.name.as_str());
        crate::defaults::generated::authentication_v1_token_request(&mut request);
        let group_kind = GroupKind::new("authentication.k8s.io", "TokenRequest");
        if !request.metadata.name.is_empty() && request.metadata.name != name {
            let meta = Path::new("metadata");
            let error = Error::invalid(&meta.child("name"), &request.metadata.name, "must match the service account name if specified");
            return Err(StatusError::invalid(&group_kind, name, &[error]));
        }
        let account = self.find("serviceaccounts", namespace, name).await?;
        if request.spec.audiences.is_empty() {
            request.spec.audiences = List::from(issuer.audiences.clone());
        }
        let mut seconds = request.spec.expiration_seconds.unwrap_or(3600);
        let errors = validate(seconds);
        if !errors.is_empty() {
            return Err(StatusError::invalid(&group_kind, "", &errors));
        }
        let bound = match &request.spec.bound_object_ref {
            Some(reference) => self.bind(reference, namespace, name).await?,
            None => Binding::default(),
        };
        if let Some(max) = issuer.max_seconds.filter(|max| *max > 0 && seconds > *max) {
            context.warn(format!("requested expiration of {seconds} seconds shortened to {max} seconds"));
            seconds = max;
            request.spec.expiration_seconds = Some(max);
        }
        let now = Time::now();
        let for_this_server = request.spec.audiences[..] == issuer.audiences[..];
        let extended = issuer.extends && bound.pod.is_some() && seconds == EXTENDED_REQUEST_SECONDS && for_this_server;
        let claims = Claims {
            issuer: issuer.issuer.clone(),
            audiences: request.spec.audiences.to_vec(),
            issued_at: now.unix(),
            not_before: now.unix(),
            expires_at: now.unix() + if extended { EXTENSION_SECONDS } else { seconds },
            id: new_uid(),
            namespace: namespace.to_owned(),
            service_account: Bound { name: name.to_owned(), uid: account.metadata().uid.clone() },
            pod: bound.pod,
            secret: bound.secret,
            node: bound.node,
            warn_after: extended.then(|| now.unix() + seconds),
        };
        request.status.token = jwt::sign(&issuer.key, &claims.to_value());
        request.status.expiration_timestamp = now.add_seconds(seconds);
        let meta = &mut request.metadata;
        name.clone_into(&mut meta.name);
        namespace.clone_into(&mut meta.namespace);
        meta.uid.clone_from(&account.metadata().uid);
        meta.creation_timestamp = now;
        Ok(Answer::Object(StatusCode::CREATED, Box::new(request)))
    }
}

fn validate(seconds: i64) -> ErrorList {
    let spec = Path::new("spec");
    let path = spec.child("expirationSeconds");
    match seconds {
        MIN_SECONDS..=MAX_SECONDS => ErrorList::new(),
        ..MIN_SECONDS => vec![Error::invalid(&path, seconds, "may not specify a duration less than 10 minutes")],
        _ => vec![Error::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds")],
    }
}

impl TokenCreater {
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> Result<Arc<dyn Object>, StatusError> {
        // A token must not be refused for a Pod that a cache has not seen yet.
        let found = match self.objects.get("", resource, namespace, name).await? {
            Some(found) => Some(found),
            None => self.objects.get_live("", resource, namespace, name).await?,
        };
        found.ok_or_else(|| StatusError::not_found(&GroupResource::new("", resource), name))
    }

    async fn bind(&self, reference: &BoundObjectReference, namespace: &str, account: &str) -> Result<Binding, StatusError> {
        let kind = GroupVersionKind::from_api_version(&reference.api_version, &reference.kind)
            .map_err(|error| StatusError::bad_request(error.to_string()))?;
        let unsupported = || StatusError::bad_request(format!("cannot bind token to object of type {kind}"));
        if !kind.group.is_empty() {
            return Err(unsupported());
        }
        let bound = |object: &dyn Object| Bound { name: object.metadata().name.clone(), uid: object.metadata().uid.clone() };
        let (binding, uid) = match kind.kind.as_str() {
            "Pod" => {
                let object = self.find("pods", namespace, &reference.name).await?;
                let pod: &Pod = object.downcast_ref().expect("pods are Pods");
                if pod.spec.service_account_name != account {
                    let quoted = apimachinery::gotext::quote(account);
                    let why = format!("cannot bind token for serviceaccount {quoted} to pod running with different serviceaccount name.");
                    return Err(StatusError::bad_request(why));
                }
                let node = self.node_of(pod).await?;
                (Binding { pod: Some(bound(pod)), node, ..Binding::default() }, pod.metadata.uid.clone())
            }
            "Node" => {
                let object = self.find("nodes", "", &reference.name).await?;
                (Binding { node: Some(bound(object.as_ref())), ..Binding::default() }, object.metadata().uid.clone())
            }
            "Secret" => {
                let object = self.find("secrets", namespace, &reference.name).await?;
                (Binding { secret: Some(bound(object.as_ref())), ..Binding::default() }, object.metadata().uid.clone())
            }
            _ => return Err(unsupported()),
        };
        if !reference.uid.is_empty() && reference.uid != uid {
            let why = format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                reference.uid
            );
            return Err(StatusError::conflict(&GroupResource::new("", &reference.kind), &reference.name, why));
        }
        Ok(binding)
    }

    /// The node is told for information; it may be gone.
    async fn node_of(&self, pod: &Pod) -> Result<Option<Bound>, StatusError> {
        let name = &pod.spec.node_name;
        if name.is_empty() {
            return Ok(None);
        }
        let node = self.objects.get("", "nodes", "", name).await?;
        let uid = node.map(|node| node.metadata().uid.clone()).unwrap_or_default();
        Ok(Some(Bound { name: name.clone(), uid }))
    }
}
