use api::batch::v1::JobCondition;
use apimachinery::json;
use expect_test::{Expect, expect};

use super::*;

/// Made at 10:00; looked at at 10:07:30.
fn cron(spec: &str) -> CronJob {
    let text = format!(
        r#"{{"metadata":{{"name":"c","namespace":"ns","uid":"u","creationTimestamp":"2024-01-01T10:00:00Z"}},
        "spec":{{"schedule":"*/5 * * * *","concurrencyPolicy":"Allow","jobTemplate":{{"metadata":{{"labels":{{"a":"b"}}}}}}{spec}}}}}"#
    );
    json::from_slice(text.as_bytes()).unwrap()
}

/// "a:active b:Complete c:Failed"; active ones are listed in the status.
fn jobs(cron: &mut CronJob, text: &str) -> Vec<Arc<Job>> {
    let mut parse = |(number, text): (usize, &str)| {
        let (name, state) = text.split_once(':').unwrap();
        let mut job = Job::default();
        job.metadata.name = name.into();
        job.metadata.uid = name.into();
        job.status.start_time = Some(Time::from_unix(number as i64));
        match state {
            "active" => cron.status.active.push(reference(&job)),
            "stranger" => {}
            ended => job.status.conditions.push(JobCondition { type_: ended.into(), status: "True".into(), ..Default::default() }),
        }
        Arc::new(job)
    };
    text.split_whitespace().enumerate().map(&mut parse).collect()
}

#[track_caller]
fn check(spec: &str, job_text: &str, expected: Expect) {
    let mut cron = cron(spec);
    let jobs = jobs(&mut cron, job_text);
    let plan = plan(&Observed { cron: &cron, jobs: &jobs, now: "2024-01-01T10:07:30Z".parse().unwrap() });
    let mut parts: Vec<String> = plan.delete.iter().map(|deletion| format!("delete {}", deletion.name)).collect();
    parts.extend(plan.create.iter().map(|job| format!("create {}", job.metadata.annotations.get(SCHEDULED_AT).unwrap())));
    parts.extend(plan.events.iter().map(|event| event.reason.to_string()));
    parts.extend(plan.look_again.map(|seconds| format!("in {seconds}")));
    expected.assert_eq(&parts.join("; "));
}

#[test]
fn a_job_is_made_for_the_latest_time_that_has_come() {
    check("", "", expect!["create 2024-01-01T10:05:00Z; in 150"]);
    check(r#","suspend":true"#, "", expect![""]);
    check(r#","startingDeadlineSeconds":60"#, "", expect!["in 150"]);
    check(r#","schedule":"bad""#, "", expect!["UnparseableSchedule"]);
    check(r#","timeZone":"Mars/Base""#, "", expect!["UnknownTimeZone"]);
}

#[test]
fn policies_decide_what_happens_to_running_jobs() {
    check("", "a:active", expect!["create 2024-01-01T10:05:00Z; in 150"]);
    check(r#","concurrencyPolicy":"Forbid""#, "a:active", expect!["JobAlreadyActive; in 150"]);
    check(r#","concurrencyPolicy":"Replace""#, "a:active", expect!["delete a; create 2024-01-01T10:05:00Z; in 150"]);
    check(r#","concurrencyPolicy":"Forbid""#, "a:Complete", expect!["create 2024-01-01T10:05:00Z; in 150"]);
}

#[test]
fn finished_jobs_are_kept_up_to_the_limits() {
    let limits = r#","suspend":true,"successfulJobsHistoryLimit":1,"failedJobsHistoryLimit":0"#;
    check(limits, "a:Complete b:Complete c:Failed", expect!["delete a; delete c"]);
    check(r#","suspend":true"#, "a:stranger", expect!["UnexpectedJob"]);
}

#[test]
fn the_name_tells_the_time_and_a_job_is_not_made_twice() {
    let mut cron = cron("");
    let now = "2024-01-01T10:07:30Z".parse().unwrap();
    let first = plan(&Observed { cron: &cron, jobs: &[], now });
    let job = *first.create.unwrap();
    assert_eq!(job.metadata.name, "c-28401725");
    // The Job is there, and the write of the status was lost.
    let second = plan(&Observed { cron: &cron, jobs: &[Arc::new(job.clone())], now });
    assert!(second.create.is_none());
    cron.status = *second.status.unwrap();
    assert_eq!(cron.status.active.len(), 1);
    let third = plan(&Observed { cron: &cron, jobs: &[Arc::new(job)], now });
    assert_eq!(third, Plan { look_again: Some(150), ..Plan::default() });
}

#[test]
fn many_missed_times_are_told_and_skipped() {
    let mut cron = cron(r#","schedule":"* * * * *""#);
    cron.metadata.creation_timestamp = "2023-01-01T00:00:00Z".parse().unwrap();
    let plan = plan(&Observed { cron: &cron, jobs: &[], now: "2024-01-01T10:07:30Z".parse().unwrap() });
    assert_eq!(plan.events[0].reason, "TooManyMissedTimes");
    assert_eq!(plan.create.unwrap().metadata.annotations.get(SCHEDULED_AT).unwrap(), "2024-01-01T10:07:00Z");
}
