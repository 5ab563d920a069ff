//! From a [`Config`] to running controllers.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apimachinery::Value;
use client::{Client, ConfigError, KubeconfigError};
use component_base::clock::{Clock, SystemClock};
use component_base::endpoints::Endpoints;
use component_base::health::Health;
use component_base::metrics;
use component_base::reload::ReloadError;
use component_base::serving::{ServeError, Server};
use component_base::tasks::{TaskError, Tasks};
use controller::{ControllerContext, Identities, Registration, StartError, Started};
use informer::Informers;
use informer::delegated::Guard;
use informer::events::Broadcaster;
use informer::leader::{self, LostLease};
use pki::San;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::options::{Config, client_of};

const NAME: &str = "kube-controller-manager";
/// How long the serving parts may take to end.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum RunError {
    #[error("cannot make a client of the API server")]
    Client(#[from] ConfigError),
    #[error("cannot use {flag}")]
    Kubeconfig {
        flag: &'static str,
        #[source]
        source: KubeconfigError,
    },
    #[error("cannot read the client CA files")]
    Authorities(#[from] ReloadError),
    #[error("cannot make a self-signed serving certificate")]
    Certificate(#[source] component_base::http::BoxError),
    #[error("cannot serve")]
    Serve(#[from] ServeError),
    #[error("cannot start {controller}")]
    Start {
        controller: &'static str,
        #[source]
        source: StartError,
    },
    #[error(transparent)]
    Leader(#[from] LostLease),
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// Serves health and metrics at once, and runs the controllers while this process is the leader.
///
/// Returns once `stop` fires and all parts have ended, or with the first part that failed. A lost lease is such a failure:
/// nothing of a past term may be used again.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let root = Client::new(&config.client)?;
    // Served until the last controller has ended and the lease is given back.
    let serving_stop = CancellationToken::new();
    let mut tasks = Tasks::under(serving_stop.clone());
    serve(&config, &mut tasks, stop.clone())?;
    let mut serving = std::pin::pin!(tasks.drain(GRACE));
    // Neither arm is polled again after it was dropped: the function ends.
    let result = tokio::select! {
        result = lead(config, root, stop) => result,
        result = &mut serving => return Ok(result?),
    };
    serving_stop.cancel();
    let drained = serving.await;
    result.and(drained.map_err(RunError::from))
}

/// Runs the controllers for one term.
async fn lead(config: Config, root: Client, stop: CancellationToken) -> Result<(), RunError> {
    match config.leader.clone() {
        None => run_controllers(&config, &root, stop).await,
        Some(mut election) => {
            // The lease must be renewed however busy the controllers are: a rate limit of its own.
            let own = root.with_user_agent(&format!("{}/leader-election", config.client.user_agent), config.qps, config.burst)?;
            let broadcaster = Arc::new(Broadcaster::new());
            election.recorder = Some(broadcaster.recorder(NAME, &election.identity));
            let sending = tokio::spawn({
                let (broadcaster, root, stop) = (broadcaster, root.clone(), stop.clone());
                async move { broadcaster.run(root, stop).await }
            });
            let outcome = leader::while_leading(election, own, stop, |term| run_controllers(&config, &root, term)).await;
            sending.abort();
            outcome?.unwrap_or(Ok(()))
        }
    }
}

async fn run_controllers(config: &Config, root: &Client, stop: CancellationToken) -> Result<(), RunError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let identities = match config.use_service_accounts {
        false => Identities::shared(root.clone(), config.qps, config.burst),
        true => {
            let mut bare = config.client.clone();
            bare.auth = client::Auth::None;
            (bare.tls.client_cert, bare.tls.client_key, bare.tls.identity) = (None, None, None);
            Identities::per_controller(root.clone(), Client::new(&bare)?, clock.clone(), config.qps, config.burst)
        }
    };
    let watching = root.with_user_agent(&format!("{}/shared-informers", config.client.user_agent), config.qps, config.burst)?;
    let context = ControllerContext::new(identities, Informers::new(&watching), clock, config.settings.clone());
    let mut tasks = Tasks::under(stop);
    for one in &config.controllers {
        start(one, &context, &mut tasks)?;
    }
    context.run_shared(&mut tasks);
    Ok(tasks.drain(config.shutdown_timeout).await?)
}

fn start(one: &Registration, context: &ControllerContext, tasks: &mut Tasks) -> Result<(), RunError> {
    match (one.start)(context, tasks) {
        Ok(Started::Running) => tracing::info!(controller = one.name, "started controller"),
        Ok(Started::Skipped(reason)) => tracing::warn!(controller = one.name, reason, "skipping controller"),
        Err(source) => return Err(RunError::Start { controller: one.name, source }),
    }
    Ok(())
}

fn serve(config: &Config, tasks: &mut Tasks, stop: CancellationToken) -> Result<(), RunError> {
    let file = |path: &Path, flag| {
        let settings = client_of(Some(path), None).map_err(|source| RunError::Kubeconfig { flag, source })?;
        Ok::<_, RunError>(Client::new(&settings)?)
    };
    let delegated = &config.delegated;
    let authentication =
        delegated.authentication_kubeconfig.as_deref().map(|path| file(path, "--authentication-kubeconfig")).transpose()?;
    let authorization = delegated.authorization_kubeconfig.as_deref().map(|path| file(path, "--authorization-kubeconfig")).transpose()?;
    let guard = Guard::new(delegated.clone(), authentication, authorization)?;
    let health = Health::new().unready_on(stop);
    let shown = configz(config);
    let endpoints = Endpoints::new(NAME, health, metrics::process().clone(), SystemTime::now())
        .with_flags(config.flags.clone())
        .with_configz(move || shown.clone())
        .with_debug_flags();
    let settings = config.serving.config(NAME, "localhost", &[San::parse("127.0.0.1")]).map_err(|err| RunError::Certificate(err.into()))?;
    let server = Server::bind(settings)?;
    if let Ok(address) = server.local_addr() {
        tracing::info!(address = %address, "Serving securely");
    }
    for files in guard.reloaders() {
        tasks.spawn("client-ca", move |stop| async move { files.run(stop).await });
    }
    if let Some(certificates) = server.certificates() {
        for files in certificates.reloaders() {
            tasks.spawn("serving-cert", move |stop| async move { files.run(stop).await });
        }
    }
    let handler = guard.protect(endpoints.handler());
    tasks.spawn("serving", move |stop| async move { server.run(handler, stop).await });
    Ok(())
}

/// The options in force, under the name of upstream's component config.
fn configz(config: &Config) -> String {
    let mut all = Value::object();
    for (name, value) in config.flags.all() {
        all.set_at(&["kubecontrollermanager.config.k8s.io", name], value);
    }
    all.to_string()
}
