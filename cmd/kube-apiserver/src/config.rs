//! [`Config`]: the flags, checked and complete. Reads no file and opens nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use component_base::flags::Flags;
use component_base::problems::Problems;
use component_base::serving::tls::{CertSource, TlsOptions};

/// Where the state is kept.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In a file below this folder.
    Embedded {
        data_dir: PathBuf,
    },
    Etcd {
        servers: Vec<String>,
        ca_file: Option<PathBuf>,
        cert_file: Option<PathBuf>,
        key_file: Option<PathBuf>,
    },
    /// Gone with the process: for tests.
    Memory,
}

/// Proxies that may name users.
#[derive(Clone, Debug)]
pub struct RequestHeaderConfig {
    pub client_ca_file: PathBuf,
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

/// An authorizer by its name in the flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationMode {
    AlwaysAllow,
    AlwaysDeny,
    Rbac,
    Node,
}

/// All settings of a server.
#[derive(Clone, Debug)]
pub struct Config {
    pub address: SocketAddr,
    /// The address other members of the cluster use.
    pub advertise_address: IpAddr,
    /// Without it a certificate is made up at every start.
    pub tls: Option<TlsOptions>,
    pub max_streams: u32,
    pub share_port: bool,
    pub store: StoreConfig,
    pub generic: apiserver::server::Config,

    pub anonymous: bool,
    pub bootstrap_tokens: bool,
    pub client_ca_file: Option<PathBuf>,
    pub token_file: Option<PathBuf>,
    pub request_header: Option<RequestHeaderConfig>,
    pub authorization_modes: Vec<AuthorizationMode>,
    pub enable_admission: Vec<String>,
    pub disable_admission: Vec<String>,

    pub service_account_issuers: Vec<String>,
    pub service_account_key_files: Vec<PathBuf>,
    pub service_account_signing_key_file: Option<PathBuf>,
    pub api_audiences: Vec<String>,
    /// The longest a service account token may be asked to last.
    pub max_token_seconds: Option<i64>,
    /// Projected tokens last a year for clients that do not read them again.
    pub extend_tokens: bool,

    pub service_cidrs: Vec<String>,
    pub node_ports: (u16, u16),
    pub event_ttl: Duration,
    pub allow_privileged: bool,
    pub kubelet_ca_file: Option<PathBuf>,
    pub kubelet_client_cert_file: Option<PathBuf>,
    pub kubelet_client_key_file: Option<PathBuf>,
    pub kubelet_address_types: Vec<String>,
    pub proxy_client_cert_file: Option<PathBuf>,
    pub proxy_client_key_file: Option<PathBuf>,
    pub shutdown_delay: Duration,
    /// What `/flagz` shows.
    pub flags: Option<Flags>,
}

/// How long requests may go on after the server was told to stop.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Flags to config. Every mistake is entered into `problems`.
pub fn complete(flags: &Flags, problems: &mut Problems) -> Option<Config> {
    let port = flags.port("secure-port", problems);
    let bind = flags.ip("bind-address").unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let tls = match (flags.path("tls-cert-file"), flags.path("tls-private-key-file")) {
        (Some(cert), Some(key)) => Some(TlsOptions {
            min_version: flags.text("tls-min-version").to_owned(),
            cipher_suites: flags.strings("tls-cipher-suites"),
            ..TlsOptions::new(CertSource::Files { cert, key })
        }),
        (None, None) => None,
        _ => {
            problems.push("--tls-cert-file and --tls-private-key-file must be given together");
            None
        }
    };
    problems.take(TlsOptions::check_names(flags.text("tls-min-version"), &flags.strings("tls-cipher-suites")));
    let advertise_address =
        flags.ip("advertise-address").filter(|address| !address.is_unspecified()).unwrap_or_else(|| default_address(bind));

    let max_streams = u32::try_from(flags.int("http2-max-streams-per-connection")).unwrap_or_else(|_| {
        problems.push("--http2-max-streams-per-connection can not be a negative value");
        0
    });
    let count = |problems: &mut Problems, name: &str| {
        usize::try_from(flags.int(name)).unwrap_or_else(|_| {
            problems.push(format_args!("--{name} can not be negative value"));
            0
        })
    };
    let generic = apiserver::server::Config {
        etcd_prefix: match flags.text("etcd-prefix") {
            "" => "/registry".to_owned(),
            prefix => format!("/{}", prefix.trim_matches('/')),
        },
        max_requests: count(problems, "max-requests-inflight"),
        max_mutating_requests: count(problems, "max-mutating-requests-inflight"),
        request_timeout: match flags.duration("request-timeout") {
            Duration::ZERO => {
                problems.push("--request-timeout can not be negative value");
                Duration::from_secs(60)
            }
            timeout => timeout,
        },
        public_address: SocketAddr::new(advertise_address, port).to_string(),
    };
    for (name, value) in flags.map("runtime-config") {
        problems.require(
            name == "api/all" && value != "false",
            format_args!(
                "--runtime-config={name}={value} is not supported by this build: it serves the API versions that are on by default"
            ),
        );
    }

    let service_account_issuers = flags.strings("service-account-issuer");
    let mut api_audiences = flags.strings("api-audiences");
    if api_audiences.is_empty() {
        api_audiences.clone_from(&service_account_issuers);
    }
    let config = Config {
        address: SocketAddr::new(bind, port),
        advertise_address,
        tls,
        max_streams,
        share_port: flags.bool("permit-port-sharing"),
        store: store(flags, problems),
        generic,
        anonymous: flags.bool("anonymous-auth"),
        bootstrap_tokens: flags.bool("enable-bootstrap-token-auth"),
        client_ca_file: flags.path("client-ca-file"),
        token_file: flags.path("token-auth-file"),
        request_header: flags.path("requestheader-client-ca-file").map(|client_ca_file| RequestHeaderConfig {
            client_ca_file,
            allowed_names: flags.strings("requestheader-allowed-names"),
            username_headers: flags.strings("requestheader-username-headers"),
            uid_headers: flags.strings("requestheader-uid-headers"),
            group_headers: flags.strings("requestheader-group-headers"),
            extra_prefixes: flags.strings("requestheader-extra-headers-prefix"),
        }),
        authorization_modes: modes(flags, problems),
        enable_admission: flags.strings("enable-admission-plugins"),
        disable_admission: flags.strings("disable-admission-plugins"),
        service_account_key_files: flags.strings("service-account-key-file").into_iter().map(PathBuf::from).collect(),
        service_account_signing_key_file: flags.path("service-account-signing-key-file"),
        service_account_issuers,
        api_audiences,
        max_token_seconds: i64::try_from(flags.duration("service-account-max-token-expiration").as_secs())
            .ok()
            .filter(|seconds| *seconds > 0),
        extend_tokens: flags.bool("service-account-extend-token-expiration"),
        service_cidrs: service_cidrs(flags, problems),
        node_ports: flags.port_range("service-node-port-range").unwrap_or((30000, 32767)),
        event_ttl: flags.duration("event-ttl"),
        allow_privileged: flags.bool("allow-privileged"),
        kubelet_ca_file: flags.path("kubelet-certificate-authority"),
        kubelet_client_cert_file: flags.path("kubelet-client-certificate"),
        kubelet_client_key_file: flags.path("kubelet-client-key"),
        kubelet_address_types: flags.strings("kubelet-preferred-address-types"),
        proxy_client_cert_file: flags.path("proxy-client-cert-file"),
        proxy_client_key_file: flags.path("proxy-client-key-file"),
        shutdown_delay: flags.duration("shutdown-delay-duration"),
        flags: Some(flags.clone()),
    };
    if config.service_account_issuers.is_empty() {
        problems.push(
            "service-account-issuer is a required flag, --service-account-signing-key-file and --service-account-issuer are required flags",
        );
    } else if config.service_account_signing_key_file.is_none() {
        problems.push("--service-account-signing-key-file and --service-account-issuer are required flags");
    }
    check_admission_names(&config, problems);
    Some(config)
}

fn store(flags: &Flags, problems: &mut Problems) -> StoreConfig {
    let servers = flags.strings("etcd-servers");
    let files = ["etcd-cafile", "etcd-certfile", "etcd-keyfile"];
    if !servers.is_empty() {
        problems.require(!flags.changed("data-dir"), "--data-dir and --etcd-servers cannot both be given: the state is kept in one place");
        let [ca_file, cert_file, key_file] = files.map(|name| flags.path(name));
        problems.require(cert_file.is_some() == key_file.is_some(), "--etcd-certfile and --etcd-keyfile must be given together");
        return StoreConfig::Etcd { servers, ca_file, cert_file, key_file };
    }
    for name in files {
        problems.require(!flags.changed(name), format_args!("--{name} needs --etcd-servers"));
    }
    match flags.path("data-dir") {
        Some(data_dir) => StoreConfig::Embedded { data_dir },
        None => {
            problems.push("--data-dir or --etcd-servers must be specified");
            StoreConfig::Memory
        }
    }
}

fn modes(flags: &Flags, problems: &mut Problems) -> Vec<AuthorizationMode> {
    let mut modes = Vec::new();
    for name in flags.strings("authorization-mode") {
        let mode = match name.as_str() {
            "AlwaysAllow" => AuthorizationMode::AlwaysAllow,
            "AlwaysDeny" => AuthorizationMode::AlwaysDeny,
            "RBAC" => AuthorizationMode::Rbac,
            "Node" => AuthorizationMode::Node,
            "ABAC" | "Webhook" => {
                problems.push(format_args!("--authorization-mode={name} is not supported by this build"));
                continue;
            }
            other => {
                problems.push(format_args!("authorization-mode {other:?} is not a valid mode"));
                continue;
            }
        };
        if modes.contains(&mode) {
            problems.push(format_args!("authorization-mode [{name}] has mode specified more than once"));
        }
        modes.push(mode);
    }
    // Upstream's default without a configuration file.
    if modes.is_empty() && problems.is_empty() {
        modes.push(AuthorizationMode::AlwaysAllow);
    }
    modes
}

fn service_cidrs(flags: &Flags, problems: &mut Problems) -> Vec<String> {
    let mut ranges: Vec<String> =
        flags.text("service-cluster-ip-range").split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    if ranges.is_empty() {
        ranges.push("10.0.0.0/24".to_owned());
    }
    for range in &ranges {
        if apimachinery::validation::net::parse_cidr_sloppy(range).is_none() {
            problems.push(format_args!("--service-cluster-ip-range: {range} is not a valid cidr"));
        }
    }
    problems.require(ranges.len() <= 2, "--service-cluster-ip-range must not contain more than two entries");
    ranges
}

fn check_admission_names(config: &Config, problems: &mut Problems) {
    let known = plugin::admission::in_order();
    for (flag, names) in [("enable-admission-plugins", &config.enable_admission), ("disable-admission-plugins", &config.disable_admission)]
    {
        for name in names {
            problems.require(
                known.iter().any(|entry| entry.name == name),
                format_args!("{flag} plugin {name:?} is unknown, or not supported by this build"),
            );
        }
    }
    for name in &config.enable_admission {
        problems.require(
            !config.disable_admission.contains(name),
            format_args!("[{name}] in enable-admission-plugins and disable-admission-plugins overlapped"),
        );
    }
}

/// The address others reach this host at: the one its packets to the outside would carry.
fn default_address(bind: IpAddr) -> IpAddr {
    if !bind.is_unspecified() {
        return bind;
    }
    // Connecting a datagram socket sends nothing; it only asks the routing table.
    let routed = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    routed.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}
