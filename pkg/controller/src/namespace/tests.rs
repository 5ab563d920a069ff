use apimachinery::meta::v1::PartialObjectMetadata;
use client::testing::{Answer, Server};

use super::*;

const T0: Time = Time::from_unix(1_000_000);

fn namespace(deleted: bool, phase: &str, finalizers: &[&str]) -> Namespace {
    let mut namespace = Namespace::default();
    namespace.metadata.name = "ns".into();
    namespace.metadata.uid = "u".into();
    namespace.metadata.deletion_timestamp = deleted.then_some(T0);
    namespace.status.phase = phase.into();
    namespace.spec.finalizers = finalizers.iter().map(ToString::to_string).collect();
    namespace
}

fn object(finalizers: &[&str], grace: Option<i64>) -> PartialObjectMetadata {
    let mut object = PartialObjectMetadata::default();
    object.metadata.finalizers = finalizers.iter().map(ToString::to_string).collect();
    object.metadata.deletion_timestamp = Some(T0);
    object.metadata.deletion_grace_period_seconds = grace;
    object
}

#[test]
fn steps() {
    for (deleted, phase, finalizers, expected) in [
        (false, "Active", vec![FINALIZER], Step::Nothing),
        (true, "Active", vec![FINALIZER], Step::MarkTerminating),
        (true, "Terminating", vec![FINALIZER], Step::Sweep),
        (true, "Terminating", vec!["mine"], Step::Nothing),
    ] {
        assert_eq!(next_step(&namespace(deleted, phase, &finalizers)), expected);
    }
}

#[test]
fn waiting_depends_on_what_is_left() {
    let terminating = namespace(true, "Terminating", &[FINALIZER]);
    let check = |objects: &[PartialObjectMetadata], age: i64, expected: Option<u64>| {
        let mut sweep = Sweep::default();
        if !objects.is_empty() {
            sweep.remaining.insert("pods".into(), content::remaining(objects));
        }
        assert_eq!(wait(&terminating, &sweep, T0.add_seconds(age)), expected.map(Duration::from_secs));
    };
    check(&[], 10, None);
    check(&[], 0, Some(2));
    check(&[object(&[], None)], 10, Some(1));
    check(&[object(&[], Some(30))], 10, Some(16));
    check(&[object(&["a/b"], None)], 10, Some(8));
}

#[test]
fn conditions_say_what_is_left_and_keep_their_times() {
    let mut sweep = Sweep::default();
    let objects = [object(&["a/b"], None), object(&["a/b"], None), object(&[], None)];
    sweep.remaining.insert("widgets.example.com".into(), content::remaining(&objects));
    let first = next_conditions(&Default::default(), &sweep, T0);
    let told: Vec<String> =
        first.iter().map(|condition| format!("{}={} {}", condition.type_, condition.status, condition.message)).collect();
    assert_eq!(
        told,
        [
            "NamespaceDeletionDiscoveryFailure=False All resources successfully discovered",
            "NamespaceDeletionGroupVersionParsingFailure=False All legacy kube types successfully parsed",
            "NamespaceDeletionContentFailure=False All content successfully deleted, may be waiting on finalization",
            "NamespaceContentRemaining=True Some resources are remaining: widgets.example.com has 3 resource instances",
            "NamespaceFinalizersRemaining=True Some content in the namespace has finalizers remaining: a/b in 2 resource instances",
        ]
    );
    assert_eq!(next_conditions(&first, &sweep, T0.add_seconds(60)), first);
    let emptied = next_conditions(&first, &Sweep::default(), T0.add_seconds(60));
    assert_eq!(emptied[3].last_transition_time, T0.add_seconds(60));
    assert_eq!(emptied[0].last_transition_time, T0);
}

/// An API server with one Pod that is gone once deleted, and config maps that are not there.
#[tokio::test]
async fn pods_go_first_and_an_empty_namespace_is_finalized() {
    let resources = |names: &[&str]| {
        let kinds: Vec<String> = names
            .iter()
            .map(|name| format!(r#"{{"name":"{name}","namespaced":true,"kind":"{name}","verbs":["list","delete","deletecollection"]}}"#))
            .collect();
        format!(r#"{{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"v1","resources":[{}]}}"#, kinds.join(","))
    };
    let namespace = namespace(true, "Active", &[FINALIZER]);
    let body = apimachinery::json::to_vec(&namespace);
    let deleted = std::sync::atomic::AtomicBool::new(false);
    let server = Server::start(move |seen| match (seen.method.as_str(), seen.path.as_str()) {
        ("GET", "/api") => Answer::ok(r#"{"kind":"APIVersions","versions":["v1"]}"#),
        ("GET", "/apis") => Answer::ok(r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[]}"#),
        ("GET", "/api/v1") => Answer::ok(resources(&["configmaps", "pods"])),
        ("GET", "/api/v1/namespaces/ns") => Answer::ok(body.clone()),
        ("PUT", _) => Answer::ok(seen.body.clone()),
        ("DELETE", _) => {
            deleted.store(true, std::sync::atomic::Ordering::SeqCst);
            Answer::ok(r#"{"kind":"Status","apiVersion":"v1","status":"Success"}"#)
        }
        (_, "/api/v1/namespaces/ns/pods") if !deleted.load(std::sync::atomic::Ordering::SeqCst) => Answer::ok(
            r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[{"metadata":{"name":"a"}}]}"#,
        ),
        _ => Answer::ok(r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[]}"#),
    })
    .await;
    let client = Client::new(&server.config()).unwrap().with_protobuf(false);
    let store = Store::new();
    store.put(Arc::new(namespace));
    let clock = Arc::new(component_base::clock::SystemClock);
    let controller = Namespaces { namespaces: store, api: Api::all(&client), client, clock };
    assert_eq!(controller.reconcile(&ObjectKey::new("", "ns")).await.unwrap(), Requeue::OnChange);
    assert_eq!(
        server.lines(),
        [
            "GET /api/v1/namespaces/ns",
            "PUT /api/v1/namespaces/ns/status",
            "GET /api",
            "GET /apis",
            "GET /api/v1",
            "GET /api/v1/namespaces/ns/pods",
            "DELETE /api/v1/namespaces/ns/pods",
            "GET /api/v1/namespaces/ns/pods",
            "GET /api/v1/namespaces/ns/configmaps",
            "PUT /api/v1/namespaces/ns/status",
            "PUT /api/v1/namespaces/ns/finalize",
        ]
    );
}
