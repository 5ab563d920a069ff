//! Discovery in both forms, and what names mean.

use apimachinery::gvk::GroupKind;
use client::testing::{Answer, Server};
use client::{Client, Discovery, RestMapper};

const CORE: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[{"metadata":{},"versions":[{"version":"v1","freshness":"Current","resources":[
 {"resource":"pods","responseKind":{"group":"","version":"v1","kind":"Pod"},"scope":"Namespaced","singularResource":"pod","verbs":["get","list"],"shortNames":["po"],"categories":["all"],
  "subresources":[{"subresource":"eviction","responseKind":{"group":"policy","version":"v1","kind":"Eviction"},"verbs":["create"]}]},
 {"resource":"nodes","responseKind":{"group":"","version":"","kind":"Node"},"scope":"Cluster","singularResource":"node","verbs":["get"],"shortNames":["no"]},
 {"resource":"events","responseKind":{"group":"","version":"v1","kind":"Event"},"scope":"Namespaced","singularResource":"event","verbs":["get"],"shortNames":["ev"]}]}]}]}"#;
const NAMED: &str = r#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[
 {"metadata":{"name":"apps"},"versions":[{"version":"v1","resources":[{"resource":"deployments","responseKind":{"group":"apps","version":"v1","kind":"Deployment"},"scope":"Namespaced","singularResource":"deployment","verbs":["get"],"shortNames":["deploy"],"categories":["all"]}]}]},
 {"metadata":{"name":"events.k8s.io"},"versions":[{"version":"v1","resources":[{"resource":"events","responseKind":{"group":"events.k8s.io","version":"v1","kind":"Event"},"scope":"Namespaced","singularResource":"event","verbs":["get"],"shortNames":["ev"]}]}]},
 {"metadata":{"name":"autoscaling"},"versions":[
  {"version":"v2","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"group":"autoscaling","version":"v2","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","singularResource":"horizontalpodautoscaler","verbs":["get"],"shortNames":["hpa"]}]},
  {"version":"v1","resources":[{"resource":"horizontalpodautoscalers","responseKind":{"group":"autoscaling","version":"v1","kind":"HorizontalPodAutoscaler"},"scope":"Namespaced","singularResource":"horizontalpodautoscaler","verbs":["get"],"shortNames":["hpa"]}]}]},
 {"metadata":{"name":"metrics.k8s.io"},"versions":[{"version":"v1beta1","freshness":"Stale","resources":[]}]}]}"#;

async fn mapper() -> RestMapper {
    let server = Server::start(|seen| Answer::ok(if seen.path == "/api" { CORE } else { NAMED })).await;
    RestMapper::new(Discovery::fetch(&Client::new(&server.config()).unwrap()).await.unwrap())
}

#[tokio::test]
async fn names_are_understood_as_kubectl_does() {
    let mapper = mapper().await;
    let check = |name: &str, expected: &str| {
        let told = mapper.resource(name).map_or_else(|err| err.to_string(), |found| found.gvr().to_string());
        assert_eq!(told, expected, "{name}");
    };
    check("po", "/v1, Resource=pods");
    check("Pod", "/v1, Resource=pods");
    check("deployment", "apps/v1, Resource=deployments");
    check("deploy.apps", "apps/v1, Resource=deployments");
    check("deployments.v1.apps", "apps/v1, Resource=deployments");
    check("events", "/v1, Resource=events");
    check("events.events.k8s.io", "events.k8s.io/v1, Resource=events");
    check("ev.events", "events.k8s.io/v1, Resource=events");
    check("hpa", "autoscaling/v2, Resource=horizontalpodautoscalers");
    check("hpa.v1.autoscaling", "autoscaling/v1, Resource=horizontalpodautoscalers");
    check("pods.v1", "/v1, Resource=pods");
    check("pods.v1.", "/v1, Resource=pods");
    check("frobs", "the server doesn't have a resource type \"frobs\"");
    assert_eq!(mapper.kind("apps/v1", "Deployment").unwrap().resource, "deployments");
    assert_eq!(mapper.kind("apps/v2", "Deployment").unwrap_err().to_string(), "no matches for kind \"Deployment\" in version \"apps/v2\"");
    assert_eq!(mapper.group_kind(&GroupKind::new("autoscaling", "HorizontalPodAutoscaler")).unwrap().version, "v2");
    assert_eq!(mapper.category("all").len(), 2);
    let pods = mapper.resource("pods").unwrap();
    assert!(pods.can("list") && !pods.can("watch") && pods.namespaced);
    assert_eq!(pods.subresource("eviction").unwrap().kind.to_string(), "policy/v1, Kind=Eviction");
    let stale = mapper.discovery().stale();
    assert_eq!(stale.iter().map(ToString::to_string).collect::<Vec<_>>(), ["metrics.k8s.io/v1beta1"]);
}

#[tokio::test]
async fn an_old_server_is_asked_group_by_group() {
    let server = Server::start(|seen| match seen.path.as_str() {
        "/api" => Answer::ok(r#"{"kind":"APIVersions","versions":["v1"]}"#),
        "/api/v1" => Answer::ok(
            r#"{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get"],"shortNames":["po"]},
               {"name":"pods/log","singularName":"","namespaced":true,"kind":"Pod","verbs":["get"]}]}"#,
        ),
        "/apis" => Answer::ok(
            r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[{"groupVersion":"apps/v1beta1","version":"v1beta1"},{"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}]}"#,
        ),
        "/apis/apps/v1" => Answer::ok(
            r#"{"kind":"APIResourceList","groupVersion":"apps/v1","resources":[{"name":"deployments","singularName":"deployment","namespaced":true,"kind":"Deployment","verbs":["get"]}]}"#,
        ),
        _ => Answer::failure(503, "ServiceUnavailable", "down"),
    })
    .await;
    let discovery = Discovery::fetch(&Client::new(&server.config()).unwrap()).await.unwrap();
    assert_eq!(discovery.stale().len(), 1);
    let mapper = RestMapper::new(discovery);
    assert_eq!(mapper.resource("deployments").unwrap().version, "v1");
    assert_eq!(mapper.resource("po").unwrap().subresources[0].name, "log");
}
