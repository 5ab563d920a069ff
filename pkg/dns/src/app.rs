//! The program: from a [`Config`] to a running server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use client::{Client, ConfigError};
use component_base::endpoints::{Endpoints, not_found};
use component_base::health::Health;
use component_base::http::{Handler, Request, handler, text};
use component_base::metrics;
use component_base::serving::{ServingConfig, serve};
use component_base::tasks::{TaskError, Tasks};
use http::StatusCode;
use parking_lot::RwLock;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::forward::Forwarder;
use crate::metrics::Metrics;
use crate::options::Config;
use crate::server::{Handler as DnsHandler, Server};
use crate::watch::Watches;
use crate::zone::{Zone, ZoneConfig};

/// How long the parts may take to end, once the time of the lame duck is over.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub enum RunError {
    #[error("cannot make a client of the API server")]
    Client(#[from] ConfigError),
    #[error("cannot answer on {address}")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// Runs until `stop` fires, and answers for a while longer.
///
/// Names outside of the cluster are forwarded from the start; those of the cluster are answered, and the server is ready,
/// once the API server has told all of them. If it cannot be reached later, the last known names are answered.
pub async fn run(config: Config, client: client::Config, stop: CancellationToken) -> Result<(), RunError> {
    let mut client = client.with_user_agent("kube-dns");
    client.protobuf = true;
    let client = Client::new(&client)?;
    let serial = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() as u32;
    let zone = ZoneConfig { domain: config.domain.clone(), ttl: config.ttl, pods: config.pods, serial };
    let zone = Arc::new(RwLock::new(Zone::new(zone)));
    let watches = Arc::new(Watches::new(&client, &zone));
    let registry = metrics::process();
    let forwarder = Forwarder::new(config.routes.clone());
    let dns = Arc::new(DnsHandler::new(zone, forwarder, Metrics::new(registry)));

    // The parts outlive the order to stop by the time of the lame duck.
    let end = CancellationToken::new();
    let mut tasks = Tasks::under(end.clone());
    let listeners = [
        ("health", config.health, health()),
        ("ready", config.ready, ready(dns.clone(), stop.clone())),
        ("metrics", config.metrics, Endpoints::new("kube-dns", Health::new(), registry.clone(), SystemTime::now()).handler()),
    ];
    for (name, address, handler) in listeners {
        if let Some(address) = address {
            tasks.spawn(name, move |stop| serve(ServingConfig::plain(address), handler, stop));
        }
    }
    let informers = watches.clone();
    tasks.spawn("informers", move |stop| async move { informers.run(stop).await });
    let (address, lameduck) = (config.address, config.lameduck);
    let server = Server::bind(address).await.map_err(|source| RunError::Bind { address, source })?;
    tracing::info!(%address, "Answering questions");
    let handler = dns.clone();
    tasks.spawn("dns", move |end| async move {
        let probe = async {
            // Both arms are cancel-safe.
            tokio::select! {
                () = end.cancelled() => {}
                () = handler.probe_for_loop() => {}
            }
        };
        let (outcome, ()) = tokio::join!(server.run(handler.clone(), end.clone()), probe);
        outcome
    });
    tasks.spawn_once("sync", move |end| async move {
        // Both arms are cancel-safe.
        tokio::select! {
            () = end.cancelled() => {}
            () = watches.wait_for_sync() => {
                dns.set_synced();
                tracing::info!("All names of the cluster are known");
            }
        }
    });
    tasks.spawn_once("lameduck", move |_| async move {
        stop.cancelled().await;
        tracing::info!(lameduck_ms = lameduck.as_millis() as u64, "Answering a while longer, for clients that do not know yet");
        tokio::time::sleep(lameduck).await;
        end.cancel();
    });
    Ok(tasks.drain(GRACE).await?)
}

/// `/health`: the process is alive.
fn health() -> Handler {
    handler(|request: Request| {
        std::future::ready(match request.uri().path() {
            "/health" => text(StatusCode::OK, "OK"),
            _ => not_found(),
        })
    })
}

/// `/ready`: names are known, and the server is not about to end.
fn ready(dns: Arc<DnsHandler>, stop: CancellationToken) -> Handler {
    handler(move |request: Request| {
        std::future::ready(match request.uri().path() {
            "/ready" if stop.is_cancelled() => text(StatusCode::SERVICE_UNAVAILABLE, "shutting down"),
            "/ready" if dns.is_synced() => text(StatusCode::OK, "OK"),
            "/ready" => text(StatusCode::SERVICE_UNAVAILABLE, "the names of the cluster are not known yet"),
            _ => not_found(),
        })
    })
}
