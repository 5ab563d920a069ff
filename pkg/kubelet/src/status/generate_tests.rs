use super::*;
use crate::kuberuntime::Waiting;
use crate::kuberuntime::status::State;
use cri_api::v1;

fn pod(policy: &str, init: &[&str], main: &[&str]) -> Pod {
    let container = |name: &&str| {
        let (name, sidecar) = name.strip_suffix('*').map_or((*name, false), |name| (name, true));
        Container { name: name.into(), image: "i".into(), restart_policy: sidecar.then(|| "Always".into()), ..Default::default() }
    };
    let mut pod = Pod::default();
    pod.metadata.generation = 3;
    pod.spec.restart_policy = policy.into();
    pod.spec.init_containers = init.iter().map(container).collect();
    pod.spec.containers = main.iter().map(container).collect();
    pod
}

/// `a:running b:0 c:1` are a running container, one that succeeded and one that failed; later entries are newer.
fn runtime_status(text: &str) -> runtime::PodStatus {
    let mut status = runtime::PodStatus { ips: vec!["10.0.0.1".into()], ..Default::default() };
    status.sandboxes.push(v1::PodSandboxStatus { id: "s".into(), state: v1::PodSandboxState::Ready as i32, ..Default::default() });
    for word in text.split_whitespace() {
        let (name, state) = word.split_once(':').unwrap();
        let restart_count = status.containers.iter().filter(|c| c.name == name).count() as u32;
        let mut container =
            runtime::ContainerStatus { id: format!("{name}{restart_count}"), name: name.into(), restart_count, ..Default::default() };
        match state.parse() {
            Ok(code) => (container.state, container.exit_code) = (State::Exited, code),
            Err(_) => container.state = State::Running,
        }
        status.containers.insert(0, container);
    }
    status
}

struct Case<'a> {
    pod: Pod,
    containers: &'a str,
    ended: bool,
    reasons: Reasons,
    unready: &'a [&'a str],
}

fn case(pod: Pod, containers: &str) -> Case<'_> {
    Case { pod, containers, ended: false, reasons: Reasons::new(), unready: &[] }
}

impl Case<'_> {
    fn status(&self) -> PodStatus {
        generate(&Inputs {
            pod: &self.pod,
            old: &self.pod.status,
            runtime: &runtime_status(self.containers),
            reasons: &self.reasons,
            is_started: &|_, _| true,
            is_ready: &|container, _| !self.unready.contains(&container.name.as_str()),
            host_ips: &["192.0.2.1".into()],
            ended: self.ended,
            now: Time::from_unix(100),
        })
    }
}

fn conditions(status: &PodStatus) -> String {
    let letter =
        |kind: &str| status.conditions.iter().find(|c| c.type_ == kind).map_or("?", |c| if c.status == "True" { "T" } else { "F" });
    ["Initialized", "ContainersReady", "Ready"].map(letter).concat()
}

#[test]
fn phases_and_conditions() {
    for (policy, init, main, containers, expected) in [
        ("Always", &[][..], &["a"][..], "", "Pending TFF"),
        ("Always", &[], &["a"], "a:running", "Running TTT"),
        ("Always", &[], &["a", "b"], "a:running", "Pending TFF"),
        ("Always", &[], &["a"], "a:0", "Running TFF"),
        ("OnFailure", &[], &["a"], "a:0", "Succeeded TFF"),
        ("OnFailure", &[], &["a"], "a:1", "Running TFF"),
        ("Never", &[], &["a", "b"], "a:0 b:1", "Failed TFF"),
        ("Never", &[], &["a", "b"], "a:0 b:running", "Running TFF"),
        ("Always", &["i"], &["a"], "", "Pending FFF"),
        ("Always", &["i"], &["a"], "i:running", "Pending FFF"),
        ("Always", &["i"], &["a"], "i:1", "Pending FFF"),
        ("Never", &["i"], &["a"], "i:1", "Failed FFF"),
        ("Always", &["i"], &["a"], "i:0 a:running", "Running TTT"),
        ("Always", &["s*"], &["a"], "s:running a:running", "Running TTT"),
        ("Never", &["s*"], &["a"], "s:running a:0", "Succeeded TFF"),
    ] {
        let status = case(pod(policy, init, main), containers).status();
        assert_eq!(format!("{} {}", status.phase, conditions(&status)), expected, "{policy} {init:?} {main:?} {containers:?}");
    }
}

#[test]
fn a_deleted_pod_ends_by_its_exit_codes() {
    for (containers, expected) in [("a:0", "Succeeded"), ("a:137", "Failed"), ("", "Failed")] {
        let ended = Case { ended: true, ..case(pod("Always", &[], &["a"]), containers) };
        assert_eq!(ended.status().phase, expected, "{containers}");
    }
}

#[test]
fn an_unready_container_is_named() {
    let status = Case { unready: &["b"], ..case(pod("Always", &[], &["b", "a"]), "a:running b:running") }.status();
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!((ready.reason.as_str(), ready.message.as_str()), ("ContainersNotReady", "containers with unready status: [b]"));
    assert_eq!((ready.observed_generation, ready.last_transition_time), (3, Time::from_unix(100)));
    assert_eq!(status.container_statuses.iter().map(|c| (c.name.as_str(), c.ready)).collect::<Vec<_>>(), [("a", true), ("b", false)]);
}

#[test]
fn a_crashing_container_waits_and_remembers() {
    let mut crashing = case(pod("Always", &[], &["a"]), "a:1 a:2");
    crashing.reasons.insert("a".into(), Waiting { reason: "CrashLoopBackOff".into(), message: "back-off".into() });
    let status = crashing.status();
    let container = &status.container_statuses[0];
    assert_eq!(container.state.waiting.as_ref().unwrap().reason, "CrashLoopBackOff");
    assert_eq!(exit_code(&container.last_state), Some(2));
    assert_eq!((container.restart_count, status.phase.as_str()), (1, "Running"));
}

#[test]
fn conditions_of_others_are_kept_and_times_stay() {
    let mut known = case(pod("Always", &[], &["a"]), "a:running");
    known.pod.status = known.status();
    known.pod.status.conditions.push(PodCondition { type_: "example.org/gate".into(), status: "False".into(), ..Default::default() });
    let mut again = known.status();
    assert_eq!(again.conditions.len(), 6);
    again.conditions.retain(|condition| condition.type_ != "example.org/gate");
    assert_eq!(conditions(&again), "TTT");
    known.pod.spec.readiness_gates.push(api::core::v1::PodReadinessGate { condition_type: "example.org/gate".into() });
    assert_eq!(conditions(&known.status()), "TTF");
}
