//! The scheduler in one process with a server that the test plays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use apimachinery::Value;
use bytes::Bytes;
use client::Client;
use client::testing::{Answer, Seen, Server};
use component_base::clock::TestClock;
use component_base::metrics::Registry;
use informer::Informers;
use informer::events::Broadcaster;
use parking_lot::Mutex;
use scheduler::profile::Profile;
use scheduler::queue::Patience;
use scheduler::scheduler::{Scheduler, Settings};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nothing here takes that long unless it is broken.
const LONG: Duration = Duration::from_secs(20);

/// A cluster with a scheduler at work on it.
struct Cluster {
    _server: Arc<Server>,
    watches: Watches,
    /// Requests that change something, in order: line and body.
    writes: mpsc::UnboundedReceiver<(String, Value)>,
    clock: TestClock,
    registry: Registry,
    _stop: DropGuard,
}

/// Open watches by the path watched.
type Watches = Arc<Mutex<HashMap<String, mpsc::Sender<Bytes>>>>;

impl Cluster {
    /// `lists`: what there is at the start, by path. `answer` decides on writes.
    async fn start(lists: &[(&str, String)], answer: impl Fn(&Seen) -> Option<Answer> + Send + Sync + 'static) -> Cluster {
        let lists: HashMap<String, String> = lists.iter().map(|(path, items)| ((*path).to_owned(), items.clone())).collect();
        let watches = Watches::default();
        let (send, writes) = mpsc::unbounded_channel();
        let opened = watches.clone();
        let server = Server::start(move |seen| {
            if seen.method != "GET" {
                let body = Value::parse(&seen.body).unwrap_or(Value::Null);
                let _ = send.send((seen.line(), body));
                return answer(seen).unwrap_or_else(|| Answer::json(201, seen.body.clone()));
            }
            if seen.parameter("watch").is_some() {
                let (sender, answer) = Answer::pieces();
                opened.lock().insert(seen.path.clone(), sender);
                return answer;
            }
            if seen.path == UNSERVED {
                return Answer::failure(405, "MethodNotAllowed", "not served by this build");
            }
            let items = lists.get(&seen.path).map(String::as_str).unwrap_or_default();
            Answer::ok(format!(r#"{{"metadata":{{"resourceVersion":"1"}},"items":[{items}]}}"#))
        })
        .await;
        let client = Client::new(&server.config()).unwrap();
        let (clock, registry, broadcaster) = (TestClock::at(SystemTime::UNIX_EPOCH), Registry::new(), Broadcaster::new());
        let settings =
            Settings { profiles: vec![Profile::default()], patience: Patience::default(), clock: Arc::new(clock.clone()), seed: 1 };
        let scheduler = Scheduler::new(settings, &client, broadcaster.recorder("default-scheduler", ""), &registry);
        let informers = Informers::new(&client);
        scheduler.follow(&informers);
        let stop = CancellationToken::new();
        tokio::spawn({
            let (informers, stop) = (informers.clone(), stop.clone());
            async move { informers.run(stop).await }
        });
        tokio::spawn({
            let (client, stop) = (client.clone(), stop.clone());
            async move { broadcaster.run(client, stop).await }
        });
        tokio::spawn({
            let (follower, stop) = (scheduler.clone(), stop.clone());
            async move {
                follower.follow_if_served(&informers, &stop).await;
                if informers.wait_for_sync(&stop).await {
                    scheduler.run(stop).await;
                }
            }
        });
        Cluster { _server: Arc::new(server), watches, writes, clock, registry, _stop: stop.drop_guard() }
    }

    /// The next write to a path that ends so; others are passed over.
    async fn expect(&mut self, line: &str) -> Value {
        let next = async {
            loop {
                let (seen, body) = self.writes.recv().await.expect("the server runs");
                if seen.ends_with(line) {
                    return body;
                }
            }
        };
        tokio::time::timeout(LONG, next).await.unwrap_or_else(|_| panic!("no {line}"))
    }

    /// Sends a watch event.
    async fn tell(&self, path: &str, kind: &str, object: &str) {
        let watch = tokio::time::timeout(LONG, async {
            loop {
                if let Some(sender) = self.watches.lock().get(path) {
                    return sender.clone();
                }
                tokio::task::yield_now().await;
            }
        });
        let watch = watch.await.expect("the path is watched");
        watch.send(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n").into()).await.unwrap();
    }
}

fn node(name: &str, cpu: &str) -> String {
    format!(
        r#"{{"kind":"Node","apiVersion":"v1","metadata":{{"name":"{name}","resourceVersion":"1"}},"status":{{"allocatable":{{"cpu":"{cpu}","memory":"8Gi","pods":"10"}}}}}}"#
    )
}

fn pod(name: &str, cpu: &str, more: &str) -> String {
    format!(
        r#"{{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"ns","uid":"{name}-uid","resourceVersion":"1"}},"spec":{{"schedulerName":"default-scheduler","containers":[{{"name":"c","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]{more}}}}}"#
    )
}

const PODS: &str = "/api/v1/pods";
/// As an API server that lacks a kind says so; the scheduler does without.
const UNSERVED: &str = "/api/v1/replicationcontrollers";
const NODES: &str = "/api/v1/nodes";
const BIND: &str = "POST /api/v1/namespaces/ns/pods/p/binding";
const STATUS: &str = "PATCH /api/v1/namespaces/ns/pods/p/status";
const EVENTS: &str = "POST /api/v1/namespaces/ns/events";

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    value.at(path).and_then(Value::as_str).unwrap_or_default()
}

#[tokio::test]
async fn a_pod_is_bound_and_its_owner_told() {
    let mut cluster = Cluster::start(&[(NODES, node("n", "4")), (PODS, pod("p", "1", ""))], |_| None).await;
    let binding = cluster.expect(BIND).await;
    assert_eq!(text(&binding, &["target", "name"]), "n");
    assert_eq!(text(&binding, &["metadata", "uid"]), "p-uid");
    let event = cluster.expect(EVENTS).await;
    assert_eq!(text(&event, &["reason"]), "Scheduled");
    assert_eq!(text(&event, &["message"]), "Successfully assigned ns/p to n");
    assert_eq!(text(&event, &["source", "component"]), "default-scheduler");
    let metrics = cluster.registry.text();
    assert!(metrics.contains(r#"scheduler_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_says_so_and_is_bound_once_a_node_comes() {
    let mut cluster = Cluster::start(&[(NODES, node("n", "1")), (PODS, pod("p", "2", ""))], |_| None).await;
    let patch = cluster.expect(STATUS).await;
    let conditions = patch.at(&["status", "conditions"]).and_then(Value::as_array).unwrap();
    let message = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: \
                   1 Preemption is not helpful for scheduling.";
    assert_eq!(text(&conditions[0], &["reason"]), "Unschedulable");
    assert_eq!(text(&conditions[0], &["message"]), message);
    assert_eq!(text(&cluster.expect(EVENTS).await, &["reason"]), "FailedScheduling");
    cluster.tell(NODES, "ADDED", &node("big", "4")).await;
    assert_eq!(text(&cluster.expect(BIND).await, &["target", "name"]), "big");
}

#[tokio::test]
async fn a_refused_binding_frees_the_place_and_is_tried_again() {
    let refusals = Mutex::new(1);
    let answer = move |seen: &Seen| {
        let mut left = refusals.lock();
        let refuse = seen.path.ends_with("/binding") && *left > 0;
        refuse.then(|| {
            *left -= 1;
            Answer::failure(409, "Conflict", "not now")
        })
    };
    let mut cluster = Cluster::start(&[(NODES, node("n", "1")), (PODS, pod("p", "1", ""))], answer).await;
    cluster.expect(BIND).await;
    let patch = cluster.expect(STATUS).await;
    let conditions = patch.at(&["status", "conditions"]).and_then(Value::as_array).unwrap();
    assert_eq!(text(&conditions[0], &["reason"]), "SchedulerError");
    assert_eq!(text(&conditions[0], &["message"]), "binding rejected: not now");
    // The backoff after an error is kept even if there is nothing else to do.
    cluster.clock.advance(Duration::from_secs(1));
    cluster.expect(BIND).await;
}

#[tokio::test]
async fn preemption_deletes_the_victim_and_nominates_the_node() {
    let victim = pod("v", "1", r#","nodeName":"n","priority":0"#);
    let lists = [(NODES, node("n", "1")), (PODS, format!("{victim},{}", pod("p", "1", r#","priority":7"#)))];
    let mut cluster = Cluster::start(&lists, |_| None).await;
    let patch = cluster.expect(STATUS).await;
    assert_eq!(text(&patch, &["status", "nominatedNodeName"]), "n");
    let patch = cluster.expect("PATCH /api/v1/namespaces/ns/pods/v/status").await;
    let conditions = patch.at(&["status", "conditions"]).and_then(Value::as_array).unwrap();
    assert_eq!(text(&conditions[0], &["reason"]), "PreemptionByScheduler");
    let options = cluster.expect("DELETE /api/v1/namespaces/ns/pods/v").await;
    assert_eq!(text(&options, &["preconditions", "uid"]), "v-uid");
    cluster.tell(PODS, "DELETED", &victim).await;
    assert_eq!(text(&cluster.expect(BIND).await, &["target", "name"]), "n");
}

#[tokio::test]
async fn pods_of_other_schedulers_and_gated_ones_are_left_alone() {
    let other = pod("p", "1", "").replace("default-scheduler", "another");
    let gated = pod("g", "1", r#","schedulingGates":[{"name":"x"}]"#);
    let lists = [(NODES, node("n", "4")), (PODS, format!("{other},{gated},{}", pod("q", "1", "")))];
    let mut cluster = Cluster::start(&lists, |_| None).await;
    cluster.expect("POST /api/v1/namespaces/ns/pods/q/binding").await;
    cluster.tell(PODS, "MODIFIED", &pod("g", "1", "").replace(r#""resourceVersion":"1""#, r#""resourceVersion":"2""#)).await;
    let (line, _) = loop {
        let write = tokio::time::timeout(LONG, cluster.writes.recv()).await.unwrap().unwrap();
        if !write.0.ends_with("/events") {
            break write;
        }
    };
    assert_eq!(line, "POST /api/v1/namespaces/ns/pods/g/binding");
}
