//! kube-proxy's command line and configuration file, and the [`Config`] that they make.
//!
//! As upstream has it, the file holds all settings if there is one. Upstream then ignores the flags of the same
//! settings; here such a flag is an error, for it would do nothing.

mod file;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use component_base::flags::{FlagSet, Flags};
use component_base::problems::Problems;
use ipnetwork::IpNetwork;

use crate::config::{LocalTraffic, NodePortAddresses};

const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;
const SYNC_PERIOD: Duration = Duration::from_secs(30);

/// Flags that go along with `--config`.
const BESIDE_FILE: &[&str] =
    &["cleanup", "config", "help", "hostname-override", "init-only", "kubeconfig", "logging-format", "master", "v", "version", "vmodule"];

/// Settings as they are written: by flags, or in the file. Everything has its default.
#[derive(Clone, Debug, PartialEq)]
struct Settings {
    kubeconfig: String,
    qps: f64,
    burst: i64,
    content_type: String,
    hostname_override: String,
    bind_address: String,
    bind_address_hard_fail: bool,
    healthz_bind_address: String,
    metrics_bind_address: String,
    mode: String,
    masquerade_all: bool,
    masquerade_bit: i64,
    sync_period: Duration,
    min_sync_period: Duration,
    detect_local_mode: String,
    bridge_interface: String,
    interface_name_prefix: String,
    cluster_cidr: String,
    node_port_addresses: Vec<String>,
    oom_score_adj: i64,
    conntrack: ConntrackSettings,
}

/// The kernel's connection tracking. Zero leaves the kernel's value as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ConntrackSettings {
    pub max_per_core: i64,
    pub min: i64,
    pub tcp_established_timeout: Duration,
    pub tcp_close_wait_timeout: Duration,
    pub tcp_be_liberal: bool,
    pub udp_timeout: Duration,
    pub udp_stream_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kubeconfig: String::new(),
            qps: 5.0,
            burst: 10,
            content_type: "application/vnd.kubernetes.protobuf".to_owned(),
            hostname_override: String::new(),
            bind_address: Ipv4Addr::UNSPECIFIED.to_string(),
            bind_address_hard_fail: false,
            healthz_bind_address: format!("0.0.0.0:{HEALTHZ_PORT}"),
            metrics_bind_address: format!("127.0.0.1:{METRICS_PORT}"),
            mode: String::new(),
            masquerade_all: false,
            masquerade_bit: 14,
            sync_period: SYNC_PERIOD,
            min_sync_period: Duration::ZERO,
            detect_local_mode: String::new(),
            bridge_interface: String::new(),
            interface_name_prefix: String::new(),
            cluster_cidr: String::new(),
            node_port_addresses: Vec::new(),
            oom_score_adj: -999,
            conntrack: ConntrackSettings {
                max_per_core: 32 << 10,
                min: 128 << 10,
                tcp_established_timeout: Duration::from_secs(24 * 3600),
                tcp_close_wait_timeout: Duration::from_secs(3600),
                tcp_be_liberal: false,
                udp_timeout: Duration::ZERO,
                udp_stream_timeout: Duration::ZERO,
            },
        }
    }
}

/// How to tell a pod's traffic from other traffic.
#[derive(Clone, Debug, PartialEq)]
pub enum DetectLocal {
    /// Known from the configuration alone.
    Fixed(LocalTraffic),
    /// The pod CIDRs of this node, once it is known.
    NodeCidr,
}

/// What the program is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    Run,
    /// Delete the tables of a former run.
    Cleanup,
    /// Only what needs privileges that the running proxy may lack.
    Init,
}

/// The complete configuration of a kube-proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub action: Action,
    pub kubeconfig: Option<String>,
    /// Address of the API server, which wins over the kubeconfig's.
    pub master: Option<String>,
    pub qps: f32,
    pub burst: u32,
    pub use_protobuf: bool,
    pub hostname_override: Option<String>,
    /// Overrides the node's primary address, if it is given.
    pub bind_address: Option<IpAddr>,
    /// A port that is taken ends the program instead of only being logged.
    pub hard_fail: bool,
    pub healthz: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    pub masquerade_all: bool,
    pub masquerade_bit: u32,
    pub sync_period: Duration,
    pub min_sync_period: Option<Duration>,
    pub detect_local: DetectLocal,
    pub node_ports: NodePortAddresses,
    pub oom_score_adj: i32,
    pub conntrack: ConntrackSettings,
}

/// The flags of kube-proxy that this build acts upon.
pub fn flags() -> FlagSet {
    FlagSet::of("kube-proxy").honour(&[
        ("bind-address", "Overrides the node's primary address. An unspecified address does not."),
        ("bind-address-hard-fail", "Exit if the healthz or metrics port cannot be bound, instead of going on without."),
        ("cleanup", "Delete the nftables tables of kube-proxy and exit."),
        ("cluster-cidr", "The networks of the cluster's pods. Traffic to cluster IPs from elsewhere is masqueraded."),
        ("config", "The path of the configuration file."),
        ("conntrack-max-per-core", "Connections that the kernel tracks at most, per CPU core. 0 leaves the kernel's limit."),
        ("conntrack-min", "Connections that the kernel tracks at least, whatever --conntrack-max-per-core says."),
        ("conntrack-tcp-be-liberal", "Do not take TCP packets outside of the window for invalid."),
        ("conntrack-tcp-timeout-close-wait", "How long the kernel tracks TCP connections in CLOSE_WAIT."),
        ("conntrack-tcp-timeout-established", "How long the kernel tracks idle TCP connections. 0 leaves the kernel's value."),
        ("conntrack-udp-timeout", "How long the kernel tracks UDP flows without an answer. 0 leaves the kernel's value."),
        ("conntrack-udp-timeout-stream", "How long the kernel tracks UDP flows with answers. 0 leaves the kernel's value."),
        ("detect-local-mode", "How to tell pods' traffic: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix."),
        ("feature-gates", "A set of key=value pairs that describe feature gates."),
        ("healthz-bind-address", "Address and port of the health server. Empty disables it."),
        ("hostname-override", "The name of the node, instead of the host's name."),
        ("init-only", "Only set the kernel's parameters, which needs privileges, and exit."),
        ("kube-api-burst", "Burst of requests to the API server."),
        ("kube-api-content-type", "Content type of requests to the API server."),
        ("kube-api-qps", "Requests to the API server per second."),
        ("kubeconfig", "The path of the kubeconfig file. Without it, the pod's service account is used."),
        ("masquerade-all", "Masquerade all traffic to cluster IPs."),
        ("master", "The address of the API server, instead of the kubeconfig's."),
        ("metrics-bind-address", "Address and port of the metrics server. Empty disables it."),
        ("nodeport-addresses", "Networks of the addresses that node ports answer on, or \"primary\"."),
        ("oom-score-adj", "How readily the kernel kills the proxy when memory is short, from -1000 to 1000."),
        ("pod-bridge-interface", "The bridge that pods are attached to, for --detect-local-mode=BridgeInterface."),
        ("pod-interface-name-prefix", "Prefix of pods' interfaces, for --detect-local-mode=InterfaceNamePrefix."),
        ("proxy-mode", "How to make Services reachable: nftables, the default. Other modes are not supported."),
    ])
}

/// Makes the configuration. Enters all problems it finds.
pub fn complete(flags: &Flags, problems: &mut Problems) -> Option<Config> {
    let settings = match flags.text_opt("config") {
        Some(path) => {
            for (name, _) in flags.all() {
                if flags.changed(name) && !BESIDE_FILE.contains(&name) {
                    problems.push(format_args!("--{name} has no effect with --config: set it in {path}"));
                }
            }
            file::read(Path::new(path), problems)?
        }
        None => from_flags(flags),
    };
    let settings = Settings {
        hostname_override: override_text(flags, "hostname-override", settings.hostname_override),
        kubeconfig: override_text(flags, "kubeconfig", settings.kubeconfig),
        ..settings
    };
    let action = match (flags.bool("cleanup"), flags.bool("init-only")) {
        (true, true) => {
            problems.push("--cleanup and --init-only cannot be used together");
            return None;
        }
        (true, false) => Action::Cleanup,
        (false, true) => Action::Init,
        (false, false) => Action::Run,
    };
    let before = problems.iter().count();
    let config = validate(settings, action, flags.text_opt("master"), problems);
    (problems.iter().count() == before).then_some(config)
}

fn override_text(flags: &Flags, name: &str, otherwise: String) -> String {
    flags.text_opt(name).map_or(otherwise, str::to_owned)
}

fn from_flags(flags: &Flags) -> Settings {
    let text = |name: &str| flags.text(name).to_owned();
    Settings {
        kubeconfig: text("kubeconfig"),
        qps: flags.float("kube-api-qps"),
        burst: flags.int("kube-api-burst"),
        content_type: text("kube-api-content-type"),
        hostname_override: text("hostname-override"),
        bind_address: text("bind-address"),
        bind_address_hard_fail: flags.bool("bind-address-hard-fail"),
        healthz_bind_address: text("healthz-bind-address"),
        metrics_bind_address: text("metrics-bind-address"),
        mode: text("proxy-mode"),
        masquerade_all: flags.bool("masquerade-all"),
        detect_local_mode: text("detect-local-mode"),
        bridge_interface: text("pod-bridge-interface"),
        interface_name_prefix: text("pod-interface-name-prefix"),
        cluster_cidr: text("cluster-cidr"),
        node_port_addresses: flags.strings("nodeport-addresses"),
        oom_score_adj: flags.int("oom-score-adj"),
        conntrack: ConntrackSettings {
            max_per_core: flags.int("conntrack-max-per-core"),
            min: flags.int("conntrack-min"),
            tcp_established_timeout: flags.duration("conntrack-tcp-timeout-established"),
            tcp_close_wait_timeout: flags.duration("conntrack-tcp-timeout-close-wait"),
            tcp_be_liberal: flags.bool("conntrack-tcp-be-liberal"),
            udp_timeout: flags.duration("conntrack-udp-timeout"),
            udp_stream_timeout: flags.duration("conntrack-udp-timeout-stream"),
        },
        // The rest has no flags.
        ..Settings::default()
    }
}

fn validate(settings: Settings, action: Action, master: Option<&str>, problems: &mut Problems) -> Config {
    let mut invalid = |field: &str, value: &dyn fmt::Display, reason: &str| {
        problems.push(format_args!("KubeProxyConfiguration.{field}: Invalid value: \"{value}\": {reason}"));
    };
    match settings.mode.as_str() {
        "" | "nftables" => {}
        "iptables" | "ipvs" => invalid("Mode", &settings.mode, "this build supports the mode nftables only"),
        other => invalid("Mode", &other, "must be nftables or blank"),
    }
    let bind_address = match settings.bind_address.parse::<IpAddr>() {
        Ok(address) => (!address.is_unspecified()).then_some(address),
        Err(_) => {
            invalid("BindAddress", &settings.bind_address, "not a valid textual representation of an IP address");
            None
        }
    };
    let mut address = |field: &str, text: &str, port: u16| match parse_address(text, port) {
        Ok(address) => address,
        Err(()) => {
            invalid(field, &text, "must be IP:port");
            None
        }
    };
    let healthz = address("HealthzBindAddress", &settings.healthz_bind_address, HEALTHZ_PORT);
    let metrics = address("MetricsBindAddress", &settings.metrics_bind_address, METRICS_PORT);

    let mut networks = |field: &str, texts: &[&str]| -> Vec<IpNetwork> {
        let parsed = texts.iter().filter_map(|text| match text.trim().parse::<IpNetwork>() {
            // An address alone would be read as a network of one.
            Ok(network) if text.contains('/') => Some(network),
            _ => {
                invalid(field, text, "must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)");
                None
            }
        });
        parsed.collect()
    };
    let cluster_cidrs: Vec<&str> = settings.cluster_cidr.split(',').filter(|cidr| !cidr.is_empty()).collect();
    let cluster_cidrs = networks("ClusterCIDR", &cluster_cidrs);
    let node_port_texts: Vec<&str> = settings.node_port_addresses.iter().map(String::as_str).collect();
    let node_ports = match node_port_texts[..] {
        [] | ["primary"] => NodePortAddresses::Primary,
        ref cidrs => NodePortAddresses::Within(networks("NodePortAddresses", cidrs)),
    };

    let named = |name: &str| if name.is_empty() { None } else { Some(name.to_owned()) };
    let detect_local = match settings.detect_local_mode.as_str() {
        // Without the pods' networks they cannot be told apart; upstream goes on in that case, too.
        "" | "ClusterCIDR" if cluster_cidrs.is_empty() => DetectLocal::Fixed(LocalTraffic::Unknown),
        "" | "ClusterCIDR" => DetectLocal::Fixed(LocalTraffic::Cidrs(cluster_cidrs)),
        "NodeCIDR" => DetectLocal::NodeCidr,
        mode @ ("BridgeInterface" | "InterfaceNamePrefix") => {
            let is_bridge = mode == "BridgeInterface";
            let (field, name) = match is_bridge {
                true => ("DetectLocal.BridgeInterface", &settings.bridge_interface),
                false => ("DetectLocal.InterfaceNamePrefix", &settings.interface_name_prefix),
            };
            let is_name = name.len() < 16 && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"/*\\".contains(&byte));
            match named(name) {
                None => invalid(field, name, "must not be empty"),
                Some(_) if !is_name => invalid(field, name, "must be the name of an interface"),
                Some(_) => {}
            }
            DetectLocal::Fixed(match is_bridge {
                true => LocalTraffic::BridgeInterface(name.clone()),
                false => LocalTraffic::InterfaceNamePrefix(name.clone()),
            })
        }
        other => {
            let modes = "must be ClusterCIDR,NodeCIDR,BridgeInterface,InterfaceNamePrefix or blank";
            invalid("DetectLocalMode", &other, modes);
            DetectLocal::Fixed(LocalTraffic::Unknown)
        }
    };

    if !(-1000..=1000).contains(&settings.oom_score_adj) {
        invalid("OOMScoreAdj", &settings.oom_score_adj, "must be within the range [-1000, 1000]");
    }
    if !(0..=31).contains(&settings.masquerade_bit) {
        invalid("NFTables.MasqueradeBit", &settings.masquerade_bit, "must be within the range [0, 31]");
    }
    for (field, value) in [("MaxPerCore", settings.conntrack.max_per_core), ("Min", settings.conntrack.min)] {
        if value < 0 {
            invalid(&format!("KubeConntrackConfiguration.{field}"), &value, "must be greater than or equal to 0");
        }
    }
    let sync_period = if settings.sync_period.is_zero() { SYNC_PERIOD } else { settings.sync_period };
    if settings.min_sync_period > sync_period {
        let reason = "must be greater than or equal to minSyncPeriod";
        invalid("NFTables.SyncPeriod", &format_args!("{sync_period:?}"), reason);
    }
    let use_protobuf = match settings.content_type.as_str() {
        "" | "application/vnd.kubernetes.protobuf" => true,
        "application/json" => false,
        other => {
            invalid("ClientConnection.ContentType", &other, "must be application/vnd.kubernetes.protobuf or application/json");
            true
        }
    };
    let burst = u32::try_from(settings.burst).unwrap_or_else(|_| {
        invalid("ClientConnection.Burst", &settings.burst, "must be non-negative");
        0
    });
    Config {
        action,
        kubeconfig: named(&settings.kubeconfig),
        master: master.map(str::to_owned),
        qps: settings.qps as f32,
        burst,
        use_protobuf,
        hostname_override: named(&settings.hostname_override),
        bind_address,
        hard_fail: settings.bind_address_hard_fail,
        healthz,
        metrics,
        masquerade_all: settings.masquerade_all,
        masquerade_bit: u32::try_from(settings.masquerade_bit).unwrap_or_default(),
        sync_period,
        min_sync_period: (!settings.min_sync_period.is_zero()).then_some(settings.min_sync_period),
        detect_local,
        node_ports,
        oom_score_adj: i32::try_from(settings.oom_score_adj).unwrap_or_default(),
        conntrack: settings.conntrack,
    }
}

/// `IP:port`, `IP`, `:port`, or empty for nothing.
fn parse_address(text: &str, default_port: u16) -> Result<Option<SocketAddr>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(port) = text.strip_prefix(':') {
        let port = port.parse().map_err(drop)?;
        return Ok(Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Some(address));
    }
    text.parse::<IpAddr>().map(|ip| Some(SocketAddr::new(ip, default_port))).map_err(drop)
}

#[cfg(test)]
mod tests;
