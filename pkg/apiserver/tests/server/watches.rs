//! Watches: where they begin, what they tell, how they end.

use std::collections::BTreeMap;
use std::sync::Arc;

use apimachinery::Value;

use crate::harness::Api;

const MAPS: &str = "/api/v1/namespaces/a/configmaps";

#[tokio::test]
async fn a_watch_goes_on_from_a_list() {
    let api = Api::start();
    api.make("x").await;
    let from = api.get(MAPS).await.text("metadata.resourceVersion");
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    api.make("y").await;
    api.patch(&format!("{MAPS}/x"), "merge-patch+json", r#"{"data":{"k":"v"}}"#).await;
    let removed = api.delete(&format!("{MAPS}/y"), "").await;
    assert_eq!(removed.status, 200);
    assert_eq!(watch.lines(2).await, ["ADDED y", "MODIFIED x"]);
    let event = watch.next().await.unwrap();
    assert_eq!(event.str_at(&["type"]), Some("DELETED"));
    let current = api.get(MAPS).await.text("metadata.resourceVersion");
    assert_eq!(event.str_at(&["object", "metadata", "resourceVersion"]), Some(current.as_str()), "a removal has a revision of its own");
}

#[tokio::test]
async fn a_watch_from_nowhere_tells_the_state_first() {
    let api = Api::start();
    api.make("x").await;
    let mut watch = api.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(watch.line().await, "ADDED x");
    api.make("y").await;
    assert_eq!(watch.line().await, "ADDED y");
}

#[tokio::test]
async fn streaming_lists_end_with_a_bookmark() {
    let api = Api::start();
    api.make("x").await;
    let parameters = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = api.watch(&format!("{MAPS}?{parameters}")).await;
    assert_eq!(watch.line().await, "ADDED x");
    let mark = watch.next().await.unwrap();
    assert_eq!(mark.str_at(&["type"]), Some("BOOKMARK"));
    assert_eq!(mark.pointer("/object/metadata/annotations/k8s.io~1initial-events-end").and_then(Value::as_str), Some("true"));
    assert_eq!(mark.str_at(&["object", "kind"]), Some("ConfigMap"));
}

#[tokio::test]
async fn what_enters_and_leaves_a_selection_is_added_and_deleted() {
    let api = Api::start();
    let from = api.make("x").await;
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}&labelSelector=l%3D1")).await;
    for label in ["1", "1\",\"m\":\"2", "3", "1"] {
        api.patch(&format!("{MAPS}/x"), "merge-patch+json", &format!(r#"{{"metadata":{{"labels":{{"l":"{label}"}}}}}}"#)).await;
    }
    assert_eq!(watch.lines(2).await, ["ADDED x", "MODIFIED x"]);
    let left = watch.next().await.unwrap();
    assert_eq!(left.str_at(&["type"]), Some("DELETED"));
    assert_eq!(left.str_at(&["object", "metadata", "labels", "l"]), Some("1"), "the state that still matched");
    assert_eq!(watch.line().await, "ADDED x");
}

#[tokio::test]
async fn pods_are_routed_by_their_node() {
    let api = Api::start();
    let pods = "/api/v1/namespaces/a/pods";
    let mut watch = api.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1").await;
    for (name, node) in [("p", "n2"), ("q", "n1"), ("r", "")] {
        api.post(pods, &format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"nodeName":"{node}"}}}}"#)).await;
    }
    api.patch(&format!("{pods}/r"), "merge-patch+json", r#"{"spec":{"nodeName":"n1"}}"#).await;
    api.patch(&format!("{pods}/q"), "merge-patch+json", r#"{"spec":{"nodeName":"n3"}}"#).await;
    assert_eq!(watch.lines(3).await, ["ADDED q", "ADDED r", "DELETED q"]);
    let list = api.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await.json();
    assert_eq!(list.pointer("/items/0/metadata/name").and_then(Value::as_str), Some("r"));
    assert_eq!(list.get("items").and_then(Value::as_array).map(<[Value]>::len), Some(1));
}

#[tokio::test]
async fn history_older_than_the_server_comes_from_the_store() {
    let api = Api::start();
    let from = api.make("x").await;
    api.make("y").await;
    let store = api.store.clone();
    drop(api);
    let fresh = Api::over(store);
    let mut watch = fresh.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    assert_eq!(watch.line().await, "ADDED y");
    fresh.make("z").await;
    assert_eq!(watch.line().await, "ADDED z");
}

#[tokio::test]
async fn history_that_is_gone_is_an_error_event() {
    let api = Api::start();
    let from = api.make("x").await;
    api.make("y").await;
    api.make("z").await;
    let store = api.store.clone();
    let current = api.server.objects().current_revision().await.unwrap();
    store.compact(storage::Revision(current)).await.unwrap();
    drop(api);
    let fresh = Api::over(store);
    let mut watch = fresh.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    let event = watch.next().await.unwrap();
    assert_eq!(event.str_at(&["type"]), Some("ERROR"));
    assert_eq!(event.at(&["object", "code"]).and_then(Value::as_i64), Some(410));
    assert!(event.str_at(&["object", "message"]).unwrap().starts_with("too old resource version: "));
    assert_eq!(watch.line().await, "end");
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let api = Api::start();
    let from = api.make("x").await;
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={from}&timeoutSeconds=1")).await;
    assert_eq!(watch.line().await, "end");
}

/// Several writers, several watchers that begin anywhere: each must end with the very state a list shows, having seen every revision of an object
/// in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_agree_with_lists_under_concurrent_writes() {
    const WRITES: usize = 60;
    let api = Arc::new(Api::start());
    let mut watchers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let api = api.clone();
        watchers.spawn(async move {
            let list = api.get(MAPS).await;
            let mut state: BTreeMap<String, u64> = BTreeMap::new();
            for item in list.json().get("items").and_then(Value::as_array).unwrap_or_default() {
                state.insert(item.str_at(&["metadata", "name"]).unwrap().to_owned(), revision(item));
            }
            let mut last = list.text("metadata.resourceVersion").parse().unwrap();
            let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion={last}")).await;
            loop {
                let event = watch.next().await.unwrap();
                let object = event.get("object").unwrap();
                let name = object.str_at(&["metadata", "name"]).unwrap().to_owned();
                let at = revision(object);
                assert!(at > last, "revisions come in order, each once");
                last = at;
                match event.str_at(&["type"]).unwrap() {
                    "DELETED" => assert!(state.remove(&name).is_some()),
                    "ADDED" => assert!(state.insert(name.clone(), at).is_none()),
                    "MODIFIED" => assert!(state.insert(name.clone(), at).is_some()),
                    other => panic!("{other}"),
                }
                if name == "end" {
                    return state;
                }
            }
        });
    }
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let api = api.clone();
        writers.spawn(async move {
            for turn in 0..WRITES {
                let url = format!("{MAPS}/w{writer}-{}", turn % 5);
                match turn / 5 % 3 {
                    0 => drop(api.post(MAPS, &format!(r#"{{"metadata":{{"name":"w{writer}-{}"}}}}"#, turn % 5)).await),
                    1 => drop(api.patch(&url, "merge-patch+json", &format!(r#"{{"data":{{"t":"{turn}"}}}}"#)).await),
                    _ if turn % 2 == 0 => drop(api.delete(&url, "").await),
                    _ => {}
                }
            }
        });
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap();
    }
    api.make("end").await;
    let list = api.get(MAPS).await.json();
    let wanted: BTreeMap<String, u64> = list
        .get("items")
        .and_then(Value::as_array)
        .unwrap_or_default()
        .iter()
        .map(|item| (item.str_at(&["metadata", "name"]).unwrap().to_owned(), revision(item)))
        .collect();
    while let Some(state) = watchers.join_next().await {
        assert_eq!(state.unwrap(), wanted);
    }
}

fn revision(object: &Value) -> u64 {
    object.str_at(&["metadata", "resourceVersion"]).unwrap().parse().unwrap()
}
