//! [`Config`]: what the resources need to know besides the objects they are given.

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use apimachinery::Object;
use apimachinery::status::StatusError;
use apiserver::objects::{Handler, Objects, Update};
use async_trait::async_trait;
use storage::Store;

use crate::core::connect::NodeAccess;
use crate::core::service::IpRange;
use crate::core::token::TokenIssuer;

/// Settings of the built-in resources, from the API server's flags.
#[derive(Clone)]
pub struct Config {
    /// How resources with I/O (bindings, evictions, tokens, allocation, connections to nodes) reach stored objects.
    pub objects: Arc<LateObjects>,
    /// For what is kept beside objects: the map of node ports in use. None in tests of rules; then nothing is remembered.
    pub store: Option<Arc<dyn Store>>,
    /// `--etcd-prefix`, without a slash at its end.
    pub store_prefix: String,
    /// `--event-ttl`
    pub event_ttl_seconds: u64,
    /// `--allow-privileged`: Pods may have privileged containers.
    pub allow_privileged: bool,
    /// `--service-cluster-ip-range`: one range, or one of each family; the first family is the default.
    pub service_ip_ranges: Vec<IpRange>,
    /// `--service-node-port-range`
    pub node_ports: RangeInclusive<u16>,
    /// Makes service-account tokens; none without a key.
    pub tokens: Option<TokenIssuer>,
    /// How kubelets are reached.
    pub nodes: Arc<NodeAccess>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            objects: Arc::default(),
            store: None,
            store_prefix: "/registry".to_owned(),
            event_ttl_seconds: 3600,
            allow_privileged: false,
            service_ip_ranges: vec!["10.0.0.0/24".parse().expect("upstream's default is a range")],
            node_ports: 30_000..=32_767,
            tokens: None,
            nodes: Arc::new(NodeAccess::without_credentials(
                ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"].map(str::to_owned).to_vec(),
            )),
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("event_ttl_seconds", &self.event_ttl_seconds)
            .field("allow_privileged", &self.allow_privileged)
            .field("service_ip_ranges", &self.service_ip_ranges)
            .field("node_ports", &self.node_ports)
            .finish_non_exhaustive()
    }
}

/// [`Objects`] that are there a little later: the store is built from the resources' definitions, and some of those need the store.
///
/// The server calls [`LateObjects::set`] once, before it serves the first request; until then every call is answered with 503.
#[derive(Default)]
pub struct LateObjects(OnceLock<Arc<dyn Objects>>);

impl LateObjects {
    /// Hands over the objects. Later calls change nothing.
    pub fn set(&self, objects: Arc<dyn Objects>) {
        self.0.get_or_init(|| objects);
    }

    fn there(&self) -> Result<&Arc<dyn Objects>, StatusError> {
        self.0.get().ok_or_else(|| StatusError::service_unavailable("the server is starting"))
    }
}

#[async_trait]
impl Objects for LateObjects {
    async fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<dyn Object>>, StatusError> {
        self.there()?.get(group, resource, namespace, name).await
    }

    async fn get_live(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Result<Option<Arc<dyn Object>>, StatusError> {
        self.there()?.get_live(group, resource, namespace, name).await
    }

    async fn list(&self, group: &str, resource: &str, namespace: &str) -> Result<Vec<Arc<dyn Object>>, StatusError> {
        self.there()?.list(group, resource, namespace).await
    }

    fn follow(&self, group: &str, resource: &str, handler: Handler) {
        self.0.get().expect("nothing is followed before the server starts").follow(group, resource, handler);
    }

    async fn create(&self, object: Box<dyn Object>) -> Result<Arc<dyn Object>, StatusError> {
        self.there()?.create(object).await
    }

    async fn update(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        update: Update<'_>,
    ) -> Result<Arc<dyn Object>, StatusError> {
        self.there()?.update(group, resource, namespace, name, update).await
    }
}
