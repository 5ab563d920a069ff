//! Command line and configuration file -> what the kubelet runs with.
//!
//! A flag that has a counterpart in the configuration file wins over the file when it is given.

use crate::cm::CgroupConfig;
use api::core::v1::Taint;
use api_config::kubelet::v1beta1::KubeletConfiguration;
use apimachinery::{Map, Quantity};
use component_base::config_file::ConfigFile;
use component_base::daemon::Command;
use component_base::flags::{FlagSet, Flags};
use component_base::problems::Problems;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything the kubelet was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub kubeconfig: Option<PathBuf>,
    pub root: PathBuf,
    pub cert_dir: PathBuf,
    pub hostname_override: Option<String>,
    pub node_ips: Vec<IpAddr>,
    pub node_labels: Map<String>,
    /// The configuration file with all flags applied.
    pub file: KubeletConfiguration,
}

/// Fields of the configuration file that this kubelet acts upon.
const HONOURED: &[&str] = &[
    "enableServer",
    "staticPodPath",
    "podLogsDir",
    "syncFrequency",
    "fileCheckFrequency",
    "address",
    "port",
    "tlsCertFile",
    "tlsPrivateKeyFile",
    "tlsMinVersion",
    "tlsCipherSuites",
    "authentication",
    "authorization",
    "healthzPort",
    "healthzBindAddress",
    "oomScoreAdj",
    "clusterDomain",
    "clusterDNS",
    "streamingConnectionIdleTimeout",
    "nodeStatusUpdateFrequency",
    "nodeStatusReportFrequency",
    "nodeLeaseDurationSeconds",
    "imageMinimumGCAge",
    "imageMaximumGCAge",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "cgroupRoot",
    "cgroupsPerQOS",
    "runtimeRequestTimeout",
    "maxPods",
    "podPidsLimit",
    "resolvConf",
    "cpuCFSQuota",
    "cpuCFSQuotaPeriod",
    "nodeStatusMaxImages",
    "contentType",
    "kubeAPIQPS",
    "kubeAPIBurst",
    "serializeImagePulls",
    "maxParallelImagePulls",
    "failSwapOn",
    "failCgroupV1",
    "containerLogMaxSize",
    "containerLogMaxFiles",
    "containerLogMonitorInterval",
    "systemReserved",
    "kubeReserved",
    "enforceNodeAllocatable",
    "allowedUnsafeSysctls",
    "providerID",
    "seccompDefault",
    "registerWithTaints",
    "registerNode",
    "containerRuntimeEndpoint",
    "imageServiceEndpoint",
    "crashLoopBackOff",
    "enableDebuggingHandlers",
];

const FILE: ConfigFile<'static> = ConfigFile {
    api_version: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    honoured: HONOURED,
    more_defaults: &[("maxParallelImagePulls", "1"), ("staticPodPath", "\"\"")],
};

fn flags() -> FlagSet {
    FlagSet::of("kubelet").honour(&[
        ("config", "The file with the kubelet's configuration, a KubeletConfiguration of kubelet.config.k8s.io/v1beta1."),
        ("kubeconfig", "The kubeconfig file that says how to reach the API server. Without it the kubelet runs standalone."),
        ("root-dir", "Directory for the kubelet's files: volumes, checkpoints."),
        ("cert-dir", "Where a self-signed serving certificate is kept if none is given."),
        ("hostname-override", "If not empty, the node's name instead of the machine's."),
        ("node-ip", "The node's IP address, or one per family separated by a comma. Unset: the address of the default route."),
        ("node-labels", "Labels to add when registering the node: key=value pairs separated by commas."),
        ("register-node", "Register the node with the API server."),
        ("register-with-taints", "Register the node with these taints: key=value:effect, separated by commas."),
        ("provider-id", "The node's identity at its cloud provider."),
        ("container-runtime-endpoint", "The runtime's socket, as unix:///path."),
        ("image-service-endpoint", "The image service's socket, if other than the runtime's."),
        ("pod-manifest-path", "A static pod's file, or a directory of such files."),
        ("cluster-dns", "DNS servers for pods with dnsPolicy ClusterFirst, separated by commas."),
        ("cluster-domain", "Domain of this cluster, searched by pods besides the host's."),
        ("resolv-conf", "The resolver configuration handed to pods as their base."),
        ("address", "The IP address on which the kubelet serves."),
        ("port", "The port on which the kubelet serves."),
        ("read-only-port", "Not served: must be 0 when given."),
        ("healthz-port", "The port of the healthz endpoint on the loopback interface; 0 to disable."),
        ("healthz-bind-address", "The IP address of the healthz endpoint."),
        ("tls-cert-file", "The x509 certificate for serving."),
        ("tls-private-key-file", "The x509 private key that matches --tls-cert-file."),
        ("client-ca-file", "Clients with a certificate of one of these authorities are authenticated by its subject."),
        ("anonymous-auth", "Let requests without credentials in as system:anonymous."),
        ("authentication-token-webhook", "Have bearer tokens reviewed by the API server."),
        ("authorization-mode", "Who decides on requests: AlwaysAllow or Webhook."),
        ("cgroup-driver", "Must be cgroupfs, as the runtime's."),
        ("cgroup-root", "The cgroup below which those of pods are made."),
        ("cgroups-per-qos", "Make a cgroup per QoS class and pod."),
        ("fail-cgroupv1", "Refuse to start on a machine with cgroup v1."),
        ("fail-swap-on", "Refuse to start on a machine that swaps."),
        ("max-pods", "Number of pods that can run on this node."),
        ("sync-frequency", "The longest time between two looks at a pod."),
        ("file-check-frequency", "The longest time between two looks at static pods' files."),
        ("node-status-update-frequency", "How often the node's status is computed."),
        ("serialize-image-pulls", "Pull one image at a time."),
        ("seccomp-default", "Use RuntimeDefault as the seccomp profile of containers that name none."),
        ("runtime-request-timeout", "Longest time for a request to the runtime, beyond what the request itself takes."),
    ])
}

/// The kubelet as a program.
pub fn command() -> Command<Config> {
    Command::new("The node agent: runs the pods that are bound to its node.", flags(), complete)
}

fn load(flags: &Flags, problems: &mut Problems) -> Option<KubeletConfiguration> {
    match flags.path("config") {
        None => Some(FILE.defaults()),
        Some(path) => match FILE.load(&path) {
            Ok(file) => Some(file),
            Err(bad) => {
                problems.extend(bad);
                None
            }
        },
    }
}

/// Flags that were given go over the file.
fn apply_flags(file: &mut KubeletConfiguration, flags: &Flags, problems: &mut Problems) {
    let given = |name: &str| flags.changed(name);
    let text = |name: &str, field: &mut String| {
        if given(name) {
            *field = flags.text(name).to_owned();
        }
    };
    text("provider-id", &mut file.provider_id);
    text("container-runtime-endpoint", &mut file.container_runtime_endpoint);
    text("image-service-endpoint", &mut file.image_service_endpoint);
    text("pod-manifest-path", &mut file.static_pod_path);
    text("cluster-domain", &mut file.cluster_domain);
    text("address", &mut file.address);
    text("healthz-bind-address", &mut file.healthz_bind_address);
    text("tls-cert-file", &mut file.tls_cert_file);
    text("tls-private-key-file", &mut file.tls_private_key_file);
    text("client-ca-file", &mut file.authentication.x509.client_ca_file);
    text("authorization-mode", &mut file.authorization.mode);
    text("cgroup-driver", &mut file.cgroup_driver);
    text("cgroup-root", &mut file.cgroup_root);
    let switch = |name: &str, field: &mut Option<bool>| {
        if given(name) {
            *field = Some(flags.bool(name));
        }
    };
    switch("register-node", &mut file.register_node);
    switch("anonymous-auth", &mut file.authentication.anonymous.enabled);
    switch("authentication-token-webhook", &mut file.authentication.webhook.enabled);
    switch("cgroups-per-qos", &mut file.cgroups_per_qos);
    switch("fail-cgroupv1", &mut file.fail_cgroup_v1);
    switch("fail-swap-on", &mut file.fail_swap_on);
    switch("serialize-image-pulls", &mut file.serialize_image_pulls);
    switch("seccomp-default", &mut file.seccomp_default);
    if given("resolv-conf") {
        file.resolv_conf = Some(flags.text("resolv-conf").to_owned());
    }
    if given("cluster-dns") {
        file.cluster_dns = flags.strings("cluster-dns").into();
    }
    let number = |name: &str| i32::try_from(flags.int(name)).unwrap_or(-1);
    if given("port") {
        file.port = number("port");
    }
    if given("healthz-port") {
        file.healthz_port = Some(number("healthz-port"));
    }
    if given("max-pods") {
        file.max_pods = number("max-pods");
    }
    problems.require(
        !given("read-only-port") || flags.int("read-only-port") == 0,
        "--read-only-port: the read-only port is not supported by this build, it must be 0",
    );
    let duration = |name: &str, field: &mut apimachinery::Duration| {
        if given(name) {
            *field = apimachinery::Duration(flags.nanos(name));
        }
    };
    duration("sync-frequency", &mut file.sync_frequency);
    duration("file-check-frequency", &mut file.file_check_frequency);
    duration("node-status-update-frequency", &mut file.node_status_update_frequency);
    duration("runtime-request-timeout", &mut file.runtime_request_timeout);
    if given("register-with-taints") {
        for text in flags.strings("register-with-taints") {
            match parse_taint(&text) {
                Ok(taint) => file.register_with_taints.push(taint),
                Err(err) => problems.push(err),
            }
        }
    }
}

/// `key=value:effect`, `key:effect`.
fn parse_taint(text: &str) -> Result<Taint, String> {
    let (key_value, effect) = text.rsplit_once(':').ok_or_else(|| format!("invalid taint spec: {text}"))?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Err(format!("invalid taint effect: {effect}, unsupported taint effect"));
    }
    let (key, value) = key_value.split_once('=').unwrap_or((key_value, ""));
    if key.is_empty() {
        return Err(format!("invalid taint spec: {text}"));
    }
    Ok(Taint { key: key.into(), value: value.into(), effect: effect.into(), ..Default::default() })
}

fn complete(flags: &Flags, problems: &mut Problems) -> Option<Config> {
    let mut file = load(flags, problems)?;
    apply_flags(&mut file, flags, problems);
    validate(&file, problems);
    let mut node_ips = Vec::new();
    for text in flags.text("node-ip").split(',').filter(|text| !text.is_empty()) {
        match text.parse() {
            Ok(ip) => node_ips.push(ip),
            Err(_) => problems.push(format_args!("invalid --node-ip {text:?}: could not parse")),
        }
    }
    let labels = flags.map("node-labels");
    for key in labels.keys() {
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let reserved = ["kubernetes.io", "k8s.io"].iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}")));
        let allowed =
            ["kubelet.kubernetes.io", "node.kubernetes.io"].iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}")));
        let standard = matches!(
            key.as_str(),
            "kubernetes.io/hostname"
                | "kubernetes.io/arch"
                | "kubernetes.io/os"
                | "topology.kubernetes.io/zone"
                | "topology.kubernetes.io/region"
        );
        problems.require(
            !reserved || allowed || standard,
            format_args!("unknown 'kubernetes.io' or 'k8s.io' labels specified with --node-labels: [{key}]"),
        );
    }
    Some(Config {
        kubeconfig: flags.path("kubeconfig"),
        root: flags.path("root-dir").unwrap_or_else(|| "/var/lib/kubelet".into()),
        cert_dir: flags.path("cert-dir").unwrap_or_else(|| "/var/lib/kubelet/pki".into()),
        hostname_override: flags.text_opt("hostname-override").map(str::to_owned),
        node_ips,
        node_labels: labels.into_iter().collect(),
        file,
    })
}

fn validate(file: &KubeletConfiguration, problems: &mut Problems) {
    let mut check = |holds: bool, text: &str| problems.require(holds, format_args!("invalid configuration: {text}"));
    check(file.cgroup_driver == "cgroupfs", "cgroupDriver must be cgroupfs: the systemd driver is not supported by this build");
    check((1..=65535).contains(&file.port), "port (--port) must be between 1 and 65535, inclusive");
    check(file.max_pods >= 0, "maxPods (--max-pods) must not be a negative number");
    check(file.read_only_port == 0, "readOnlyPort (--read-only-port) is not supported by this build: it must be 0");
    check(matches!(file.authorization.mode.as_str(), "AlwaysAllow" | "Webhook"), "authorization.mode must be AlwaysAllow or Webhook");
    let (high, low) = (file.image_gc_high_threshold_percent.unwrap_or(85), file.image_gc_low_threshold_percent.unwrap_or(80));
    check((0..=100).contains(&high), "imageGCHighThresholdPercent (--image-gc-high-threshold) must be between 0 and 100, inclusive");
    check(
        low < high,
        "imageGCLowThresholdPercent (--image-gc-low-threshold) must be less than imageGCHighThresholdPercent (--image-gc-high-threshold)",
    );
    check(file.container_log_max_files.unwrap_or(5) > 1, "containerLogMaxFiles must be greater than 1");
    check(
        file.container_log_max_size.parse::<Quantity>().is_ok_and(|size| size.value() > 0),
        "containerLogMaxSize must be a positive quantity",
    );
    check(
        file.tls_cert_file.is_empty() == file.tls_private_key_file.is_empty(),
        "tlsCertFile and tlsPrivateKeyFile must be given together",
    );
    let enforce = &file.enforce_node_allocatable;
    check(
        enforce.iter().all(|name| matches!(name.as_str(), "pods" | "none")),
        "enforceNodeAllocatable (--enforce-node-allocatable) may only be pods or none: kube-reserved and system-reserved are not supported by this build",
    );
    check(
        file.authentication.anonymous.enabled != Some(true)
            || file.authorization.mode == "Webhook"
            || file.enable_server == Some(false)
            || file.authentication.x509.client_ca_file.is_empty(),
        "authentication.anonymous with authorization.mode AlwaysAllow would let everybody do anything",
    );
}

pub(crate) fn std_duration(duration: apimachinery::Duration, default: Duration) -> Duration {
    if duration.0 <= 0 { default } else { duration.to_std() }
}

impl Config {
    pub fn cgroups(&self) -> CgroupConfig {
        let file = &self.file;
        let period = file.cpu_cfs_quota_period.map_or(100_000, |period| period.0 / 1000);
        CgroupConfig {
            root: if file.cgroup_root.is_empty() { "/".into() } else { file.cgroup_root.clone() },
            per_qos: file.cgroups_per_qos.unwrap_or(true),
            cpu_cfs_quota: file.cpu_cfs_quota.unwrap_or(true),
            cpu_period: if period > 0 { period } else { 100_000 },
            pod_pids_limit: file.pod_pids_limit.unwrap_or(-1),
            enforce_allocatable: file.enforce_node_allocatable.iter().any(|name| name == "pods"),
        }
    }

    /// `systemReserved` or `kubeReserved` as quantities.
    pub fn reserved(list: &Map<String>) -> Map<Quantity> {
        list.iter().filter_map(|(name, text)| Some((name.to_owned(), text.parse().ok()?))).collect()
    }

    pub fn static_pods(&self) -> Option<&Path> {
        Some(self.file.static_pod_path.as_str()).filter(|path| !path.is_empty()).map(Path::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use component_base::daemon::Parsed;

    fn parse(arguments: &[&str]) -> Result<Config, Vec<String>> {
        match command().parse(arguments.iter().copied()) {
            Ok(Parsed::Run(config, ..)) => Ok(*config),
            Ok(Parsed::Print(text)) => panic!("printed {text}"),
            Err(problems) => Err(problems.iter().map(str::to_owned).collect()),
        }
    }

    #[test]
    fn defaults_are_upstreams() {
        let config = parse(&[]).unwrap();
        assert_eq!((config.file.port, config.file.max_pods, config.file.cgroup_driver.as_str()), (10250, 110, "cgroupfs"));
        assert_eq!(config.file.authentication.anonymous.enabled, Some(false));
        assert_eq!(config.root, Path::new("/var/lib/kubelet"));
        assert_eq!(config.cgroups().cpu_period, 100_000);
    }

    #[test]
    fn a_given_flag_goes_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubelet.yaml");
        std::fs::write(&path, "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPods: 5\nclusterDomain: a.b\n")
            .unwrap();
        let config = parse(&[&format!("--config={}", path.display()), "--max-pods=7", "--node-ip=192.0.2.1"]).unwrap();
        assert_eq!((config.file.max_pods, config.file.cluster_domain.as_str()), (7, "a.b"));
        assert_eq!(config.node_ips, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        for arguments in [
            &["--cgroup-driver=systemd"][..],
            &["--read-only-port=10255"],
            &["--port=0"],
            &["--node-labels=kubernetes.io/role=x"],
            &["--register-with-taints=a=b:Sometimes"],
            &["--rotate-certificates"],
        ] {
            assert!(parse(arguments).is_err(), "{arguments:?}");
        }
    }
}
