//! [`Server`]: resources, who may use them, and the order in which a request passes.

mod builder;
mod compression;
mod drain;
mod errors;
mod impersonation;
mod inflight;
mod metrics;
mod pipeline;
mod request_info;
mod resources;
mod warnings;

use std::sync::Arc;

use component_base::http::{Handler, Request, Response, handler};
use tokio_util::sync::CancellationToken;

pub use builder::{Access, Config, PostStartHook, ServerBuilder};
pub use resources::{Endpoint, Resources};

use crate::admission::Plugin;
use crate::authentication::Authenticator;
use crate::authorization::Authorizer;
use crate::cache::Feed;
use crate::discovery::Discovery;
use crate::openapi::OpenApi;
use crate::store::ObjectStore;

/// A request for a path that is no resource. `None`: not this path.
pub type PathHandler = Arc<dyn Fn(&Request) -> Option<Response> + Send + Sync>;

/// An API server without a socket: a [`Handler`], and tasks that [`Server::run`] carries.
pub struct Server {
    objects: Arc<ObjectStore>,
    resources: Resources,
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    admission: Vec<Arc<dyn Plugin>>,
    config: Config,
    limits: inflight::Limits,
    metrics: metrics::Metrics,
    discovery: Discovery,
    openapi: OpenApi,
    paths: Vec<PathHandler>,
    /// Ends watches and other long requests.
    stopping: CancellationToken,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    /// Answers requests. Works as soon as the server is built; reads wait until the caches have been filled.
    pub fn handler(self: &Arc<Self>) -> Handler {
        let server = self.clone();
        handler(move |request| pipeline::answer(server.clone(), request))
    }

    /// Fills the caches and follows the store until told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let ended = stop.clone();
        let server = self.clone();
        let feed: Feed = self.objects.caches().feed();
        feed.run(ended).await;
        server.stopping.cancel();
    }

    /// Ends watches, so that connections can drain.
    pub fn stop_long_requests(&self) {
        self.stopping.cancel();
    }

    pub fn objects(&self) -> &Arc<ObjectStore> {
        &self.objects
    }

    pub fn admission(&self) -> &[Arc<dyn Plugin>] {
        &self.admission
    }

    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.authorizer
    }

    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    pub(crate) fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }
}
