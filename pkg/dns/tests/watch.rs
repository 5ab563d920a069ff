//! An API server of the test's own, whose objects become names.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::Client;
use client::testing::{Answer, Seen, Server};
use dns::watch::Watches;
use dns::zone::{Lookup, PodRecords, Zone, ZoneConfig};
use hickory_proto::rr::{Name, RecordType};
use parking_lot::{Mutex, RwLock};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

type Watchers = Arc<Mutex<Vec<(String, mpsc::Sender<Bytes>)>>>;

fn answer(seen: &Seen, watchers: &Watchers) -> Answer {
    if seen.parameter("watch").is_some() {
        let (sender, answer) = Answer::pieces();
        watchers.lock().push((seen.path.clone(), sender));
        return answer;
    }
    let (kind, items) = match seen.path.as_str() {
        "/api/v1/services" => ("ServiceList", SERVICE),
        "/apis/discovery.k8s.io/v1/endpointslices" => ("EndpointSliceList", SLICE),
        _ => ("NamespaceList", r#"{"metadata":{"name":"default","uid":"n","resourceVersion":"1"}}"#),
    };
    let version = if kind == "EndpointSliceList" { "discovery.k8s.io/v1" } else { "v1" };
    Answer::ok(format!(r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{{"resourceVersion":"5"}},"items":[{items}]}}"#))
}

const SERVICE: &str = r#"{"metadata":{"name":"db","namespace":"default","uid":"s","resourceVersion":"2"},
    "spec":{"clusterIP":"None","clusterIPs":["None"],"ports":[{"name":"sql","port":5432,"protocol":"TCP"}]}}"#;
const SLICE: &str = r#"{"metadata":{"name":"db-1","namespace":"default","uid":"e","resourceVersion":"3","labels":{"kubernetes.io/service-name":"db"}},
    "addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"hostname":"db-0"}],"ports":[{"name":"sql","port":5432,"protocol":"TCP"}]}"#;

fn finds(zone: &RwLock<Zone>, name: &str) -> bool {
    let name = Name::from_ascii(name).unwrap();
    matches!(zone.read().lookup(&name, RecordType::A), Lookup::Found { .. })
}

#[tokio::test]
async fn objects_become_names_and_names_go_with_their_objects() {
    let watchers = Watchers::default();
    let to = watchers.clone();
    let server = Server::start(move |seen| answer(seen, &to)).await;
    let domain = Name::from_ascii("cluster.local.").unwrap();
    let zone = ZoneConfig { domain, ttl: 5, pods: PodRecords::Insecure, serial: 1 };
    let zone = Arc::new(RwLock::new(Zone::new(zone)));
    let watches = Arc::new(Watches::new(&Client::new(&server.config()).unwrap(), &zone));
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (watches, stop) = (watches.clone(), stop.clone());
        async move { watches.run(stop).await }
    });
    let patience = Duration::from_secs(10);
    tokio::time::timeout(patience, watches.wait_for_sync()).await.unwrap();
    assert!(finds(&zone, "db.default.svc.cluster.local.") && finds(&zone, "db-0.db.default.svc.cluster.local."));
    assert!(finds(&zone, "10-0-0-1.default.pod.cluster.local."));

    let slices = async {
        loop {
            let sender = watchers.lock().iter().find(|(path, _)| path.ends_with("endpointslices")).map(|(_, sender)| sender.clone());
            match sender {
                Some(sender) => break sender,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let slices = tokio::time::timeout(patience, slices).await.unwrap();
    let typed = SLICE.replacen('{', r#"{"kind":"EndpointSlice","apiVersion":"discovery.k8s.io/v1","#, 1);
    let event = format!("{{\"type\":\"DELETED\",\"object\":{}}}\n", typed.replace('\n', " "));
    slices.send(event.into()).await.unwrap();
    let gone = async {
        while finds(&zone, "db.default.svc.cluster.local.") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(patience, gone).await.unwrap();
    stop.cancel();
    tokio::time::timeout(patience, running).await.unwrap().unwrap();
}
