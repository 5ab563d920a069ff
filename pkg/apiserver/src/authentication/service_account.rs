//! Service-account tokens as credentials. Upstream: pkg/serviceaccount/{jwt,claims,legacy}.go.

use std::sync::Arc;

use api::core::v1::{Node, Pod, Secret, ServiceAccount};
use apimachinery::{Object, Time, Value};
use async_trait::async_trait;

use super::{Authenticated, Authenticator, Credentials, bearer_from_websocket, names};
use crate::objects::Objects;
use crate::request::User;
use crate::service_account::{Bound, Claims, PublicKey, jwt};

/// An expired binding is still good for so long after its object began to go: a pod uses its token while it shuts down.
const DELETION_GRACE_SECONDS: i64 = 60;

/// Clocks may differ by so much.
const LEEWAY_SECONDS: i64 = 60;

/// Verifies tokens that this cluster issued.
pub struct ServiceAccountTokens {
    /// Accepted issuers; the first is the one new tokens get.
    pub issuers: Vec<String>,
    pub keys: Vec<PublicKey>,
    /// What a token's audience has to meet: `--api-audiences`.
    pub audiences: Vec<String>,
    /// Where accounts, pods and secrets are looked up (`--service-account-lookup`).
    pub objects: Arc<dyn Objects>,
}

impl std::fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceAccountTokens of {:?}", self.issuers)
    }
}

/// Issuer of tokens in Secrets of type `kubernetes.io/service-account-token`.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";

#[async_trait]
impl Authenticator for ServiceAccountTokens {
    async fn authenticate(&self, credentials: &Credentials<'_>) -> Result<Option<Authenticated>, String> {
        let hidden = bearer_from_websocket(credentials.headers);
        let Some(token) = credentials.bearer().or(hidden.as_deref()) else { return Ok(None) };
        self.authenticate_token(token, &self.audiences).await
    }
}

impl ServiceAccountTokens {
    /// Verifies a token for these audiences: the API server's own, or those of a TokenReview.
    pub async fn authenticate_token(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, String> {
        // Only tokens of ours are ours to refuse.
        let Ok(unverified) = jwt::parse(token) else { return Ok(None) };
        let issuer = unverified.claims.str_at(&["iss"]).unwrap_or("").to_owned();
        if issuer == LEGACY_ISSUER {
            let claims = unverified.verify(&self.keys).map_err(|err| err.to_string())?;
            return self.legacy(token, &claims, audiences).await.map(Some);
        }
        if !self.issuers.contains(&issuer) {
            return Ok(None);
        }
        let value = unverified.verify(&self.keys).map_err(|err| err.to_string())?;
        let claims =
            Claims::from_value(&value).ok_or("service account token claims could not be parsed due to missing or mismatched fields")?;
        let met: Vec<String> = claims.audiences.iter().filter(|audience| audiences.contains(audience)).cloned().collect();
        if met.is_empty() {
            return Err(format!("token audiences {:?} is invalid for the target audiences {:?}", claims.audiences, audiences));
        }
        let now = Time::now();
        check_times(&claims, now)?;
        let account = self.account(&claims.namespace, &claims.service_account).await?;
        if let Some(secret) = &claims.secret {
            let found = self.fetch::<Secret>("secrets", &claims.namespace, secret, "service account token has been invalidated").await?;
            still_there(&*found, now, "service account token has been invalidated")?;
        }
        let mut extra = Vec::new();
        if !claims.id.is_empty() {
            extra.push((names::CREDENTIAL_ID.to_owned(), vec![format!("JTI={}", claims.id)]));
        }
        if let Some(bound) = &claims.node {
            extra.push(("authentication.kubernetes.io/node-name".to_owned(), vec![bound.name.clone()]));
            if !bound.uid.is_empty() {
                extra.push(("authentication.kubernetes.io/node-uid".to_owned(), vec![bound.uid.clone()]));
            }
        }
        if let Some(bound) = &claims.pod {
            let found = self.fetch::<Pod>("pods", &claims.namespace, bound, "service account token has been invalidated").await?;
            still_there(&*found, now, "service account token has been invalidated")?;
            extra.push(("authentication.kubernetes.io/pod-name".to_owned(), vec![bound.name.clone()]));
            extra.push(("authentication.kubernetes.io/pod-uid".to_owned(), vec![bound.uid.clone()]));
        } else if let Some(bound) = &claims.node {
            // Bound to the node itself, not only made for a pod on it.
            let found = self.fetch::<Node>("nodes", "", bound, "service account token has been invalidated").await?;
            still_there(&*found, now, "service account token has been invalidated")?;
        }
        extra.sort();
        Ok(Some(Authenticated { user: Arc::new(service_account_user(&account, extra)), audiences: met }))
    }

    async fn account(&self, namespace: &str, bound: &Bound) -> Result<Arc<dyn Object>, String> {
        let found = self.fetch::<ServiceAccount>("serviceaccounts", namespace, bound, "service account token has been invalidated").await?;
        still_there(&*found, Time::now(), "service account has been deleted")?;
        Ok(found)
    }

    /// The object a token is bound to, if it is still the same one. The cache may lag behind the token's making, so a miss is looked up live.
    async fn fetch<T: 'static>(&self, resource: &str, namespace: &str, bound: &Bound, gone: &str) -> Result<Arc<dyn Object>, String> {
        let fits =
            |object: &Arc<dyn Object>| object.downcast_ref::<T>().is_some() && (bound.uid.is_empty() || object.metadata().uid == bound.uid);
        let cached = self.objects.get("", resource, namespace, &bound.name).await.map_err(|err| err.to_string())?;
        if let Some(found) = cached.filter(fits) {
            return Ok(found);
        }
        let live = self.objects.get_live("", resource, namespace, &bound.name).await.map_err(|err| err.to_string())?;
        live.filter(fits).ok_or_else(|| gone.to_owned())
    }

    /// Tokens kept in Secrets: no audience, no expiry, good as long as the Secret is.
    async fn legacy(&self, token: &str, claims: &Value, audiences: &[String]) -> Result<Authenticated, String> {
        let claim = |key: &str| claims.str_at(&[&format!("kubernetes.io/serviceaccount/{key}")]).unwrap_or("").to_owned();
        let namespace = claim("namespace");
        let (secret_name, account) =
            (claim("secret.name"), Bound { name: claim("service-account.name"), uid: claim("service-account.uid") });
        for (value, what) in [
            (&namespace, "namespace"),
            (&secret_name, "secretName"),
            (&account.name, "serviceAccountName"),
            (&account.uid, "serviceAccountUID"),
        ] {
            if value.is_empty() {
                return Err(format!("{what} claim is missing"));
            }
        }
        let secret = Bound { name: secret_name, uid: String::new() };
        let found = self.fetch::<Secret>("secrets", &namespace, &secret, "Token has been invalidated").await?;
        let stored = found.downcast_ref::<Secret>().and_then(|secret| secret.data.get("token")).map(|bytes| bytes.to_vec());
        if found.metadata().deletion_timestamp.is_some() || stored.as_deref() != Some(token.as_bytes()) {
            return Err("Token does not match server's copy".to_owned());
        }
        let account = self.account(&namespace, &account).await?;
        Ok(Authenticated { user: Arc::new(service_account_user(&account, Vec::new())), audiences: audiences.to_vec() })
    }
}

fn check_times(claims: &Claims, now: Time) -> Result<(), String> {
    if now.unix() > claims.expires_at + LEEWAY_SECONDS {
        return Err("service account token has expired".to_owned());
    }
    if now.unix() < claims.not_before - LEEWAY_SECONDS {
        return Err("service account token is not valid yet".to_owned());
    }
    Ok(())
}

fn still_there(object: &dyn Object, now: Time, gone: &str) -> Result<(), String> {
    match object.metadata().deletion_timestamp {
        Some(at) if now.seconds_since(at) > DELETION_GRACE_SECONDS => Err(gone.to_owned()),
        _ => Ok(()),
    }
}

/// The user of an account.
pub fn service_account_user(account: &Arc<dyn Object>, extra: Vec<(String, Vec<String>)>) -> User {
    let meta = account.metadata();
    User {
        name: format!("{}{}:{}", names::SERVICE_ACCOUNT_PREFIX, meta.namespace, meta.name),
        uid: meta.uid.clone(),
        groups: vec![names::SERVICE_ACCOUNTS.to_owned(), format!("{}:{}", names::SERVICE_ACCOUNTS, meta.namespace)],
        extra,
    }
}
