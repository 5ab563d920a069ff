//! Lists, selectors, pages, shapes, encodings, discovery.

use api::core::v1::{ConfigMap, ConfigMapList};
use apimachinery::{Value, proto};
use http::Method;

use crate::harness::{Answer, Api};

const MAPS: &str = "/api/v1/namespaces/a/configmaps";

fn names(list: &Answer) -> String {
    let json = list.json();
    let items = json.get("items").and_then(Value::as_array).unwrap_or_default();
    items.iter().map(|item| item.str_at(&["metadata", "name"]).unwrap_or_default()).collect::<Vec<_>>().join(" ")
}

async fn filled() -> Api {
    let api = Api::start();
    for (namespace, name, label) in [("a", "x", "1"), ("a", "y", "2"), ("a", "z", "1"), ("b", "x", "1"), ("ab", "q", "2")] {
        let body = format!(r#"{{"metadata":{{"name":"{name}","labels":{{"l":"{label}"}}}}}}"#);
        assert_eq!(api.post(&format!("/api/v1/namespaces/{namespace}/configmaps"), &body).await.status, 201);
    }
    api
}

#[tokio::test]
async fn selectors_choose() {
    let api = filled().await;
    for (url, wanted) in [
        ("/api/v1/namespaces/a/configmaps", "x y z"),
        ("/api/v1/configmaps", "x y z q x"),
        ("/api/v1/namespaces/a/configmaps?labelSelector=l%3D1", "x z"),
        ("/api/v1/configmaps?labelSelector=l!=1", "y q"),
        ("/api/v1/namespaces/a/configmaps?fieldSelector=metadata.name%3Dy", "y"),
        ("/api/v1/configmaps?fieldSelector=metadata.name%3Dx,metadata.namespace%3Db", "x"),
        ("/api/v1/namespaces/none/configmaps", ""),
    ] {
        assert_eq!(names(&api.get(url).await), wanted, "{url}");
    }
    let unknown = api.get("/api/v1/configmaps?fieldSelector=data.k%3Dv").await;
    assert_eq!(unknown.text("message"), r#""data.k" is not a known field selector: only "metadata.name", "metadata.namespace""#);
}

#[tokio::test]
async fn pages_show_one_moment() {
    let api = filled().await;
    let first = api.get(&format!("{MAPS}?limit=1")).await;
    assert_eq!(names(&first), "x");
    assert_eq!(first.json().at(&["metadata", "remainingItemCount"]).and_then(Value::as_i64), Some(2));
    api.make("xx").await;
    let next = api.get(&format!("{MAPS}?limit=5&continue={}", first.text("metadata.continue"))).await;
    assert_eq!(names(&next), "y z", "what was made since is not there");
    assert_eq!(next.text("metadata.resourceVersion"), first.text("metadata.resourceVersion"));
    let selected = api.get("/api/v1/configmaps?limit=2&labelSelector=l%3D1").await;
    assert_eq!(names(&selected), "x z");
    let rest = api.get(&format!("/api/v1/configmaps?limit=2&labelSelector=l%3D1&continue={}", selected.text("metadata.continue"))).await;
    assert_eq!((names(&rest), rest.text("metadata.continue")), ("x".to_owned(), String::new()));
}

#[tokio::test]
async fn old_revisions_are_read_from_the_store() {
    let api = filled().await;
    let before = api.get(MAPS).await.text("metadata.resourceVersion");
    api.delete(&format!("{MAPS}/y"), "").await;
    let exact = api.get(&format!("{MAPS}?resourceVersion={before}&resourceVersionMatch=Exact")).await;
    assert_eq!(names(&exact), "x y z");
    assert_eq!(names(&api.get(MAPS).await), "x z");
    let future = api.get(&format!("{MAPS}?resourceVersion=999999")).await;
    assert_eq!((future.status.as_u16(), future.text("reason")), (504, "Timeout".to_owned()));
    assert!(future.text("message").starts_with("Timeout: Too large resource version: 999999, current: "));

    let current = api.server.objects().current_revision().await.unwrap();
    api.store.compact(storage::Revision(current)).await.unwrap();
    let gone = api.get(&format!("{MAPS}?resourceVersion={before}&resourceVersionMatch=Exact")).await;
    assert_eq!(gone.refusal(), "410 Expired");
}

#[tokio::test]
async fn a_read_sees_every_write_before_it() {
    let api = Api::start();
    for count in 1..=50 {
        api.make(&format!("m{count:02}")).await;
        let list = api.get(MAPS).await.json();
        assert_eq!(list.get("items").and_then(Value::as_array).map(<[Value]>::len), Some(count));
    }
}

#[tokio::test]
async fn bodies_travel_as_protobuf_and_yaml() {
    let api = filled().await;
    let protobuf = [("accept", "application/vnd.kubernetes.protobuf")];
    let one = api.send(Method::GET, &format!("{MAPS}/x"), &protobuf, "").await;
    let envelope = proto::decode_envelope(&one.body).unwrap();
    assert_eq!((envelope.api_version, envelope.kind), ("v1", "ConfigMap"));
    let map: ConfigMap = proto::from_slice(envelope.raw).unwrap();
    assert_eq!(map.metadata.name, "x");
    assert!(!map.metadata.resource_version.is_empty());

    let list = api.send(Method::GET, MAPS, &protobuf, "").await;
    let envelope = proto::decode_envelope(&list.body).unwrap();
    assert_eq!(envelope.kind, "ConfigMapList");
    let list: ConfigMapList = proto::from_slice(envelope.raw).unwrap();
    assert_eq!(list.items.len(), 3);

    let yaml = api
        .send(Method::POST, MAPS, &[("content-type", "application/yaml"), ("accept", "application/yaml")], "metadata:\n  name: w\n")
        .await;
    assert_eq!(yaml.status, 201);
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(String::from_utf8_lossy(&yaml.body).starts_with("apiVersion: v1\nkind: ConfigMap\n"));
}

#[tokio::test]
async fn tables_and_metadata_are_shapes_of_the_same_objects() {
    let api = filled().await;
    let table = api.send(Method::GET, MAPS, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], "").await.json();
    assert_eq!(table.str_at(&["kind"]), Some("Table"));
    assert_eq!(table.pointer("/rows/1/cells/0").and_then(Value::as_str), Some("y"));
    assert_eq!(table.pointer("/rows/1/object/kind").and_then(Value::as_str), Some("PartialObjectMetadata"));
    assert_eq!(table.pointer("/columnDefinitions/0/name").and_then(Value::as_str), Some("Name"));
    let list = api.send(Method::GET, MAPS, &[("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")], "").await;
    assert_eq!(list.text("kind"), "PartialObjectMetadataList");
    assert_eq!(names(&list), "x y z");
}

#[tokio::test]
async fn large_answers_are_compressed_for_who_wants_it() {
    let api = Api::start();
    let filler = "abcdefgh".repeat(8_000);
    for name in ["x", "y", "z"] {
        api.post(MAPS, &format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"{filler}"}}}}"#)).await;
    }
    let plain = api.get(MAPS).await;
    assert!(plain.headers.get("content-encoding").is_none() && plain.body.len() > 128 * 1024);
    let packed = api.send(Method::GET, MAPS, &[("accept-encoding", "gzip")], "").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&packed.body[..]), &mut unpacked).unwrap();
    assert_eq!(unpacked, plain.body);
    let small = api.send(Method::GET, &format!("{MAPS}/x"), &[("accept-encoding", "gzip")], "").await;
    assert!(small.headers.get("content-encoding").is_none());
}

#[tokio::test]
async fn discovery_names_what_is_served() {
    let api = Api::start();
    let versions = api.get("/api").await.json();
    assert_eq!(versions.pointer("/versions/0").and_then(Value::as_str), Some("v1"));
    let resources = api.get("/api/v1").await.json();
    let served: Vec<&str> =
        resources.get("resources").and_then(Value::as_array).unwrap().iter().filter_map(|r| r.str_at(&["name"])).collect();
    assert_eq!(served, ["configmaps", "pods", "pods/status"]);
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json")];
    let aggregated = api.send(Method::GET, "/api", &accept, "").await;
    assert_eq!(aggregated.text("kind"), "APIGroupDiscoveryList");
    let etag = aggregated.headers["etag"].to_str().unwrap().to_owned();
    let same = api.send(Method::GET, "/api", &[accept[0], ("if-none-match", &etag)], "").await;
    assert_eq!(same.status, 304);

    let index = api.get("/openapi/v3").await.json();
    let url = index.pointer("/paths/api~1v1/serverRelativeURL").and_then(Value::as_str).unwrap().to_owned();
    let document = api.get(&url).await.json();
    let name = document.pointer("/components/schemas/io.k8s.api.core.v1.ConfigMap/properties/data/additionalProperties/type");
    assert_eq!(name.and_then(Value::as_str), Some("string"));
}

#[tokio::test]
async fn a_new_server_serves_what_an_old_one_stored() {
    let api = filled().await;
    let store = api.store.clone();
    let before = api.get("/api/v1/configmaps").await;
    drop(api);
    let fresh = Api::over(store);
    assert_eq!(fresh.get("/api/v1/configmaps").await.json(), before.json());
}
