//! The kubelet put together: connects to runtime and API server, starts all parts, and stops them together.

use crate::api_server::{ApiServer, Events};
use crate::backoff::Backoffs;
use crate::client::{ServerClient, Standalone};
use crate::cm::PodCgroups;
use crate::cm::cgroups::Cgroups;
use crate::config::{PodChange, file as static_pods};
use crate::dns::Resolver;
use crate::housekeeping::Housekeeping;
use crate::images::{self, Puller};
use crate::machine::{self, Machine};
use crate::node::{Node, RuntimeCache, Services};
use crate::nodestatus::{self, NodeReporter, NodeSettings, Pressure, lease::LeaseKeeper};
use crate::objects::Cache;
use crate::options::{Config, std_duration};
use crate::pleg::Pleg;
use crate::pod_workers::PodWorkers;
use crate::pods::Pods;
use crate::prober::Prober;
use crate::recorder::EventRecorder;
use crate::server;
use crate::settings::Settings;
use crate::sources;
use crate::status::StatusManager;
use api::core::v1::Service;
use apimachinery::Quantity;
use component_base::tasks::Tasks;
use cri_api::{ImageServiceClient, RuntimeServiceClient, v1};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Changes of pods that may wait: a node holds a few hundred pods, and their list arrives at once.
const CHANGES: usize = 1024;
/// Copies of config maps and secrets are taken as current for this long: less than volumes' refresh, which would else
/// see the same copy twice.
const OBJECT_TTL: Duration = Duration::from_secs(30);
/// How long the parts get to end.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Refused(String),
    #[error("cannot use container runtime endpoint")]
    Endpoint(#[from] cri_api::ParseEndpointError),
    #[error("cannot make {path}")]
    Directory { path: String, source: std::io::Error },
    #[error("failed to initialize top level QOS containers")]
    Cgroups(#[source] std::io::Error),
    #[error("cannot load kubeconfig")]
    Client(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Server(#[from] server::StartError),
    #[error(transparent)]
    Task(#[from] component_base::tasks::TaskError),
}

/// No services without an API server.
struct NoServices;

impl Services for NoServices {
    fn list(&self) -> Vec<Arc<Service>> {
        Vec::new()
    }
}

/// Waits until the runtime answers; there is nothing the kubelet could do without it.
async fn runtime_version(runtime: &RuntimeServiceClient, endpoint: &str, stop: &CancellationToken) -> Option<v1::VersionResponse> {
    let mut told = false;
    loop {
        match runtime.version(v1::VersionRequest { version: "0.1.0".into() }).await {
            Ok(version) => return Some(version),
            Err(err) if !told => {
                tracing::error!(endpoint, err = %err.message(), "the container runtime does not answer, waiting for it");
                told = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = stop.cancelled() => return None,
        }
    }
}

fn make_directory(path: &std::path::Path) -> Result<(), RunError> {
    std::fs::create_dir_all(path).map_err(|source| RunError::Directory { path: path.display().to_string(), source })
}

/// Refuses machines that the configuration excludes.
fn check_machine(config: &Config, machine: &Machine, cgroups: Option<&Cgroups>) -> Result<(), RunError> {
    if config.file.fail_swap_on == Some(true) && machine.swap > 0 {
        return Err(RunError::Refused(
            "running with swap on is not supported, please disable swap or set --fail-swap-on flag to false".to_owned(),
        ));
    }
    if config.file.fail_cgroup_v1 == Some(true) && cgroups.is_some_and(|cgroups| !cgroups.is_v2()) {
        return Err(RunError::Refused(
            "kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be removed in a future release (failCgroupV1: false in the configuration file runs it all the same)"
                .to_owned(),
        ));
    }
    Ok(())
}

pub async fn run(config: Config, stop: CancellationToken) -> Result<(), RunError> {
    let file = &config.file;
    make_directory(&config.root)?;
    let machine = Machine::detect(&config.root);
    let cgroups = Cgroups::detect().inspect_err(|err| tracing::warn!(err = %err, "pods run without resource limits")).ok();
    check_machine(&config, &machine, cgroups.as_ref())?;
    for name in cgroups.iter().flat_map(Cgroups::missing) {
        tracing::warn!(controller = name, "a cgroup controller is missing: its limits are not held");
    }
    set_oom_score(file.oom_score_adj.unwrap_or(-999));

    let endpoint = &file.container_runtime_endpoint;
    let channel = cri_api::connect(&cri_api::socket_path(endpoint)?);
    let image_channel = match file.image_service_endpoint.as_str() {
        "" => channel.clone(),
        endpoint => cri_api::connect(&cri_api::socket_path(endpoint)?),
    };
    let runtime = RuntimeServiceClient::new(channel.clone());
    let image_client = ImageServiceClient::new(image_channel);
    let Some(version) = runtime_version(&runtime, endpoint, &stop).await else { return Ok(()) };
    tracing::info!(runtime = %version.runtime_name, version = %version.runtime_version, "Container runtime initialized");

    let hostname = config.hostname_override.clone().unwrap_or_else(machine::hostname);
    let node_name = hostname.to_lowercase();
    let node_ips = nodestatus::node_ips(&config.node_ips);
    let capacity = machine.capacity(usize::try_from(file.max_pods).unwrap_or(0));
    let allocatable = machine::allocatable(&capacity, &[&Config::reserved(&file.system_reserved), &Config::reserved(&file.kube_reserved)]);
    let settings = settings(&config, &node_name, &hostname, &node_ips, &machine);
    for path in [settings.pods(), settings.pod_logs.clone()].iter().chain(&settings.container_logs) {
        make_directory(path)?;
    }

    let connection = match &config.kubeconfig {
        Some(path) => Some(sources::connect(path, file).map_err(RunError::Client)?),
        None => None,
    };
    let server: Arc<dyn ApiServer> = match &connection {
        Some(client) => Arc::new(ServerClient::new(client.clone())),
        None => Arc::new(Standalone),
    };
    let mut tasks = Tasks::under(stop);
    let recorder = connection.as_ref().map(|client| sources::recorder(client, &node_name, &mut tasks));
    let events: Arc<dyn Events> = Arc::new(EventRecorder::new(recorder, &node_name));
    let objects = Arc::new(Cache::new(server.clone(), OBJECT_TTL));
    let pulls = if file.serialize_image_pulls.unwrap_or(true) {
        1
    } else {
        file.max_parallel_image_pulls.map_or(usize::MAX >> 4, |n| n.max(1) as usize)
    };

    // Probes wake workers, which are made after them.
    let workers_cell: Arc<OnceLock<PodWorkers>> = Arc::default();
    let wake = {
        let cell = workers_cell.clone();
        Arc::new(move |uid: &str| {
            if let Some(workers) = cell.get() {
                workers.probe_changed(uid);
            }
        })
    };
    let (changes, changes_receiver) = mpsc::channel(CHANGES);
    let services: Arc<dyn Services> = match &connection {
        Some(client) => sources::services(client, &mut tasks),
        None => Arc::new(NoServices),
    };
    let pod_cgroups = PodCgroups::new(cgroups, config.cgroups());
    let milli = allocatable.get("cpu").map_or(0, Quantity::milli_value);
    let bytes = allocatable.get("memory").map_or(0, Quantity::value);
    pod_cgroups.start(milli, bytes).map_err(RunError::Cgroups)?;

    let node = Arc::new(Node {
        resolver: Resolver {
            cluster_dns: file.cluster_dns.to_vec(),
            cluster_domain: file.cluster_domain.clone(),
            resolv_conf: file.resolv_conf.clone().unwrap_or_default(),
        },
        probes: Arc::new(Prober::new(runtime.clone(), events.clone(), wake)),
        images: Puller::new(image_client.clone(), events.clone(), objects.clone(), pulls),
        backoffs: Backoffs::new(Duration::from_secs(10).min(settings.max_container_backoff), settings.max_container_backoff),
        statuses: StatusManager::new(server.clone()),
        cache: RuntimeCache::default(),
        cgroups: pod_cgroups,
        has_server: connection.is_some(),
        settings,
        server: server.clone(),
        events: events.clone(),
        runtime: runtime.clone(),
        objects: objects.clone(),
        services,
        allocatable: allocatable.clone(),
    });
    let workers = PodWorkers::new(node.clone());
    let _ = workers_cell.set(workers.clone());
    let pleg = Arc::new(Pleg::new(runtime.clone(), channel));
    let synced = Arc::new(AtomicBool::new(connection.is_none()));

    {
        let (pleg, workers) = (pleg.clone(), workers.clone());
        tasks.spawn("pleg", move |stop| async move { pleg.run(&|uid| workers.runtime_changed(uid), stop).await });
    }
    let pods = Pods::new(node.clone(), workers.clone(), synced.clone());
    tasks.spawn("pods", move |stop| pods.run(changes_receiver, stop));
    if let Some(path) = config.static_pods() {
        let (path, name, changes) = (path.to_owned(), node_name.clone(), changes.clone());
        let period = std_duration(file.file_check_frequency, Duration::from_secs(20));
        tasks.spawn("static pods", move |stop| static_pods::run(path, name, period, changes, stop));
    } else {
        let _ = changes.try_send(PodChange::Files(Vec::new()));
    }
    let pressure: Arc<Mutex<Pressure>> = Arc::default();
    if let Some(client) = &connection {
        sources::pods(client, &node_name, changes.clone(), &mut tasks);
        let mut info = machine::node_info();
        info.container_runtime_version = format!("{}://{}", version.runtime_name, version.runtime_version);
        let reporter = NodeReporter::new(
            NodeSettings {
                name: node_name.clone(),
                hostname,
                ips: node_ips,
                labels: config.node_labels.clone(),
                taints: file.register_with_taints.to_vec(),
                provider_id: file.provider_id.clone(),
                register: file.register_node.unwrap_or(true),
                port: file.port,
                capacity,
                allocatable,
                info,
                max_images: file.node_status_max_images.unwrap_or(50),
                update_period: std_duration(file.node_status_update_frequency, Duration::from_secs(10)),
                report_period: std_duration(file.node_status_report_frequency, Duration::from_secs(300)),
            },
            server.clone(),
            events.clone(),
            (runtime.clone(), image_client),
            Box::new({
                let pleg = pleg.clone();
                move || pleg.health()
            }),
            pressure,
        );
        tasks.spawn("node status", move |stop| reporter.run(stop));
        let lease = LeaseKeeper { server: server.clone(), node: node_name.clone(), duration_seconds: file.node_lease_duration_seconds };
        tasks.spawn("node lease", move |stop| lease.run(stop));
    }
    let gc_policy = images::gc::Policy {
        high_percent: file.image_gc_high_threshold_percent.unwrap_or(85) as u64,
        low_percent: file.image_gc_low_threshold_percent.unwrap_or(80) as u64,
        min_age: std_duration(file.image_minimum_gc_age, Duration::from_secs(120)),
        max_age: file.image_maximum_gc_age.to_std(),
    };
    let housekeeping = Housekeeping::new(node.clone(), workers.clone(), pleg.clone(), synced, gc_policy);
    tasks.spawn("housekeeping", move |stop| housekeeping.run(stop));
    server::start(&config, node, workers, pleg, &mut tasks)?;

    events.node("Normal", "Starting", "Starting kubelet.");
    tracing::info!(node = %node_name, "Started kubelet");
    drop(changes);
    Ok(tasks.drain(GRACE).await?)
}

fn settings(config: &Config, node_name: &str, hostname: &str, node_ips: &[String], machine: &Machine) -> Settings {
    let file = &config.file;
    Settings {
        node_name: node_name.to_owned(),
        hostname: hostname.to_owned(),
        node_ips: node_ips.to_vec(),
        root: config.root.clone(),
        pod_logs: file.pod_logs_dir.clone().into(),
        // Links for collectors belong to the node's one log directory, and not to that of a second kubelet.
        container_logs: (file.pod_logs_dir == "/var/log/pods").then(|| "/var/log/containers".into()),
        cluster_domain: file.cluster_domain.clone(),
        max_pods: usize::try_from(file.max_pods).unwrap_or(0),
        sync_period: std_duration(file.sync_frequency, Duration::from_secs(60)),
        runtime_request_timeout: std_duration(file.runtime_request_timeout, Duration::from_secs(120)),
        seccomp_default: file.seccomp_default.unwrap_or(false),
        log_max_size: file.container_log_max_size.parse::<Quantity>().map_or(10 << 20, |size| size.value().max(1) as u64),
        log_max_files: file.container_log_max_files.unwrap_or(5).max(2) as usize,
        log_monitor_period: file
            .container_log_monitor_interval
            .map_or(Duration::from_secs(10), |period| std_duration(period, Duration::from_secs(10))),
        max_container_backoff: file
            .crash_loop_back_off
            .max_container_restart_period
            .map_or(Duration::from_secs(300), |period| std_duration(period, Duration::from_secs(300))),
        allowed_unsafe_sysctls: file.allowed_unsafe_sysctls.to_vec(),
        memory_capacity: machine.memory,
    }
}

/// The kubelet should outlive its pods when memory is gone. Without the right to ask for that it goes on.
fn set_oom_score(score: i32) {
    if let Err(err) = std::fs::write("/proc/self/oom_score_adj", score.to_string()) {
        tracing::warn!(score, err = %err, "cannot set the kubelet's own oom_score_adj");
    }
}
