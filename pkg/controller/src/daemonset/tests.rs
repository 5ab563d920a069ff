use apimachinery::json;
use expect_test::{Expect, expect};

use super::*;

const T0: Time = Time::from_unix(1_000_000);

fn set(strategy: &str) -> DaemonSet {
    let text = format!(
        r#"{{"metadata":{{"name":"ds","namespace":"ns","uid":"u"}},"spec":{{"updateStrategy":{strategy},
        "template":{{"spec":{{"nodeSelector":{{"os":"linux"}}}}}}}}}}"#
    );
    json::from_slice(text.as_bytes()).unwrap()
}

/// "n1 n2:NoSchedule n3:other": a node with a taint of that effect, or without the label that the set asks for.
fn nodes(text: &str) -> Vec<Arc<Node>> {
    let parse = |text: &str| {
        let (name, what) = text.split_once(':').unwrap_or((text, ""));
        let mut node = Node::default();
        node.metadata.name = name.into();
        node.metadata.labels.insert("os", if what == "other" { "other" } else { "linux" }.to_string());
        if what.starts_with("No") {
            node.spec.taints.push(api::core::v1::Taint { key: "k".into(), effect: what.into(), ..Default::default() });
        }
        Arc::new(node)
    };
    text.split_whitespace().map(parse).collect()
}

/// "n1=new:ready n2=old:pending n3=new:failed n4=old:deleting".
fn pods(text: &str) -> Vec<Arc<Pod>> {
    let parse = |(number, text): (usize, &str)| {
        let (node, rest) = text.split_once('=').unwrap();
        let (hash, state) = rest.split_once(':').unwrap();
        let mut pod = nodes::pod_for(&set("{}"), node, hash);
        pod.metadata.name = format!("{node}-{hash}");
        pod.metadata.uid = format!("{node}-{hash}");
        pod.metadata.creation_timestamp = T0.add_seconds(number as i64);
        match state {
            "ready" => {
                pod.spec.node_name = node.into();
                let ready = api::core::v1::PodCondition { type_: "Ready".into(), status: "True".into(), ..Default::default() };
                pod.status.conditions.push(ready);
            }
            "pending" => {}
            "failed" => pod.status.phase = "Failed".into(),
            "deleting" => pod.metadata.deletion_timestamp = Some(T0),
            other => panic!("{other}"),
        }
        Arc::new(pod)
    };
    text.split_whitespace().enumerate().map(parse).collect()
}

#[track_caller]
fn check(strategy: &str, node_text: &str, pod_text: &str, expected: Expect) {
    let (set, nodes, pods) = (set(strategy), nodes(node_text), pods(pod_text));
    let seen = Observed { set: &set, hash: "new", nodes: &nodes, pods: &pods, resting: &|_| false, now: T0 };
    let plan = plan(&seen);
    let delete: Vec<&str> = plan.delete.iter().map(|deletion| deletion.name.as_str()).collect();
    expected.assert_eq(&format!("create {} delete {}", plan.create.join(" "), delete.join(" ")));
}

const ONE_BY_ONE: &str = r#"{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":1,"maxSurge":0}}"#;
const SURGE: &str = r#"{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":0,"maxSurge":1}}"#;

#[test]
fn every_node_that_fits_gets_one_pod() {
    check(ONE_BY_ONE, "n1 n2 n3:other n4:NoSchedule", "n1=new:ready", expect!["create n2 delete "]);
    check(ONE_BY_ONE, "n1", "n1=new:deleting", expect!["create  delete "]);
    check(
        ONE_BY_ONE,
        "n1:NoSchedule n2:NoExecute n3:other",
        "n1=new:ready n2=new:ready n3=new:ready",
        expect!["create  delete n2-new n3-new"],
    );
    check(ONE_BY_ONE, "n1", "n1=new:ready n1=dup:ready", expect!["create  delete n1-dup"]);
    check(ONE_BY_ONE, "n1", "n1=new:failed", expect!["create  delete n1-new"]);
    check(ONE_BY_ONE, "n1", "n1=new:ready n9=new:pending", expect!["create  delete n9-new"]);
}

#[test]
fn updates_go_node_by_node() {
    check(ONE_BY_ONE, "n1 n2 n3", "n1=old:ready n2=old:ready n3=old:ready", expect!["create  delete n1-old"]);
    check(ONE_BY_ONE, "n1 n2 n3", "n1=new:pending n2=old:ready n3=old:ready", expect!["create  delete "]);
    check(ONE_BY_ONE, "n1 n2 n3", "n1=new:ready n2=old:pending n3=old:ready", expect!["create  delete n2-old"]);
    check(r#"{"type":"OnDelete"}"#, "n1", "n1=old:ready", expect!["create  delete "]);
}

#[test]
fn a_surge_starts_the_new_pod_first() {
    check(SURGE, "n1 n2", "n1=old:ready n2=old:ready", expect!["create n1 delete "]);
    check(SURGE, "n1 n2", "n1=old:ready n1=new:pending n2=old:ready", expect!["create  delete "]);
    check(SURGE, "n1 n2", "n1=old:ready n1=new:ready n2=old:ready", expect!["create  delete n1-old"]);
}

#[test]
fn the_status_counts_nodes() {
    let (set, nodes) = (set(ONE_BY_ONE), nodes("n1 n2 n3:other"));
    let pods = pods("n1=new:ready n3=old:ready");
    let seen = Observed { set: &set, hash: "new", nodes: &nodes, pods: &pods, resting: &|_| false, now: T0 };
    let status = next_status(&seen).unwrap();
    let counts = (status.desired_number_scheduled, status.current_number_scheduled, status.number_misscheduled, status.number_ready);
    assert_eq!(counts, (2, 1, 1, 1));
    assert_eq!((status.updated_number_scheduled, status.number_available, status.number_unavailable), (1, 1, 1));
}

#[test]
fn a_pod_names_its_node_and_tolerates_trouble() {
    let mut set = set("{}");
    set.spec.template.spec.host_network = true;
    let pod = nodes::pod_for(&set, "n1", "h");
    assert_eq!(nodes::node_of(&pod), Some("n1"));
    assert_eq!(pod.spec.tolerations.len(), 7);
}
