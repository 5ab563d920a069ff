//! The host's parameters that Services depend upon: forwarding, bridges, connection tracking, and the process' own
//! standing when memory is short.
//!
//! Upstream: cmd/kube-proxy/app/server_linux.go.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::options::ConntrackSettings;

/// A parameter to set, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Below `/proc/sys`.
    pub name: &'static str,
    pub value: u64,
    /// A value at least as high is left as it is.
    pub only_raise: bool,
}

/// What should be set on a host with this many CPUs.
pub fn settings(conntrack: &ConntrackSettings, cpus: u64) -> Vec<Setting> {
    let exactly = |name, value| Setting { name, value, only_raise: false };
    let mut settings = vec![
        // Without forwarding no packet gets from a cluster IP to a pod.
        exactly("net/ipv4/ip_forward", 1),
        // Answers between pods on one bridge have to pass the translation back.
        exactly("net/bridge/bridge-nf-call-iptables", 1),
        exactly("net/bridge/bridge-nf-call-ip6tables", 1),
    ];
    let per_core = u64::try_from(conntrack.max_per_core).unwrap_or_default();
    if per_core > 0 {
        let least = u64::try_from(conntrack.min).unwrap_or_default();
        let value = (per_core * cpus).max(least);
        settings.push(Setting { name: "net/netfilter/nf_conntrack_max", value, only_raise: true });
    }
    let timeouts = [
        ("net/netfilter/nf_conntrack_tcp_timeout_established", conntrack.tcp_established_timeout),
        ("net/netfilter/nf_conntrack_tcp_timeout_close_wait", conntrack.tcp_close_wait_timeout),
        ("net/netfilter/nf_conntrack_udp_timeout", conntrack.udp_timeout),
        ("net/netfilter/nf_conntrack_udp_timeout_stream", conntrack.udp_stream_timeout),
    ];
    let given = timeouts.into_iter().filter(|(_, timeout)| *timeout > Duration::ZERO);
    settings.extend(given.map(|(name, timeout)| exactly(name, timeout.as_secs())));
    if conntrack.tcp_be_liberal {
        settings.push(exactly("net/netfilter/nf_conntrack_tcp_be_liberal", 1));
    }
    settings
}

/// Applies the settings below `root` (`/proc/sys`). What cannot be set is logged: a container may have no right to, and
/// somebody else may have seen to it. Parameters that this kernel does not have are left out.
pub fn apply(settings: &[Setting], root: &Path) {
    for setting in settings {
        let path: PathBuf = root.join(setting.name);
        let Some(current) = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok()) else {
            tracing::debug!(sysctl = setting.name, "The kernel has no such parameter");
            continue;
        };
        if current == setting.value || (setting.only_raise && current > setting.value) {
            continue;
        }
        match fs::write(&path, setting.value.to_string()) {
            Ok(()) => tracing::info!(sysctl = setting.name, value = setting.value, "Set sysctl"),
            Err(error) => {
                tracing::warn!(sysctl = setting.name, value = setting.value, current, err = %error, "Failed to set sysctl");
            }
        }
    }
}

/// Sets how readily the kernel kills this process when memory is short.
pub fn set_oom_score(adjustment: i32) {
    if let Err(error) = fs::write("/proc/self/oom_score_adj", adjustment.to_string()) {
        tracing::warn!(value = adjustment, err = %error, "Failed to apply OOM score");
    }
}

/// The host's name as the node's default name: in lower case, without blanks.
pub fn host_name() -> std::io::Result<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_lowercase();
    if name.is_empty() { Err(std::io::Error::other("the host has no name")) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNTRACK: ConntrackSettings = ConntrackSettings {
        max_per_core: 32768,
        min: 131072,
        tcp_established_timeout: Duration::from_secs(86400),
        tcp_close_wait_timeout: Duration::from_secs(3600),
        tcp_be_liberal: false,
        udp_timeout: Duration::ZERO,
        udp_stream_timeout: Duration::ZERO,
    };

    #[test]
    fn the_table_of_connections_grows_with_the_host() {
        let max = |cpus| {
            let settings = settings(&CONNTRACK, cpus);
            settings.iter().find(|setting| setting.name.ends_with("nf_conntrack_max")).map(|setting| setting.value)
        };
        assert_eq!((max(2), max(8)), (Some(131072), Some(262144)));
        let off = ConntrackSettings { max_per_core: 0, ..CONNTRACK };
        assert!(settings(&off, 8).iter().all(|setting| !setting.name.ends_with("nf_conntrack_max")));
    }

    #[test]
    fn parameters_are_set_or_raised_and_missing_ones_left_out() {
        let root = std::env::temp_dir().join(format!("proxy-sysctl-{}", std::process::id()));
        for (name, value) in [("net/ipv4/ip_forward", "0\n"), ("net/netfilter/nf_conntrack_max", "300000\n")] {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value).unwrap();
        }
        apply(&settings(&CONNTRACK, 2), &root);
        let read = |name: &str| fs::read_to_string(root.join(name)).ok();
        assert_eq!(read("net/ipv4/ip_forward").as_deref(), Some("1"));
        assert_eq!(read("net/netfilter/nf_conntrack_max").as_deref(), Some("300000\n"));
        assert_eq!(read("net/bridge/bridge-nf-call-iptables"), None);
        fs::remove_dir_all(root).unwrap();
    }
}
