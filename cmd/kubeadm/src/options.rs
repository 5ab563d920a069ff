//! The flags of the phases, defaulted and checked.

use std::net::IpAddr;
use std::path::PathBuf;

use component_base::flags::{FlagSet, Flags, Kind};
use component_base::problems::Problems;

use crate::network::{self, ServiceNet};

/// What the phases need to know.
#[derive(Clone, Debug)]
pub struct Options {
    pub cert_dir: PathBuf,
    pub kubeconfig_dir: PathBuf,
    pub advertise_address: IpAddr,
    pub bind_port: u16,
    /// Host and port that clients use, where it is not the advertised address.
    pub control_plane_endpoint: Option<(String, u16)>,
    pub extra_sans: Vec<String>,
    /// The first address of the service network: the service `kubernetes`.
    pub service_ip: IpAddr,
    pub dns_domain: String,
    pub node_name: String,
}

impl Options {
    /// Adds the flags of both groups of phases.
    pub fn declare(flags: FlagSet) -> FlagSet {
        let flags = flags
            .own("cert-dir", Kind::Text, "/etc/kubernetes/pki", "The path where to save and store the certificates.")
            .own("kubeconfig-dir", Kind::Text, "/etc/kubernetes", "The path where to save the kubeconfig files.")
            .own("apiserver-advertise-address", Kind::Text, "", "The IP address the API Server will advertise it's listening on. If not set the address of the default route's interface is used.")
            .own("apiserver-bind-port", Kind::Int32, "6443", "Port for the API Server to bind to.")
            .own("apiserver-cert-extra-sans", Kind::Strings, "", "Extra Subject Alternative Names (SANs) for the API Server serving certificate: IP addresses and DNS names.")
            .own("control-plane-endpoint", Kind::Text, "", "A stable IP address or DNS name for the control plane, with or without a port.")
            .own("service-cidr", Kind::Text, "10.96.0.0/12", "The range of IP addresses of services.")
            .own("service-dns-domain", Kind::Text, "cluster.local", "The domain of services.")
            .own("node-name", Kind::Text, "", "The name of the node. If not set the host's name is used.");
        ["config", "dry-run", "kubernetes-version"].into_iter().fold(flags, FlagSet::known_but_refused)
    }

    /// Defaults and checks the values.
    pub fn complete(flags: &Flags) -> Result<Options, Problems> {
        let mut problems = Problems::new();
        let node_name = match flags.text("node-name") {
            "" => problems.take(network::host_name()),
            name => Some(name.trim().to_lowercase()),
        };
        if let Some(name) = &node_name
            && !network::is_dns_name(name)
        {
            problems.push(format_args!(
                "--node-name {name:?}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                 and must start and end with an alphanumeric character"
            ));
        }
        let advertise_address = match flags.text("apiserver-advertise-address") {
            "" => problems.take(network::default_address()),
            text => problems.take(text.parse::<IpAddr>().map_err(|_| {
                format!("--apiserver-advertise-address: couldn't use {text:?} as apiserver-advertise-address, must be ipv4 or ipv6 address")
            })),
        };
        // Of a dual-stack pair the first network holds the service `kubernetes`.
        let cidr = flags.text("service-cidr").split(',').next().unwrap_or_default();
        let service_ip = problems.take(ServiceNet::parse(cidr).map(|net| net.first()).map_err(|error| format!("--service-cidr: {error}")));
        let bind_port = flags.port("apiserver-bind-port", &mut problems);
        let control_plane_endpoint = match flags.text("control-plane-endpoint") {
            "" => None,
            text => problems.take(network::parse_endpoint(text, bind_port).map_err(|error| format!("--control-plane-endpoint: {error}"))),
        };
        let extra_sans = flags.strings("apiserver-cert-extra-sans");
        for name in &extra_sans {
            let plain = name.strip_prefix("*.").unwrap_or(name);
            problems.require(
                name.parse::<IpAddr>().is_ok() || network::is_dns_name(plain),
                format_args!("--apiserver-cert-extra-sans: {name:?} is no IP address, DNS name or wildcard DNS name"),
            );
        }
        let dns_domain = flags.text("service-dns-domain").to_owned();
        problems.require(network::is_dns_name(&dns_domain), format_args!("--service-dns-domain: {dns_domain:?} is no DNS name"));
        let (cert_dir, kubeconfig_dir) = (flags.path("cert-dir"), flags.path("kubeconfig-dir"));
        problems.require(cert_dir.is_some() && kubeconfig_dir.is_some(), "--cert-dir and --kubeconfig-dir must not be empty");
        let options = || {
            Some(Options {
                cert_dir: cert_dir?,
                kubeconfig_dir: kubeconfig_dir?,
                advertise_address: advertise_address?,
                bind_port,
                control_plane_endpoint,
                extra_sans,
                service_ip: service_ip?,
                dns_domain,
                node_name: node_name?,
            })
        };
        problems.finish(options())
    }
}
