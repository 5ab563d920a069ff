//! What the controllers are told: the values of kube-controller-manager's flags, checked. The defaults are upstream's.

use std::path::PathBuf;
use std::time::Duration;

/// Plain values; which flag each comes from is its name with dashes, unless said otherwise.
#[derive(Clone, Debug)]
pub struct Settings {
    pub cluster_name: String,
    /// As written: at most one CIDR of each family.
    pub cluster_cidr: Vec<String>,
    /// As written: at most one CIDR of each family.
    pub service_cluster_ip_range: Vec<String>,
    pub allocate_node_cidrs: bool,
    /// `--node-cidr-mask-size-ipv4`, or `--node-cidr-mask-size` where the cluster has one family.
    pub node_cidr_mask_size_ipv4: u8,
    pub node_cidr_mask_size_ipv6: u8,

    pub node_monitor_period: Duration,
    pub node_monitor_grace_period: Duration,
    pub node_startup_grace_period: Duration,
    /// Nodes per second.
    pub node_eviction_rate: f64,
    pub secondary_node_eviction_rate: f64,
    pub large_cluster_size_threshold: usize,
    pub unhealthy_zone_threshold: f64,

    /// Terminated pods that may exist before the oldest go; zero or less keeps all.
    pub terminated_pod_gc_threshold: i64,
    pub enable_garbage_collector: bool,
    pub namespace_sync_period: Duration,
    pub resource_quota_sync_period: Duration,
    pub max_endpoints_per_slice: usize,
    pub endpoint_updates_batch_period: Duration,
    pub endpointslice_updates_batch_period: Duration,

    /// PEM of `--root-ca-file`, else of the API server's CA in the kubeconfig: published to every namespace.
    pub root_ca: Option<Vec<u8>>,
    pub service_account_private_key_file: Option<PathBuf>,
    pub signers: Signers,

    pub workers: Workers,
}

/// How many keys of a kind are worked on at a time: the `--concurrent-*-syncs` flags.
#[derive(Clone, Debug)]
pub struct Workers {
    pub deployment: usize,
    pub replicaset: usize,
    pub replicationcontroller: usize,
    pub statefulset: usize,
    pub daemonset: usize,
    pub job: usize,
    pub cronjob: usize,
    pub endpoint: usize,
    pub service_endpoint: usize,
    pub gc: usize,
    pub namespace: usize,
    pub resource_quota: usize,
    pub serviceaccount_token: usize,
    pub ttl_after_finished: usize,
}

/// A certificate authority's files.
#[derive(Clone, Debug, PartialEq)]
pub struct SignerFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Which authority signs for which signer name. Without files a signer's requests stay pending.
#[derive(Clone, Debug)]
pub struct Signers {
    /// kubernetes.io/kubelet-serving
    pub kubelet_serving: Option<SignerFiles>,
    /// kubernetes.io/kube-apiserver-client-kubelet
    pub kubelet_client: Option<SignerFiles>,
    /// kubernetes.io/kube-apiserver-client
    pub kube_apiserver_client: Option<SignerFiles>,
    /// kubernetes.io/legacy-unknown
    pub legacy_unknown: Option<SignerFiles>,
    /// `--cluster-signing-duration`: the longest a certificate is made valid for.
    pub duration: Duration,
}

impl Default for Signers {
    fn default() -> Signers {
        Signers {
            kubelet_serving: None,
            kubelet_client: None,
            kube_apiserver_client: None,
            legacy_unknown: None,
            duration: Duration::from_secs(365 * 24 * 3600),
        }
    }
}

impl Default for Workers {
    fn default() -> Workers {
        Workers {
            deployment: 5,
            replicaset: 5,
            replicationcontroller: 5,
            statefulset: 5,
            daemonset: 2,
            job: 5,
            cronjob: 5,
            endpoint: 5,
            service_endpoint: 5,
            gc: 20,
            namespace: 10,
            resource_quota: 5,
            serviceaccount_token: 5,
            ttl_after_finished: 5,
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cluster_name: "kubernetes".into(),
            cluster_cidr: Vec::new(),
            service_cluster_ip_range: Vec::new(),
            allocate_node_cidrs: false,
            node_cidr_mask_size_ipv4: 24,
            node_cidr_mask_size_ipv6: 64,
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            large_cluster_size_threshold: 50,
            unhealthy_zone_threshold: 0.55,
            terminated_pod_gc_threshold: 12500,
            enable_garbage_collector: true,
            namespace_sync_period: Duration::from_secs(300),
            resource_quota_sync_period: Duration::from_secs(300),
            max_endpoints_per_slice: 100,
            endpoint_updates_batch_period: Duration::ZERO,
            endpointslice_updates_batch_period: Duration::ZERO,
            root_ca: None,
            service_account_private_key_file: None,
            signers: Signers::default(),
            workers: Workers::default(),
        }
    }
}
