//! Each kind in a few lines: what is right passes, what is wrong is told in upstream's words.

use std::sync::Arc;

use apiserver::request::{RequestContext, RequestInfo, User};
use apiserver::rest::{ResourceDef, Serving};

use crate::Config;

fn context() -> RequestContext {
    RequestContext::new(Arc::new(User::default()), Arc::new(RequestInfo::default()))
}

fn def(kind: &str) -> ResourceDef {
    super::resources(&Config::default()).into_iter().find(|def| def.hub.kind == kind).expect("the kind is registered")
}

/// What a create of this manifest is refused with.
fn errors(kind: &str, json: &str) -> Vec<String> {
    let def = def(kind);
    let Serving::Stored(strategy) = &def.serving else { panic!("{kind} is not stored") };
    let (mut object, _) = (def.hub.from_json)(json.as_bytes(), true).expect("the manifest decodes");
    strategy.default_object(object.as_mut());
    strategy.prepare_for_create(&context(), object.as_mut());
    strategy.validate(&context(), object.as_ref()).iter().map(ToString::to_string).collect()
}

const RIGHT: &[(&str, &str)] = &[
    ("ConfigMap", r#"{"metadata":{"name":"a","namespace":"n"},"data":{"k":"v"}}"#),
    ("Endpoints", r#"{"metadata":{"name":"a","namespace":"n"},"subsets":[{"addresses":[{"ip":"192.0.2.1"}],"ports":[{"port":80}]}]}"#),
    ("Event", r#"{"metadata":{"name":"a","namespace":"n"},"involvedObject":{"namespace":"n"}}"#),
    ("LimitRange", r#"{"metadata":{"name":"a","namespace":"n"},"spec":{"limits":[{"type":"Container","max":{"cpu":"1"}}]}}"#),
    ("Namespace", r#"{"metadata":{"name":"a"}}"#),
    ("Node", r#"{"metadata":{"name":"a"},"spec":{"taints":[{"key":"k","effect":"NoSchedule"}]}}"#),
    (
        "PersistentVolume",
        r#"{"metadata":{"name":"a"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"hostPath":{"path":"/x"}}}"#,
    ),
    (
        "PersistentVolumeClaim",
        r#"{"metadata":{"name":"a","namespace":"n"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}"#,
    ),
    ("Pod", r#"{"metadata":{"name":"a","namespace":"n"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#),
    ("PodTemplate", r#"{"metadata":{"name":"a","namespace":"n"},"template":{"spec":{"containers":[{"name":"c","image":"i"}]}}}"#),
    (
        "ReplicationController",
        r#"{"metadata":{"name":"a","namespace":"n"},"spec":{"template":{"metadata":{"labels":{"a":"b"}},
            "spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
    ),
    ("ResourceQuota", r#"{"metadata":{"name":"a","namespace":"n"},"spec":{"hard":{"pods":"3"}}}"#),
    ("Secret", r#"{"metadata":{"name":"a","namespace":"n"},"stringData":{"k":"v"}}"#),
    ("Service", r#"{"metadata":{"name":"a","namespace":"n"},"spec":{"ports":[{"port":80}]}}"#),
    ("ServiceAccount", r#"{"metadata":{"name":"a","namespace":"n"}}"#),
];

#[test]
fn a_small_object_of_each_kind_is_right() {
    for (kind, json) in RIGHT {
        assert_eq!(errors(kind, json), Vec::<String>::new(), "{kind}");
    }
}

/// Checks the spec of a Pod with one container `c`; `more` follows the container's image, `spec` the list of containers.
#[track_caller]
fn check_pod(more: &str, spec: &str, expected: &[&str]) {
    let json = format!(r#"{{"metadata":{{"name":"a","namespace":"n"}},"spec":{{"containers":[{{"name":"c","image":"i"{more}}}]{spec}}}}}"#);
    assert_eq!(errors("Pod", &json), expected, "{json}");
}

#[test]
fn a_pod_is_refused_in_upstreams_words() {
    check_pod(r#","ports":[{}]"#, "", &["spec.containers[0].ports[0].containerPort: Required value"]);
    check_pod(r#","livenessProbe":{}"#, "", &["spec.containers[0].livenessProbe: Required value: must specify a handler type"]);
    check_pod(r#","volumeMounts":[{"name":"v","mountPath":"/v"}]"#, "", &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""]);
    check_pod(
        r#","resources":{"limits":{"cpu":"1"},"requests":{"cpu":"2"}}"#,
        "",
        &["spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
    );
    check_pod(
        "",
        r#","restartPolicy":"Sometimes""#,
        &["spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\""],
    );
    check_pod("", r#","dnsPolicy":"None""#, &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]);
    check_pod(
        "",
        r#","volumes":[{"name":"v","emptyDir":{},"hostPath":{"path":"/x"}}]"#,
        &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
    );
    check_pod(
        "",
        r#","tolerations":[{"operator":"Equal"}]"#,
        &[
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ],
    );
}

#[test]
fn other_kinds_are_refused_in_upstreams_words() {
    let meta = r#""metadata":{"name":"a","namespace":"n"}"#;
    for (kind, body, expected) in [
        ("Service", r#""spec":{"type":"ExternalName"}"#, "spec.externalName: Required value"),
        (
            "Service",
            r#""spec":{"ports":[{"port":80,"nodePort":30000}]}"#,
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        ("Secret", r#""type":"kubernetes.io/tls","data":{"tls.crt":""}"#, "data[tls.key]: Required value"),
        (
            "ResourceQuota",
            r#""spec":{"hard":{"bogus":"1"}}"#,
            "spec.hard[bogus]: Invalid value: \"bogus\": must be a standard resource type or fully qualified",
        ),
        ("PersistentVolumeClaim", r#""spec":{"accessModes":["ReadWriteOnce"]}"#, "spec.resources[storage]: Required value"),
        (
            "LimitRange",
            r#""spec":{"limits":[{"type":"Bogus"}]}"#,
            "spec.limits[0].type: Invalid value: \"Bogus\": must be a standard limit type or fully qualified",
        ),
        ("ConfigMap", r#""data":{"a":"1"},"binaryData":{"a":""}"#, "data[a]: Invalid value: \"a\": duplicate of key present in binaryData"),
    ] {
        let found = errors(kind, &format!("{{{meta},{body}}}"));
        assert_eq!(found.first().map(String::as_str), Some(expected), "{kind}");
    }
}

#[test]
fn a_pod_is_normalized() {
    let def = def("Pod");
    let Serving::Stored(strategy) = &def.serving else { panic!("pods are stored") };
    let json = br#"{"spec":{"serviceAccount":"s","terminationGracePeriodSeconds":-5},"status":{"podIP":"192.0.2.1"}}"#;
    let (mut object, _) = (def.hub.from_json)(json, true).unwrap();
    strategy.default_object(object.as_mut());
    let pod: &api::core::v1::Pod = object.downcast_ref().unwrap();
    assert_eq!((pod.spec.service_account_name.as_str(), pod.spec.termination_grace_period_seconds), ("s", Some(1)));
    assert_eq!(pod.status.pod_ips[0].ip, "192.0.2.1");
}
