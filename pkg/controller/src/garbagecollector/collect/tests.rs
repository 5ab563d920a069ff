use client::testing::{Answer, Server};
use client::{ApiGroup, ApiResource, ApiVersion, Discovery, RestMapper};
use informer::WorkQueue;
use parking_lot::{Mutex, RwLock};

use super::*;
use crate::garbagecollector::graph::{Observation, State};

fn identity(uid: &str) -> Identity {
    Identity { api_version: "v1".into(), kind: "Thing".into(), namespace: "ns".into(), name: uid.into(), uid: uid.into() }
}

fn owner(uid: &str) -> OwnerReference {
    OwnerReference { api_version: "v1".into(), kind: "Thing".into(), name: uid.into(), uid: uid.into(), ..OwnerReference::default() }
}

fn shared() -> Arc<Shared> {
    let kind =
        ApiResource { version: "v1".into(), resource: "things".into(), kind: "Thing".into(), namespaced: true, ..ApiResource::default() };
    let version = ApiVersion { version: "v1".into(), resources: vec![kind], stale: false };
    let discovery = Discovery { groups: vec![ApiGroup { name: String::new(), versions: vec![version] }] };
    Arc::new(Shared {
        graph: Mutex::default(),
        queue: WorkQueue::new("gc-test"),
        mapper: RwLock::new(Some(Arc::new(RestMapper::new(discovery)))),
        complete: RwLock::new(true),
        absent: Mutex::default(),
    })
}

/// Serves these objects (`name`, owners, finalizers), takes every patch and deletion.
async fn run(objects: &'static [(&'static str, &'static [&'static str], &'static str)], shared: Arc<Shared>, uid: &str) -> Vec<String> {
    let server = Server::start(move |seen| {
        let name = seen.path.rsplit('/').next().unwrap_or_default();
        let Some((_, owners, finalizer)) = objects.iter().find(|(known, _, _)| *known == name) else {
            return Answer::failure(404, "NotFound", "no");
        };
        let owners: Vec<String> = owners.iter().map(|uid| owner_value(&owner(uid)).to_string()).collect();
        let finalizers = if finalizer.is_empty() { String::new() } else { format!("\"{finalizer}\"") };
        Answer::ok(format!(
            r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{{"name":"{name}","namespace":"ns","uid":"{name}",
               "resourceVersion":"7","ownerReferences":[{}],"finalizers":[{finalizers}]}}}}"#,
            owners.join(",")
        ))
    })
    .await;
    let client = Client::new(&server.config()).unwrap().with_protobuf(false);
    Collector::new(client, shared).reconcile(&graph::key(uid)).await.unwrap();
    let seen = server.seen();
    let told = seen.iter().map(|seen| {
        let what = seen.path.rsplit('/').next().unwrap_or_default();
        format!("{} {what} {}", seen.method, String::from_utf8_lossy(&seen.body)).trim().to_string()
    });
    told.collect()
}

fn put(shared: &Shared, uid: &str, owners: &[&str], finalizer: &str) {
    let deleting = !finalizer.is_empty();
    let owners = owners.iter().map(|uid| OwnerReference { block_owner_deletion: Some(true), ..owner(uid) }).collect();
    let state = State { owners, deleting, foreground: finalizer == FOREGROUND, orphaning: finalizer == ORPHAN };
    shared.observe(Observation::Exists { identity: identity(uid), state });
}

#[tokio::test]
async fn an_object_whose_owner_is_gone_is_deleted() {
    let shared = shared();
    put(&shared, "a", &["x"], "");
    let told = run(&[("a", &["x"], "")], shared.clone(), "a").await;
    assert_eq!(told[..2], ["GET a", "GET x"]);
    assert!(told[2].starts_with("DELETE a") && told[2].contains(r#""uid":"a""#) && told[2].contains("Background"), "{}", told[2]);
    assert_eq!(told.len(), 3);
}

#[tokio::test]
async fn an_owner_that_is_there_keeps_its_object() {
    let shared = shared();
    put(&shared, "a", &["x"], "");
    assert_eq!(run(&[("a", &["x"], ""), ("x", &[], "")], shared, "a").await, ["GET a", "GET x"]);
}

#[tokio::test]
async fn a_virtual_owner_that_is_not_there_frees_its_dependents() {
    let shared = shared();
    put(&shared, "a", &["x"], "");
    assert_eq!(shared.queue.len(), 1);
    assert_eq!(run(&[("a", &["x"], "")], shared.clone(), "x").await, ["GET x"]);
    assert!(shared.graph.lock().get("x").is_none());
    assert_eq!(shared.queue.len(), 2, "x from before, and a");
}

#[tokio::test]
async fn a_foreground_deletion_ends_when_nothing_blocks_it() {
    let shared = shared();
    put(&shared, "a", &["x"], "");
    put(&shared, "x", &[], FOREGROUND);
    assert_eq!(run(&[("x", &[], FOREGROUND)], shared.clone(), "x").await, ["GET x"]);
    shared.vanished(&identity("a"), false);
    let told = run(&[("x", &[], FOREGROUND)], shared, "x").await;
    assert_eq!(told[1], r#"PATCH x {"metadata":{"uid":"x","resourceVersion":"7","finalizers":[]}}"#);
}

#[tokio::test]
async fn orphans_forget_their_owner() {
    let shared = shared();
    put(&shared, "a", &["x"], "");
    put(&shared, "x", &[], ORPHAN);
    let told = run(&[("a", &["x"], ""), ("x", &[], ORPHAN)], shared, "x").await;
    assert_eq!(
        told,
        [
            "GET x",
            "GET a",
            r#"PATCH a {"metadata":{"uid":"a","resourceVersion":"7","ownerReferences":[]}}"#,
            r#"PATCH x {"metadata":{"uid":"x","resourceVersion":"7","finalizers":[]}}"#,
        ]
    );
}
