use apimachinery::json;
use expect_test::{Expect, expect};

use super::*;

const T0: Time = Time::from_unix(1_000_000);

fn job(spec: &str) -> Job {
    let text = format!(r#"{{"metadata":{{"name":"j","namespace":"ns","uid":"u"}},"spec":{{"backoffLimit":6{spec}}}}}"#);
    json::from_slice(text.as_bytes()).unwrap()
}

/// "a:running b:succeeded c:failed d:deleting"; `-` after the state: without the finalizer; `@2` before it: with that index.
fn pods(text: &str) -> Vec<Arc<Pod>> {
    let parse = |text: &str| {
        let (name, rest) = text.split_once(':').unwrap();
        let (name, index) = name.split_once('@').map_or((name, None), |(name, index)| (name, Some(index)));
        let mut pod = Pod::default();
        pod.metadata.name = name.into();
        pod.metadata.uid = name.into();
        if !rest.ends_with('-') {
            pod.metadata.finalizers.push(FINALIZER.to_string());
        }
        if let Some(index) = index {
            pod.metadata.annotations.insert(indexes::INDEX, index.to_string());
        }
        let ended = |code, at: Time| {
            let text = format!(r#"{{"name":"c","state":{{"terminated":{{"exitCode":{code},"finishedAt":"{at}"}}}}}}"#);
            json::from_slice(text.as_bytes()).unwrap()
        };
        match rest.trim_end_matches('-') {
            "running" => pod.status.phase = "Running".into(),
            "succeeded" => pod.status.phase = "Succeeded".into(),
            "failed" => {
                pod.status.phase = "Failed".into();
                pod.status.container_statuses.push(ended(1, T0.add_seconds(-1000)));
            }
            "failing" => {
                pod.status.phase = "Failed".into();
                pod.status.container_statuses.push(ended(42, T0));
            }
            "deleting" => pod.metadata.deletion_timestamp = Some(T0),
            other => panic!("{other}"),
        }
        Arc::new(pod)
    };
    text.split_whitespace().map(parse).collect()
}

fn render(plan: &Plan) -> String {
    let mut parts = Vec::new();
    if !plan.create.is_empty() {
        let indexes: Vec<String> = plan.create.iter().filter_map(|slot| slot.index).map(|index| format!(" #{index}")).collect();
        parts.push(format!("create {}{}", plan.create.len(), indexes.concat()));
    }
    parts.extend(plan.delete.iter().map(|deletion| format!("delete {}", deletion.name)));
    if !plan.strip.is_empty() {
        parts.push(format!("strip {}", plan.strip.join(",")));
    }
    if let Some(status) = &plan.status {
        parts.extend(status.conditions.iter().filter(|it| it.status == "True").map(|it| format!("{} {}", it.type_, it.reason)));
    }
    parts.join("; ")
}

fn see<'a>(job: &'a Job, pods: &'a [Arc<Pod>]) -> Observed<'a> {
    Observed { job, pods, now: T0, settled: true }
}

#[track_caller]
fn check(spec: &str, pod_text: &str, expected: Expect) {
    let (job, pods) = (job(spec), pods(pod_text));
    expected.assert_eq(&render(&plan(&see(&job, &pods))));
}

const FIVE_BY_TWO: &str = r#","completions":5,"parallelism":2"#;
const INDEXED: &str = r#","completions":3,"parallelism":2,"completionMode":"Indexed""#;

#[test]
fn as_many_at_a_time_as_parallelism_allows() {
    check(FIVE_BY_TWO, "", expect!["create 2"]);
    check(FIVE_BY_TWO, "a:running b:running", expect![""]);
    check(FIVE_BY_TWO, "a:running b:succeeded", expect!["create 1; strip b"]);
    check(FIVE_BY_TWO, "a:running b:running c:running", expect!["delete a"]);
    check(r#","parallelism":3"#, "a:succeeded b:running c:running", expect!["strip a"]);
    check(r#","completions":5,"parallelism":2,"suspend":true"#, "a:running", expect!["delete a; Suspended JobSuspended"]);
}

#[test]
fn a_job_is_done_when_enough_succeeded_and_all_are_counted() {
    let spec = r#","completions":1,"parallelism":1"#;
    check(spec, "a:succeeded", expect!["strip a; SuccessCriteriaMet CompletionsReached"]);
    let mut job = job(spec);
    let first = plan(&see(&job, &pods("a:succeeded")));
    job.status = *first.status.unwrap();
    assert_eq!((job.status.succeeded, job.status.uncounted_terminated_pods.as_ref().unwrap().succeeded.len()), (0, 1));
    let second = plan(&see(&job, &pods("a:succeeded-")));
    assert_eq!(render(&second), "SuccessCriteriaMet CompletionsReached; Complete CompletionsReached");
    job.status = *second.status.unwrap();
    assert_eq!((job.status.succeeded, job.status.uncounted_terminated_pods.as_ref().unwrap().succeeded.len()), (1, 0));
    assert_eq!(plan(&see(&job, &pods("a:succeeded-"))), Plan::default());
}

#[test]
fn failures_are_retried_after_a_rest_up_to_the_limit() {
    check(FIVE_BY_TWO, "a:failed", expect!["create 2; strip a"]);
    let (job, pods_now) = (job(FIVE_BY_TWO), pods("a:failing"));
    let plan = plan(&see(&job, &pods_now));
    assert_eq!((render(&plan).as_str(), plan.look_again), ("strip a", Some(10)));
    let over = "a:failed b:failed c:failed d:failed e:failed f:failed g:failed h:running";
    check(FIVE_BY_TWO, over, expect!["delete h; strip a,b,c,d,e,f,g; FailureTarget BackoffLimitExceeded"]);
}

#[test]
fn indexes_are_filled_from_the_lowest() {
    check(INDEXED, "", expect!["create 2 #0 #1"]);
    check(INDEXED, "a@0:succeeded b@1:running", expect!["create 1 #2; strip a"]);
    check(INDEXED, "a@1:running b@1:running", expect!["create 1 #0; delete b"]);
    let per_index = r#","completions":2,"parallelism":2,"completionMode":"Indexed","backoffLimitPerIndex":0"#;
    check(per_index, "a@0:failed b@1:running", expect!["strip a"]);
    check(per_index, "a@0:failed b@1:succeeded", expect!["strip a,b; FailureTarget FailedIndexes"]);
}

#[test]
fn policies_decide_on_failure_and_success() {
    let policy = |action: &str| {
        format!(r#"{FIVE_BY_TWO},"podFailurePolicy":{{"rules":[{{"action":"{action}","onExitCodes":{{"operator":"In","values":[42]}}}}]}}"#)
    };
    check(&policy("FailJob"), "a:failing b:running", expect!["delete b; strip a; FailureTarget PodFailurePolicy"]);
    check(&policy("Ignore"), "a:failing b:running", expect!["create 1; strip a"]);
    let success = format!(r#"{INDEXED},"successPolicy":{{"rules":[{{"succeededIndexes":"0"}}]}}"#);
    check(&success, "a@0:succeeded b@1:running", expect!["delete b; strip a; SuccessCriteriaMet SuccessPolicy"]);
}

#[test]
fn a_job_runs_out_of_time() {
    let mut job = job(r#","completions":1,"parallelism":1,"activeDeadlineSeconds":60"#);
    job.status.start_time = Some(T0.add_seconds(-30));
    let pods = pods("a:running");
    assert_eq!(plan(&see(&job, &pods)).look_again, Some(31));
    job.status.start_time = Some(T0.add_seconds(-60));
    assert_eq!(render(&plan(&see(&job, &pods))), "delete a; FailureTarget DeadlineExceeded");
}

#[test]
fn lists_of_indexes_are_written_short() {
    for text in ["", "0", "0,1", "0-2", "0,2-4,7,8"] {
        assert_eq!(indexes::format(&indexes::parse(text)), text);
    }
}

/// A Job of 5, 2 at a time, whose Pods succeed at once: five Pods are made, each is counted once.
#[test]
fn a_job_comes_to_its_end() {
    let mut job = job(FIVE_BY_TWO);
    let mut world: Vec<Arc<Pod>> = Vec::new();
    for _ in 0..20 {
        let plan = plan(&see(&job, &world));
        if let Some(status) = plan.status {
            job.status = *status;
        }
        for pod in &mut world {
            if plan.strip.contains(&pod.metadata.name) {
                Arc::make_mut(pod).metadata.finalizers.clear();
            } else if pod.status.phase == "Running" {
                Arc::make_mut(pod).status.phase = "Succeeded".into();
            }
        }
        for _ in plan.create {
            world.extend(pods(&format!("p{}:running", world.len())));
        }
    }
    assert!(outcome::is_finished(&job));
    assert_eq!((world.len(), job.status.succeeded, job.status.active), (5, 5, 0));
}
