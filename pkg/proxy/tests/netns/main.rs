//! The rules in a real kernel: packets between network namespaces. Needs root, iproute2 and nftables; else it skips.

mod net;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use component_base::metrics::Registry;
use net::Place::{Client, Node, Pod1};
use net::{Net, PORT};
use proxy::changes::Collector;
use proxy::config::{LocalTraffic, NodePortAddresses};
use proxy::conntrack::{Expected, delete_flows};
use proxy::health::{ProxyHealth, ServiceHealth};
use proxy::metrics::Metrics;
use proxy::nftables::exec::Nft;
use proxy::nftables::proxier::Proxier;
use proxy::nftables::rules::View;
use proxy::nftables::table::Existing;
use proxy::service::{Endpoint, Family, NodeInfo, PortEndpoints, Protocol, Service, ServiceName, ServicePort};
use proxy::sync::{SyncConfig, Syncer};
use tokio_util::sync::CancellationToken;

/// A node with a proxier for each family.
struct World {
    net: Arc<Net>,
    v4: Proxier,
    v6: Proxier,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Option<Self> {
        let net = Arc::new(Net::new()?);
        let nft = Nft::new(net.nft());
        let node =
            NodeInfo { name: "node".into(), ips: ["10.1.0.1", "fd00:1::1"].map(|ip| ip.parse().unwrap()).to_vec(), ..NodeInfo::default() };
        let cidrs = ["10.244.0.0/16", "fd00:244::/32"].map(|cidr| cidr.parse().unwrap()).to_vec();
        let proxier = |family| {
            let view = View {
                family,
                node: node.clone(),
                masquerade_all: false,
                local_traffic: LocalTraffic::Cidrs(cidrs.clone()),
                service_cidrs: ["10.96.0.0/16", "fd00:96::/112"].map(|cidr| cidr.parse().unwrap()).to_vec(),
            };
            Proxier::new(view, NodePortAddresses::Primary, 14, nft.clone())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut world = Self { v4: proxier(Family::V4), v6: proxier(Family::V6), net, runtime };
        world.sync();
        Some(world)
    }

    fn sync(&mut self) {
        self.runtime.block_on(async {
            self.v4.sync().await.unwrap();
            self.v6.sync().await.unwrap();
        });
    }

    /// Sets the Service `web` and its endpoints: 1 and 2 are the pods, `local` says whether they are on this node.
    fn set(&mut self, service: &Service, pods: &[u8], local: bool) {
        let endpoints = pods.iter().flat_map(|pod| {
            [format!("10.244.{pod}.2"), format!("fd00:244:{pod}::2")]
                .map(|ip| Endpoint { is_local: local, ..Endpoint::ready(ip.parse().unwrap(), PORT) })
        });
        let endpoints = PortEndpoints::from([(service.ports[0].key(), endpoints.collect())]);
        for proxier in [&mut self.v4, &mut self.v6] {
            proxier.set(&service.name, Some((service, &endpoints)));
        }
        self.sync();
    }
}

/// `web`: 10.96.0.1:80 and [fd00:96::1]:80, node port 30080.
fn web(protocol: Protocol) -> Service {
    Service {
        ports: vec![ServicePort { name: "".into(), protocol, port: 80, node_port: 30080 }],
        cluster_ips: ["10.96.0.1", "fd00:96::1"].map(|ip| ip.parse().unwrap()).to_vec(),
        ..Service::new(ServiceName::new("ns", "web"))
    }
}

#[test]
fn a_cluster_ip_answers_everybody_from_every_endpoint() {
    let Some(mut world) = World::new() else { return };
    world.set(&web(Protocol::Tcp), &[1, 2], true);
    for place in [Client, Node, Pod1] {
        assert_eq!(world.net.answering(place, "10.96.0.1:80", 40), ["Pod1", "Pod2"], "{place:?}");
        assert_eq!(world.net.answering(place, "[fd00:96::1]:80", 40), ["Pod1", "Pod2"], "{place:?}");
    }
}

#[test]
fn pods_keep_their_address_others_are_masqueraded() {
    let Some(mut world) = World::new() else { return };
    world.set(&web(Protocol::Tcp), &[2], true);
    assert_eq!(world.net.tcp(Pod1, "10.96.0.1:80"), "Pod2 10.244.1.2");
    assert_eq!(world.net.tcp(Client, "10.96.0.1:80"), "Pod2 10.244.2.1");
    assert_eq!(world.net.tcp(Pod1, "[fd00:96::1]:80"), "Pod2 fd00:244:1::2");
    assert_eq!(world.net.tcp(Client, "[fd00:96::1]:80"), "Pod2 fd00:244:2::1");
}

#[test]
fn a_pod_reaches_itself_through_its_service() {
    let Some(mut world) = World::new() else { return };
    world.set(&web(Protocol::Tcp), &[1], true);
    assert_eq!(world.net.tcp(Pod1, "10.96.0.1:80"), "Pod1 10.244.1.1");
    assert_eq!(world.net.tcp(Pod1, "[fd00:96::1]:80"), "Pod1 fd00:244:1::1");
}

#[test]
fn a_node_port_answers_on_the_nodes_address() {
    let Some(mut world) = World::new() else { return };
    world.set(&web(Protocol::Tcp), &[1, 2], true);
    assert_eq!(world.net.answering(Client, "10.1.0.1:30080", 40), ["Pod1", "Pod2"]);
    assert_eq!(world.net.answering(Node, "10.1.0.1:30080", 40), ["Pod1", "Pod2"]);
    assert_eq!(world.net.answering(Client, "[fd00:1::1]:30080", 40), ["Pod1", "Pod2"]);
    assert_eq!(world.net.tcp(Client, "10.244.1.1:30080"), "refused", "not among the node port addresses");
}

#[test]
fn external_policy_local_keeps_the_client_address_and_never_leaves_the_node() {
    let Some(mut world) = World::new() else { return };
    let service = Service { external_local: true, ..web(Protocol::Tcp) };
    world.set(&service, &[1], true);
    assert_eq!(world.net.tcp(Client, "10.1.0.1:30080"), "Pod1 10.1.0.2");
    world.set(&service, &[1], false);
    assert_eq!(world.net.tcp_impatient(Client, "10.1.0.1:30080"), "silence");
    assert_eq!(world.net.tcp(Pod1, "10.1.0.1:30080"), "Pod1 10.244.1.1", "pods are short-circuited");
    assert_eq!(world.net.tcp(Client, "10.96.0.1:80"), "Pod1 10.244.1.1", "the cluster IP goes on");
}

#[test]
fn without_endpoints_and_on_unknown_ports_connections_are_refused_at_once() {
    let Some(mut world) = World::new() else { return };
    world.set(&web(Protocol::Tcp), &[], true);
    for place in [Client, Node, Pod1] {
        for address in ["10.96.0.1:80", "[fd00:96::1]:80", "10.1.0.1:30080", "10.96.0.1:81"] {
            assert_eq!(world.net.tcp(place, address), "refused", "{place:?} {address}");
        }
    }
    world.set(&Service { internal_local: true, ..web(Protocol::Tcp) }, &[1], false);
    assert_eq!(world.net.tcp_impatient(Pod1, "10.96.0.1:80"), "silence");
    assert_eq!(world.net.tcp_impatient(Pod1, "10.96.0.2:80"), "silence", "a cluster IP of no Service");
}

#[test]
fn a_client_with_affinity_stays_until_its_endpoint_goes() {
    let Some(mut world) = World::new() else { return };
    let service = Service { affinity_timeout: Some(10800), ..web(Protocol::Tcp) };
    world.set(&service, &[1, 2], true);
    let first = world.net.answering(Client, "10.96.0.1:80", 20);
    assert_eq!(first.len(), 1);
    assert_eq!(world.net.answering(Client, "10.1.0.1:30080", 20), first);
    let (other, name) = if first[0] == "Pod1" { (2, "Pod2") } else { (1, "Pod1") };
    world.set(&service, &[other], true);
    assert_eq!(world.net.answering(Client, "10.96.0.1:80", 10), [name]);
    assert!(world.runtime.block_on(world.v4.cleanup()).unwrap());
    world.set(&service, &[1, 2], true);
    assert_eq!(world.net.answering(Client, "10.96.0.1:80", 20), [name]);

    // A restarted proxy takes over what the former one remembers, and removes what it does not need.
    let nft = Nft::new(world.net.nft());
    world.runtime.block_on(nft.apply("add chain ip kube-proxy service-OLD\n")).unwrap();
    world.v4 = Proxier::new(world.v4.view().clone(), NodePortAddresses::Primary, 14, nft.clone());
    world.set(&service, &[1, 2], true);
    assert_eq!(world.net.answering(Client, "10.96.0.1:80", 20), [name]);
    assert!(world.runtime.block_on(world.v4.cleanup()).unwrap());
    match world.runtime.block_on(nft.existing(Family::V4)).unwrap() {
        Existing::Table { chains, .. } => assert!(!chains.contains(&"service-OLD".to_owned())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_table_that_another_version_has_made_is_replaced() {
    let Some(mut world) = World::new() else { return };
    let nft = Nft::new(world.net.nft());
    let other = "delete table ip kube-proxy\nadd table ip kube-proxy\nadd set ip kube-proxy cluster-ips { type ipv6_addr ; }\n";
    world.runtime.block_on(nft.apply(other)).unwrap();
    world.v4 = Proxier::new(world.v4.view().clone(), NodePortAddresses::Primary, 14, nft);
    assert!(world.runtime.block_on(world.v4.sync()).is_err());
    world.set(&web(Protocol::Tcp), &[1], true);
    assert_eq!(world.net.tcp(Client, "10.96.0.1:80"), "Pod1 10.244.1.1");
}

#[test]
fn source_ranges_guard_load_balancer_addresses_only() {
    let Some(mut world) = World::new() else { return };
    let mut service = Service {
        load_balancer_ips: vec!["203.0.113.1".parse().unwrap()],
        external_ips: vec!["203.0.113.2".parse().unwrap()],
        source_ranges: vec!["10.1.0.0/24".parse().unwrap()],
        ..web(Protocol::Tcp)
    };
    world.set(&service, &[1], true);
    assert_eq!(world.net.tcp(Client, "203.0.113.1:80"), "Pod1 10.244.1.1");
    service.source_ranges = vec!["198.51.100.0/24".parse().unwrap()];
    world.set(&service, &[1], true);
    assert_eq!(world.net.tcp_impatient(Client, "203.0.113.1:80"), "silence");
    assert_eq!(world.net.tcp(Client, "203.0.113.2:80"), "Pod1 10.244.1.1");
}

#[test]
fn datagrams_are_spread_too() {
    let Some(mut world) = World::new() else { return };
    world.set(&web(Protocol::Udp), &[1], true);
    assert_eq!(world.net.udp(Client, 0, "10.96.0.1:80"), "Pod1 10.244.1.1");
    assert_eq!(world.net.udp(Node, 0, "[fd00:96::1]:80"), "Pod1 fd00:244:1::1");
    assert_eq!(world.net.udp(Client, 0, "10.1.0.1:30080"), "Pod1 10.244.1.1");
}

#[test]
fn flows_to_an_endpoint_that_is_gone_are_ended() {
    let Some(mut world) = World::new() else { return };
    let service = web(Protocol::Udp);
    let node = world.v4.view().node.clone();
    let clean = |world: &World, pod: u8| {
        let endpoint = Endpoint::ready(format!("10.244.{pod}.2").parse().unwrap(), PORT);
        let mut expected = Expected::new(&node);
        expected.add(&service, &[(service.ports[0].key(), vec![endpoint])].into(), &node);
        let delete = move || delete_flows(Family::V4, |flow| expected.is_stale(flow)).unwrap();
        world.net.within(Node, delete)
    };
    world.set(&service, &[1], true);
    for address in ["10.96.0.1:80", "10.1.0.1:30080"] {
        assert_eq!(world.net.udp(Client, 4000, address), "Pod1 10.244.1.1");
    }
    assert_eq!(clean(&world, 1), 0);
    world.set(&service, &[2], true);
    assert_eq!(world.net.udp(Client, 4000, "10.96.0.1:80"), "Pod1 10.244.1.1", "the kernel remembers the flow");
    assert_eq!(clean(&world, 2), 2);
    for address in ["10.96.0.1:80", "10.1.0.1:30080"] {
        assert_eq!(world.net.udp(Client, 4000, address), "Pod2 10.244.2.1");
    }
}

#[test]
fn the_loop_brings_changes_to_the_kernel() {
    let Some(world) = World::new() else { return };
    let registry = Registry::new();
    let metrics = Metrics::new(&registry);
    let health = Arc::new(ProxyHealth::new(Duration::from_secs(60), metrics.healthz.clone(), metrics.livez.clone()));
    let (collector, stop) = (Collector::default(), CancellationToken::new());
    let view = world.v4.view();
    let config = SyncConfig {
        families: vec![Family::V4, Family::V6],
        masquerade_all: false,
        masquerade_bit: 14,
        local_traffic: view.local_traffic.clone(),
        local_is_node_cidr: false,
        node_ports: NodePortAddresses::Primary,
        min_sync_period: None,
        sync_period: Duration::from_secs(30),
        nft: Nft::new(world.net.nft()),
    };
    let service_health = ServiceHealth::new(health.clone(), stop.clone());
    let syncer = Syncer::new(config, view.node.clone(), collector.clone(), metrics, health.clone(), service_health);
    let service = web(Protocol::Tcp);
    let slice = |pod: u8| {
        let endpoint = Endpoint::ready(format!("10.244.{pod}.2").parse().unwrap(), PORT);
        (service.name.clone(), PortEndpoints::from([(service.ports[0].key(), vec![endpoint])]))
    };
    let (slice_name, wait) = (("ns".to_owned(), "web-1".to_owned()), Duration::from_secs(10));
    let becomes = |expected: &str| {
        let deadline = Instant::now() + wait;
        while world.net.tcp_impatient(Client, "10.96.0.1:80") != expected {
            assert!(Instant::now() < deadline, "never {expected}");
        }
    };

    collector.service(service.name.clone(), Some(service.clone()));
    let running = world.runtime.handle().spawn(syncer.run(stop.clone()));
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        // The runtime has one thread, which has to be lent to it.
        let runtime = &world.runtime;
        scope.spawn(move || {
            runtime.block_on(running).unwrap();
            done.send(()).unwrap();
        });
        becomes("refused");
        for pod in [1, 2, 1] {
            collector.slice(slice_name.clone(), Some(slice(pod)), None);
            becomes(&format!("Pod{pod} 10.244.{pod}.1"));
        }
        collector.slice(slice_name.clone(), None, None);
        becomes("refused");
        stop.cancel();
    });
    ended.recv_timeout(wait).unwrap();
    assert!(health.is_healthy(SystemTime::now()));
    let text = registry.text();
    assert!(text.contains("kubeproxy_sync_proxy_rules_endpoint_changes_total 4"), "{text}");
}

#[test]
fn a_changed_endpoint_and_a_removed_service_take_effect_at_once() {
    let Some(mut world) = World::new() else { return };
    let service = web(Protocol::Tcp);
    for pods in [&[1][..], &[2], &[1, 2], &[], &[1]] {
        world.set(&service, pods, true);
        let expected: Vec<String> = pods.iter().map(|pod| format!("Pod{pod}")).collect();
        let expected = if pods.is_empty() { vec!["refused".to_owned()] } else { expected };
        assert_eq!(world.net.answering(Client, "10.96.0.1:80", 20), expected);
    }
    world.v4.set(&service.name, None);
    world.sync();
    assert!(world.v4.has_stale());
    assert!(world.runtime.block_on(world.v4.cleanup()).unwrap());
    // Without the Service the packet goes where the default route leads: to the client, which has no such address.
    assert_ne!(world.net.tcp_impatient(Pod1, "10.96.0.1:80"), "Pod1 10.244.1.1");
    world.set(&service, &[2], true);
    assert_eq!(world.net.tcp(Pod1, "10.96.0.1:80"), "Pod2 10.244.1.2");
}

#[test]
fn a_table_that_somebody_deleted_is_built_anew_and_a_former_one_is_taken_over() {
    let Some(mut world) = World::new() else { return };
    world.set(&web(Protocol::Tcp), &[1], true);
    let nft = Nft::new(world.net.nft());
    let deleted = world.runtime.block_on(nft.delete_table(Family::V4));
    deleted.unwrap();
    world.runtime.block_on(world.v4.verify()).unwrap();
    world.sync();
    assert_eq!(world.net.tcp(Client, "10.96.0.1:80"), "Pod1 10.244.1.1");

    // A restarted proxy knows nothing of the table that it finds.
    let view = world.v4.view().clone();
    world.v4 = Proxier::new(view, NodePortAddresses::Within(vec!["0.0.0.0/0".parse().unwrap()]), 14, nft);
    world.set(&web(Protocol::Tcp), &[2], true);
    assert_eq!(world.net.tcp(Client, "10.96.0.1:80"), "Pod2 10.244.2.1");
    assert_eq!(world.net.tcp(Client, "10.244.1.1:30080"), "Pod2 10.244.2.1", "any address of the node");
}

#[test]
fn a_refused_transaction_is_followed_by_a_full_one() {
    let Some(mut world) = World::new() else { return };
    world.set(&web(Protocol::Tcp), &[1], true);
    let nft = Nft::new(world.net.nft());
    world.runtime.block_on(nft.apply("flush ruleset\n")).unwrap();
    let endpoints = PortEndpoints::from([(web(Protocol::Tcp).ports[0].key(), vec![Endpoint::ready("10.244.2.2".parse().unwrap(), PORT)])]);
    world.v4.set(&web(Protocol::Tcp).name, Some((&web(Protocol::Tcp), &endpoints)));
    assert!(world.runtime.block_on(world.v4.sync()).is_err());
    assert!(world.runtime.block_on(world.v4.sync()).unwrap().is_full);
    assert_eq!(world.net.tcp(Client, "10.96.0.1:80"), "Pod2 10.244.2.1");
}

#[test]
fn no_connection_fails_while_endpoints_come_and_go() {
    let Some(mut world) = World::new() else { return };
    let service = web(Protocol::Tcp);
    world.set(&service, &[1], true);
    let (net, stop) = (world.net.clone(), Arc::new(AtomicBool::new(false)));
    let stopping = stop.clone();
    let client = std::thread::spawn(move || {
        let mut count = 0;
        while !stopping.load(Ordering::Relaxed) {
            let answer = net.tcp(Client, if count % 2 == 0 { "10.96.0.1:80" } else { "10.1.0.1:30080" });
            assert!(answer.starts_with("Pod"), "connection {count}: {answer}");
            count += 1;
        }
        count
    });
    for _ in 0..20 {
        for pods in [&[1, 2][..], &[2], &[2, 1], &[1]] {
            world.set(&service, pods, true);
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(client.join().unwrap() > 10);
}

/// Prints what a large cluster costs: `cargo test -p ferrokube-proxy --test netns -- --ignored --nocapture`.
#[test]
#[ignore = "takes half a minute; for measuring"]
fn the_cost_of_five_thousand_services() {
    let Some(mut world) = World::new() else { return };
    let service = |number: u16| {
        let [high, low] = number.to_be_bytes();
        let mut service = Service::new(ServiceName::new("ns", &format!("service-{number}")));
        service.ports = web(Protocol::Tcp).ports;
        service.ports[0].node_port = 0;
        service.cluster_ips = vec![std::net::IpAddr::from([10, 97, high, low])];
        service
    };
    let endpoints = |number: u16, count: u8| {
        let [high, low] = number.to_be_bytes();
        let ips = (0..count).map(|last| std::net::IpAddr::from([10, 100 + last, high, low]));
        let endpoints = ips.map(|ip| Endpoint::ready(ip, PORT)).collect();
        PortEndpoints::from([(service(number).ports[0].key(), endpoints)])
    };
    let set = |world: &mut World, number: u16, count: u8| {
        world.v4.set(&service(number).name, Some((&service(number), &endpoints(number, count))));
    };
    let timed = |world: &mut World, what: &str| {
        let synced = world.runtime.block_on(world.v4.sync()).unwrap();
        println!("{what}: {:?}, full: {}", synced.elapsed, synced.is_full);
    };
    let nft = Nft::new(world.net.nft());
    world.runtime.block_on(nft.delete_table(Family::V4)).unwrap();
    world.v4.forget();
    let started = Instant::now();
    (0..5000).for_each(|number| set(&mut world, number, 3));
    println!("rules of 5000 services: {:?}", started.elapsed());
    timed(&mut world, "cold start");
    for round in 0..3 {
        set(&mut world, 17, 4 + round);
        timed(&mut world, "one endpoint more");
    }
    world.v4.forget();
    timed(&mut world, "start over an existing table");
}
