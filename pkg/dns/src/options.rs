//! kube-dns' command line. Upstream's DNS server is configured by a Corefile; the flags here are our own.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use component_base::flags::{FlagSet, Flags, Kind};
use component_base::problems::Problems;
use hickory_proto::rr::Name;

use crate::forward::Route;
use crate::resolv_conf::{name_servers, parse_server};
use crate::zone::PodRecords;

/// Most seconds that clients may keep an answer of ours: endpoints change at any time.
const LONGEST_TTL: i64 = 3600;

/// The complete configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub kubeconfig: Option<PathBuf>,
    /// Ends with a dot.
    pub domain: Name,
    pub address: SocketAddr,
    pub ttl: u32,
    pub pods: PodRecords,
    pub routes: Vec<Route>,
    pub health: Option<SocketAddr>,
    pub ready: Option<SocketAddr>,
    pub metrics: Option<SocketAddr>,
    /// How long questions are answered after the order to stop: clients learn late that this server is going.
    pub lameduck: Duration,
}

/// The flags of kube-dns.
pub fn flags() -> FlagSet {
    FlagSet::of("kube-dns")
        .own("kubeconfig", Kind::Text, "", "The path of the kubeconfig file. Without it, the pod's service account is used.")
        .own("domain", Kind::Text, "cluster.local", "The domain of the cluster.")
        .own("bind-address", Kind::Ip, "0.0.0.0", "The address to answer on.")
        .own("port", Kind::Int32, "53", "The port to answer on, UDP and TCP.")
        .own("ttl", Kind::Int32, "5", "Seconds that clients may keep an answer about the cluster.")
        .own("pods", Kind::Text, "insecure", "Names of pods (1-2-3-4.NAMESPACE.pod): insecure (any address) or disabled.")
        .own("upstream", Kind::Strings, "", "Servers for names outside of the cluster, ADDRESS or ADDRESS:PORT.")
        .own(
            "resolv-conf",
            Kind::Text,
            "/etc/resolv.conf",
            "The file that names the servers for names outside of the cluster, unless --upstream does. Empty: no servers.",
        )
        .own("stub-domain", Kind::StringArray, "", "Servers for the names of one domain, DOMAIN=ADDRESS[,ADDRESS...]. May be repeated.")
        .own("health-bind-address", Kind::IpPort, "0.0.0.0:8080", "Where /health is served. Empty disables it.")
        .own("ready-bind-address", Kind::IpPort, "0.0.0.0:8181", "Where /ready is served. Empty disables it.")
        .own("metrics-bind-address", Kind::IpPort, "0.0.0.0:9153", "Where /metrics is served. Empty disables it.")
        .own("lameduck", Kind::Duration, "5s", "How long to go on answering after the order to stop.")
}

/// Makes the configuration, with the host's name servers in it. Enters all problems it finds.
pub fn complete(flags: &Flags, problems: &mut Problems) -> Option<Config> {
    let before = problems.iter().count();
    let domain = domain("domain", flags.text("domain"), problems);
    let ttl = flags.int("ttl");
    problems.require((0..=LONGEST_TTL).contains(&ttl), format_args!("--ttl {ttl} must be between 0 and {LONGEST_TTL}"));
    let pods = match flags.text("pods") {
        "insecure" => PodRecords::Insecure,
        "disabled" => PodRecords::Disabled,
        other => {
            problems.push(format_args!("--pods={other} is not supported: use insecure or disabled"));
            PodRecords::Disabled
        }
    };
    let mut routes = Vec::new();
    let upstream = servers("upstream", &flags.strings("upstream"), problems);
    let upstream = match flags.path("resolv-conf") {
        _ if !upstream.is_empty() => upstream,
        None => Vec::new(),
        Some(path) => match std::fs::read_to_string(&path) {
            Ok(text) => name_servers(&text),
            // A host without the file is a host without name servers; an explicit one must be there.
            Err(_) if !flags.changed("resolv-conf") => Vec::new(),
            Err(error) => {
                problems.push(format_args!("cannot read {}: {error}", path.display()));
                Vec::new()
            }
        },
    };
    routes.push(Route { suffix: Name::root(), servers: upstream });
    for text in flags.strings("stub-domain") {
        let Some((name, addresses)) = text.split_once('=') else {
            problems.push(format_args!("--stub-domain {text} must be DOMAIN=ADDRESS[,ADDRESS...]"));
            continue;
        };
        let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
        if let Some(suffix) = self::domain("stub-domain", name, problems) {
            routes.push(Route { suffix, servers: servers("stub-domain", &addresses, problems) });
        }
    }
    let port = flags.port("port", problems);
    let address = SocketAddr::new(any_family(flags.ip("bind-address")), port);
    let mut endpoint = |name: &str| match flags.text(name) {
        "" => None,
        text => match text.parse::<SocketAddr>() {
            Ok(address) => Some(address),
            Err(_) => {
                problems.push(format_args!("--{name} {text} must be IP:port"));
                None
            }
        },
    };
    let (health, ready) = (endpoint("health-bind-address"), endpoint("ready-bind-address"));
    let metrics = endpoint("metrics-bind-address");
    if problems.iter().count() > before {
        return None;
    }
    Some(Config {
        kubeconfig: flags.path("kubeconfig"),
        domain: domain?,
        address,
        ttl: u32::try_from(ttl).unwrap_or_default(),
        pods,
        routes,
        health,
        ready,
        metrics,
        lameduck: flags.duration("lameduck"),
    })
}

/// `0.0.0.0` stands for any address of either family, as it does upstream.
fn any_family(address: Option<IpAddr>) -> IpAddr {
    match address {
        Some(address) if !address.is_unspecified() => address,
        _ => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn domain(flag: &str, text: &str, problems: &mut Problems) -> Option<Name> {
    match Name::from_ascii(text) {
        Ok(mut name) if !name.is_root() && !text.is_empty() => {
            name.set_fqdn(true);
            Some(name.to_lowercase())
        }
        _ => {
            problems.push(format_args!("--{flag} {text} is not the name of a domain"));
            None
        }
    }
}

fn servers(flag: &str, texts: &[String], problems: &mut Problems) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        match parse_server(text) {
            Some(server) => servers.push(server),
            None => problems.push(format_args!("--{flag} {text} must be ADDRESS or ADDRESS:PORT")),
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use component_base::daemon::{Command, Parsed};

    use super::*;

    fn parse(arguments: &str) -> Result<Config, String> {
        let command = Command::new("Answers.", flags(), complete);
        match command.parse(arguments.split_whitespace()) {
            Ok(Parsed::Run(config, ..)) => Ok(*config),
            Ok(Parsed::Print(text)) => panic!("{text}"),
            Err(problems) => Err(problems.to_string()),
        }
    }

    #[test]
    fn flags_make_a_configuration() {
        let config = parse(
            "--domain=Example.local --upstream=192.0.2.1,[2001:db8::1]:5353 --stub-domain=corp.example=192.0.2.9,192.0.2.10 \
             --health-bind-address= --lameduck=1s --pods=disabled",
        )
        .unwrap();
        assert_eq!(config.domain.to_ascii(), "example.local.");
        assert_eq!(config.routes.len(), 2);
        assert_eq!(config.routes[0].servers[1], "[2001:db8::1]:5353".parse().unwrap());
        assert_eq!((config.routes[1].suffix.to_ascii(), config.routes[1].servers.len()), ("corp.example.".to_owned(), 2));
        assert_eq!((config.health, config.ready), (None, Some("0.0.0.0:8181".parse().unwrap())));
        assert_eq!((config.lameduck, config.pods), (Duration::from_secs(1), PodRecords::Disabled));
        assert_eq!(config.address, "[::]:53".parse().unwrap());
    }

    #[test]
    fn what_is_wrong_is_told_all_at_once() {
        let problems =
            parse("--domain= --ttl=-1 --pods=verified --upstream=dns.example.com --stub-domain=corp --port=0 --resolv-conf=/nowhere")
                .unwrap_err();
        for part in ["--domain", "--ttl -1", "--pods=verified", "--upstream dns", "--stub-domain corp", "--port 0"] {
            assert!(problems.contains(part), "{part}: {problems}");
        }
        assert!(parse("--resolv-conf=/nowhere").unwrap_err().contains("cannot read /nowhere"));
    }
}
