use api::apps::v1::ReplicaSet;
use apimachinery::json;
use expect_test::{Expect, expect};

use super::*;

const T0: Time = Time::from_unix(1_000_000);

/// `pods` reads like "a:ready b:deleting c:failed d:pending"; a number after the state is the seconds it has been ready.
fn parse_pods(pods: &str) -> Vec<Arc<Pod>> {
    let parse = |text: &str| {
        let mut parts = text.split(':');
        let (name, state) = (parts.next().unwrap(), parts.next().unwrap());
        let age: i64 = parts.next().map_or(100, |age| age.parse().unwrap());
        let mut pod: Pod =
            json::from_slice(br#"{"metadata":{"labels":{"app":"a"}},"spec":{"nodeName":"n1"},"status":{"phase":"Running"}}"#).unwrap();
        pod.metadata.name = name.into();
        pod.metadata.uid = name.into();
        pod.metadata.creation_timestamp = T0.add_seconds(-age);
        let ready = api::core::v1::PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            last_transition_time: T0.add_seconds(-age),
            ..Default::default()
        };
        match state {
            "ready" => pod.status.conditions.push(ready),
            "deleting" => pod.metadata.deletion_timestamp = Some(T0),
            "failed" => pod.status.phase = "Failed".into(),
            "pending" => pod.status.phase = "Pending".into(),
            "running" => {}
            "unassigned" => (pod.status.phase, pod.spec.node_name) = ("Pending".into(), String::new()),
            "cheap" => {
                pod.status.conditions.push(ready);
                pod.metadata.annotations.insert("controller.kubernetes.io/pod-deletion-cost", "-1".to_string());
            }
            other => panic!("{other}"),
        }
        Arc::new(pod)
    };
    pods.split_whitespace().map(parse).collect()
}

fn replica_set(replicas: i32, min_ready_seconds: i32) -> ReplicaSet {
    let mut set = ReplicaSet::default();
    set.metadata.generation = 2;
    set.spec.replicas = Some(replicas);
    set.spec.min_ready_seconds = min_ready_seconds;
    set.spec.template.metadata.labels.insert("app", "a".to_string());
    set
}

fn observe<'a>(set: &'a ReplicaSet, pods: &'a [Arc<Pod>]) -> Observed<'a, ReplicaSet> {
    Observed { set, pods, crowds: crate::pods::crowds(pods.iter()), now: T0 }
}

#[track_caller]
fn check(replicas: i32, pods: &str, expected: Expect) {
    let (set, pods) = (replica_set(replicas, 0), parse_pods(pods));
    let plan = plan(&observe(&set, &pods));
    let names: Vec<&str> = plan.delete.iter().map(|(name, _)| name.as_str()).collect();
    expected.assert_eq(&format!("create {} delete {}", plan.create, names.join(" ")));
}

#[test]
fn as_many_live_pods_as_asked_for() {
    check(2, "a:ready", expect!["create 1 delete "]);
    check(2, "a:ready b:deleting", expect!["create 1 delete "]);
    check(2, "a:ready b:failed", expect!["create 1 delete "]);
    check(1, "a:ready", expect!["create 0 delete "]);
    check(1000, "", expect!["create 500 delete "]);
    check(0, "a:ready b:deleting", expect!["create 0 delete a"]);
}

#[test]
fn the_cheapest_pods_go_first() {
    check(1, "a:ready b:running", expect!["create 0 delete b"]);
    check(1, "a:running b:pending", expect!["create 0 delete b"]);
    check(1, "a:pending b:unassigned", expect!["create 0 delete b"]);
    check(1, "a:ready b:cheap:100000", expect!["create 0 delete b"]);
    check(1, "a:ready:100000 b:ready:10", expect!["create 0 delete b"]);
    check(2, "a:ready b:running c:unassigned d:pending", expect!["create 0 delete c d"]);
}

#[test]
fn a_set_on_its_way_out_writes_nothing() {
    let mut set = replica_set(3, 0);
    set.metadata.deletion_timestamp = Some(T0);
    assert_eq!(plan(&observe(&set, &[])), Plan::default());
}

#[track_caller]
fn check_status(min_ready_seconds: i32, pods: &str, refused: Option<&str>, expected: Expect) {
    let (set, pods) = (replica_set(3, min_ready_seconds), parse_pods(pods));
    let status = next_status(&observe(&set, &pods), &Plan { create: 1, delete: Vec::new() }, refused).unwrap();
    let conditions: Vec<String> = status.conditions.iter().map(|it| format!(" {}={} {}", it.type_, it.status, it.reason)).collect();
    expected.assert_eq(&format!(
        "{} labeled {} ready {} available {} leaving {:?} seen {}{}",
        status.replicas,
        status.fully_labeled_replicas,
        status.ready_replicas,
        status.available_replicas,
        status.terminating_replicas,
        status.observed_generation,
        conditions.concat()
    ));
}

#[test]
fn the_status_counts_pods() {
    check_status(0, "a:ready b:running c:deleting d:failed", None, expect!["2 labeled 2 ready 1 available 1 leaving Some(1) seen 2"]);
    check_status(50, "a:ready:100 b:ready:10", None, expect!["2 labeled 2 ready 2 available 1 leaving Some(0) seen 2"]);
    check_status(0, "", Some("no"), expect!["0 labeled 0 ready 0 available 0 leaving Some(0) seen 2 ReplicaFailure=True FailedCreate"]);
}

#[test]
fn a_status_that_holds_is_not_written() {
    let (mut set, pods) = (replica_set(1, 0), parse_pods("a:ready"));
    let status = next_status(&observe(&set, &pods), &Plan::default(), None).unwrap();
    set.set_status(status);
    assert!(next_status(&observe(&set, &pods), &Plan::default(), None).is_none());
}

#[test]
fn waits_for_the_next_pod_to_become_available() {
    let (set, pods) = (replica_set(2, 50), parse_pods("a:ready:100 b:ready:10 c:ready:30"));
    assert_eq!(next_availability_change(&observe(&set, &pods)), Some(20));
}

/// Whatever there is, after the plan was carried out nothing is left to do.
#[test]
fn a_plan_after_its_own_actions_is_empty() {
    for replicas in 0..4 {
        for pods in ["", "a:ready", "a:ready b:deleting c:failed", "a:ready b:pending c:running d:ready e:unassigned"] {
            let (set, mut pods) = (replica_set(replicas, 0), parse_pods(pods));
            let todo = plan(&observe(&set, &pods));
            pods.retain(|pod| !todo.delete.iter().any(|(_, uid)| *uid == pod.metadata.uid));
            pods.extend((0..todo.create).flat_map(|number| parse_pods(&format!("new{number}:unassigned"))));
            assert_eq!(plan(&observe(&set, &pods)), Plan::default());
        }
    }
}
