//! Two contenders and a server that keeps one lease.

use std::sync::Arc;
use std::time::Duration;

use api::coordination::v1::Lease;
use apimachinery::json;
use client::Client;
use client::testing::{Answer, Server};
use informer::leader::{LeaderConfig, LostLease, while_leading};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Stored {
    lease: Option<Lease>,
    version: u32,
    refuse: bool,
}

async fn lease_server() -> (Server, Arc<Mutex<Stored>>) {
    let stored = Arc::new(Mutex::new(Stored::default()));
    let state = stored.clone();
    let server = Server::start(move |seen| {
        let mut state = state.lock();
        if state.refuse {
            return Answer::failure(500, "InternalError", "down");
        }
        let current = state.lease.clone();
        if seen.method == "GET" {
            return match &current {
                Some(lease) => Answer::ok(json::to_vec(lease)),
                None => Answer::failure(404, "NotFound", "no lease"),
            };
        }
        let mut sent: Lease = json::from_slice(&seen.body).unwrap();
        let known = current.map(|lease| lease.metadata.resource_version);
        match (seen.method.as_str(), known) {
            ("POST", Some(_)) => return Answer::failure(409, "AlreadyExists", "there"),
            ("PUT", known) if known != Some(sent.metadata.resource_version.clone()) => return Answer::failure(409, "Conflict", "changed"),
            _ => {}
        }
        state.version += 1;
        sent.metadata.resource_version = state.version.to_string();
        state.lease = Some(sent.clone());
        Answer::ok(json::to_vec(&sent))
    })
    .await;
    (server, stored)
}

fn config(identity: &str) -> LeaderConfig {
    let mut config = LeaderConfig::new("kube-system", "thing", identity);
    config.lease_duration = Duration::from_secs(1);
    config.renew_deadline = Duration::from_millis(500);
    config.retry_period = Duration::from_millis(20);
    config
}

fn holder(stored: &Mutex<Stored>) -> String {
    stored.lock().lease.as_ref().and_then(|lease| lease.spec.holder_identity.clone()).unwrap_or_default()
}

async fn until(what: impl Fn() -> bool) {
    let reached = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached).await.expect("reached in time");
}

#[tokio::test]
async fn the_second_waits_and_takes_over_a_released_lease() {
    let (server, stored) = lease_server().await;
    let client = Client::new(&server.config()).unwrap();
    let contend = |identity: &'static str, stop: CancellationToken| {
        let client = client.clone();
        tokio::spawn(while_leading(config(identity), client, stop, move |term| async move {
            term.cancelled().await;
            identity
        }))
    };
    let (stop_one, stop_two) = (CancellationToken::new(), CancellationToken::new());
    let one = contend("one", stop_one.clone());
    until(|| holder(&stored) == "one").await;
    let two = contend("two", stop_two.clone());
    let before = stored.lock().version;
    until(|| stored.lock().version > before + 3).await;
    assert_eq!(holder(&stored), "one");
    stop_one.cancel();
    assert_eq!(one.await.unwrap().unwrap(), Some("one"));
    until(|| holder(&stored) == "two").await;
    assert_eq!(stored.lock().lease.as_ref().unwrap().spec.lease_transitions, Some(1));
    stop_two.cancel();
    assert_eq!(two.await.unwrap().unwrap(), Some("two"));
    assert_eq!(holder(&stored), "");
}

#[tokio::test]
async fn a_lease_that_cannot_be_renewed_is_lost() {
    let (server, stored) = lease_server().await;
    let client = Client::new(&server.config()).unwrap();
    let stop = CancellationToken::new();
    let leading = tokio::spawn(while_leading(config("one"), client, stop, |_| std::future::pending::<()>()));
    until(|| holder(&stored) == "one").await;
    stored.lock().refuse = true;
    assert!(matches!(leading.await.unwrap(), Err(LostLease)));
}

#[tokio::test]
async fn stop_before_the_lease_ends_the_wait() {
    let (server, stored) = lease_server().await;
    stored.lock().refuse = true;
    let stop = CancellationToken::new();
    let waiting = tokio::spawn(while_leading(config("one"), Client::new(&server.config()).unwrap(), stop.clone(), |_| async {}));
    until(|| !server.seen().is_empty()).await;
    stop.cancel();
    assert_eq!(waiting.await.unwrap().unwrap(), None);
}
