//! kube-controller-manager's command line, and the [`Config`] it makes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use client::kubeconfig::for_daemon;
use component_base::flags::{FlagSet, Flags};
use component_base::problems::Problems;
use component_base::serving::options::{self as serving, SecureServing};
use controller::{Registration, Settings, SignerFiles, Signers, Workers};
use informer::delegated::{self, DelegatedOptions};
use informer::leader::LeaderConfig;
use ipnetwork::IpNetwork;

const FLAGS: &[(&str, &str)] = &[
    ("allocate-node-cidrs", "Should CIDRs for Pods be allocated to nodes. Needs --cluster-cidr."),
    ("cluster-cidr", "CIDR range for Pods in the cluster; with two families, one of each, separated by a comma."),
    ("cluster-name", "The instance prefix for the cluster."),
    ("cluster-signing-cert-file", "PEM file of the CA that signs for every signer that has no files of its own."),
    ("cluster-signing-duration", "The max length of duration signed certificates will be given."),
    ("cluster-signing-key-file", "PEM file of that CA's private key."),
    ("cluster-signing-kube-apiserver-client-cert-file", "PEM file of the CA for the kubernetes.io/kube-apiserver-client signer."),
    ("cluster-signing-kube-apiserver-client-key-file", "PEM file of that CA's private key."),
    ("cluster-signing-kubelet-client-cert-file", "PEM file of the CA for the kubernetes.io/kube-apiserver-client-kubelet signer."),
    ("cluster-signing-kubelet-client-key-file", "PEM file of that CA's private key."),
    ("cluster-signing-kubelet-serving-cert-file", "PEM file of the CA for the kubernetes.io/kubelet-serving signer."),
    ("cluster-signing-kubelet-serving-key-file", "PEM file of that CA's private key."),
    ("cluster-signing-legacy-unknown-cert-file", "PEM file of the CA for the kubernetes.io/legacy-unknown signer."),
    ("cluster-signing-legacy-unknown-key-file", "PEM file of that CA's private key."),
    ("concurrent-cron-job-syncs", "The number of cron jobs that are allowed to sync concurrently."),
    ("concurrent-daemonset-syncs", "The number of daemon sets that are allowed to sync concurrently."),
    ("concurrent-deployment-syncs", "The number of deployments that are allowed to sync concurrently."),
    ("concurrent-endpoint-syncs", "The number of services whose endpoints are allowed to sync concurrently."),
    ("concurrent-gc-syncs", "The number of garbage collector workers that are allowed to sync concurrently."),
    ("concurrent-job-syncs", "The number of jobs that are allowed to sync concurrently."),
    ("concurrent-namespace-syncs", "The number of namespaces that are allowed to sync concurrently."),
    ("concurrent-rc-syncs", "The number of replication controllers that are allowed to sync concurrently."),
    ("concurrent-replicaset-syncs", "The number of replica sets that are allowed to sync concurrently."),
    ("concurrent-resource-quota-syncs", "The number of resource quotas that are allowed to sync concurrently."),
    ("concurrent-service-endpoint-syncs", "The number of services whose endpoint slices are allowed to sync concurrently."),
    ("concurrent-serviceaccount-token-syncs", "The number of service account token objects that are allowed to sync concurrently."),
    ("concurrent-statefulset-syncs", "The number of stateful sets that are allowed to sync concurrently."),
    ("concurrent-ttl-after-finished-syncs", "The number of finished jobs whose time to live is allowed to sync concurrently."),
    ("controller-shutdown-timeout", "How long controllers may take to end before they are abandoned."),
    (
        "controllers",
        "A list of controllers to enable. '*' enables all on-by-default controllers, 'foo' enables the one of that name, '-foo' disables it.",
    ),
    ("enable-garbage-collector", "Enables the generic garbage collector. Must be in sync with the API server's flag."),
    ("endpoint-updates-batch-period", "The length of endpoint updates batching period."),
    ("endpointslice-updates-batch-period", "The length of endpoint slice updates batching period."),
    ("kube-api-burst", "Burst to use while talking with the API server."),
    ("kube-api-content-type", "Content type of requests sent to the API server: application/vnd.kubernetes.protobuf or application/json."),
    ("kube-api-qps", "QPS to use while talking with the API server."),
    ("kubeconfig", "Path to kubeconfig file with authorization and API server location information."),
    ("large-cluster-size-threshold", "Number of nodes from which the cluster is treated as large for the eviction logic."),
    ("leader-elect", "Start a leader election client and gain leadership before executing the main loop."),
    ("leader-elect-lease-duration", "How long others wait after the last renewal they saw before they try to take over."),
    ("leader-elect-renew-deadline", "How long the leader tries to renew before it gives up leading."),
    ("leader-elect-resource-lock", "The type of resource object that is used for locking. Only 'leases' is supported."),
    ("leader-elect-resource-name", "The name of the lease."),
    ("leader-elect-resource-namespace", "The namespace of the lease."),
    ("leader-elect-retry-period", "How long to wait between tries."),
    ("master", "The address of the API server; overrides the one in the kubeconfig."),
    ("max-endpoints-per-slice", "The maximum number of endpoints that will be added to an EndpointSlice."),
    ("namespace-sync-period", "The period for syncing namespace life-cycle updates."),
    ("node-cidr-mask-size", "Mask size for node CIDR of a cluster with one family."),
    ("node-cidr-mask-size-ipv4", "Mask size for IPv4 node CIDRs."),
    ("node-cidr-mask-size-ipv6", "Mask size for IPv6 node CIDRs."),
    ("node-eviction-rate", "Nodes per second from which pods are evicted when a node fails in a healthy zone."),
    ("node-monitor-grace-period", "How long a running node may be unresponsive before it is marked unhealthy."),
    ("node-monitor-period", "The period for looking at the nodes' state."),
    ("node-startup-grace-period", "How long a starting node may be unresponsive before it is marked unhealthy."),
    ("resource-quota-sync-period", "The period for syncing quota usage status."),
    ("root-ca-file", "CA certificate published to every namespace. Without it, that of the kubeconfig."),
    ("secondary-node-eviction-rate", "As --node-eviction-rate, for a zone that is unhealthy."),
    ("service-account-private-key-file", "PEM file of the private key that signs service account token secrets."),
    ("service-cluster-ip-range", "CIDR range for Services in the cluster, kept out of the nodes' ranges."),
    ("terminated-pod-gc-threshold", "Number of terminated pods that can exist before the oldest are deleted. 0 or less: all are kept."),
    ("unhealthy-zone-threshold", "Fraction of nodes that must be not ready (and at least 3) for a zone to be unhealthy."),
    ("use-service-account-credentials", "If true, use individual service account credentials for each controller."),
];

/// Everything the program needs, checked.
#[derive(Debug)]
pub struct Config {
    pub client: client::Config,
    pub serving: SecureServing,
    pub delegated: DelegatedOptions,
    pub leader: Option<LeaderConfig>,
    pub controllers: Vec<Registration>,
    pub use_service_accounts: bool,
    pub qps: f32,
    pub burst: u32,
    pub shutdown_timeout: Duration,
    pub settings: Settings,
    pub flags: Arc<Flags>,
}

/// The flags this program knows; all others of upstream's are refused.
pub fn flags() -> FlagSet {
    FlagSet::of("kube-controller-manager").honour(FLAGS).honour(serving::FLAGS).honour(delegated::FLAGS)
}

/// Makes the config of the flags, entering every problem.
pub fn complete(flags: &Flags, problems: &mut Problems) -> Option<Config> {
    let serving = SecureServing::from_flags(flags, problems);
    let delegated = DelegatedOptions::from_flags(flags, problems);
    let leader = leader(flags, problems);
    let known = controller::all();
    let controllers = problems.take(select(&known, &flags.strings("controllers")));
    let client = problems.take(client_config(flags));
    let settings = settings(flags, client.as_ref(), problems);
    Some(Config {
        client: client?,
        serving,
        delegated,
        leader,
        controllers: controllers?,
        use_service_accounts: flags.bool("use-service-account-credentials"),
        qps: flags.float("kube-api-qps") as f32,
        burst: u32::try_from(flags.int("kube-api-burst")).unwrap_or(0),
        shutdown_timeout: flags.duration("controller-shutdown-timeout"),
        settings,
        flags: Arc::new(flags.clone()),
    })
}

/// Which of `known` run, by upstream's rule: a name, a name with a minus before it, and a star for all that are on by default.
fn select(known: &[Registration], wanted: &[String]) -> Result<Vec<Registration>, String> {
    let is = |one: &Registration, name: &str| one.name == name || one.alias == Some(name);
    for name in wanted.iter().filter(|name| *name != "*") {
        let bare = name.strip_prefix('-').unwrap_or(name);
        if !known.iter().any(|one| is(one, bare)) {
            return Err(format!("{bare:?} is not in the list of known controllers"));
        }
    }
    let star = wanted.iter().any(|name| name == "*");
    let enabled = |one: &Registration| {
        // The first mention counts.
        let mention = wanted.iter().find(|name| is(one, name.strip_prefix('-').unwrap_or(name)));
        mention.map_or(star && one.default_on, |name| !name.starts_with('-'))
    };
    Ok(known.iter().filter(|one| enabled(one)).copied().collect())
}

fn leader(flags: &Flags, problems: &mut Problems) -> Option<LeaderConfig> {
    if !flags.bool("leader-elect") {
        return None;
    }
    let lock = flags.text("leader-elect-resource-lock");
    problems.require(lock == "leases", format!("resourceLock: Invalid value: {lock:?}: resourceLock value must be leases"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let identity = informer::leader::identity(host.trim());
    let (namespace, name) = (flags.text("leader-elect-resource-namespace"), flags.text("leader-elect-resource-name"));
    let mut config = LeaderConfig::new(namespace, name, &identity);
    config.lease_duration = flags.duration("leader-elect-lease-duration");
    config.renew_deadline = flags.duration("leader-elect-renew-deadline");
    config.retry_period = flags.duration("leader-elect-retry-period");
    // Upstream ends without releasing; the next one may then wait for the whole lease. There is no reason to make it wait.
    config.release_on_cancel = true;
    problems.take(config.validate());
    Some(config)
}

/// The settings of a kubeconfig file, or without one those of the pod this runs in.
pub fn client_of(path: Option<&Path>, master: Option<&str>) -> Result<client::Config, client::KubeconfigError> {
    let variable = |name| std::env::var(name).ok();
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    Ok(for_daemon(path, master, host.as_deref(), port.as_deref())?.with_user_agent("kube-controller-manager"))
}

fn client_config(flags: &Flags) -> Result<client::Config, String> {
    let path = flags.path("kubeconfig");
    let mut config = client_of(path.as_deref(), flags.text_opt("master")).map_err(|err| component_base::logs::chain(&err))?;
    config.protobuf = match flags.text("kube-api-content-type") {
        "application/vnd.kubernetes.protobuf" => true,
        "application/json" | "" => false,
        other => return Err(format!("--kube-api-content-type {other:?} is not supported")),
    };
    config.qps = flags.float("kube-api-qps") as f32;
    config.burst = u32::try_from(flags.int("kube-api-burst")).map_err(|_| "--kube-api-burst can not be a negative value".to_string())?;
    Ok(config)
}

fn settings(flags: &Flags, client: Option<&client::Config>, problems: &mut Problems) -> Settings {
    let cluster_cidr = cidrs(flags, "cluster-cidr", problems);
    let service_cluster_ip_range = cidrs(flags, "service-cluster-ip-range", problems);
    let allocate_node_cidrs = flags.bool("allocate-node-cidrs");
    problems.require(!allocate_node_cidrs || !cluster_cidr.is_empty(), "--cluster-cidr must be set when --allocate-node-cidrs is");
    let (node_cidr_mask_size_ipv4, node_cidr_mask_size_ipv6) = mask_sizes(flags, &cluster_cidr, problems);
    Settings {
        cluster_name: flags.text("cluster-name").to_string(),
        cluster_cidr: cluster_cidr.iter().map(ToString::to_string).collect(),
        service_cluster_ip_range: service_cluster_ip_range.iter().map(ToString::to_string).collect(),
        allocate_node_cidrs,
        node_cidr_mask_size_ipv4,
        node_cidr_mask_size_ipv6,
        node_monitor_period: flags.duration("node-monitor-period"),
        node_monitor_grace_period: flags.duration("node-monitor-grace-period"),
        node_startup_grace_period: flags.duration("node-startup-grace-period"),
        node_eviction_rate: flags.float("node-eviction-rate"),
        secondary_node_eviction_rate: flags.float("secondary-node-eviction-rate"),
        large_cluster_size_threshold: count(flags, "large-cluster-size-threshold", 0, problems),
        unhealthy_zone_threshold: flags.float("unhealthy-zone-threshold"),
        terminated_pod_gc_threshold: flags.int("terminated-pod-gc-threshold"),
        enable_garbage_collector: flags.bool("enable-garbage-collector"),
        namespace_sync_period: flags.duration("namespace-sync-period"),
        resource_quota_sync_period: flags.duration("resource-quota-sync-period"),
        max_endpoints_per_slice: {
            let most = count(flags, "max-endpoints-per-slice", 1, problems);
            problems.require(most <= 1000, "max-endpoints-per-slice must be less than or equal to 1000");
            most
        },
        endpoint_updates_batch_period: flags.duration("endpoint-updates-batch-period"),
        endpointslice_updates_batch_period: flags.duration("endpointslice-updates-batch-period"),
        root_ca: root_ca(flags, client, problems),
        service_account_private_key_file: flags.path("service-account-private-key-file"),
        signers: signers(flags, problems),
        workers: Workers {
            deployment: count(flags, "concurrent-deployment-syncs", 1, problems),
            replicaset: count(flags, "concurrent-replicaset-syncs", 1, problems),
            replicationcontroller: count(flags, "concurrent-rc-syncs", 1, problems),
            statefulset: count(flags, "concurrent-statefulset-syncs", 1, problems),
            daemonset: count(flags, "concurrent-daemonset-syncs", 1, problems),
            job: count(flags, "concurrent-job-syncs", 1, problems),
            cronjob: count(flags, "concurrent-cron-job-syncs", 1, problems),
            endpoint: count(flags, "concurrent-endpoint-syncs", 1, problems),
            service_endpoint: count(flags, "concurrent-service-endpoint-syncs", 1, problems),
            gc: count(flags, "concurrent-gc-syncs", 1, problems),
            namespace: count(flags, "concurrent-namespace-syncs", 1, problems),
            resource_quota: count(flags, "concurrent-resource-quota-syncs", 1, problems),
            serviceaccount_token: count(flags, "concurrent-serviceaccount-token-syncs", 1, problems),
            ttl_after_finished: count(flags, "concurrent-ttl-after-finished-syncs", 1, problems),
        },
    }
}

fn count(flags: &Flags, name: &str, least: i64, problems: &mut Problems) -> usize {
    let value = flags.int(name);
    problems.require(value >= least, format!("{name} must be at least {least}, but got {value}"));
    usize::try_from(value).unwrap_or(0)
}

/// At most one CIDR of each family.
fn cidrs(flags: &Flags, name: &str, problems: &mut Problems) -> Vec<IpNetwork> {
    let mut all = Vec::new();
    for text in flags.text(name).split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match text.parse::<IpNetwork>() {
            Ok(network) => all.push(network),
            Err(_) => problems.push(format_args!("--{name}: invalid CIDR address: {text}")),
        }
    }
    let one_each = all.iter().filter(|cidr| cidr.is_ipv4()).count() <= 1 && all.iter().filter(|cidr| cidr.is_ipv6()).count() <= 1;
    problems.require(one_each, format!("--{name}: expected at most one CIDR of each IP family"));
    all
}

fn mask_sizes(flags: &Flags, cluster: &[IpNetwork], problems: &mut Problems) -> (u8, u8) {
    let given = |name: &str| u8::try_from(flags.int(name)).ok().filter(|size| *size > 0);
    let (any, v4, v6) = (given("node-cidr-mask-size"), given("node-cidr-mask-size-ipv4"), given("node-cidr-mask-size-ipv6"));
    if cluster.len() > 1 {
        problems.require(any.is_none(), "usage of --node-cidr-mask-size is not allowed with dual-stack clusters");
    } else {
        problems.require(
            any.is_none() || (v4.is_none() && v6.is_none()),
            "usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if --node-cidr-mask-size is set",
        );
    }
    let sizes = (v4.or(any).unwrap_or(24), v6.or(any).unwrap_or(64));
    for cidr in cluster {
        let size = if cidr.is_ipv4() { sizes.0 } else { sizes.1 };
        let most = if cidr.is_ipv4() { 32 } else { 128 };
        let fits = cidr.prefix() <= size && size <= most;
        problems.require(fits, format!("node CIDR mask size {size} does not fit --cluster-cidr {cidr}"));
    }
    sizes
}

fn root_ca(flags: &Flags, client: Option<&client::Config>, problems: &mut Problems) -> Option<Vec<u8>> {
    let read = |path: PathBuf, problems: &mut Problems| {
        problems.take(std::fs::read(&path).map_err(|err| format!("error reading root-ca-file at {}: {err}", path.display())))
    };
    if let Some(path) = flags.path("root-ca-file") {
        return read(path, problems);
    }
    match client?.tls.ca.clone()? {
        client::Pem::Data(data) => Some(data),
        client::Pem::File(path) => read(path, problems),
    }
}

fn signers(flags: &Flags, problems: &mut Problems) -> Signers {
    let mut pair = |cert: &str, key: &str| {
        let files = (flags.path(cert), flags.path(key));
        problems.require(files.0.is_some() == files.1.is_some(), format!("--{cert} and --{key} must be specified together"));
        files.0.zip(files.1).map(|(cert, key)| SignerFiles { cert, key })
    };
    let mut own = |signer: &str| pair(&format!("cluster-signing-{signer}-cert-file"), &format!("cluster-signing-{signer}-key-file"));
    let (kubelet_serving, kubelet_client) = (own("kubelet-serving"), own("kubelet-client"));
    let (kube_apiserver_client, legacy_unknown) = (own("kube-apiserver-client"), own("legacy-unknown"));
    let all = pair("cluster-signing-cert-file", "cluster-signing-key-file");
    let some_own = [&kubelet_serving, &kubelet_client, &kube_apiserver_client, &legacy_unknown].iter().any(|files| files.is_some());
    problems.require(
        all.is_none() || !some_own,
        "cannot specify --cluster-signing-{cert,key}-file and other --cluster-signing-*-file flags at the same time",
    );
    Signers {
        kubelet_serving: kubelet_serving.or_else(|| all.clone()),
        kubelet_client: kubelet_client.or_else(|| all.clone()),
        kube_apiserver_client: kube_apiserver_client.or_else(|| all.clone()),
        legacy_unknown: legacy_unknown.or(all),
        duration: flags.duration("cluster-signing-duration"),
    }
}

#[cfg(test)]
mod tests {
    use component_base::tasks::Tasks;
    use controller::{ControllerContext, StartError, Started};

    use super::*;

    fn nothing(_: &ControllerContext, _: &mut Tasks) -> Result<Started, StartError> {
        Ok(Started::Running)
    }

    #[track_caller]
    fn check(wanted: &str, expected: Result<&str, &str>) {
        let one = |name, default_on| Registration { name, alias: None, default_on, start: nothing };
        let known = [one("a", true), one("b", true), one("c", false)];
        let wanted: Vec<String> = wanted.split(',').map(str::to_string).collect();
        let chosen = select(&known, &wanted).map(|chosen| chosen.iter().map(|one| one.name).collect::<String>());
        assert_eq!(chosen.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn controllers_are_chosen_by_name() {
        check("*", Ok("ab"));
        check("*,c", Ok("abc"));
        check("*,-a", Ok("b"));
        check("c", Ok("c"));
        check("-a,*,a", Ok("b"));
        check("x", Err("\"x\" is not in the list of known controllers"));
    }

    fn parse(arguments: &str) -> Result<Config, String> {
        let flags = flags().parse(arguments.split_whitespace()).map_err(|problems| problems.to_string())?;
        let mut problems = Problems::new();
        let config = complete(&flags, &mut problems);
        problems.finish(config).map_err(|problems| problems.to_string())
    }

    #[test]
    fn flags_become_a_config() {
        let config =
            parse("--master=http://127.0.0.1:1 --cluster-cidr=10.0.0.0/16 --allocate-node-cidrs --controllers=* --leader-elect=false");
        let config = config.unwrap();
        assert_eq!(config.settings.cluster_cidr, ["10.0.0.0/16"]);
        assert_eq!(config.settings.node_cidr_mask_size_ipv4, 24);
        assert!(config.leader.is_none() && config.client.protobuf);
        assert_eq!((config.qps, config.burst), (20.0, 30));
    }

    #[test]
    fn problems_are_told_together() {
        let problems = parse(
            "--master=http://127.0.0.1:1 --cluster-cidr=x --allocate-node-cidrs --concurrent-job-syncs=0 --cluster-signing-cert-file=a",
        )
        .unwrap_err();
        for part in [
            "invalid CIDR address: x",
            "--cluster-cidr must be set",
            "concurrent-job-syncs must be at least 1",
            "must be specified together",
        ] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
        assert!(parse("--cloud-provider=external").is_err());
    }
}
