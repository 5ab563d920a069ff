use apimachinery::json;
use expect_test::{Expect, expect};

use super::*;

const T0: Time = Time::from_unix(1_000_000);

fn set(replicas: i32, more: &str) -> StatefulSet {
    let text = format!(
        r#"{{"metadata":{{"name":"db","namespace":"ns","uid":"u"}},"spec":{{"replicas":{replicas},"serviceName":"dbs",
        "selector":{{"matchLabels":{{"app":"db"}}}},"updateStrategy":{{"type":"RollingUpdate"}},
        "template":{{"metadata":{{"labels":{{"app":"db"}}}}}}{more}}}}}"#
    );
    json::from_slice(text.as_bytes()).unwrap()
}

/// "0=new:ready 1=old:pending 2=old:deleting 3=old:failed"
fn pods(set: &StatefulSet, text: &str) -> Vec<Arc<Pod>> {
    let parse = |text: &str| {
        let (ordinal, rest) = text.split_once('=').unwrap();
        let (revision, state) = rest.split_once(':').unwrap();
        let mut pod = identity::new_pod(set, revision, ordinal.parse().unwrap());
        pod.metadata.uid = pod.metadata.name.clone();
        pod.status.phase = "Running".into();
        match state {
            "ready" => {
                let ready = api::core::v1::PodCondition { type_: "Ready".into(), status: "True".into(), ..Default::default() };
                pod.status.conditions.push(ready);
            }
            "pending" => pod.status.phase = "Pending".into(),
            "failed" => pod.status.phase = "Failed".into(),
            "deleting" => pod.metadata.deletion_timestamp = Some(T0),
            other => panic!("{other}"),
        }
        Arc::new(pod)
    };
    text.split_whitespace().map(parse).collect()
}

fn render(actions: &[Action]) -> String {
    let one = |action: &Action| match action {
        Action::CreateClaim { claim, .. } => format!("claim {}", claim.metadata.name),
        Action::UpdateClaim(claim) => {
            format!("own {} by {:?}", claim.metadata.name, claim.metadata.owner_references.first().map(|it| it.kind.as_str()))
        }
        Action::CreatePod(pod) => format!("create {} of {}", pod.metadata.name, revision_of(pod)),
        Action::UpdatePod(pod) => format!("update {}", pod.metadata.name),
        Action::DeletePod { name, why, .. } => format!("delete {name} {why:?}"),
    };
    actions.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn observe<'a>(
    set: &'a StatefulSet,
    pods: &'a [Arc<Pod>],
    claim: &'a (dyn Fn(&str) -> Option<Arc<PersistentVolumeClaim>> + Sync),
) -> Observed<'a> {
    Observed { set, pods, current: Version { name: "old", set }, update: Version { name: "new", set }, claim, now: T0 }
}

#[track_caller]
fn check(set: &StatefulSet, pod_text: &str, expected: Expect) {
    let pods = pods(set, pod_text);
    expected.assert_eq(&render(&plan(&observe(set, &pods, &|_| None))));
}

const PARALLEL: &str = r#","podManagementPolicy":"Parallel""#;

#[test]
fn pods_come_one_by_one() {
    check(&set(3, ""), "", expect!["create db-0 of new"]);
    check(&set(3, ""), "0=new:pending", expect![""]);
    check(&set(3, ""), "0=new:ready", expect!["create db-1 of new"]);
    check(&set(3, ""), "0=new:deleting 1=new:ready 2=new:ready", expect![""]);
    check(&set(3, ""), "0=new:ready 2=new:ready", expect!["create db-1 of new"]);
    check(&set(2, PARALLEL), "", expect!["create db-0 of new; create db-1 of new"]);
    check(&set(2, r#","ordinals":{"start":5}"#), "", expect!["create db-5 of new"]);
}

#[test]
fn pods_go_from_the_top() {
    check(&set(1, ""), "0=new:ready 1=new:ready 2=new:ready", expect!["delete db-2 Surplus"]);
    check(&set(1, ""), "0=new:ready 1=new:ready 2=new:deleting", expect![""]);
    check(&set(1, ""), "0=new:ready 1=new:pending 2=new:ready", expect!["delete db-2 Surplus"]);
    check(&set(0, PARALLEL), "0=new:ready 1=new:ready", expect!["delete db-1 Surplus; delete db-0 Surplus"]);
}

#[test]
fn a_pod_that_ended_is_made_again() {
    check(&set(2, ""), "0=new:failed 1=new:ready", expect!["delete db-0 Ended"]);
}

#[test]
fn updates_go_from_the_top_down_to_the_partition() {
    check(&set(3, ""), "0=old:ready 1=old:ready 2=old:ready", expect!["delete db-2 Outdated"]);
    check(&set(3, ""), "0=old:ready 1=old:ready 2=new:ready", expect!["delete db-1 Outdated"]);
    check(&set(3, PARALLEL), "0=old:ready 1=old:ready 2=new:pending", expect![""]);
    let partitioned = r#","updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}"#;
    check(&set(3, partitioned), "0=old:ready 1=old:ready 2=new:ready", expect![""]);
    check(&set(3, partitioned), "0=old:ready 2=new:ready", expect!["create db-1 of old"]);
    check(&set(3, r#","updateStrategy":{"type":"OnDelete"}"#), "0=old:ready 1=old:ready 2=old:ready", expect![""]);
}

const CLAIM: &str = r#","volumeClaimTemplates":[{"metadata":{"name":"data"}}],"persistentVolumeClaimRetentionPolicy":{"whenDeleted":"Delete","whenScaled":"Delete"}"#;

#[test]
fn claims_come_before_their_pod_and_go_with_their_owner() {
    let set = set(1, CLAIM);
    check(&set, "", expect!["claim data-db-0; create db-0 of new"]);
    let pods = pods(&set, "0=new:ready 1=new:ready");
    let claim = |name: &str| {
        let mut claim = identity::claims(&set, 0).remove(0);
        claim.metadata.name = name.into();
        Some(Arc::new(claim))
    };
    let actions = render(&plan(&observe(&set, &pods, &claim)));
    assert_eq!(actions, r#"own data-db-0 by Some("StatefulSet"); own data-db-1 by Some("Pod"); delete db-1 Surplus"#);
}

#[test]
fn a_pod_has_its_name_in_labels_host_name_and_claims() {
    let pod = identity::new_pod(&set(1, CLAIM), "new", 4);
    assert_eq!((pod.metadata.name.as_str(), pod.spec.hostname.as_str(), pod.spec.subdomain.as_str()), ("db-4", "db-4", "dbs"));
    assert_eq!(pod.metadata.labels.get("apps.kubernetes.io/pod-index").map(String::as_str), Some("4"));
    let source = pod.spec.volumes[0].volume_source.persistent_volume_claim.as_ref().unwrap();
    assert_eq!(source.claim_name, "data-db-4");
    assert_eq!(ordinal_of("db", "db-x"), None);
    assert_eq!(ordinal_of("db", "db-1-2"), None);
}

#[test]
fn a_finished_update_makes_the_update_revision_current() {
    let set = set(2, "");
    let status = |text: &str| next_status(&observe(&set, &pods(&set, text), &|_| None)).unwrap();
    let half = status("0=old:ready 1=new:ready");
    assert_eq!((half.current_revision.as_str(), half.current_replicas, half.updated_replicas), ("old", 1, 1));
    let done = status("0=new:ready 1=new:ready");
    assert_eq!((done.current_revision.as_str(), done.current_replicas, done.ready_replicas), ("new", 2, 2));
}
