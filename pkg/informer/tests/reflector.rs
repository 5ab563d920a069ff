//! List-and-watch against scripted answers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use api::core::v1::ConfigMap;
use client::testing::{Answer, Server};
use client::{Api, Client};
use informer::{Event, Informer, InformerOptions, Informers, ObjectKey, Step};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn object(name: &str, version: u32) -> String {
    format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"ns","uid":"u-{name}","resourceVersion":"{version}","managedFields":[{{"manager":"m"}}]}}}}"#
    )
}

fn list(version: u32, next: &str, items: &[(&str, u32)]) -> Answer {
    let items: Vec<String> = items.iter().map(|(name, version)| object(name, *version)).collect();
    let meta = format!(r#"{{"resourceVersion":"{version}","continue":"{next}"}}"#);
    Answer::ok(format!(r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{meta},"items":[{}]}}"#, items.join(",")))
}

fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn expired() -> String {
    event(
        "ERROR",
        r#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","message":"too old resource version","code":410}"#,
    )
}

/// A watch that sends `events` and then ends, or stays open.
fn watch(events: Vec<String>, stay: bool) -> Answer {
    let (sender, answer) = Answer::pieces();
    tokio::spawn(async move {
        for event in events {
            if sender.send(event.into()).await.is_err() {
                return;
            }
        }
        if stay {
            sender.closed().await;
        }
    });
    answer
}

type Make = Box<dyn FnOnce() -> Answer + Send>;

/// A server that gives these answers in turn, and after them watches that stay open.
async fn scripted(answers: Vec<Make>) -> Server {
    let answers = Mutex::new(VecDeque::from(answers));
    Server::start(move |_| match answers.lock().pop_front() {
        Some(make) => make(),
        None => watch(Vec::new(), true),
    })
    .await
}

struct Follower {
    informer: Informer<ConfigMap>,
    events: mpsc::UnboundedReceiver<String>,
    stop: CancellationToken,
}

impl Follower {
    fn start(server: &Server, options: InformerOptions<ConfigMap>) -> Follower {
        let client = Client::new(&server.config()).unwrap();
        let informer = Informer::with(Api::all(&client), options);
        let (sender, events) = mpsc::unbounded_channel();
        informer.on_event(move |event| {
            let text = match event {
                Event::Added(map) => format!("+{}@{}", map.metadata.name, map.metadata.resource_version),
                Event::Updated { old, new } => {
                    format!("~{}@{}>{}", new.metadata.name, old.metadata.resource_version, new.metadata.resource_version)
                }
                Event::Deleted(map) => format!("-{}", map.metadata.name),
            };
            drop(sender.send(text));
        });
        let stop = CancellationToken::new();
        let (running, token) = (informer.clone(), stop.clone());
        tokio::spawn(async move { running.run(token).await });
        Follower { informer, events, stop }
    }

    /// The next events, sorted: a list has no order.
    async fn next(&mut self, count: usize) -> Vec<String> {
        let mut events = Vec::new();
        for _ in 0..count {
            let event = tokio::time::timeout(Duration::from_secs(10), self.events.recv()).await;
            events.push(event.expect("an event in time").expect("the informer lives"));
        }
        events.sort();
        events
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn queries(server: &Server) -> Vec<String> {
    let of = |seen: client::testing::Seen| {
        let get = |name: &str| seen.parameter(name).unwrap_or_default();
        match get("watch").as_str() {
            "true" => format!("watch {}", get("resourceVersion")),
            _ => format!("list {} {}", get("resourceVersion"), get("continue")).trim().to_string(),
        }
    };
    server.seen().into_iter().map(of).collect()
}

#[tokio::test]
async fn a_cache_follows_and_a_resumed_watch_leaves_no_gap() {
    let server = scripted(vec![
        Box::new(|| list(10, "", &[("a", 3), ("b", 4)])),
        Box::new(|| {
            let bookmark = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"20"}}"#;
            let events = vec![
                event("MODIFIED", &object("a", 11)),
                event("ADDED", &object("c", 12)),
                event("DELETED", &object("b", 13)),
                event("BOOKMARK", bookmark),
            ];
            watch(events, false)
        }),
        Box::new(|| watch(vec![event("ADDED", &object("e", 21)), expired()], false)),
        // What is unchanged is not told again; what is missing was deleted meanwhile.
        Box::new(|| list(30, "", &[("a", 11), ("e", 21), ("d", 29)])),
    ])
    .await;
    let mut follower = Follower::start(&server, InformerOptions::default());
    assert_eq!(follower.next(2).await, ["+a@3", "+b@4"]);
    assert_eq!(follower.next(3).await, ["+c@12", "-b", "~a@3>11"]);
    assert_eq!(follower.next(3).await, ["+d@29", "+e@21", "-c"]);
    follower.informer.wait_for_sync().await;
    let map = follower.informer.get(&ObjectKey::new("ns", "a")).unwrap();
    assert!(map.metadata.managed_fields.is_empty());
    assert_eq!(follower.informer.list().len(), 3);
    while queries(&server).len() < 5 {
        tokio::task::yield_now().await;
    }
    assert_eq!(queries(&server), ["list 0", "watch 10", "watch 20", "list", "watch 30"]);
    let history = follower.informer.history();
    assert_eq!(
        history[..3],
        [
            Step::Listed { at: "10".into(), items: 2 },
            Step::Watching { from: "10".into() },
            Step::Ended { at: "20".into(), why: "ended".into() },
        ]
    );
}

#[tokio::test]
async fn a_cut_connection_is_resumed_from_what_was_seen() {
    let server = scripted(vec![
        Box::new(|| list(10, "", &[("a", 3)])),
        // Half an event, then the end of the stream.
        Box::new(|| watch(vec![event("MODIFIED", &object("a", 11)), "{\"type\":\"ADD".to_string()], false)),
        Box::new(|| watch(vec![event("ADDED", &object("b", 12))], true)),
    ])
    .await;
    let mut follower = Follower::start(&server, InformerOptions::default());
    assert_eq!(follower.next(3).await, ["+a@3", "+b@12", "~a@3>11"]);
    assert_eq!(queries(&server), ["list 0", "watch 10", "watch 11"]);
}

#[tokio::test]
async fn an_expired_list_is_read_afresh_in_pages() {
    let server = scripted(vec![
        Box::new(|| Answer::failure(410, "Expired", "too old")),
        Box::new(|| list(10, "more", &[("a", 3)])),
        Box::new(|| list(10, "", &[("b", 4)])),
    ])
    .await;
    let mut follower = Follower::start(&server, InformerOptions::default());
    assert_eq!(follower.next(2).await, ["+a@3", "+b@4"]);
    assert_eq!(queries(&server)[..3], ["list 0", "list", "list  more"]);
    assert_eq!(server.seen()[1].parameter("limit").as_deref(), Some("500"));
}

#[tokio::test]
async fn a_failed_list_is_tried_again() {
    let server = scripted(vec![Box::new(|| Answer::failure(403, "Forbidden", "not yet")), Box::new(|| list(10, "", &[("a", 3)]))]).await;
    let mut follower = Follower::start(&server, InformerOptions::default());
    assert_eq!(follower.next(1).await, ["+a@3"]);
    assert_eq!(follower.informer.history()[0], Step::Failed { why: "not yet".into() });
}

#[tokio::test]
async fn the_initial_state_may_be_streamed_or_refused_to() {
    let end =
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}"#;
    let server = scripted(vec![Box::new(move || watch(vec![event("ADDED", &object("a", 3)), event("BOOKMARK", end)], true))]).await;
    let options = || InformerOptions { streaming_list: true, ..InformerOptions::default() };
    let mut follower = Follower::start(&server, options());
    assert_eq!(follower.next(1).await, ["+a@3"]);
    follower.informer.wait_for_sync().await;
    assert_eq!(follower.informer.resource_version(), "9");
    assert_eq!(server.seen()[0].parameter("sendInitialEvents").as_deref(), Some("true"));

    let server = scripted(vec![
        Box::new(|| Answer::failure(422, "Invalid", "sendInitialEvents: Forbidden")),
        Box::new(|| list(10, "", &[("b", 3)])),
    ])
    .await;
    let mut follower = Follower::start(&server, options());
    assert_eq!(follower.next(1).await, ["+b@3"]);
}

#[tokio::test]
async fn a_factory_shares_starts_and_syncs_its_informers() {
    let server = Server::start(|seen| match seen.parameter("watch") {
        None => list(10, "", &[("a", 3)]),
        Some(_) => watch(Vec::new(), true),
    })
    .await;
    let informers = Informers::new(&Client::new(&server.config()).unwrap());
    let maps = informers.of::<ConfigMap>();
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (informers, stop) = (informers.clone(), stop.clone());
        async move { informers.run(stop).await }
    });
    assert!(informers.wait_for_sync(&stop).await);
    let again = informers.of::<ConfigMap>();
    let late = Arc::new(Mutex::new(Vec::new()));
    let told = late.clone();
    again.on_event(move |event| told.lock().push(event.key().to_string()));
    assert_eq!(*late.lock(), ["ns/a"]);
    assert!(maps.has_synced() && Arc::ptr_eq(&maps.store(), &again.store()));
    let some = informers.select::<ConfigMap>(informer::Selection { namespace: "ns".into(), ..Default::default() });
    some.wait_for_sync().await;
    assert!(server.lines().contains(&"GET /api/v1/namespaces/ns/configmaps".to_string()));
    assert!(informers.describe().contains("ConfigMap resourceVersion=10 objects=1"));
    stop.cancel();
    running.await.unwrap();
}
