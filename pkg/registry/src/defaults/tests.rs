use api::core::v1::{Pod, Service};
use apimachinery::json;

use super::generated;

#[test]
fn a_pod_gets_upstreams_defaults() {
    let mut pod: Pod = json::from_slice(
        br#"{"spec":{"containers":[{"name":"a","image":"host:5000/x","ports":[{"containerPort":80}],
        "resources":{"limits":{"cpu":"1"}},"livenessProbe":{"httpGet":{"port":80}}}],"volumes":[{"name":"v"}]}}"#,
    )
    .unwrap();
    generated::core_v1_pod(&mut pod);
    let container = &pod.spec.containers[0];
    assert_eq!(container.image_pull_policy, "Always");
    assert_eq!(container.resources.requests.get("cpu").map(ToString::to_string).as_deref(), Some("1"));
    assert_eq!(container.ports[0].protocol, "TCP");
    let probe = container.liveness_probe.as_ref().unwrap();
    assert_eq!((probe.timeout_seconds, probe.period_seconds, probe.failure_threshold), (1, 10, 3));
    assert_eq!(probe.probe_handler.http_get.as_ref().unwrap().scheme, "HTTP");
    assert!(pod.spec.volumes[0].volume_source.empty_dir.is_some());
    assert_eq!(pod.spec.termination_grace_period_seconds, Some(30));
    let once = pod.clone();
    generated::core_v1_pod(&mut pod);
    assert_eq!(pod, once, "defaults are idempotent");
}

#[test]
fn a_service_gets_upstreams_defaults() {
    let mut service: Service =
        json::from_slice(br#"{"spec":{"type":"NodePort","sessionAffinity":"ClientIP","ports":[{"port":80}]}}"#).unwrap();
    generated::core_v1_service(&mut service);
    assert_eq!(service.spec.external_traffic_policy, "Cluster");
    assert_eq!(service.spec.ports[0].target_port, 80.into());
    assert_eq!(service.spec.session_affinity_config.unwrap().client_ip.unwrap().timeout_seconds, Some(10_800));
}
