//! Objects, lists and watches, in both encodings.

use api::core::v1::{ConfigMap, Namespace};
use apimachinery::meta::v1::{PartialObjectMetadata, Status, WatchEvent as WireEvent};
use apimachinery::wire::{Kind, api_version};
use apimachinery::{Object, Value, json, proto};
use client::testing::{Answer, Seen, Server};
use client::{Api, Client, DeleteParams, Deleted, ListParams, Patch, PatchParams, Propagation, WatchEvent, WatchParams};

fn config_map(name: &str, version: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = name.into();
    map.metadata.namespace = "ns".into();
    map.metadata.resource_version = version.into();
    map
}

fn envelope<K: Kind>(object: &K) -> Vec<u8> {
    proto::encode_envelope(&api_version::<K>(), K::KIND, &proto::to_vec(object))
}

fn protobuf(body: Vec<u8>) -> Answer {
    Answer::ok(body).with_header("content-type", "application/vnd.kubernetes.protobuf")
}

fn client(server: &Server, protobuf: bool) -> Client {
    let mut config = server.config();
    config.protobuf = protobuf;
    Client::new(&config).unwrap()
}

#[tokio::test]
async fn objects_travel_in_either_encoding() {
    let server = Server::start(|seen| {
        let sent: ConfigMap = match seen.header("content-type") {
            "application/vnd.kubernetes.protobuf" => proto::from_slice(proto::decode_envelope(&seen.body).unwrap().raw).unwrap(),
            _ => json::from_slice(&seen.body).unwrap(),
        };
        if seen.header("accept").starts_with("application/vnd.kubernetes.protobuf") {
            protobuf(envelope(&sent))
        } else {
            Answer::ok(json::to_vec(&sent))
        }
    })
    .await;
    let mut map = config_map("a", "1");
    map.data.insert("key", "value".to_string());
    for as_protobuf in [false, true] {
        let api = Api::<ConfigMap>::namespaced(&client(&server, as_protobuf), "ns");
        assert_eq!(api.create(&map).await.unwrap().data, map.data);
        assert_eq!(api.update_status(&map).await.unwrap().data, map.data);
    }
    let lines = server.lines();
    assert_eq!(lines[..2], ["POST /api/v1/namespaces/ns/configmaps", "PUT /api/v1/namespaces/ns/configmaps/a/status"]);
    assert_eq!(lines[..2], lines[2..]);
}

#[tokio::test]
async fn a_delete_answers_with_the_object_or_a_status() {
    let server = Server::start(|seen| match seen.path.rsplit('/').next() {
        Some("kept") => protobuf(envelope(&config_map("kept", "2"))),
        Some("gone") => protobuf(envelope(&Status { status: "Success".into(), ..Status::default() })),
        _ => {
            let failure =
                Status { status: "Failure".into(), reason: "Conflict".into(), code: 409, message: "no".into(), ..Status::default() };
            let mut answer = protobuf(envelope(&failure));
            answer.status = 409;
            answer
        }
    })
    .await;
    let api = Api::<ConfigMap>::namespaced(&client(&server, true), "ns");
    let params = DeleteParams { uid: Some("u".into()), propagation: Some(Propagation::Foreground), ..DeleteParams::default() };
    assert!(matches!(api.delete("kept", &params).await.unwrap(), Deleted::Object(map) if map.metadata.name == "kept"));
    assert!(matches!(api.delete("gone", &params).await.unwrap(), Deleted::Status(_)));
    let refused = api.delete("other", &params).await.unwrap_err();
    assert!(refused.is_conflict(), "{refused}");
    let body = Value::parse(&server.seen()[0].body).unwrap();
    assert_eq!(body.str_at(&["propagationPolicy"]), Some("Foreground"));
    assert_eq!(body.str_at(&["preconditions", "uid"]), Some("u"));
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let server = Server::start(|seen| {
        let (name, next) = match seen.parameter("continue").as_deref() {
            None => ("a", "x"),
            Some(_) => ("b", ""),
        };
        Answer::ok(format!(r#"{{"kind":"NamespaceList","apiVersion":"v1","metadata":{{"continue":"{next}"}},"items":[{{"metadata":{{"name":"{name}"}}}}]}}"#))
    })
    .await;
    let api = Api::<Namespace>::all(&client(&server, false));
    let params = ListParams { limit: 1, resource_version: "0".into(), ..ListParams::default() }.labels("a=b");
    let names: Vec<String> = api.list_all(&params).await.unwrap().into_iter().map(|item| item.metadata.name).collect();
    assert_eq!(names, ["a", "b"]);
    let queries: Vec<String> = server.seen().into_iter().map(|seen| seen.query).collect();
    assert_eq!(queries, ["labelSelector=a%3Db&limit=1&resourceVersion=0", "labelSelector=a%3Db&limit=1&continue=x"]);
}

fn frame(kind: &str, object: Vec<u8>) -> Vec<u8> {
    let event = proto::to_vec(&WireEvent { type_: kind.into(), object: object.into() });
    let mut frame = u32::try_from(event.len()).unwrap().to_be_bytes().to_vec();
    frame.extend(event);
    frame
}

async fn check_watch(as_protobuf: bool, text: Vec<u8>, piece: usize) {
    let answering = move |_: &Seen| {
        let (sender, mut answer) = Answer::pieces();
        if as_protobuf {
            answer = answer.with_header("content-type", "application/vnd.kubernetes.protobuf;stream=watch");
        }
        let text = text.clone();
        tokio::spawn(async move {
            for piece in text.chunks(piece) {
                sender.send(piece.to_vec().into()).await.unwrap();
            }
        });
        answer
    };
    let server = Server::start(answering).await;
    let mut watch = Api::<ConfigMap>::all(&client(&server, as_protobuf)).watch(&WatchParams::default()).await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = watch.next().await.unwrap() {
        told.push(match event {
            WatchEvent::Added(map) => format!("+{}", map.metadata().name),
            WatchEvent::Modified(map) => format!("~{}", map.metadata().name),
            WatchEvent::Deleted(map) => format!("-{}", map.metadata().name),
            WatchEvent::Bookmark(map) => format!("@{}", map.metadata().resource_version),
            WatchEvent::Error(error) => format!("!{} {}", error.code, error.reason),
        });
    }
    assert_eq!(told, ["+a", "~a", "@7", "-a", "!410 Expired"]);
}

#[tokio::test]
async fn watches_survive_any_cut_of_the_stream() {
    let expired = || Status { status: "Failure".into(), reason: "Expired".into(), code: 410, ..Status::default() };
    let events = [
        ("ADDED", config_map("a", "1")),
        ("MODIFIED", config_map("a", "2")),
        ("BOOKMARK", config_map("", "7")),
        ("DELETED", config_map("a", "8")),
    ];
    let mut lines = Vec::new();
    let mut frames = Vec::new();
    for (kind, map) in &events {
        lines.extend(format!(r#"{{"type":"{kind}","object":{}}}"#, String::from_utf8(json::to_vec(map)).unwrap()).into_bytes());
        lines.extend(b"\n");
        frames.extend(frame(kind, envelope(map)));
    }
    // The last line ends with the stream.
    lines.extend(format!(r#"{{"type":"ERROR","object":{}}}"#, String::from_utf8(json::to_vec(&expired())).unwrap()).into_bytes());
    frames.extend(frame("ERROR", envelope(&expired())));
    for piece in [1, 7, 100_000] {
        check_watch(false, lines.clone(), piece).await;
        check_watch(true, frames.clone(), piece).await;
    }
}

#[tokio::test]
async fn patches_name_their_kind_and_manager() {
    let server = Server::start(|_| Answer::ok("{}")).await;
    let api = Api::<ConfigMap>::namespaced(&client(&server, false), "ns");
    let change = Value::parse(br#"{"data":{"a":"b"}}"#).unwrap();
    api.patch("m", &Patch::Merge(change.clone()), &PatchParams::default()).await.unwrap();
    assert!(api.patch("m", &Patch::Apply(change.clone()), &PatchParams::default()).await.is_err());
    let params = PatchParams { force: true, ..PatchParams::apply("me") };
    api.patch("m", &Patch::Apply(change.clone()), &params).await.unwrap();
    assert!(api.patch("m", &Patch::Strategic(change), &params).await.is_err());
    let seen = server.seen();
    assert_eq!(
        seen.iter().map(|seen| seen.header("content-type")).collect::<Vec<_>>(),
        ["application/merge-patch+json", "application/apply-patch+yaml"]
    );
    assert_eq!(seen[1].query, "force=true&fieldManager=me");
}

#[tokio::test]
async fn metadata_of_anything_can_be_asked_for() {
    let server = Server::start(|_| {
        Answer::ok(
            r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[{"metadata":{"name":"x"}}]}"#,
        )
    })
    .await;
    let resource = apimachinery::gvk::GroupVersionResource::new("acme.com", "v1", "widgets");
    let api = Api::<PartialObjectMetadata>::metadata(&client(&server, false), resource, "");
    assert_eq!(api.list_all(&ListParams::default()).await.unwrap()[0].metadata.name, "x");
    let seen = &server.seen()[0];
    assert_eq!(
        (seen.path.as_str(), seen.header("accept")),
        ("/apis/acme.com/v1/widgets", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
    );
}
