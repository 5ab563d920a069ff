use super::*;
use std::collections::HashMap;

/// Probe verdicts by container id.
#[derive(Default)]
struct Answers {
    liveness: HashMap<String, Verdict>,
    startup: HashMap<String, Verdict>,
}

impl Probes for Answers {
    fn liveness(&self, id: &str) -> Option<Verdict> {
        self.liveness.get(id).copied()
    }

    fn startup(&self, id: &str) -> Option<Verdict> {
        self.startup.get(id).copied()
    }
}

fn container(name: &str) -> Container {
    let (name, sidecar) = name.strip_suffix('*').map_or((name, false), |name| (name, true));
    Container { name: name.into(), image: "i".into(), restart_policy: sidecar.then(|| "Always".into()), ..Default::default() }
}

/// Names of init containers (`s*` is a sidecar), then of main containers.
fn pod(policy: &str, init: &str, main: &str) -> Pod {
    let mut pod = Pod::default();
    pod.spec.restart_policy = policy.into();
    pod.spec.init_containers = init.split_whitespace().map(container).collect();
    pod.spec.containers = main.split_whitespace().map(container).collect();
    pod
}

/// `ready a:running b:0 c:1 d:unknown e:created`: the sandbox's state, then containers; ids are their names.
fn status(pod: &Pod, text: &str) -> PodStatus {
    let mut status = PodStatus::default();
    for word in text.split_whitespace() {
        let Some((name, state)) = word.split_once(':') else {
            let ready = if word == "ready" { v1::PodSandboxState::Ready } else { v1::PodSandboxState::Notready };
            status.sandboxes.push(v1::PodSandboxStatus {
                id: "s".into(),
                state: ready as i32,
                metadata: Some(v1::PodSandboxMetadata { attempt: 0, ..Default::default() }),
                network: Some(v1::PodSandboxNetworkStatus { ip: "10.0.0.1".into(), ..Default::default() }),
                ..Default::default()
            });
            continue;
        };
        let all = pod.spec.init_containers.iter().chain(pod.spec.containers.iter());
        let hash = all.into_iter().find(|c| c.name == name).map_or(0, container_hash);
        let mut container = ContainerStatus { id: name.into(), name: name.into(), hash, ..Default::default() };
        match state {
            "running" => container.state = State::Running,
            "unknown" => container.state = State::Unknown,
            "created" => container.state = State::Created,
            "changed" => (container.state, container.hash) = (State::Running, 1),
            code => (container.state, container.exit_code) = (State::Exited, code.parse().unwrap()),
        }
        status.containers.push(container);
    }
    status
}

/// The plan in short: `kill-pod`, `sandbox:ATTEMPT`, `init:[..]`, `start:[..]`, `kill:NAME(REASON)`.
fn render(actions: &PodActions) -> String {
    let mut words = Vec::new();
    if actions.kill_pod {
        words.push("kill-pod".to_owned());
    }
    if actions.create_sandbox {
        words.push(format!("sandbox:{}", actions.attempt));
    }
    if !actions.init_containers_to_start.is_empty() {
        words.push(format!("init:{:?}", actions.init_containers_to_start));
    }
    if !actions.containers_to_start.is_empty() {
        words.push(format!("start:{:?}", actions.containers_to_start));
    }
    words.extend(actions.containers_to_kill.iter().map(|kill| format!("kill:{}({:?})", kill.name, kill.reason)));
    words.join(" ")
}

#[track_caller]
fn check(pod: &Pod, runtime: &str, expected: &str) {
    let actions = compute_actions(pod, &status(pod, runtime), &Answers::default());
    assert_eq!(render(&actions), expected, "{runtime:?}");
}

#[test]
fn main_containers() {
    let always = pod("Always", "", "a b");
    check(&always, "", "kill-pod sandbox:0 start:[0, 1]");
    check(&always, "ready", "start:[0, 1]");
    check(&always, "ready a:running b:running", "");
    check(&always, "ready a:running b:0", "start:[1]");
    check(&always, "ready a:running b:unknown", "start:[1] kill:b(Unknown)");
    check(&always, "ready a:running b:created", "start:[1]");
    check(&always, "ready a:changed b:running", "start:[0] kill:a(SpecChanged)");
    check(&always, "notready a:137 b:137", "kill-pod sandbox:1 start:[0, 1]");

    let on_failure = pod("OnFailure", "", "a b");
    check(&on_failure, "ready a:0 b:1", "start:[1]");
    check(&on_failure, "ready a:0 b:0", "kill-pod");
    check(&on_failure, "notready a:0 b:1", "kill-pod sandbox:1 start:[1]");
    check(&on_failure, "notready a:0 b:0", "kill-pod");

    let never = pod("Never", "", "a b");
    check(&never, "ready a:1 b:running", "");
    check(&never, "ready a:1 b:0", "kill-pod");
    check(&never, "notready a:137 b:137", "kill-pod");
}

#[test]
fn init_containers() {
    let always = pod("Always", "i j", "a");
    check(&always, "", "kill-pod sandbox:0 init:[0]");
    check(&always, "ready", "init:[0]");
    check(&always, "ready i:running", "");
    check(&always, "ready i:1", "init:[0]");
    check(&always, "ready i:0", "init:[1]");
    check(&always, "ready j:0", "start:[0]");
    check(&always, "ready i:0 j:0 a:running", "");
    check(&always, "ready a:1", "start:[0]");
    check(&always, "notready i:0 j:0 a:137", "kill-pod sandbox:1 init:[0]");
    let never = pod("Never", "i", "a");
    check(&never, "ready i:1", "kill-pod");
    check(&never, "ready i:unknown", "kill-pod kill:i(Unknown)");
}

#[test]
fn sidecars_start_in_order_and_stay() {
    let always = pod("Always", "s* i", "a");
    check(&always, "ready", "init:[0]");
    check(&always, "ready s:running", "init:[1]");
    check(&always, "ready s:running i:running", "");
    check(&always, "ready s:1 i:running", "init:[0]");
    check(&always, "ready s:running i:0", "start:[0]");
    check(&always, "ready s:0 i:0 a:running", "init:[0]");
    check(&always, "ready i:0 a:running", "init:[0]");
    let never = pod("Never", "s*", "a");
    check(&never, "ready s:running a:0", "kill-pod");
}

#[test]
fn a_sidecar_with_a_startup_probe_holds_up_the_rest() {
    let mut pod = pod("Always", "s*", "a");
    pod.spec.init_containers[0].startup_probe = Some(Box::default());
    let runtime = status(&pod, "ready s:running");
    let mut answers = Answers::default();
    assert_eq!(render(&compute_actions(&pod, &runtime, &answers)), "");
    answers.startup.insert("s".into(), Verdict::Success);
    assert_eq!(render(&compute_actions(&pod, &runtime, &answers)), "start:[0]");
    answers.startup.insert("s".into(), Verdict::Failure);
    assert_eq!(render(&compute_actions(&pod, &runtime, &answers)), "init:[0] kill:s(StartupProbe)");
}

#[test]
fn a_failed_liveness_probe_kills_and_the_policy_decides_on_a_restart() {
    let answers = Answers { liveness: [("a".to_owned(), Verdict::Failure)].into(), ..Default::default() };
    for (policy, expected, message) in [
        ("Always", "start:[0] kill:a(LivenessProbe)", "Container a failed liveness probe, will be restarted"),
        ("Never", "kill:a(LivenessProbe)", "Container a failed liveness probe"),
    ] {
        let pod = pod(policy, "", "a b");
        let actions = compute_actions(&pod, &status(&pod, "ready a:running b:running"), &answers);
        assert_eq!((render(&actions).as_str(), actions.containers_to_kill[0].message.as_str()), (expected, message));
    }
}

#[test]
fn a_containers_own_rules_go_before_the_pods_policy() {
    let mut pod = pod("Never", "", "a b");
    pod.spec.containers[0].restart_policy = Some("OnFailure".into());
    check(&pod, "ready a:1 b:running", "start:[0]");
    check(&pod, "ready a:0 b:running", "");
    let codes = api::core::v1::ContainerRestartRuleOnExitCodes { operator: "In".into(), values: vec![42].into() };
    let rule = api::core::v1::ContainerRestartRule { action: "Restart".into(), exit_codes: Some(Box::new(codes)) };
    pod.spec.containers[0].restart_policy = Some("Never".into());
    pod.spec.containers[0].restart_policy_rules = vec![rule].into();
    check(&pod, "ready a:42 b:running", "start:[0]");
    check(&pod, "ready a:1 b:running", "");
}

#[test]
fn a_pod_that_is_being_deleted_starts_nothing() {
    let mut pod = pod("Always", "", "a b");
    pod.metadata.deletion_timestamp = Some(Default::default());
    check(&pod, "ready a:running b:1", "");
}

#[test]
fn after_its_own_actions_there_is_nothing_left_to_do() {
    for (init, before, after) in
        [("", "ready a:1", "ready a:running"), ("i", "ready", "ready i:running"), ("s*", "ready s:running", "ready s:running a:running")]
    {
        let pod = pod("Always", init, "a");
        assert_ne!(render(&compute_actions(&pod, &status(&pod, before), &Answers::default())), "");
        check(&pod, after, "");
    }
}
