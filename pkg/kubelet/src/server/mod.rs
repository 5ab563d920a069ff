//! The kubelet's own HTTP server: what the API server asks of a node, and what collectors read.
//!
//! HTTPS on `port` for authenticated and authorized requests, plain HTTP on the loopback interface for health alone.
//! Upstream: pkg/kubelet/server.

pub mod auth;
mod logs;
mod metrics;
mod pods;
mod stats;
mod streams;

use crate::node::Node;
use crate::options::Config;
use crate::pleg::Pleg;
use crate::pod_workers::PodWorkers;
use api_config::kubelet::v1beta1::KubeletConfiguration;
use component_base::endpoints::Endpoints;
use component_base::health::{Health, Probe};
use component_base::http::{Request, Response, handler, text};
use component_base::metrics::process;
use component_base::serving::options::kept_pair;
use component_base::serving::tls::{CertSource, TlsOptions};
use component_base::serving::{ServeError, Server, ServingConfig};
use component_base::tasks::Tasks;
use http::{Method, StatusCode};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("invalid address {0:?}")]
    Address(String),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot make a serving certificate")]
    Certificate(#[from] pki::PkiError),
    #[error(transparent)]
    Auth(#[from] auth::SetUpError),
}

/// What handlers work with.
pub struct Context {
    pub node: Arc<Node>,
    pub workers: PodWorkers,
    pub debugging: bool,
    pub stream_idle: Duration,
    pub started: SystemTime,
}

fn address(ip: &str, port: i32) -> Result<SocketAddr, StartError> {
    let ip: IpAddr = ip.parse().map_err(|_| StartError::Address(ip.to_owned()))?;
    Ok(SocketAddr::new(ip, u16::try_from(port).map_err(|_| StartError::Address(format!("{ip}:{port}")))?))
}

/// Takes the ports and starts serving under `tasks`.
pub fn start(config: &Config, node: Arc<Node>, workers: PodWorkers, pleg: Arc<Pleg>, tasks: &mut Tasks) -> Result<(), StartError> {
    let file = &config.file;
    let health = Health::new().with("pleg", &[Probe::Healthz], Arc::new(move || pleg.health()));
    let started = SystemTime::now();
    let endpoints = Endpoints::new("kubelet", health, process().clone(), started);

    if let Some(port) = file.healthz_port.filter(|port| *port > 0) {
        let server = Server::bind(ServingConfig::plain(address(&file.healthz_bind_address, port)?))?;
        let endpoints = endpoints.clone();
        let answer = handler(move |request: Request| {
            let endpoints = endpoints.clone();
            async move {
                // Health only: metrics are for those who may read them.
                match request.uri().path() {
                    path if path.starts_with("/healthz") => endpoints.answer(request.method(), path, request.uri().query()),
                    _ => None,
                }
                .unwrap_or_else(component_base::endpoints::not_found)
            }
        });
        tasks.spawn("healthz", move |stop| server.run(answer, stop));
    }
    if file.enable_server == Some(false) {
        return Ok(());
    }
    let serving = Server::bind(ServingConfig::secure(address(&file.address, file.port)?, tls(config, file, &node)?))?;
    let guard = Arc::new(auth::Guard::new(file, node.server.clone(), &node.settings.node_name)?);
    let context = Arc::new(Context {
        node,
        workers,
        debugging: file.enable_debugging_handlers.unwrap_or(true),
        stream_idle: crate::options::std_duration(file.streaming_connection_idle_timeout, Duration::from_secs(4 * 3600)),
        started,
    });
    let answer = handler(move |request: Request| {
        let (guard, context, endpoints) = (guard.clone(), context.clone(), endpoints.clone());
        async move {
            match guard.check(auth::Asked::of(&request)).await {
                Ok(()) => route(context, endpoints, request).await,
                Err(refusal) => refusal,
            }
        }
    });
    tasks.spawn("server", move |stop| serving.run(answer, stop));
    Ok(())
}

fn tls(config: &Config, file: &KubeletConfiguration, node: &Node) -> Result<TlsOptions, StartError> {
    let cert = if file.tls_cert_file.is_empty() {
        let names = node.settings.node_ips.iter().filter_map(|ip| ip.parse().ok()).map(pki::San::Ip).collect::<Vec<_>>();
        kept_pair(&config.cert_dir, "kubelet", &node.settings.hostname, &names)?
    } else {
        CertSource::Files { cert: file.tls_cert_file.clone().into(), key: file.tls_private_key_file.clone().into() }
    };
    let mut options = TlsOptions::new(cert);
    options.min_version = file.tls_min_version.clone();
    options.cipher_suites = file.tls_cipher_suites.to_vec();
    options.ask_client_cert = true;
    Ok(options)
}

async fn route(context: Arc<Context>, endpoints: Endpoints, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let get = request.method() == Method::GET;
    let query = request.uri().query().map(str::to_owned);
    match parts.as_slice() {
        ["pods"] if get => pods::pods(&context),
        ["runningpods"] if get && context.debugging => pods::running(&context).await,
        ["stats", "summary"] if get => stats::summary(&context).await,
        ["metrics", "resource"] if get => metrics::resource(&context).await,
        ["metrics", "cadvisor"] if get => metrics::cadvisor(&context),
        ["metrics", "probes"] if get => text(StatusCode::OK, ""),
        ["containerLogs", namespace, pod, container] if get && context.debugging => {
            logs::container(&context, namespace, pod, container, query.as_deref()).await
        }
        [verb @ ("exec" | "attach"), namespace, pod, rest @ ..] if context.debugging => {
            let Some(container) = rest.last() else { return text(StatusCode::NOT_FOUND, "404 page not found\n") };
            streams::remote_command(&context, verb, namespace, pod, container, request).await
        }
        ["portForward", namespace, pod, ..] if context.debugging => streams::port_forward(&context, namespace, pod, request).await,
        ["exec" | "attach" | "portForward" | "containerLogs" | "runningpods", ..] if !context.debugging => {
            text(StatusCode::METHOD_NOT_ALLOWED, "Debug endpoints are disabled.\n")
        }
        _ => endpoints.answer(request.method(), &path, query.as_deref()).unwrap_or_else(component_base::endpoints::not_found),
    }
}
