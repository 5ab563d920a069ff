//! From a [`Config`] to a running scheduler.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use client::{Client, ConfigError, KubeconfigError};
use component_base::clock::SystemClock;
use component_base::endpoints::Endpoints;
use component_base::health::{Health, Probe, Status};
use component_base::metrics;
use component_base::reload::ReloadError;
use component_base::serving::{ServeError, Server};
use component_base::tasks::{TaskError, Tasks};
use informer::Informers;
use informer::delegated::Guard;
use informer::events::Broadcaster;
use informer::leader::{self, LeaderConfig, LostLease};
use pki::San;
use scheduler::profile::DEFAULT_SCHEDULER;
use scheduler::scheduler::{Scheduler, Settings};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::options::{Config, client_of};

const NAME: &str = "kube-scheduler";
/// How long the parts may take to end.
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
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// Serves health and metrics and follows the cluster at once; schedules while this process is the leader.
///
/// Returns once `stop` fires and all parts have ended, or with the first part that failed. A lost lease is such a failure:
/// nothing of a past term may be used again.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let client = Client::new(&config.client)?;
    let mut tasks = Tasks::under(stop);
    let synced = Status::failing("caches are not synced");
    serve(&config, &synced, &mut tasks)?;

    let broadcaster = Arc::new(Broadcaster::new());
    let settings = Settings {
        profiles: config.profiles,
        patience: config.patience,
        clock: Arc::new(SystemClock),
        seed: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64),
    };
    let recorder = broadcaster.recorder(DEFAULT_SCHEDULER, "");
    let scheduler = Scheduler::new(settings, &client, recorder, metrics::process());
    let informers = Informers::new(&client);
    scheduler.follow(&informers);

    // Events must not eat up what bindings are allowed per second.
    let sender = client.with_user_agent(&config.client.user_agent, config.client.qps, config.client.burst)?;
    let events = broadcaster.clone();
    tasks.spawn("events", move |stop| async move { events.run(sender, stop).await });
    let following = informers.clone();
    tasks.spawn("informers", move |stop| async move { following.run(stop).await });

    let (following, follower) = (informers.clone(), scheduler.clone());
    let (complete, completed) = watch::channel(false);
    tasks.spawn_once("informer-sync", move |stop| async move {
        follower.follow_if_served(&following, &stop).await;
        if following.wait_for_sync(&stop).await {
            synced.pass();
            complete.send_replace(true);
        }
    });

    let work = async move |stop: CancellationToken| {
        let mut completed = completed;
        // Both arms are cancel-safe.
        tokio::select! {
            () = stop.cancelled() => {}
            true = async { completed.wait_for(|complete| *complete).await.is_ok() } => {
                tracing::info!("Caches are synced: scheduling");
                scheduler.run(stop).await;
            }
        }
    };
    match config.leader {
        None => tasks.spawn("scheduler", move |stop| async move { work(stop).await }),
        Some(mut election) => {
            // The lease must be renewed however busy the scheduler is: a rate limit of its own.
            let own =
                client.with_user_agent(&format!("{}/leader-election", config.client.user_agent), config.client.qps, config.client.burst)?;
            election.recorder = Some(broadcaster.recorder(DEFAULT_SCHEDULER, ""));
            tasks.spawn("scheduler", move |stop| lead(election, own, stop, work));
        }
    }
    Ok(tasks.drain(GRACE).await?)
}

async fn lead<W>(election: LeaderConfig, client: Client, stop: CancellationToken, work: W) -> Result<(), LostLease>
where
    W: AsyncFnOnce(CancellationToken),
{
    leader::while_leading(election, client, stop, |term| work(term)).await.map(drop)
}

fn serve(config: &Config, synced: &Status, tasks: &mut Tasks) -> Result<(), RunError> {
    let file = |path: &Path, flag| {
        let settings = client_of(Some(path), None).map_err(|source| RunError::Kubeconfig { flag, source })?;
        Ok::<_, RunError>(Client::new(&settings)?)
    };
    let delegated = &config.delegated;
    let authentication =
        delegated.authentication_kubeconfig.as_deref().map(|path| file(path, "--authentication-kubeconfig")).transpose()?;
    let authorization = delegated.authorization_kubeconfig.as_deref().map(|path| file(path, "--authorization-kubeconfig")).transpose()?;
    let guard = Guard::new(delegated.clone(), authentication, authorization)?;
    let health = Health::new().with("informer-sync", &[Probe::Readyz], synced.check()).unready_on(tasks.token().clone());
    let shown = format!("{{\"kubescheduler.config.k8s.io\":{}}}", String::from_utf8_lossy(&apimachinery::json::to_vec(&config.file)));
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
