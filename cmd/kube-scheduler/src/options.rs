//! kube-scheduler's command line and configuration file, and the [`Config`] that they make.
//!
//! The file holds what there are deprecated flags for; where both speak, that is an error, for one of them would do nothing.
//! Leader election flags win over the file, as upstream has it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use api_config::kube_scheduler::v1::{KubeSchedulerConfiguration, KubeSchedulerProfile};
use client::kubeconfig::for_daemon;
use component_base::config_file::ConfigFile;
use component_base::flags::{FlagSet, Flags};
use component_base::problems::Problems;
use component_base::serving::options::{self as serving, SecureServing};
use informer::delegated::{self, DelegatedOptions};
use informer::leader::LeaderConfig;
use scheduler::profile::{API_VERSION, Profile};
use scheduler::queue::Patience;

const FLAGS: &[(&str, &str)] = &[
    ("config", "The path to the configuration file, of kind KubeSchedulerConfiguration."),
    ("master", "The address of the API server; overrides the one in the kubeconfig."),
    ("kubeconfig", "Path to the kubeconfig file. In a configuration file: clientConnection.kubeconfig."),
    ("kube-api-burst", "Burst to use while talking with the API server. In a configuration file: clientConnection.burst."),
    ("kube-api-content-type", "Content type of requests to the API server. In a configuration file: clientConnection.contentType."),
    ("kube-api-qps", "QPS to use while talking with the API server. In a configuration file: clientConnection.qps."),
    ("pod-max-in-unschedulable-pods-duration", "How long a pod that fits nowhere waits before it is tried again whatever happened."),
    ("leader-elect", "Start a leader election client and gain leadership before executing the main loop."),
    ("leader-elect-lease-duration", "How long others wait after the last renewal they saw before they try to take over."),
    ("leader-elect-renew-deadline", "How long the leader tries to renew before it gives up leading."),
    ("leader-elect-resource-lock", "The type of resource object that is used for locking. Only 'leases' is supported."),
    ("leader-elect-resource-name", "The name of the lease."),
    ("leader-elect-resource-namespace", "The namespace of the lease."),
    ("leader-elect-retry-period", "How long to wait between tries."),
    ("feature-gates", "A set of key=value pairs that describe feature gates. Only their defaults are supported so far."),
];

/// Flags that say the same as the file.
const IN_FILE: &[&str] = &["kube-api-burst", "kube-api-content-type", "kube-api-qps"];

const FILE: ConfigFile<'_> = ConfigFile {
    api_version: API_VERSION,
    kind: "KubeSchedulerConfiguration",
    honoured: &[
        "clientConnection",
        "leaderElection",
        // How many threads may look at nodes at a time: one does.
        "parallelism",
        // At least so many are looked at: all are.
        "percentageOfNodesToScore",
        "podInitialBackoffSeconds",
        "podMaxBackoffSeconds",
        "profiles",
    ],
    more_defaults: &[
        ("leaderElection.leaderElect", "true"),
        ("leaderElection.leaseDuration", "\"15s\""),
        ("leaderElection.renewDeadline", "\"10s\""),
        ("leaderElection.retryPeriod", "\"2s\""),
        ("enableContentionProfiling", "true"),
    ],
};

/// Everything the program needs, checked.
pub struct Config {
    pub client: client::Config,
    pub serving: SecureServing,
    pub delegated: DelegatedOptions,
    pub leader: Option<LeaderConfig>,
    pub profiles: Vec<Profile>,
    pub patience: Patience,
    pub flags: Arc<Flags>,
    /// For `/configz`.
    pub file: KubeSchedulerConfiguration,
}

/// The flags this program knows; all others of upstream's are refused.
pub fn flags() -> FlagSet {
    FlagSet::of("kube-scheduler").honour(FLAGS).honour(serving::FLAGS).honour(delegated::FLAGS)
}

/// Makes the config of the flags, entering every problem.
pub fn complete(flags: &Flags, problems: &mut Problems) -> Option<Config> {
    let serving = SecureServing::from_flags(flags, problems);
    let delegated = DelegatedOptions::from_flags(flags, problems);
    let mut file = match settings(flags) {
        Ok(file) => file,
        Err(found) => {
            problems.extend(found);
            return None;
        }
    };
    apply_leader_flags(flags, &mut file);
    let leader = leader(&file, problems);
    let patience = patience(flags, &file, problems);
    problems.require(
        file.parallelism.is_none_or(|threads| threads > 0),
        "parallelism: Invalid value: should be an integer value greater than zero",
    );
    let profiles = profiles(&file, problems);
    let client = problems.take(client_config(flags, &file));
    Some(Config { client: client?, serving, delegated, leader, profiles, patience, flags: Arc::new(flags.clone()), file })
}

/// The file, or its defaults with the deprecated flags applied.
fn settings(flags: &Flags) -> Result<KubeSchedulerConfiguration, Problems> {
    let Some(path) = flags.path("config") else {
        let mut file: KubeSchedulerConfiguration = FILE.defaults();
        let connection = &mut file.client_connection;
        flags.text("kubeconfig").clone_into(&mut connection.kubeconfig);
        flags.text("kube-api-content-type").clone_into(&mut connection.content_type);
        connection.qps = flags.float("kube-api-qps");
        connection.burst = i32::try_from(flags.int("kube-api-burst")).unwrap_or(i32::MAX);
        return Ok(file);
    };
    let mut file: KubeSchedulerConfiguration = FILE.load(&path)?;
    let mut problems = Problems::new();
    for flag in IN_FILE.iter().filter(|flag| flags.changed(flag)) {
        problems.push(format_args!("--{flag} can not be used together with --config: set it in the file"));
    }
    let kubeconfig = &mut file.client_connection.kubeconfig;
    if flags.changed("kubeconfig") && flags.text("kubeconfig") != kubeconfig {
        let agree = kubeconfig.is_empty();
        problems.require(agree, "--kubeconfig and clientConnection.kubeconfig in the file differ: give one of them");
        flags.text("kubeconfig").clone_into(kubeconfig);
    }
    problems.finish(Some(file))
}

fn apply_leader_flags(flags: &Flags, file: &mut KubeSchedulerConfiguration) {
    let election = &mut file.leader_election;
    let nanos = |flag: &str| apimachinery::Duration(flags.nanos(flag));
    if flags.changed("leader-elect") {
        election.leader_elect = Some(flags.bool("leader-elect"));
    }
    for (flag, period) in [
        ("leader-elect-lease-duration", &mut election.lease_duration),
        ("leader-elect-renew-deadline", &mut election.renew_deadline),
        ("leader-elect-retry-period", &mut election.retry_period),
    ] {
        if flags.changed(flag) {
            *period = nanos(flag);
        }
    }
    for (flag, text) in [
        ("leader-elect-resource-lock", &mut election.resource_lock),
        ("leader-elect-resource-name", &mut election.resource_name),
        ("leader-elect-resource-namespace", &mut election.resource_namespace),
    ] {
        if flags.changed(flag) {
            flags.text(flag).clone_into(text);
        }
    }
}

fn leader(file: &KubeSchedulerConfiguration, problems: &mut Problems) -> Option<LeaderConfig> {
    let election = &file.leader_election;
    if election.leader_elect == Some(false) {
        return None;
    }
    let lock = &election.resource_lock;
    problems.require(
        lock == "leases",
        format_args!("leaderElection.resourceLock: Invalid value: {lock:?}: resourceLock value must be \"leases\""),
    );
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let identity = informer::leader::identity(host.trim());
    let mut config = LeaderConfig::new(&election.resource_namespace, &election.resource_name, &identity);
    config.lease_duration = election.lease_duration.to_std();
    config.renew_deadline = election.renew_deadline.to_std();
    config.retry_period = election.retry_period.to_std();
    // Upstream ends without releasing; the next one may then wait for the whole lease. There is no reason to make it wait.
    config.release_on_cancel = true;
    if let Err(reason) = config.validate() {
        problems.push(format_args!("leaderElection: {reason}"));
    }
    Some(config)
}

fn patience(flags: &Flags, file: &KubeSchedulerConfiguration, problems: &mut Problems) -> Patience {
    let (initial, most) = (file.pod_initial_backoff_seconds.unwrap_or(1), file.pod_max_backoff_seconds.unwrap_or(10));
    problems.require(initial > 0, format_args!("podInitialBackoffSeconds: Invalid value: {initial}: must be greater than 0"));
    problems.require(
        most >= initial,
        format_args!("podMaxBackoffSeconds: Invalid value: {most}: must be greater than or equal to PodInitialBackoffSeconds"),
    );
    let seconds = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Patience {
        initial_backoff: seconds(initial),
        max_backoff: seconds(most),
        max_waiting: flags.duration("pod-max-in-unschedulable-pods-duration"),
    }
}

fn profiles(file: &KubeSchedulerConfiguration, problems: &mut Problems) -> Vec<Profile> {
    let percentage = |value: Option<i32>, path: &str, problems: &mut Problems| {
        problems.require(
            value.is_none_or(|percent| (0..=100).contains(&percent)),
            format_args!("{path}: Invalid value: {}: not in valid range [0-100]", value.unwrap_or_default()),
        );
    };
    percentage(file.percentage_of_nodes_to_score, "percentageOfNodesToScore", problems);
    let default = [KubeSchedulerProfile::default()];
    let listed: &[KubeSchedulerProfile] = if file.profiles.is_empty() { &default } else { &file.profiles };
    let mut names = BTreeSet::new();
    let mut profiles = Vec::new();
    for (index, listed_profile) in listed.iter().enumerate() {
        let path = format!("profiles[{index}]");
        percentage(listed_profile.percentage_of_nodes_to_score, &format!("{path}.percentageOfNodesToScore"), problems);
        problems.require(
            listed.len() == 1 || listed_profile.scheduler_name.as_ref().is_some_and(|name| !name.is_empty()),
            format_args!("{path}.schedulerName: Required value"),
        );
        match Profile::of(listed_profile, &path) {
            Ok(profile) => {
                let name = profile.name.clone();
                problems.require(names.insert(name.clone()), format_args!("{path}.schedulerName: Duplicate value: {name:?}"));
                profiles.push(profile);
            }
            Err(found) => problems.extend(found),
        }
    }
    profiles
}

/// The settings of a kubeconfig file, or without one those of the pod this runs in.
pub fn client_of(path: Option<&Path>, master: Option<&str>) -> Result<client::Config, client::KubeconfigError> {
    let variable = |name| std::env::var(name).ok();
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT"));
    Ok(for_daemon(path, master, host.as_deref(), port.as_deref())?.with_user_agent("kube-scheduler"))
}

fn client_config(flags: &Flags, file: &KubeSchedulerConfiguration) -> Result<client::Config, String> {
    let connection = &file.client_connection;
    let path = Some(Path::new(&connection.kubeconfig)).filter(|path| !path.as_os_str().is_empty());
    let mut config = client_of(path, flags.text_opt("master")).map_err(|err| component_base::logs::chain(&err))?;
    config.protobuf = match connection.content_type.as_str() {
        "application/vnd.kubernetes.protobuf" => true,
        "application/json" | "" => false,
        other => return Err(format!("clientConnection.contentType {other:?} is not supported")),
    };
    config.qps = connection.qps as f32;
    config.burst = u32::try_from(connection.burst).map_err(|_| "clientConnection.burst: Invalid value: must be non-negative".to_owned())?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Config, String> {
        let all = ["--master=http://127.0.0.1:1"].iter().chain(arguments).map(|argument| (*argument).to_owned());
        let flags = flags().parse(all).map_err(|problems| problems.to_string())?;
        let mut problems = Problems::new();
        let config = complete(&flags, &mut problems);
        problems.finish(config).map_err(|problems| problems.to_string())
    }

    fn with_file(text: &str, arguments: &[&str]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scheduler.yaml");
        std::fs::write(&path, format!("apiVersion: {API_VERSION}\nkind: KubeSchedulerConfiguration\n{text}")).unwrap();
        let flag = format!("--config={}", path.display());
        read(&[&[flag.as_str()], arguments].concat())
    }

    #[test]
    fn the_defaults_are_upstreams() {
        let config = read(&[]).unwrap();
        let leader = config.leader.unwrap();
        assert_eq!((leader.namespace.as_str(), leader.name.as_str()), ("kube-system", "kube-scheduler"));
        assert_eq!(leader.lease_duration, Duration::from_secs(15));
        assert_eq!(config.patience, Patience::default());
        assert_eq!((config.client.qps, config.client.burst, config.client.protobuf), (50.0, 100, true));
        assert_eq!(config.profiles.len(), 1);
        assert_eq!(config.serving.address().port(), 10259);
    }

    #[test]
    fn the_file_is_read_and_leader_flags_win() {
        let text = "leaderElection: {leaderElect: true, resourceName: mine}\npodMaxBackoffSeconds: 3\nclientConnection: {qps: 7}\n\
                    profiles:\n- schedulerName: a\n- schedulerName: b\n  plugins: {score: {disabled: [{name: '*'}]}}\n";
        let config = with_file(text, &["--leader-elect-resource-namespace=x"]).unwrap();
        let leader = config.leader.unwrap();
        assert_eq!((leader.namespace.as_str(), leader.name.as_str()), ("x", "mine"));
        assert_eq!(config.patience.max_backoff, Duration::from_secs(3));
        assert_eq!(config.client.qps, 7.0);
        assert_eq!(config.profiles[1].name, "b");
        assert!(config.profiles[1].scores.is_empty());
        assert!(with_file(text, &["--leader-elect=false"]).unwrap().leader.is_none());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, arguments, part) in [
            ("extenders: [{urlPrefix: 'http://x'}]\n", &[][..], "field extenders of KubeSchedulerConfiguration is not supported yet"),
            ("delayCacheUntilActive: true\n", &[], "field delayCacheUntilActive"),
            ("profiles: [{schedulerName: a}, {}]\n", &[], "profiles[1].schedulerName: Required value"),
            ("profiles: [{schedulerName: a}, {schedulerName: a}]\n", &[], "Duplicate value"),
            ("podMaxBackoffSeconds: 0\n", &[], "podMaxBackoffSeconds: Invalid value: 0"),
            ("percentageOfNodesToScore: 101\n", &[], "not in valid range [0-100]"),
            ("typo: 1\n", &[], "unknown field"),
            ("", &["--kube-api-qps=1"], "--kube-api-qps can not be used together with --config"),
            ("clientConnection: {kubeconfig: /a}\n", &["--kubeconfig=/b"], "differ"),
            ("", &["--leader-elect-renew-deadline=20s"], "leaseDuration must be greater than renewDeadline"),
            ("", &["--leader-elect-resource-lock=endpoints"], "resourceLock value must be \"leases\""),
        ] {
            let problems = with_file(text, arguments).err().unwrap_or_else(|| panic!("{text}{arguments:?} was accepted"));
            assert!(problems.contains(part), "{text}{arguments:?}: {problems}");
        }
    }
}
