//! [`ServerBuilder`]: a server from its parts.

use std::sync::Arc;
use std::time::Duration;

use component_base::http::BoxFuture;
use component_base::metrics::Registry;
use storage::Store;
use tokio_util::sync::CancellationToken;

use super::{PathHandler, Resources, Server, inflight, metrics};
use crate::admission::Plugin;
use crate::authentication::Authenticator;
use crate::authorization::Authorizer;
use crate::discovery::Discovery;
use crate::kinds::Kind;
use crate::openapi::OpenApi;
use crate::rest::ResourceDef;
use crate::store::ObjectStore;

/// Something that runs once the server answers: making the objects every cluster has, for example.
pub struct PostStartHook {
    /// Its name in `/readyz`, after `poststarthook/`.
    pub name: &'static str,
    pub run: Box<dyn FnOnce(Arc<Server>, CancellationToken) -> BoxFuture<Result<(), component_base::http::BoxError>> + Send>,
}

impl std::fmt::Debug for PostStartHook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostStartHook").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Settings of the generic server.
#[derive(Clone, Debug)]
pub struct Config {
    /// `--etcd-prefix`.
    pub etcd_prefix: String,
    /// `--max-requests-inflight`; 0 is no limit.
    pub max_requests: usize,
    /// `--max-mutating-requests-inflight`; 0 is no limit.
    pub max_mutating_requests: usize,
    /// `--request-timeout`.
    pub request_timeout: Duration,
    /// `host:port` that discovery names.
    pub public_address: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            etcd_prefix: "/registry".to_owned(),
            max_requests: 400,
            max_mutating_requests: 200,
            request_timeout: Duration::from_secs(60),
            public_address: String::new(),
        }
    }
}

/// A server's objects before anybody may ask for them: authenticators, authorizers and admission are made on top of these.
#[derive(Debug)]
pub struct ServerBuilder {
    config: Config,
    objects: Arc<ObjectStore>,
    resources: Resources,
}

/// The parts that decide about requests.
pub struct Access {
    /// Usually a union. Whom it does not know gets 401: anonymous users have an authenticator of their own.
    pub authenticator: Arc<dyn Authenticator>,
    pub authorizer: Arc<dyn Authorizer>,
    pub admission: Vec<Arc<dyn Plugin>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl ServerBuilder {
    /// Declares resources over a store. Errors if a declaration contradicts the facts.
    pub fn new(config: Config, store: Arc<dyn Store>, definitions: Vec<ResourceDef>) -> Result<ServerBuilder, String> {
        let kinds = definitions
            .into_iter()
            .map(|definition| Kind::new(definition, &config.etcd_prefix).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let objects = Arc::new(ObjectStore::new(store, &config.etcd_prefix, &kinds));
        Ok(ServerBuilder { resources: Resources::of(&kinds), config, objects })
    }

    /// The server's objects, for the parts that [`ServerBuilder::build`] takes.
    pub fn objects(&self) -> Arc<ObjectStore> {
        self.objects.clone()
    }

    /// The finished server. `paths` answer what is no resource, in order, before discovery.
    pub fn build(self, access: Access, paths: Vec<PathHandler>, registry: &Registry) -> Arc<Server> {
        let discovery = Discovery::new(&self.resources, &self.config.public_address);
        Arc::new(Server {
            limits: inflight::Limits::new(self.config.max_requests, self.config.max_mutating_requests),
            metrics: metrics::Metrics::new(registry),
            discovery,
            openapi: OpenApi::new(&self.resources),
            objects: self.objects,
            resources: self.resources,
            authenticator: access.authenticator,
            authorizer: access.authorizer,
            admission: access.admission,
            config: self.config,
            paths,
            stopping: CancellationToken::new(),
        })
    }
}
