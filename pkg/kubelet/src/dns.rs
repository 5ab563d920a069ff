//! What a pod gets as resolv.conf. Upstream: pkg/kubelet/network/dns.

use api::core::v1::Pod;
use cri_api::v1::DNSConfig as DnsConfig;

/// Limits of the resolver library.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// The node's side of name resolution.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    /// `resolvConf`: the file on this machine that is handed on; none if empty.
    pub resolv_conf: String,
}

/// The configuration, and what the pod's owner should be told as (reason, message).
#[derive(Debug, Default, PartialEq)]
pub struct PodDns {
    pub config: DnsConfig,
    pub warnings: Vec<(&'static str, String)>,
}

fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            // The last search line counts; a root domain alone adds nothing.
            Some("search") => {
                config.searches = words.map(|word| if word == "." { word } else { word.trim_end_matches('.') }.to_owned()).collect()
            }
            Some("options") => config.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    config
}

impl Resolver {
    fn host(&self) -> Result<DnsConfig, String> {
        if self.resolv_conf.is_empty() {
            return Ok(DnsConfig::default());
        }
        match std::fs::read_to_string(&self.resolv_conf) {
            Ok(text) => Ok(parse(&text)),
            Err(err) => Err(format!("cannot read {}: {err}", self.resolv_conf)),
        }
    }

    pub fn for_pod(&self, pod: &Pod) -> Result<PodDns, String> {
        self.compose(pod, self.host()?)
    }

    fn compose(&self, pod: &Pod, host: DnsConfig) -> Result<PodDns, String> {
        let mut dns = PodDns::default();
        let policy = match (pod.spec.dns_policy.as_str(), pod.spec.host_network) {
            ("ClusterFirst" | "", true) => "Default",
            ("ClusterFirst" | "ClusterFirstWithHostNet" | "", _) => "ClusterFirst",
            (policy @ ("Default" | "None"), _) => policy,
            (other, _) => return Err(format!("invalid DNSPolicy={other}")),
        };
        match policy {
            "None" => {}
            "ClusterFirst" if !self.cluster_dns.is_empty() => {
                dns.config.servers = self.cluster_dns.clone();
                if !self.cluster_domain.is_empty() {
                    let (namespace, domain) = (&pod.metadata.namespace, &self.cluster_domain);
                    dns.config.searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
                    for search in host.searches {
                        if !dns.config.searches.contains(&search) {
                            dns.config.searches.push(search);
                        }
                    }
                } else {
                    dns.config.searches = host.searches;
                }
                dns.config.options = vec!["ndots:5".to_owned()];
            }
            policy => {
                if policy == "ClusterFirst" {
                    dns.warnings.push((
                        "MissingClusterDNS",
                        format!(
                            "pod: {:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.",
                            format!("{}_{}({})", pod.metadata.name, pod.metadata.namespace, pod.metadata.uid)
                        ),
                    ));
                }
                dns.config = host;
                if dns.config.servers.is_empty() && self.resolv_conf.is_empty() {
                    // Without any server the resolver library would ask this machine's own.
                    dns.config.servers = vec!["127.0.0.1".to_owned()];
                    dns.config.searches = vec![".".to_owned()];
                }
            }
        }
        if let Some(own) = &pod.spec.dns_config {
            for server in own.nameservers.iter() {
                if !dns.config.servers.contains(server) {
                    dns.config.servers.push(server.clone());
                }
            }
            for search in own.searches.iter() {
                if !dns.config.searches.contains(search) {
                    dns.config.searches.push(search.clone());
                }
            }
            for option in own.options.iter() {
                let text = match &option.value {
                    Some(value) if !value.is_empty() => format!("{}:{value}", option.name),
                    _ => option.name.clone(),
                };
                dns.config.options.retain(|have| have.split(':').next() != Some(&option.name));
                dns.config.options.push(text);
            }
        }
        self.cut(&mut dns);
        Ok(dns)
    }

    fn cut(&self, dns: &mut PodDns) {
        if dns.config.servers.len() > MAX_NAMESERVERS {
            dns.config.servers.truncate(MAX_NAMESERVERS);
            let applied = dns.config.servers.join(" ");
            dns.warnings.push((
                "DNSConfigForming",
                format!("Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {applied}"),
            ));
        }
        let fits = |searches: &[String]| searches.len() <= MAX_SEARCHES && searches.join(" ").len() <= MAX_SEARCH_CHARS;
        if !fits(&dns.config.searches) {
            while !fits(&dns.config.searches) {
                dns.config.searches.pop();
            }
            let applied = dns.config.searches.join(" ");
            dns.warnings.push((
                "DNSConfigForming",
                format!("Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {applied}"),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::core::v1::{PodDNSConfig, PodDNSConfigOption};

    const HOST: &str = "nameserver 192.0.2.1 # first\nsearch example.org. .\noptions timeout:1\n";

    fn lines(policy: &str, host_network: bool, own: Option<PodDNSConfig>) -> String {
        let resolver = Resolver { cluster_dns: vec!["10.0.0.10".into()], cluster_domain: "cluster.local".into(), resolv_conf: "/x".into() };
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.spec.dns_policy = policy.into();
        pod.spec.host_network = host_network;
        pod.spec.dns_config = own.map(Box::new);
        let dns = resolver.compose(&pod, parse(HOST)).unwrap().config;
        format!("{} | {} | {}", dns.servers.join(" "), dns.searches.join(" "), dns.options.join(" "))
    }

    #[test]
    fn policies() {
        let cluster = "10.0.0.10 | ns.svc.cluster.local svc.cluster.local cluster.local example.org . | ndots:5";
        let host = "192.0.2.1 | example.org . | timeout:1";
        assert_eq!(lines("ClusterFirst", false, None), cluster);
        assert_eq!(lines("ClusterFirst", true, None), host);
        assert_eq!(lines("ClusterFirstWithHostNet", true, None), cluster);
        assert_eq!(lines("Default", false, None), host);
        let own = PodDNSConfig {
            nameservers: vec!["9.9.9.9".to_owned()].into(),
            options: vec![PodDNSConfigOption { name: "ndots".into(), value: Some("2".into()) }].into(),
            ..Default::default()
        };
        assert_eq!(lines("None", false, Some(own.clone())), "9.9.9.9 |  | ndots:2");
        assert_eq!(lines("Default", false, Some(own)), "192.0.2.1 9.9.9.9 | example.org . | timeout:1 ndots:2");
    }
}
