//! The program: from a [`Config`] to a running proxy.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::core::v1::ObjectReference;
use client::{Client, ConfigError};
use component_base::endpoints::Endpoints;
use component_base::health::Health;
use component_base::http::{BoxError, Handler, Request, handler, text};
use component_base::metrics;
use component_base::serving::{ServeError, Server, ServingConfig};
use component_base::tasks::{TaskError, Tasks};
use http::StatusCode;
use informer::events::Broadcaster;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::changes::Collector;
use crate::config::LocalTraffic;
use crate::health::{ProxyHealth, ServiceHealth};
use crate::metrics::Metrics;
use crate::nftables::exec::{Nft, NftError};
use crate::options::{Action, Config, DetectLocal};
use crate::service::{Family, NodeInfo};
use crate::sync::{SyncConfig, Syncer};
use crate::system;
use crate::watch::{Watches, override_primary};

/// How long the parts may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// Rest before a port that was taken is tried again.
const BIND_RETRY: Duration = Duration::from_secs(5);
/// Changes may wait for this many sync periods before the proxy counts as sick: upstream's number.
const HEALTHY_PERIODS: u32 = 2;

#[derive(Debug, Error)]
pub enum RunError {
    #[error("cannot tell the node's name; set --hostname-override")]
    NodeName(#[source] io::Error),
    #[error("cannot tell how to reach the API server")]
    Settings(#[source] BoxError),
    #[error("cannot make a client of the API server")]
    Client(#[source] ConfigError),
    #[error("kube-proxy needs the program nft (package nftables) and the right to change the host's network")]
    Nftables(#[source] NftError),
    #[error("cannot clean up")]
    Cleanup(#[source] NftError),
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// Runs until `stop` fires. The rules stay in the kernel, for traffic goes on without us; `--cleanup` removes them.
///
/// `client` makes the client's settings; it is called only if one is needed.
pub async fn run(
    config: Config,
    client: impl FnOnce(&Config) -> Result<client::Config, BoxError>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let nft = Nft::default();
    match config.action {
        Action::Cleanup => return cleanup(&nft).await,
        Action::Init => {
            prepare_host(&config);
            return Ok(());
        }
        Action::Run => {}
    }
    let node_name = match &config.hostname_override {
        Some(name) => name.trim().to_lowercase(),
        None => system::host_name().map_err(RunError::NodeName)?,
    };
    nft.table_exists(Family::V4).await.map_err(RunError::Nftables)?;
    let settings = client(&config).map_err(RunError::Settings)?;
    let client = Client::new(&client_settings(settings, &config)).map_err(RunError::Client)?;
    system::set_oom_score(config.oom_score_adj);
    prepare_host(&config);

    let registry = metrics::process();
    let metrics = Metrics::new(registry);
    let timeout = config.sync_period * HEALTHY_PERIODS;
    let health = Arc::new(ProxyHealth::new(timeout, metrics.healthz.clone(), metrics.livez.clone()));
    let collector = Collector::default();
    show_pending(&collector, &metrics);
    let watches = Arc::new(Watches::new(&client, &node_name, config.bind_address, &collector));
    let mut node = NodeInfo { name: node_name.as_str().into(), ..NodeInfo::default() };
    override_primary(&mut node, config.bind_address);

    let mut tasks = Tasks::under(stop);
    let service_health = ServiceHealth::new(health.clone(), tasks.token().clone());
    let settings = sync_config(&config, nft);
    warn_of_risks(&settings);
    let syncer = Syncer::new(settings, node, collector, metrics, health.clone(), service_health);
    if let Some(address) = config.healthz {
        let handler = healthz(health);
        tasks.spawn("healthz", |stop| serve("healthz", address, config.hard_fail, handler, stop));
    }
    if let Some(address) = config.metrics {
        let endpoints = Endpoints::new("kube-proxy", Health::new(), registry.clone(), SystemTime::now());
        let handler = with_proxy_mode(endpoints);
        tasks.spawn("metrics", |stop| serve("metrics", address, config.hard_fail, handler, stop));
    }
    let informers = watches.clone();
    tasks.spawn("informers", move |stop| async move { informers.run(stop).await });
    tasks.spawn("sync", move |stop| async move {
        // Both arms are cancel-safe.
        tokio::select! {
            () = stop.cancelled() => {}
            () = watches.wait_for_sync() => syncer.run(stop.clone()).await,
        }
    });
    let broadcaster = Broadcaster::new();
    let recorder = broadcaster.recorder("kube-proxy", &node_name);
    tasks.spawn("events", move |stop| async move { broadcaster.run(client, stop).await });
    // By upstream's habit a node's events carry its name for its UID.
    let (kind, name, uid) = ("Node".to_owned(), node_name.clone(), node_name.clone());
    recorder.event(&ObjectReference { kind, name, uid, ..ObjectReference::default() }, "Normal", "Starting", "");
    tracing::info!(node = node_name, mode = "nftables", "Running kube-proxy");
    Ok(tasks.drain(GRACE).await?)
}

/// The kubeconfig says where and as whom; how is up to the command line or the configuration file.
fn client_settings(settings: client::Config, config: &Config) -> client::Config {
    let mut settings = settings.with_user_agent("kube-proxy");
    (settings.qps, settings.burst, settings.protobuf) = (config.qps, config.burst, config.use_protobuf);
    settings
}

/// Deletes what a former run has left in the kernel.
async fn cleanup(nft: &Nft) -> Result<(), RunError> {
    for family in families() {
        nft.delete_table(family).await.map_err(RunError::Cleanup)?;
    }
    tracing::info!("Deleted the tables of kube-proxy");
    Ok(())
}

fn prepare_host(config: &Config) {
    let cpus = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    system::apply(&system::settings(&config.conntrack, cpus), Path::new("/proc/sys"));
}

/// The families that the kernel has.
fn families() -> Vec<Family> {
    let has_v6 = Path::new("/proc/net/if_inet6").exists();
    if has_v6 { vec![Family::V4, Family::V6] } else { vec![Family::V4] }
}

fn sync_config(config: &Config, nft: Nft) -> SyncConfig {
    let (local_traffic, local_is_node_cidr) = match &config.detect_local {
        DetectLocal::Fixed(traffic) => (traffic.clone(), false),
        DetectLocal::NodeCidr => (LocalTraffic::Unknown, true),
    };
    SyncConfig {
        families: families(),
        masquerade_all: config.masquerade_all,
        masquerade_bit: config.masquerade_bit,
        local_traffic,
        local_is_node_cidr,
        node_ports: config.node_ports.clone(),
        min_sync_period: config.min_sync_period,
        sync_period: config.sync_period,
        nft,
    }
}

fn warn_of_risks(settings: &SyncConfig) {
    if settings.local_traffic == LocalTraffic::Unknown && !settings.local_is_node_cidr && !settings.masquerade_all {
        tracing::warn!(
            "Neither --cluster-cidr nor --detect-local-mode is set: traffic to cluster IPs from outside of the cluster \
             is not masqueraded"
        );
    }
}

fn show_pending(collector: &Collector, metrics: &Metrics) {
    let (collector, services) = (collector.clone(), metrics.service_changes_pending.clone());
    let endpoints = metrics.endpoint_changes_pending.clone();
    metrics::process().before_each_scrape(move || {
        let (pending_services, pending_slices) = collector.pending();
        services.with(&[]).set(pending_services as f64);
        endpoints.with(&[]).set(pending_slices as f64);
    });
}

fn healthz(health: Arc<ProxyHealth>) -> Handler {
    handler(move |request: Request| {
        let response = health.answer(request.method(), request.uri().path(), SystemTime::now());
        std::future::ready(response.unwrap_or_else(component_base::endpoints::not_found))
    })
}

fn with_proxy_mode(endpoints: Endpoints) -> Handler {
    handler(move |request: Request| {
        let path = request.uri().path();
        let response = match path {
            "/proxyMode" => Some(text(StatusCode::OK, "nftables")),
            _ => endpoints.answer(request.method(), path, request.uri().query()),
        };
        std::future::ready(response.unwrap_or_else(component_base::endpoints::not_found))
    })
}

/// Serves plain HTTP. A port that is taken is tried again and again, unless it is to end the program.
async fn serve(
    name: &'static str,
    address: SocketAddr,
    hard_fail: bool,
    handler: Handler,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    loop {
        match Server::bind(ServingConfig::plain(address)) {
            Ok(server) => {
                server.run(handler, stop).await;
                return Ok(());
            }
            Err(error) if hard_fail => return Err(error),
            Err(error) => {
                tracing::error!(server = name, %address, err = %error, "Failed to serve; trying again");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(BIND_RETRY) => {}
        }
    }
}
