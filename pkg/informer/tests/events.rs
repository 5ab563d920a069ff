//! Events on their way to a server.

use std::time::Duration;

use api::core::v1::Event;
use apimachinery::{Value, json};
use client::Client;
use client::testing::{Answer, Server};
use informer::events::{Broadcaster, reference};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_repeated_event_becomes_a_count() {
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => {
            let mut event: Event = json::from_slice(&seen.body).unwrap();
            event.metadata.resource_version = "7".into();
            Answer::json(201, json::to_vec(&event))
        }
        _ => Answer::ok(json::to_vec(&Event { count: 2, ..Event::default() })),
    })
    .await;
    let broadcaster = Broadcaster::new();
    let recorder = broadcaster.recorder("kubelet", "node-1");
    let stop = CancellationToken::new();
    let client = Client::new(&server.config()).unwrap();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { broadcaster.run(client, stop).await }
    });
    let mut pod = api::core::v1::Pod::default();
    pod.metadata.name = "web".into();
    pod.metadata.namespace = "ns".into();
    let about = reference(&pod);
    recorder.event(&about, "Normal", "Pulled", "done");
    recorder.event(&about, "Normal", "Pulled", "done");
    let seen = async {
        while server.seen().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), seen).await.unwrap();
    stop.cancel();
    running.await.unwrap();

    let seen = server.seen();
    assert_eq!(seen[0].line(), "POST /api/v1/namespaces/ns/events");
    let created = Value::parse(&seen[0].body).unwrap();
    let name = created.str_at(&["metadata", "name"]).unwrap();
    assert!(name.starts_with("web."), "{name}");
    assert_eq!(created.str_at(&["involvedObject", "kind"]), Some("Pod"));
    assert_eq!(created.str_at(&["source", "host"]), Some("node-1"));
    assert_eq!(created.str_at(&["reportingComponent"]), Some("kubelet"));
    assert_eq!(seen[1].line(), format!("PATCH /api/v1/namespaces/ns/events/{name}"));
    assert_eq!(seen[1].header("content-type"), "application/strategic-merge-patch+json");
    assert_eq!(Value::parse(&seen[1].body).unwrap()["count"].as_i64(), Some(2));
}
