//! Config maps, secrets and tokens that pods refer to: one copy per object, however many pods use it.
//!
//! An object is read when a pod first needs it and read again once it is older than [`Cache::ttl`], so a change reaches
//! running pods with their next periodic sync. A pod that starts never waits for anything but the first read.
//! Upstream: pkg/kubelet/{configmap,secret,token} and util/manager with the "Cache" strategy.

use crate::api_server::{ApiError, ApiResult, ApiServer};
use crate::clock;
use api::authentication::v1::TokenRequest;
use api::core::v1::{ConfigMap, Pod, Secret};
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What pods refer to by name.
#[async_trait]
pub trait Objects: Send + Sync {
    async fn config_map(&self, pod: &Pod, name: &str) -> ApiResult<Arc<ConfigMap>>;
    async fn secret(&self, pod: &Pod, name: &str) -> ApiResult<Arc<Secret>>;
    /// A token of the pod's service account, bound to the pod, with at least a fifth of its life ahead.
    async fn token(&self, pod: &Pod, audience: &str, expiration_seconds: Option<i64>) -> ApiResult<String>;
    /// The pod is gone.
    fn forget_pod(&self, _uid: &str) {}
}

struct Slot<T> {
    object: Arc<T>,
    read: Instant,
    /// Immutable ones are never read again.
    immutable: bool,
}

type Slots<T> = Mutex<HashMap<(String, String), Slot<T>>>;

struct Token {
    token: String,
    renew_at: i64,
}

/// A token is renewed after a fifth of its life is left, and after a day at the latest.
const TOKEN_MAX_AGE: i64 = 24 * 3600;

pub struct Cache {
    server: Arc<dyn ApiServer>,
    ttl: Duration,
    config_maps: Slots<ConfigMap>,
    secrets: Slots<Secret>,
    tokens: Mutex<HashMap<(String, String, i64), Token>>,
}

impl Cache {
    pub fn new(server: Arc<dyn ApiServer>, ttl: Duration) -> Self {
        Cache { server, ttl, config_maps: Mutex::default(), secrets: Mutex::default(), tokens: Mutex::default() }
    }

    fn cached<T>(&self, slots: &Slots<T>, key: &(String, String), pod: &Pod) -> Option<Arc<T>> {
        let slots = slots.lock().expect("no holder panics");
        let slot = slots.get(key)?;
        // A pod must see what was there when it was made; its creation is known to the second.
        let started = pod.metadata.creation_timestamp.unix();
        let read_age = slot.read.elapsed();
        let pod_age = Duration::from_secs((clock::now_nanos() / 1_000_000_000 - started).max(0) as u64);
        (slot.immutable || read_age < self.ttl && read_age + Duration::from_secs(1) < pod_age).then(|| slot.object.clone())
    }

    /// Drops copies that nobody asked for in a long time.
    pub fn expire(&self) {
        let old = self.ttl * 10;
        self.config_maps.lock().expect("no holder panics").retain(|_, slot| slot.read.elapsed() < old);
        self.secrets.lock().expect("no holder panics").retain(|_, slot| slot.read.elapsed() < old);
    }
}

#[async_trait]
impl Objects for Cache {
    async fn config_map(&self, pod: &Pod, name: &str) -> ApiResult<Arc<ConfigMap>> {
        let key = (pod.metadata.namespace.clone(), name.to_owned());
        if let Some(object) = self.cached(&self.config_maps, &key, pod) {
            return Ok(object);
        }
        let read = Instant::now();
        let object = Arc::new(self.server.get_config_map(&key.0, name).await?);
        let immutable = object.immutable == Some(true);
        self.config_maps.lock().expect("no holder panics").insert(key, Slot { object: object.clone(), read, immutable });
        Ok(object)
    }

    async fn secret(&self, pod: &Pod, name: &str) -> ApiResult<Arc<Secret>> {
        let key = (pod.metadata.namespace.clone(), name.to_owned());
        if let Some(object) = self.cached(&self.secrets, &key, pod) {
            return Ok(object);
        }
        let read = Instant::now();
        let object = Arc::new(self.server.get_secret(&key.0, name).await?);
        let immutable = object.immutable == Some(true);
        self.secrets.lock().expect("no holder panics").insert(key, Slot { object: object.clone(), read, immutable });
        Ok(object)
    }

    async fn token(&self, pod: &Pod, audience: &str, expiration_seconds: Option<i64>) -> ApiResult<String> {
        let meta = &pod.metadata;
        let key = (meta.uid.clone(), audience.to_owned(), expiration_seconds.unwrap_or(3600));
        let now = clock::now_nanos() / 1_000_000_000;
        if let Some(token) = self.tokens.lock().expect("no holder panics").get(&key)
            && now < token.renew_at
        {
            return Ok(token.token.clone());
        }
        let mut request = TokenRequest::default();
        if !audience.is_empty() {
            request.spec.audiences = vec![audience.to_owned()].into();
        }
        request.spec.expiration_seconds = Some(key.2);
        request.spec.bound_object_ref = Some(Box::new(api::authentication::v1::BoundObjectReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
        }));
        let account = match pod.spec.service_account_name.as_str() {
            "" => "default",
            name => name,
        };
        let answer = self.server.create_token(&meta.namespace, account, request).await?;
        let token = answer.status.token;
        if token.is_empty() {
            return Err(ApiError::Refused(format!("the token request for service account {account} was answered without a token")));
        }
        let life = (answer.status.expiration_timestamp.unix() - now).max(0);
        let renew_at = now + (life * 4 / 5).min(TOKEN_MAX_AGE);
        self.tokens.lock().expect("no holder panics").insert(key, Token { token: token.clone(), renew_at });
        Ok(token)
    }

    fn forget_pod(&self, uid: &str) {
        self.tokens.lock().expect("no holder panics").retain(|(pod, _, _), _| pod != uid);
    }
}

#[cfg(test)]
pub mod testing {
    use super::*;

    /// Objects from memory.
    #[derive(Default)]
    pub struct Memory {
        pub config_maps: Vec<ConfigMap>,
        pub secrets: Vec<Secret>,
    }

    #[async_trait]
    impl Objects for Memory {
        async fn config_map(&self, _pod: &Pod, name: &str) -> ApiResult<Arc<ConfigMap>> {
            let found = self.config_maps.iter().find(|map| map.metadata.name == name);
            found.map(|map| Arc::new(map.clone())).ok_or_else(|| ApiError::NotFound(format!("configmap \"{name}\" not found")))
        }

        async fn secret(&self, _pod: &Pod, name: &str) -> ApiResult<Arc<Secret>> {
            let found = self.secrets.iter().find(|secret| secret.metadata.name == name);
            found.map(|secret| Arc::new(secret.clone())).ok_or_else(|| ApiError::NotFound(format!("secret \"{name}\" not found")))
        }

        async fn token(&self, pod: &Pod, audience: &str, _expiration_seconds: Option<i64>) -> ApiResult<String> {
            Ok(format!("token of {} for {audience}", pod.metadata.name))
        }
    }
}
