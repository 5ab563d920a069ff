//! Two servers on the loopback: one with the cluster's zone forwards to the other.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use component_base::metrics::Registry;
use dns::forward::{Forwarder, Route};
use dns::metrics::Metrics;
use dns::server::{Handler, Server};
use dns::zone::{EndpointRecord, PodRecords, ServiceRecord, SliceRecord, Target, Zone, ZoneConfig};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// A running server.
struct Running {
    address: SocketAddr,
    handler: Arc<Handler>,
    registry: Registry,
    stop: CancellationToken,
    _task: AbortOnDropHandle<std::io::Result<()>>,
}

async fn start(zone: Zone, routes: Vec<Route>) -> Running {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    start_on(server, zone, routes)
}

fn start_on(server: Server, zone: Zone, routes: Vec<Route>) -> Running {
    let address = server.local_addr().unwrap();
    let registry = Registry::new();
    let metrics = Metrics::new(&registry);
    let handler = Arc::new(Handler::new(Arc::new(RwLock::new(zone)), Forwarder::new(routes), metrics));
    handler.set_synced();
    let stop = CancellationToken::new();
    let task = AbortOnDropHandle::new(tokio::spawn(server.run(handler.clone(), stop.clone())));
    Running { address, handler, registry, stop, _task: task }
}

/// A zone `domain` in which `SERVICE.ns.svc` has the addresses.
fn zone(domain: &str, services: &[(&str, Target)]) -> Zone {
    let domain = Name::from_ascii(domain).unwrap();
    let mut zone = Zone::new(ZoneConfig { domain, ttl: 5, pods: PodRecords::Insecure, serial: 1 });
    zone.set_namespace("ns", true);
    for (name, target) in services {
        zone.set_service("ns", name, Some(ServiceRecord { target: target.clone(), ports: Vec::new() }));
    }
    zone
}

fn cluster_ip(address: &str) -> Target {
    Target::ClusterIps(vec![address.parse().unwrap()])
}

fn question(name: &str) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message
}

async fn ask_udp(server: SocketAddr, message: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server).await.unwrap();
    let mut buffer = [0; 4096];
    let answer = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut buffer)).await;
    Message::from_vec(&buffer[..answer.unwrap().unwrap()]).unwrap()
}

async fn ask_tcp(stream: &mut TcpStream, message: &Message) -> Message {
    let bytes = message.to_vec().unwrap();
    stream.write_u16(bytes.len() as u16).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    message.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

#[tokio::test]
async fn the_zone_answers_over_udp_and_tcp() {
    let server = start(zone("cluster.local.", &[("web", cluster_ip("10.96.0.1"))]), Vec::new()).await;
    let message = question("web.ns.svc.cluster.local.");
    let answer = ask_udp(server.address, &message).await;
    assert_eq!(addresses(&answer), ["10.96.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(answer.metadata.id, message.metadata.id);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        assert_eq!(addresses(&ask_tcp(&mut stream, &message).await), addresses(&answer));
    }
    assert_eq!(ask_udp(server.address, &question("none.ns.svc.cluster.local.")).await.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_long_answer_is_cut_over_udp_and_whole_over_tcp() {
    let mut zone = zone("cluster.local.", &[("many", Target::Headless)]);
    let endpoints = (0..200).map(|number| EndpointRecord { addresses: vec![IpAddr::from([10, 0, 0, number])], hostname: None }).collect();
    zone.set_slice("ns", "many", "slice", Some(SliceRecord { endpoints, ports: Vec::new() }));
    let server = start(zone, Vec::new()).await;
    let message = question("many.ns.svc.cluster.local.");
    assert!(ask_udp(server.address, &message).await.metadata.truncation);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    assert_eq!(ask_tcp(&mut stream, &message).await.answers.len(), 200);
}

#[tokio::test]
async fn other_names_are_forwarded_and_kept_and_aliases_are_followed() {
    let upstream = start(zone("example.com.", &[("www", cluster_ip("192.0.2.1"))]), Vec::new()).await;
    // Nobody listens at the first server.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let refused = silent.local_addr().unwrap();
    drop(silent);
    let alias = Target::External("www.ns.svc.example.com".to_owned());
    let routes = vec![Route { suffix: Name::root(), servers: vec![refused, upstream.address] }];
    let server = start(zone("cluster.local.", &[("away", alias)]), routes).await;

    let expected = ["192.0.2.1".parse::<IpAddr>().unwrap()];
    for _ in 0..3 {
        let answer = ask_udp(server.address, &question("www.ns.svc.example.com.")).await;
        assert_eq!(addresses(&answer), expected);
    }
    let metrics = upstream.registry.text();
    assert!(metrics.contains("coredns_dns_requests_total{proto=\"udp\"} 1\n"), "the cache answers the rest: {metrics}");
    assert!(server.registry.text().contains("coredns_cache_hits_total 2\n"));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let answer = ask_tcp(&mut stream, &question("none.ns.svc.example.com.")).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    let answer = ask_udp(server.address, &question("away.ns.svc.cluster.local.")).await;
    assert_eq!((answer.answers.len(), addresses(&answer)), (2, expected.to_vec()));
}

#[tokio::test]
async fn without_upstream_the_answer_is_a_failure_at_once() {
    let server = start(zone("cluster.local.", &[]), Vec::new()).await;
    let answer = ask_udp(server.address, &question("www.example.com.")).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn before_all_names_are_known_none_is_denied() {
    let handler =
        Handler::new(Arc::new(RwLock::new(zone("cluster.local.", &[]))), Forwarder::new(Vec::new()), Metrics::new(&Registry::new()));
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop, handler) = (server.local_addr().unwrap(), CancellationToken::new(), Arc::new(handler));
    let _task = AbortOnDropHandle::new(tokio::spawn(server.run(handler.clone(), stop)));
    let message = question("web.ns.svc.cluster.local.");
    assert_eq!(ask_udp(address, &message).await.metadata.response_code, ResponseCode::ServFail);
    handler.set_synced();
    assert_eq!(ask_udp(address, &message).await.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_circle_is_noticed_and_forwarding_stops() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let itself = vec![Route { suffix: Name::root(), servers: vec![server.local_addr().unwrap()] }];
    let server = start_on(server, zone("cluster.local.", &[]), itself);
    server.handler.probe_for_loop().await;
    assert!(server.handler.is_looping.is_cancelled());
    let answer = ask_udp(server.address, &question("www.example.com.")).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn it_stops_when_told_to() {
    let mut server = start(zone("cluster.local.", &[]), Vec::new()).await;
    let _idle = TcpStream::connect(server.address).await.unwrap();
    server.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), &mut server._task).await;
    ended.unwrap().unwrap().unwrap();
}
