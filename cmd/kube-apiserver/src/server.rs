//! From a config to a running server.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apiserver::authentication::Authenticator;
use apiserver::authorization::Authorizer;
use apiserver::authorization::rbac::Rbac;
use apiserver::objects::Objects;
use apiserver::server::{Access, PostStartHook, Server, ServerBuilder};
use component_base::endpoints::Endpoints;
use component_base::health::{Health, Probe, Status};
use component_base::http::BoxError;
use component_base::metrics;
use component_base::serving::tls::{CertSource, TlsOptions};
use component_base::serving::{self, ServingConfig};
use component_base::tasks::Tasks;
use registry::rbac::Escalation;
use storage::Store;
use storage::embedded::{EmbeddedStore, Options};
use storage::etcd::EtcdStore;
use tokio_util::sync::CancellationToken;

use crate::access::Late;
use crate::config::{AuthorizationMode, SHUTDOWN_GRACE, StoreConfig};
use crate::{Config, access, bootstrap, paths};

/// The store's file below `--data-dir`.
const STORE_FILE: &str = "store.redb";

/// Serves until `stop` fires and requests have drained, or until a part ends early.
pub async fn run(config: Config, stop: CancellationToken) -> Result<(), BoxError> {
    let store = open_store(&config).await?;
    let parts = assemble(&config, store, &stop)?;
    let tls = match &config.tls {
        Some(tls) => tls.clone(),
        None => self_signed(&config)?,
    };
    let serving = ServingConfig {
        max_streams: config.max_streams,
        share_port: config.share_port,
        shutdown_grace: SHUTDOWN_GRACE,
        ..ServingConfig::secure(config.address, tls)
    };
    let listener = serving::Server::bind(serving)?;
    let address = listener.local_addr()?;

    let server = parts.server;
    let mut tasks = Tasks::under(stop.clone());
    let feeding = CancellationToken::new();
    let caches = server.clone();
    let fed = feeding.clone();
    tasks.spawn("watch-cache", move |stop| async move {
        // The cache outlives the listeners, so that requests in flight can end.
        tokio::select! {
            () = caches.run(fed) => {}
            () = async { stop.cancelled().await; tokio::time::sleep(SHUTDOWN_GRACE).await } => {}
        }
    });
    let handler = server.handler();
    let draining = server.clone();
    let delay = config.shutdown_delay;
    tasks.spawn("serving", move |stop| async move {
        let closing = CancellationToken::new();
        let begin = async {
            stop.cancelled().await;
            tokio::time::sleep(delay).await;
            draining.stop_long_requests();
            closing.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = listener.run(handler, closing.clone()) => {}
            () = begin => {}
        }
        feeding.cancel();
    });
    for (hook, status) in parts.hooks {
        let server = server.clone();
        tasks.spawn_once(hook.name, move |stop| async move {
            run_hook(hook, status, server, stop).await;
        });
    }
    tracing::info!(address = %address, "Serving securely");
    tasks.drain(SHUTDOWN_GRACE + delay + Duration::from_secs(1)).await?;
    Ok(())
}

/// A hook is tried until it succeeds: what it makes must be there sooner or later.
async fn run_hook(hook: PostStartHook, status: Status, server: Arc<Server>, stop: CancellationToken) {
    let name = hook.name;
    match (hook.run)(server, stop).await {
        Ok(()) => status.pass(),
        Err(error) => {
            tracing::error!(hook = name, err = %error, "A post-start hook failed");
            status.set(Err(error.to_string()));
        }
    }
}

/// A server and what is left to run beside it.
pub struct Parts {
    pub server: Arc<Server>,
    hooks: Vec<(PostStartHook, Status)>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Puts the server together over an open store.
pub fn assemble(config: &Config, store: Arc<dyn Store>, stop: &CancellationToken) -> Result<Parts, BoxError> {
    let keys = access::token_keys(config)?;
    let registry_config = registry::Config {
        store: Some(store.clone()),
        store_prefix: config.generic.etcd_prefix.clone(),
        event_ttl_seconds: config.event_ttl.as_secs(),
        allow_privileged: config.allow_privileged,
        service_ip_ranges: config.service_cidrs.iter().map(|range| range.parse()).collect::<Result<_, _>>()?,
        node_ports: config.node_ports.0..=config.node_ports.1,
        tokens: access::token_issuer(config, &keys),
        nodes: Arc::new(access::node_access(config)?),
        ..registry::Config::default()
    };
    // Some resources ask those who decide about requests, who in turn read the resources' objects.
    let (late_authenticator, late_authorizer) = (Late::<dyn Authenticator>::default(), Late::<dyn Authorizer>::default());
    let rbac = Rbac::default();
    let uses_rbac = config.authorization_modes.contains(&AuthorizationMode::Rbac);
    let declared = bootstrap::Parts {
        registry: registry_config,
        authenticator: Arc::new(late_authenticator.clone()),
        authorizer: Arc::new(late_authorizer.clone()),
        escalation: uses_rbac.then(|| Escalation { rbac: rbac.clone(), authorizer: Arc::new(late_authorizer.clone()) }),
        api_audiences: config.api_audiences.clone(),
    };
    let builder = ServerBuilder::new(config.generic.clone(), store, bootstrap::resources(&declared))?;
    let objects: Arc<dyn Objects> = builder.objects();
    declared.registry.objects.set(objects.clone());
    access::follow_rbac(&rbac, objects.as_ref());

    let authorizer = access::authorizer(config, &rbac, &objects);
    late_authorizer.set(authorizer.clone());
    let admission = access::admission(config, &objects, &authorizer);
    let authenticator = access::authenticator(config, &keys, &objects)?;
    late_authenticator.set(authenticator.clone());

    let caches = builder.objects();
    let filled = move || if caches.caches().is_filled() { Ok(()) } else { Err("the watch cache has not been filled".to_owned()) };
    let mut health = Health::new().with("etcd", Probe::ALL, Arc::new(filled));
    let mut hooks = Vec::new();
    for hook in bootstrap::hooks(config) {
        let status = Status::failing("not finished");
        health = health.with(&format!("poststarthook/{}", hook.name), Probe::ALL, status.check());
        hooks.push((hook, status));
    }
    let health = health.unready_on(stop.clone());
    let mut endpoints = Endpoints::new("kube-apiserver", health, metrics::process().clone(), SystemTime::now());
    if let Some(flags) = &config.flags {
        endpoints = endpoints.with_flags(Arc::new(flags.clone()));
    }
    let mut handlers = vec![paths::component(endpoints)];
    if let Some(issuer) = config.service_account_issuers.first() {
        handlers.push(paths::token_keys(issuer, &config.generic.public_address, &keys.verifying));
    }
    let server = builder.build(Access { authenticator, authorizer, admission }, handlers, metrics::process());
    Ok(Parts { server, hooks })
}

async fn open_store(config: &Config) -> Result<Arc<dyn Store>, BoxError> {
    Ok(match &config.store {
        StoreConfig::Memory => Arc::new(EmbeddedStore::in_memory()),
        StoreConfig::Embedded { data_dir } => {
            let path = data_dir.join(STORE_FILE);
            Arc::new(tokio::task::spawn_blocking(move || EmbeddedStore::open(path, Options::default())).await??)
        }
        StoreConfig::Etcd { servers, ca_file, cert_file, key_file } => {
            let mut etcd = storage::etcd::Config::new(servers.clone());
            (etcd.ca_file, etcd.cert_file, etcd.key_file) = (ca_file.clone(), cert_file.clone(), key_file.clone());
            Arc::new(EtcdStore::connect(etcd).await?)
        }
    })
}

/// Without certificate files a certificate is made for this run, as upstream does it in its certificate folder.
fn self_signed(config: &Config) -> Result<TlsOptions, BoxError> {
    let host = config.advertise_address.to_string();
    let names: Vec<pki::San> =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1", &host].map(pki::San::parse).into();
    let (cert, key) = pki::cert::self_signed_serving(&host, &names, SystemTime::now())?;
    tracing::warn!("No --tls-cert-file: serving with a certificate made for this run, which no client trusts");
    Ok(TlsOptions::new(CertSource::Pem { cert, key: key.pem().to_owned() }))
}
