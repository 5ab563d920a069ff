//! Create, update, patch, apply, delete.

use http::Method;

use crate::harness::Api;

const MAPS: &str = "/api/v1/namespaces/a/configmaps";

#[tokio::test]
async fn an_object_lives_from_create_to_delete() {
    let api = Api::start();
    let created = api.post(MAPS, r#"{"metadata":{"generateName":"x-"},"data":{"k":"1"}}"#).await;
    assert_eq!(created.status, 201);
    let name = created.text("metadata.name");
    assert!(name.starts_with("x-") && name.len() == 7, "{name}");
    assert_eq!(created.text("metadata.namespace"), "a");
    assert_eq!(created.json().pointer("/metadata/managedFields/0/manager").and_then(|m| m.as_str()), Some("test"));

    let url = format!("{MAPS}/{name}");
    assert_eq!(api.get(&url).await.text("data.k"), "1");
    let version = created.text("metadata.resourceVersion");
    let body = format!(r#"{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}},"data":{{"k":"2"}}}}"#);
    let updated = api.put(&url, &body).await;
    assert_eq!((updated.status.as_u16(), updated.text("data.k")), (200, "2".to_owned()));
    assert_eq!(updated.text("metadata.uid"), created.text("metadata.uid"));

    let stale = api.put(&url, &body).await;
    assert_eq!(stale.refusal(), "409 Conflict");
    assert_eq!(
        stale.text("message"),
        format!(
            "Operation cannot be fulfilled on configmaps \"{name}\": the object has been modified; please apply your changes to the latest version and try again"
        )
    );
    let gone = api.delete(&url, "").await;
    assert_eq!((gone.text("status"), gone.text("details.name")), ("Success".to_owned(), name.clone()));
    assert_eq!(api.get(&url).await.text("message"), format!("configmaps \"{name}\" not found"));
}

#[tokio::test]
async fn requests_are_refused_in_upstreams_words() {
    let api = Api::start();
    api.make("x").await;
    let item = format!("{MAPS}/x");
    for (method, url, body, refusal, message) in [
        (Method::POST, MAPS, r#"{"metadata":{"name":"x"}}"#, "409 AlreadyExists", r#"configmaps "x" already exists"#),
        (
            Method::POST,
            MAPS,
            r#"{"metadata":{"name":"y","namespace":"b"}}"#,
            "400 BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            Method::POST,
            MAPS,
            r#"{"kind":"Pod","apiVersion":"v1"}"#,
            "400 BadRequest",
            "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion",
        ),
        (
            Method::POST,
            &format!("{MAPS}?fieldValidation=Strict"),
            r#"{"metadata":{"name":"y"},"bogus":1}"#,
            "400 BadRequest",
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"bogus\"",
        ),
        (
            Method::PUT,
            &item,
            r#"{"metadata":{"name":"y"}}"#,
            "400 BadRequest",
            "the name of the object (y) does not match the name on the URL (x)",
        ),
        (Method::GET, &format!("{MAPS}/none"), "", "404 NotFound", r#"configmaps "none" not found"#),
        (Method::GET, "/api/v1/namespaces/a/nosuches", "", "404 NotFound", "the server could not find the requested resource"),
        (
            Method::GET,
            "/api/v1/namespaces/a/secrets",
            "",
            "405 MethodNotAllowed",
            "secrets in v1 is not served by this build: its validation or admission is not there yet",
        ),
        (Method::POST, &item, "{}", "405 MethodNotAllowed", "the server does not allow this method on the requested resource"),
        (Method::DELETE, &item, r#"{"preconditions":{"uid":"other"}}"#, "409 Conflict", ""),
    ] {
        let answer = api.send(method.clone(), url, &[], body).await;
        assert_eq!(answer.refusal(), refusal, "{method} {url} {body}");
        if !message.is_empty() {
            assert_eq!(answer.text("message"), message, "{method} {url} {body}");
        }
    }
    let bad_type = api.send(Method::POST, MAPS, &[("content-type", "text/plain")], "x").await;
    assert_eq!(bad_type.refusal(), "415 UnsupportedMediaType");
    let bad_accept = api.send(Method::GET, MAPS, &[("accept", "text/html")], "").await;
    assert_eq!(bad_accept.refusal(), "406 NotAcceptable");
}

#[tokio::test]
async fn who_may_not_is_told_what() {
    let api = Api::start();
    let refused = api.send(Method::GET, MAPS, &[("user", "eve")], "").await;
    assert_eq!(refused.refusal(), "403 Forbidden");
    assert_eq!(
        refused.text("message"),
        r#"configmaps is forbidden: User "eve" cannot list resource "configmaps" in API group "" in the namespace "a""#
    );
    let unknown = api.send(Method::GET, MAPS, &[("user", "nobody")], "").await;
    assert_eq!((unknown.refusal(), unknown.text("message")), ("401 Unauthorized".to_owned(), "Unauthorized".to_owned()));
    let page = api.get("/nosuch").await;
    assert_eq!((page.status.as_u16(), page.body), (404, b"404 page not found\n".to_vec()));
}

#[tokio::test]
async fn unknown_fields_are_warned_about() {
    let api = Api::start();
    let answer = api.post(MAPS, r#"{"metadata":{"name":"x"},"bogus":1}"#).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.headers["warning"], r#"299 - "unknown field \"bogus\"""#);
}

#[tokio::test]
async fn dry_runs_store_nothing() {
    let api = Api::start();
    let answer = api.post(&format!("{MAPS}?dryRun=All"), r#"{"metadata":{"name":"x"}}"#).await;
    assert_eq!((answer.status.as_u16(), answer.text("metadata.name")), (201, "x".to_owned()));
    assert_eq!(api.get(&format!("{MAPS}/x")).await.status, 404);
    api.make("y").await;
    assert_eq!(api.delete(&format!("{MAPS}/y?dryRun=All"), "").await.status, 200);
    assert_eq!(api.get(&format!("{MAPS}/y")).await.status, 200);
}

#[tokio::test]
async fn the_four_patches_change_an_object() {
    let api = Api::start();
    api.make("x").await;
    let url = format!("{MAPS}/x");
    for (kind, body, path, value) in [
        ("merge-patch+json", r#"{"data":{"a":"1","b":"2"}}"#, "data.a", "1"),
        ("json-patch+json", r#"[{"op":"remove","path":"/data/a"},{"op":"add","path":"/data/c","value":"3"}]"#, "data.c", "3"),
        ("strategic-merge-patch+json", r#"{"data":{"b":null,"d":"4"}}"#, "data.d", "4"),
    ] {
        let answer = api.patch(&url, kind, body).await;
        assert_eq!((answer.status.as_u16(), answer.text(path)), (200, value.to_owned()), "{kind}");
    }
    assert_eq!(api.get(&url).await.json().get("data").unwrap().to_string(), r#"{"c":"3","d":"4"}"#);

    let config = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"},"data":{"d":"5"}}"#;
    let conflict = api.patch(&format!("{url}?fieldManager=m"), "apply-patch+yaml", config).await;
    assert_eq!(conflict.refusal(), "409 Conflict");
    let forced = api.patch(&format!("{url}?fieldManager=m&force=true"), "apply-patch+yaml", config).await;
    assert_eq!((forced.status.as_u16(), forced.text("data.d")), (200, "5".to_owned()));
    let again = api.patch(&format!("{url}?fieldManager=m&force=true"), "apply-patch+yaml", config).await;
    assert_eq!(again.text("metadata.resourceVersion"), forced.text("metadata.resourceVersion"), "nothing changed, nothing was written");

    let fresh = config.replace("\"x\"", "\"new\"");
    let created = api.patch(&format!("{MAPS}/new?fieldManager=m"), "apply-patch+yaml", &fresh).await;
    assert_eq!((created.status.as_u16(), created.text("data.d")), (201, "5".to_owned()));
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let api = Api::start();
    let version = api.make("x").await;
    let same = api.patch(&format!("{MAPS}/x"), "merge-patch+json", "{}").await;
    assert_eq!(same.text("metadata.resourceVersion"), version);
}

#[tokio::test]
async fn finalizers_keep_an_object_until_the_last_is_gone() {
    let api = Api::start();
    api.post(MAPS, r#"{"metadata":{"name":"x","finalizers":["example.com/f"]}}"#).await;
    let url = format!("{MAPS}/x");
    let deleted = api.delete(&url, "").await;
    assert!(!deleted.text("metadata.deletionTimestamp").is_empty());
    assert_eq!(api.get(&url).await.status, 200);
    assert_eq!(api.patch(&url, "merge-patch+json", r#"{"metadata":{"finalizers":null}}"#).await.status, 200);
    assert_eq!(api.get(&url).await.status, 404);

    api.make("y").await;
    let orphaned = api.delete(&format!("{MAPS}/y?propagationPolicy=Orphan"), "").await;
    assert_eq!(orphaned.json().pointer("/metadata/finalizers/0").and_then(|f| f.as_str()), Some("orphan"));
}

#[tokio::test]
async fn pods_go_after_their_grace_period() {
    let api = Api::start();
    let pods = "/api/v1/namespaces/a/pods";
    api.post(pods, r#"{"metadata":{"name":"p"}}"#).await;
    let url = format!("{pods}/p");
    let deleted = api.delete(&url, r#"{"gracePeriodSeconds":5}"#).await;
    assert_eq!(deleted.json().at(&["metadata", "deletionGracePeriodSeconds"]).and_then(|s| s.as_i64()), Some(5));
    assert_eq!(api.get(&url).await.status, 200);
    let gone = api.delete(&url, r#"{"gracePeriodSeconds":0}"#).await;
    assert_eq!((gone.status.as_u16(), gone.text("kind")), (200, "Pod".to_owned()));
    assert_eq!(api.get(&url).await.status, 404);
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart() {
    let api = Api::start();
    let pods = "/api/v1/namespaces/a/pods";
    api.post(pods, r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n1"}}"#).await;
    let url = format!("{pods}/p");
    let status =
        api.patch(&format!("{url}/status"), "merge-patch+json", r#"{"spec":{"nodeName":"n2"},"status":{"phase":"Running"}}"#).await;
    assert_eq!((status.text("spec.nodeName"), status.text("status.phase")), ("n1".to_owned(), "Running".to_owned()));
    let main = api.patch(&url, "merge-patch+json", r#"{"spec":{"nodeName":"n2"},"status":{"phase":"Failed"}}"#).await;
    assert_eq!((main.text("spec.nodeName"), main.text("status.phase")), ("n2".to_owned(), "Running".to_owned()));
}

#[tokio::test]
async fn writers_that_name_no_version_all_get_through() {
    let api = std::sync::Arc::new(Api::start());
    api.make("x").await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..20 {
        let api = api.clone();
        writers.spawn(async move {
            api.patch(&format!("{MAPS}/x"), "merge-patch+json", &format!(r#"{{"data":{{"k{writer}":"v"}}}}"#)).await.status
        });
    }
    while let Some(status) = writers.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    let data = api.get(&format!("{MAPS}/x")).await.json();
    assert_eq!(data.get("data").and_then(|data| data.as_object()).map(|data| data.len()), Some(20));
}
