//! The pod's /etc/hosts, which the kubelet writes and mounts, and its host name.

use api::core::v1::{HostAlias, Pod};

const HEADER: &str = "# Kubernetes-managed hosts file.\n";
const HOST_NETWORK_HEADER: &str = "# Kubernetes-managed hosts file (host network).\n";

/// Longest host name that the kernel takes.
const MAX_HOSTNAME: usize = 63;

/// The pod's host name and its domain below the cluster's, empty without a subdomain.
pub fn host_name(pod: &Pod, cluster_domain: &str) -> Result<(String, String), String> {
    if let Some(name) = &pod.spec.hostname_override {
        return Ok((name.clone(), String::new()));
    }
    let mut name = pod.metadata.name.clone();
    if !pod.spec.hostname.is_empty() {
        name = pod.spec.hostname.clone();
    } else if name.len() > MAX_HOSTNAME {
        name.truncate(MAX_HOSTNAME);
        name = name.trim_end_matches(['-', '.']).to_owned();
    }
    let domain = match pod.spec.subdomain.as_str() {
        "" => String::new(),
        subdomain => format!("{subdomain}.{}.svc.{cluster_domain}", pod.metadata.namespace),
    };
    Ok((name, domain))
}

/// What the sandbox is named: the plain name, or with its domain if the pod asks for that.
pub fn sandbox_host_name(pod: &Pod, cluster_domain: &str) -> Result<String, String> {
    let (name, domain) = host_name(pod, cluster_domain)?;
    if pod.spec.set_hostname_as_fqdn != Some(true) || domain.is_empty() {
        return Ok(name);
    }
    let full = format!("{name}.{domain}");
    if full.len() > MAX_HOSTNAME + 1 {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long (64 characters is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

fn add_aliases(text: &mut String, aliases: &[HostAlias]) {
    if aliases.is_empty() {
        return;
    }
    text.push_str("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
    }
}

/// For a pod with a network of its own.
pub fn pod_hosts(ips: &[String], name: &str, domain: &str, aliases: &[HostAlias]) -> String {
    let mut text = HEADER.to_owned();
    text.push_str("127.0.0.1\tlocalhost\n");
    text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
    text.push_str("fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n");
    for ip in ips {
        if domain.is_empty() {
            text.push_str(&format!("{ip}\t{name}\n"));
        } else {
            text.push_str(&format!("{ip}\t{name}.{domain}\t{name}\n"));
        }
    }
    add_aliases(&mut text, aliases);
    text
}

/// For a pod on the node's network: the node's own file, marked.
pub fn node_hosts(own: &str, aliases: &[HostAlias]) -> String {
    let mut text = format!("{HOST_NETWORK_HEADER}{own}");
    add_aliases(&mut text, aliases);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let mut pod = Pod::default();
        pod.metadata.name = "web-0".into();
        pod.metadata.namespace = "ns".into();
        assert_eq!(host_name(&pod, "cluster.local").unwrap(), ("web-0".into(), String::new()));
        pod.spec.subdomain = "web".into();
        assert_eq!(host_name(&pod, "cluster.local").unwrap().1, "web.ns.svc.cluster.local");
        assert_eq!(sandbox_host_name(&pod, "cluster.local").unwrap(), "web-0");
        pod.spec.set_hostname_as_fqdn = Some(true);
        assert_eq!(sandbox_host_name(&pod, "cluster.local").unwrap(), "web-0.web.ns.svc.cluster.local");
        pod.metadata.name = format!("{}-.x", "a".repeat(62));
        pod.spec.subdomain = String::new();
        assert_eq!(host_name(&pod, "cluster.local").unwrap().0, "a".repeat(62));
    }

    #[test]
    fn files() {
        let aliases = [HostAlias { ip: "192.0.2.7".into(), hostnames: vec!["a".to_owned(), "b".to_owned()].into() }];
        let text = pod_hosts(&["10.0.0.1".into()], "web-0", "web.ns.svc.cluster.local", &aliases);
        assert!(
            text.ends_with("10.0.0.1\tweb-0.web.ns.svc.cluster.local\tweb-0\n\n# Entries added by HostAliases.\n192.0.2.7\ta\tb\n"),
            "{text}"
        );
        assert_eq!(node_hosts("127.0.0.1 x\n", &[]), "# Kubernetes-managed hosts file (host network).\n127.0.0.1 x\n");
    }
}
