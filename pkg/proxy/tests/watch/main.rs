//! An API server of the test's own, whose objects reach the collector.

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use client::testing::{Answer, Seen, Server};
use proxy::changes::Collector;
use proxy::service::ServiceName;
use proxy::watch::Watches;
use tokio_util::sync::CancellationToken;

const SERVICES: &str = r#"{"metadata":{"name":"web","namespace":"ns","uid":"1","resourceVersion":"2"},
        "spec":{"clusterIP":"10.96.0.1","clusterIPs":["10.96.0.1"],"ports":[{"port":80,"protocol":"TCP"}]}},
    {"metadata":{"name":"away","namespace":"ns","uid":"2","resourceVersion":"3"},"spec":{"type":"ExternalName","externalName":"x.y"}}"#;
const SLICES: &str = r#"{"metadata":{"name":"web-1","namespace":"ns","uid":"3","resourceVersion":"4","labels":{"kubernetes.io/service-name":"web"},
        "annotations":{"endpoints.kubernetes.io/last-change-trigger-time":"2026-01-02T03:04:05Z"}},
    "addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"nodeName":"n1"}],"ports":[{"name":"","port":8080,"protocol":"TCP"}]}"#;
const NODES: &str = r#"{"metadata":{"name":"n1","uid":"4","resourceVersion":"5"},
    "status":{"addresses":[{"type":"InternalIP","address":"192.168.0.1"}]}}"#;

fn answer(seen: &Seen) -> Answer {
    if seen.parameter("watch").is_some() {
        // A watch that is told nothing: it stays open, for its sender is kept.
        let (sender, answer) = Answer::pieces();
        std::mem::forget(sender);
        return answer;
    }
    let (kind, version, items) = match seen.path.as_str() {
        "/api/v1/services" => ("ServiceList", "v1", SERVICES),
        "/apis/discovery.k8s.io/v1/endpointslices" => ("EndpointSliceList", "discovery.k8s.io/v1", SLICES),
        "/api/v1/nodes" => ("NodeList", "v1", NODES),
        "/apis/networking.k8s.io/v1/servicecidrs" => return Answer::failure(404, "NotFound", "there are none here"),
        other => panic!("nobody should ask for {other}"),
    };
    Answer::ok(format!(r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{{"resourceVersion":"9"}},"items":[{items}]}}"#))
}

#[tokio::test]
async fn everything_there_is_has_arrived_once_it_is_synced() {
    let server = Server::start(answer).await;
    let collector = Collector::default();
    let client = Client::new(&server.config()).unwrap();
    let bind_address = Some("10.9.9.9".parse().unwrap());
    let watches = Arc::new(Watches::new(&client, "n1", bind_address, &collector));
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (watches, stop) = (watches.clone(), stop.clone());
        async move { watches.run(stop).await }
    });
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, watches.wait_for_sync()).await.unwrap();
    let changes = collector.take();
    assert!(changes.services[&ServiceName::new("ns", "web")].is_some());
    assert!(changes.services[&ServiceName::new("ns", "away")].is_none());
    let (service, endpoints) = changes.slices[&("ns".to_owned(), "web-1".to_owned())].as_ref().unwrap();
    assert_eq!(*service, ServiceName::new("ns", "web"));
    assert!(endpoints.values().flatten().all(|endpoint| endpoint.is_local));
    assert_eq!(changes.triggered.len(), 1);
    assert_eq!(changes.node.unwrap().ips, ["10.9.9.9".parse::<std::net::IpAddr>().unwrap()]);
    stop.cancel();
    tokio::time::timeout(patience, running).await.unwrap().unwrap();
    let selectors: Vec<String> = server.seen().iter().filter_map(|seen| seen.parameter("fieldSelector")).collect();
    assert!(selectors.iter().all(|selector| selector == "metadata.name=n1") && !selectors.is_empty());
}
