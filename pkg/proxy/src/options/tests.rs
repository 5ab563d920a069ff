//! Command lines and files in; configurations or complaints out.

use component_base::daemon::{Command, Parsed};

use super::*;

fn parse(arguments: &str) -> Result<Config, String> {
    let command = Command::new("Proxies.", flags(), complete);
    match command.parse(arguments.split_whitespace()) {
        Ok(Parsed::Run(config, ..)) => Ok(*config),
        Ok(Parsed::Print(text)) => panic!("{text}"),
        Err(problems) => Err(problems.to_string()),
    }
}

fn parse_file(text: &str) -> Result<Settings, String> {
    let header = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
    let mut problems = Problems::new();
    let settings = file::parse(&format!("{header}{text}"), &mut problems);
    problems.finish(settings).map_err(|problems| problems.to_string())
}

#[test]
fn defaults_are_upstreams_but_for_the_mode() {
    let config = parse("").unwrap();
    assert_eq!(config.healthz, Some("0.0.0.0:10256".parse().unwrap()));
    assert_eq!(config.metrics, Some("127.0.0.1:10249".parse().unwrap()));
    assert_eq!(config.detect_local, DetectLocal::Fixed(LocalTraffic::Unknown));
    assert_eq!((config.qps, config.burst, config.use_protobuf), (5.0, 10, true));
    assert_eq!((config.masquerade_bit, config.oom_score_adj, config.min_sync_period), (14, -999, None));
    assert_eq!(config.conntrack, Settings::default().conntrack);
}

#[test]
fn flags_make_a_configuration() {
    let config = parse(
        "--cluster-cidr=10.244.0.0/16,fd00:244::/48 --nodeport-addresses=192.168.0.0/16 --masquerade-all \
         --healthz-bind-address= --metrics-bind-address=0.0.0.0 --hostname-override=n1 --proxy-mode=nftables",
    )
    .unwrap();
    assert!(matches!(config.detect_local, DetectLocal::Fixed(LocalTraffic::Cidrs(cidrs)) if cidrs.len() == 2));
    assert_eq!(config.node_ports, NodePortAddresses::Within(vec!["192.168.0.0/16".parse().unwrap()]));
    assert_eq!((config.healthz, config.metrics), (None, Some("0.0.0.0:10249".parse().unwrap())));
    assert!(config.masquerade_all);
    assert_eq!(config.hostname_override.as_deref(), Some("n1"));
}

#[test]
fn what_is_wrong_or_not_supported_is_refused() {
    for (arguments, part) in [
        ("--proxy-mode=iptables", "supports the mode nftables only"),
        ("--proxy-mode=ipvs", "supports the mode nftables only"),
        ("--proxy-mode=userspace", "must be nftables or blank"),
        ("--cluster-cidr=10.244.0.0", "must be a valid CIDR block"),
        ("--nodeport-addresses=nowhere", "must be a valid CIDR block"),
        ("--oom-score-adj=-2000", "must be within the range [-1000, 1000]"),
        ("--detect-local-mode=Magic", "must be ClusterCIDR"),
        ("--detect-local-mode=BridgeInterface", "must not be empty"),
        ("--detect-local-mode=BridgeInterface --pod-bridge-interface=a\"b", "must be the name of an interface"),
        ("--ipvs-scheduler=rr", "ipvs-scheduler"),
        ("--profiling", "profiling"),
        ("--cleanup --init-only", "cannot be used together"),
        ("--config=/nowhere/config.yaml", "open /nowhere/config.yaml"),
        ("--config=/nowhere/config.yaml --masquerade-all", "--masquerade-all has no effect with --config"),
        ("--conntrack-min=-1", "must be greater than or equal to 0"),
        ("--kube-api-content-type=text/plain", "ContentType"),
    ] {
        let problems = parse(arguments).unwrap_err();
        assert!(problems.contains(part), "{arguments}: {problems}");
    }
}

#[test]
fn a_file_as_kubeadm_writes_it_is_accepted() {
    let settings = parse_file(
        "bindAddress: 0.0.0.0\nbindAddressHardFail: false\nclientConnection: {acceptContentTypes: '', burst: 0, contentType: '', \
         kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0}\nclusterCIDR: 10.244.0.0/16\nconfigSyncPeriod: 0s\n\
         conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null, \
         udpStreamTimeout: 0s, udpTimeout: 0s}\ndetectLocal: {bridgeInterface: '', interfaceNamePrefix: ''}\ndetectLocalMode: ''\n\
         enableProfiling: false\nhealthzBindAddress: ''\nhostnameOverride: ''\niptables: {localhostNodePorts: null, \
         masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}\nipvs: {excludeCIDRs: null, \
         minSyncPeriod: 0s, scheduler: '', strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}\n\
         logging: {options: {json: {infoBufferSize: '0'}, text: {infoBufferSize: '0'}}, verbosity: 0}\n\
         metricsBindAddress: ''\nmode: ''\nnftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, \
         syncPeriod: 0s}\nnodePortAddresses: null\noomScoreAdj: null\nportRange: ''\nshowHiddenMetricsForVersion: ''\n\
         winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: '', rootHnsEndpointName: '', sourceVip: ''}\n",
    )
    .unwrap();
    assert_eq!(settings.kubeconfig, "/var/lib/kube-proxy/kubeconfig.conf");
    assert_eq!(settings.conntrack, Settings::default().conntrack);
    // What is written empty means the default.
    assert_eq!(
        settings,
        Settings { kubeconfig: settings.kubeconfig.clone(), cluster_cidr: "10.244.0.0/16".to_owned(), ..Settings::default() }
    );
}

#[test]
fn a_file_with_settings_that_do_nothing_is_refused() {
    for (text, part) in [
        ("mode: 5\n", "cannot unmarshal number"),
        ("modes: nftables\n", "unknown field \"modes\""),
        ("nftables: {minSyncPeriods: 1s}\n", "unknown field \"nftables.minSyncPeriods\""),
        ("nftables: {minSyncPeriod: soon}\n", "soon"),
        ("ipvs: {scheduler: rr}\n", "ipvs.scheduler of KubeProxyConfiguration is not supported"),
        ("enableProfiling: true\n", "enableProfiling of KubeProxyConfiguration is not supported"),
        ("logging: {verbosity: 4}\n", "logging.verbosity of KubeProxyConfiguration is not supported"),
        ("featureGates: {NoSuchGate: true}\n", "unrecognized feature gate: NoSuchGate"),
        ("conntrack: 5\n", "conntrack"),
    ] {
        let problems = parse_file(text).unwrap_err();
        assert!(problems.contains(part), "{text}: {problems}");
    }
    let settings = parse_file("nftables: {minSyncPeriod: 2s, masqueradeBit: 15}\n").unwrap();
    assert_eq!((settings.min_sync_period, settings.masquerade_bit), (Duration::from_secs(2), 15));
}
