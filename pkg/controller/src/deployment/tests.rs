use apimachinery::json;
use expect_test::{Expect, expect};

use super::*;

const T0: Time = Time::from_unix(1_000_000);

fn deployment(replicas: i32, image: &str, surge: &str, unavailable: &str) -> Deployment {
    let text = format!(
        r#"{{"metadata":{{"name":"web","namespace":"ns","uid":"d","generation":1}},
        "spec":{{"replicas":{replicas},"selector":{{"matchLabels":{{"app":"web"}}}},"progressDeadlineSeconds":600,"revisionHistoryLimit":2,
        "strategy":{{"type":"RollingUpdate","rollingUpdate":{{"maxSurge":{surge},"maxUnavailable":{unavailable}}}}},
        "template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}}}}}"#
    );
    json::from_slice(text.as_bytes()).unwrap()
}

/// A set with the template of `image`: `replicas`, of which `available` are.
fn set(deployment: &Deployment, image: &str, replicas: i32, available: i32, revision: i64) -> Arc<ReplicaSet> {
    let mut of_image = deployment.clone();
    of_image.spec.template.spec.containers[0].image = image.into();
    let seen = Observed { deployment: &of_image, sets: Vec::new(), with_pods: HashSet::new(), now: T0 };
    let mut rollout = Rollout::new(&seen);
    rollout.find_new(true);
    let mut set = rollout.sets.remove(0).set;
    set.metadata.name = format!("web-{image}");
    set.metadata.uid = image.into();
    set.metadata.creation_timestamp = T0.add_seconds(revision);
    set.metadata.annotations.insert(revisions::REVISION, revision.to_string());
    set.spec.replicas = Some(replicas);
    set.status.replicas = replicas;
    set.status.ready_replicas = available;
    set.status.available_replicas = available;
    Arc::new(set)
}

fn observe<'a>(deployment: &'a Deployment, sets: Vec<Arc<ReplicaSet>>) -> Observed<'a> {
    Observed { deployment, sets, with_pods: HashSet::new(), now: T0 }
}

fn render(plan: &Plan) -> String {
    let mut lines = Vec::new();
    for write in &plan.writes {
        lines.push(match write {
            Write::Create(set) => format!("create {} of {}", set.spec.replicas.unwrap(), set.spec.template.spec.containers[0].image),
            Write::Update { set, from: Some(from) } => format!("scale {} {from}->{}", set.metadata.name, set.spec.replicas.unwrap()),
            Write::Update { set, from: None } => format!("annotate {}", set.metadata.name),
            Write::Delete { name, .. } => format!("delete {name}"),
        });
    }
    lines.extend(plan.events.iter().map(|event| format!("{} {}", event.reason, event.message)));
    lines.join("; ")
}

/// `sets` reads like "v1:3/3 v2:1/0": image, replicas, available; oldest first.
#[track_caller]
fn check_with(deployment: &Deployment, sets: &str, expected: Expect) -> Plan {
    let sets = sets.split_whitespace().enumerate().map(|(number, text)| {
        let (image, counts) = text.split_once(':').unwrap();
        let (replicas, available) = counts.split_once('/').unwrap();
        set(deployment, image, replicas.parse().unwrap(), available.parse().unwrap(), number as i64 + 1)
    });
    let plan = plan(&observe(deployment, sets.collect()));
    expected.assert_eq(&render(&plan));
    plan
}

#[track_caller]
fn check(replicas: i32, surge: &str, unavailable: &str, sets: &str, expected: Expect) {
    check_with(&deployment(replicas, "v2", surge, unavailable), sets, expected);
}

#[test]
fn a_first_rollout_makes_its_set_at_full_size() {
    check(3, "1", "0", "", expect!["create 3 of v2"]);
}

#[test]
fn the_new_set_grows_into_the_surge_and_old_ones_shrink_as_it_becomes_available() {
    check(3, "1", "0", "v1:3/3", expect!["create 1 of v2"]);
    check(3, "1", "0", "v1:3/3 v2:1/0", expect![""]);
    check(3, "1", "0", "v1:3/3 v2:1/1", expect!["scale web-v1 3->2"]);
    check(3, "1", "0", "v1:2/2 v2:1/1", expect!["scale web-v2 1->2"]);
    check(3, "1", "0", "v1:1/1 v2:3/3", expect!["scale web-v1 1->0"]);
    check(4, "0", "\"50%\"", "v1:4/4 v2:0/0", expect!["scale web-v1 4->2"]);
    check(10, "\"25%\"", "\"25%\"", "v1:10/10 v2:0/0", expect!["scale web-v2 0->3"]);
}

#[test]
fn old_pods_that_are_no_use_go_first() {
    check(3, "1", "0", "v0:1/0 v1:3/3 v2:0/0", expect!["scale web-v0 1->0"]);
    check(3, "1", "0", "v1:3/0 v2:1/0", expect![""]);
    check(3, "1", "1", "v1:3/0 v2:1/1", expect!["scale web-v1 3->1"]);
}

#[test]
fn a_change_of_scale_is_spread() {
    let mut deployment = deployment(3, "v2", "0", "1");
    let sets = vec![set(&deployment, "v1", 2, 2, 1), set(&deployment, "v2", 1, 1, 2)];
    deployment.spec.replicas = Some(6);
    assert_eq!(render(&plan(&observe(&deployment, sets.clone()))), "scale web-v1 2->4; scale web-v2 1->2");
    deployment.spec.replicas = Some(0);
    assert_eq!(render(&plan(&observe(&deployment, sets))), "scale web-v1 2->0; scale web-v2 1->0");
}

#[test]
fn recreate_waits_for_the_old_pods_to_end() {
    let mut recreate = deployment(3, "v2", "0", "0");
    recreate.spec.strategy.type_ = "Recreate".into();
    recreate.spec.strategy.rolling_update = None;
    check_with(&recreate, "v1:3/3", expect!["scale web-v1 3->0"]);
    let old = set(&recreate, "v1", 0, 0, 1);
    let mut seen = observe(&recreate, vec![old]);
    seen.with_pods.insert("v1".into());
    assert_eq!(render(&plan(&seen)), "");
    seen.with_pods.clear();
    assert_eq!(render(&plan(&seen)), "create 3 of v2");
}

#[test]
fn a_pause_stops_the_rollout_but_not_scaling() {
    let mut paused = deployment(3, "v2", "1", "0");
    paused.spec.paused = true;
    check_with(&paused, "v1:3/3", expect![""]);
    check_with(&paused, "v1:2/2", expect!["scale web-v1 2->3"]);
}

#[test]
fn a_wish_to_roll_back_takes_the_old_template() {
    let mut deployment = deployment(3, "v2", "1", "0");
    deployment.metadata.annotations.insert("deprecated.deployment.rollback.to", "1".to_string());
    let plan = check_with(&deployment, "v1:0/0 v2:3/3", expect![[r#"RollbackDone Rolled back deployment "web" to revision 1"#]]);
    let changed = plan.deployment.unwrap();
    assert_eq!(changed.spec.template.spec.containers[0].image, "v1");
    assert!(!changed.spec.template.metadata.labels.contains_key("pod-template-hash"));
    deployment.metadata.annotations.insert("deprecated.deployment.rollback.to", "7".to_string());
    check_with(&deployment, "v2:3/3", expect!["RollbackRevisionNotFound Unable to find the revision to rollback to."]);
}

#[test]
fn history_beyond_the_limit_goes_oldest_first() {
    let mut deployment = deployment(1, "v9", "1", "0");
    deployment.status = api::apps::v1::DeploymentStatus {
        observed_generation: 1,
        replicas: 1,
        updated_replicas: 1,
        available_replicas: 1,
        ..Default::default()
    };
    check_with(&deployment, "v1:0/0 v2:0/0 v3:0/0 v9:1/1", expect!["delete web-v1"]);
}

#[test]
fn an_old_template_that_comes_back_gets_the_next_revision() {
    let deployment = deployment(3, "v1", "1", "0");
    let plan = check_with(&deployment, "v1:0/0 v2:3/3", expect!["scale web-v1 0->1"]);
    let Write::Update { set, .. } = &plan.writes[0] else { panic!() };
    assert_eq!(revisions::revision(&set.metadata), 3);
    assert_eq!(set.metadata.annotations.get("deployment.kubernetes.io/revision-history").map(String::as_str), Some("1"));
    assert_eq!(plan.deployment.unwrap().metadata.annotations.get(revisions::REVISION).map(String::as_str), Some("3"));
}

fn progress(plan: &Plan) -> String {
    let status = plan.status.as_ref().unwrap();
    let condition = conditions::find(status, conditions::PROGRESSING).unwrap();
    format!("{} {}: {}", condition.status, condition.reason, condition.message)
}

#[test]
fn progress_is_told_and_so_is_its_end() {
    let mut deployment = deployment(1, "v1", "1", "0");
    let first = plan(&observe(&deployment, Vec::new()));
    let Write::Create(made) = &first.writes[0] else { panic!() };
    let created = format!("True NewReplicaSetCreated: Created new replica set {:?}", made.metadata.name);
    assert_eq!((progress(&first), first.look_again), (created, Some(601)));
    deployment.status = *first.status.unwrap();

    let mut running = set(&deployment, "v1", 1, 0, 1);
    let second = plan(&observe(&deployment, vec![running.clone()]));
    assert_eq!(progress(&second), "True ReplicaSetUpdated: ReplicaSet \"web-v1\" is progressing.");
    deployment.status = *second.status.unwrap();

    let mut late = observe(&deployment, vec![running.clone()]);
    late.now = T0.add_seconds(601);
    assert_eq!(progress(&plan(&late)), "False ProgressDeadlineExceeded: ReplicaSet \"web-v1\" has timed out progressing.");

    Arc::make_mut(&mut running).status.available_replicas = 1;
    let done = plan(&observe(&deployment, vec![running]));
    assert_eq!(progress(&done), "True NewReplicaSetAvailable: ReplicaSet \"web-v1\" has successfully progressed.");
    let available = conditions::find(done.status.as_ref().unwrap(), conditions::AVAILABLE).unwrap();
    assert_eq!(available.reason, "MinimumReplicasAvailable");
}

/// Pods that become available at once: a rollout ends, without ever going below or above its limits.
#[test]
fn a_rollout_comes_to_its_end_within_its_limits() {
    for (replicas, surge, unavailable) in [(1, "1", "0"), (5, "1", "1"), (10, "\"25%\"", "\"25%\""), (3, "0", "1"), (7, "100%", "0")] {
        let surge = if surge.ends_with('%') { format!("{surge:?}") } else { surge.to_string() };
        let mut deployment = deployment(replicas, "v2", &surge, unavailable);
        let mut sets = vec![set(&deployment, "v1", replicas, replicas, 1)];
        let limits = Limits::of(&deployment);
        let mut steps = 0;
        loop {
            let plan = plan(&observe(&deployment, sets.clone()));
            if let Some(changed) = plan.deployment {
                deployment = *changed;
            }
            let quiet = plan.writes.is_empty() && plan.status.is_none();
            if let Some(status) = plan.status {
                deployment.status = *status;
            }
            for write in plan.writes {
                match write {
                    Write::Create(mut made) => {
                        made.metadata.uid = "new".into();
                        made.metadata.creation_timestamp = T0.add_seconds(9);
                        sets.push(Arc::new(*made));
                    }
                    Write::Update { set, .. } => {
                        let place = sets.iter().position(|old| old.metadata.name == set.metadata.name).unwrap();
                        sets[place] = Arc::new(*set);
                    }
                    Write::Delete { name, .. } => sets.retain(|set| set.metadata.name != name),
                }
            }
            let total: i32 = sets.iter().map(|set| set.spec.replicas.unwrap()).sum();
            assert!(total <= replicas + limits.surge && total >= replicas - limits.unavailable, "{total} of {replicas}");
            for set in &mut sets {
                let set = Arc::make_mut(set);
                let replicas = set.spec.replicas.unwrap();
                (set.status.replicas, set.status.ready_replicas, set.status.available_replicas) = (replicas, replicas, replicas);
            }
            steps += 1;
            assert!(steps < 100, "no end");
            if quiet {
                break;
            }
        }
        assert!(conditions::is_complete(&deployment, &deployment.status));
    }
}
