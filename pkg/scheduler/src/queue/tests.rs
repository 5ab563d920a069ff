use component_base::metrics::Registry;

use super::*;
use crate::plugins::{node_affinity, node_resources, taint_toleration};
use crate::testing::{node, pod, requests};

struct Fixture {
    queue: Queue,
    now: Instant,
}

impl Fixture {
    fn new() -> Fixture {
        let profiles = Arc::new([("default-scheduler".to_owned(), Profile::default())].into());
        Fixture { queue: Queue::new(Patience::default(), profiles, Metrics::new(&Registry::new())), now: Instant::now() }
    }

    fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn add(&mut self, name: &str, spec: &str) {
        self.queue.add(pod(name, &format!(r#"{{"spec":{{{spec}}}}}"#)), self.now);
    }

    fn pop(&mut self) -> Option<QueuedPod> {
        self.queue.flush(self.now);
        self.queue.pop(self.now)
    }

    #[track_caller]
    fn expect(&mut self, names: &[&str]) {
        for name in names {
            let popped = self.pop().unwrap_or_else(|| panic!("nothing where {name} was expected"));
            assert_eq!(popped.info.uid(), *name);
            self.queue.done(name);
        }
        assert!(self.pop().is_none());
    }

    /// Pops a pod and puts it back as refused by `plugin`.
    fn refuse(&mut self, plugin: &'static str) {
        let popped = self.pop().expect("a pod to refuse");
        self.queue.put_back(popped, Setback::Refused([plugin].into()), self.now);
    }

    fn fail(&mut self) {
        let popped = self.pop().expect("a pod to fail");
        self.queue.put_back(popped, Setback::Error, self.now);
    }
}

fn new_node(rest: &str) -> ClusterEvent {
    ClusterEvent::NodeAdded(node("n", "", rest))
}

#[test]
fn higher_priority_first_then_first_come() {
    let mut fixture = Fixture::new();
    fixture.add("a", "");
    fixture.add("b", r#""priority":5"#);
    fixture.pass(1.0);
    fixture.add("c", r#""priority":5"#);
    fixture.add("d", "");
    fixture.expect(&["b", "c", "a", "d"]);
}

#[test]
fn a_refused_pod_waits_for_an_event_that_may_help() {
    let mut fixture = Fixture::new();
    fixture.add("p", r#""nodeSelector":{"x":"y"}"#);
    fixture.refuse(node_affinity::NAME);
    fixture.expect(&[]);
    fixture.pass(20.0);
    fixture.queue.on_event(&new_node(""), fixture.now);
    fixture.expect(&[]);
    fixture.queue.on_event(&new_node(r#"{"metadata":{"labels":{"x":"y"}}}"#), fixture.now);
    fixture.expect(&["p"]);
}

#[test]
fn an_event_during_the_attempt_is_not_missed() {
    let mut fixture = Fixture::new();
    fixture.add("p", &requests("cpu=1"));
    let popped = fixture.pop().unwrap();
    fixture.queue.on_event(&ClusterEvent::AssignedPodDeleted(pod("q", "")), fixture.now);
    fixture.queue.put_back(popped, Setback::Refused([node_resources::FIT].into()), fixture.now);
    assert_eq!(fixture.queue.lengths(), Lengths { backoff: 1, ..Lengths::default() });
    // What happened before the attempt is of no account.
    let again = fixture.pop().unwrap();
    fixture.queue.put_back(again, Setback::Refused([node_resources::FIT].into()), fixture.now);
    assert_eq!(fixture.queue.lengths(), Lengths { waiting: 1, ..Lengths::default() });
}

#[test]
fn after_five_minutes_a_pod_is_tried_whatever_happened() {
    let mut fixture = Fixture::new();
    fixture.add("p", "");
    fixture.refuse(taint_toleration::NAME);
    assert_eq!(fixture.queue.next_due(), Some(fixture.now + Duration::from_secs(300)));
    fixture.pass(299.0);
    fixture.expect(&[]);
    fixture.pass(1.0);
    fixture.expect(&["p"]);
}

#[test]
fn errors_back_off_from_one_second_to_ten() {
    let mut fixture = Fixture::new();
    fixture.add("p", "");
    for seconds in [1.0, 2.0, 4.0, 8.0, 10.0, 10.0] {
        fixture.fail();
        fixture.pass(seconds - 0.1);
        assert!(fixture.pop().is_none(), "{seconds}");
        fixture.pass(0.1);
    }
    fixture.expect(&["p"]);
}

#[test]
fn an_idle_scheduler_does_not_let_a_woken_pod_wait() {
    let mut fixture = Fixture::new();
    fixture.add("p", &requests("cpu=1"));
    fixture.refuse(node_resources::FIT);
    fixture.queue.on_event(&ClusterEvent::AssignedPodDeleted(pod("q", "")), fixture.now);
    assert_eq!(fixture.queue.lengths(), Lengths { backoff: 1, ..Lengths::default() });
    fixture.add("other", "");
    fixture.expect(&["other", "p"]);
}

#[test]
fn gates_hold_a_pod_until_the_last_is_gone() {
    let mut fixture = Fixture::new();
    fixture.add("p", r#""schedulingGates":[{"name":"g"}]"#);
    assert_eq!(fixture.queue.lengths(), Lengths { gated: 1, ..Lengths::default() });
    fixture.queue.on_event(&new_node(""), fixture.now);
    fixture.expect(&[]);
    fixture.queue.update(pod("p", ""), fixture.now);
    fixture.expect(&["p"]);
}

#[test]
fn a_change_of_the_pod_itself_wakes_it_but_its_status_does_not() {
    let mut fixture = Fixture::new();
    fixture.add("p", "");
    fixture.refuse(taint_toleration::NAME);
    fixture.pass(20.0);
    fixture.queue.update(pod("p", r#"{"status":{"conditions":[{"type":"PodScheduled"}]}}"#), fixture.now);
    fixture.expect(&[]);
    fixture.queue.update(pod("p", r#"{"spec":{"tolerations":[{"operator":"Exists"}]}}"#), fixture.now);
    let popped = fixture.pop().unwrap();
    assert_eq!(popped.info.pod.spec.tolerations.len(), 1);
}

#[test]
fn a_pod_deleted_in_flight_does_not_come_back() {
    let mut fixture = Fixture::new();
    fixture.add("p", "");
    let popped = fixture.pop().unwrap();
    assert!(!fixture.queue.is_gone("p"));
    fixture.queue.delete("p");
    assert!(fixture.queue.is_gone("p"));
    fixture.queue.put_back(popped, Setback::Error, fixture.now);
    assert_eq!(fixture.queue.lengths(), Lengths::default());
    assert!(fixture.queue.events.is_empty());
}

#[test]
fn a_pod_changed_in_flight_comes_back_changed() {
    let mut fixture = Fixture::new();
    fixture.add("p", "");
    let popped = fixture.pop().unwrap();
    fixture.queue.update(pod("p", r#"{"spec":{"priority":3}}"#), fixture.now);
    fixture.queue.put_back(popped, Setback::Refused([taint_toleration::NAME].into()), fixture.now);
    fixture.pass(1.0);
    assert_eq!(fixture.pop().unwrap().info.priority(), 3);
}

#[test]
fn nominations_last_until_the_pod_is_bound_or_gone() {
    let mut fixture = Fixture::new();
    fixture.add("p", "");
    let popped = fixture.pop().unwrap();
    fixture.queue.nominate(popped.info.clone(), "n");
    fixture.queue.put_back(popped, Setback::Refused([node_resources::FIT].into()), fixture.now);
    assert_eq!(fixture.queue.nominated()["n"][0].uid(), "p");
    // An update from before the API server knew leaves it alone.
    fixture.queue.update(pod("p", ""), fixture.now);
    assert_eq!(fixture.queue.nominated()["n"].len(), 1);
    fixture.queue.update(pod("p", r#"{"status":{"nominatedNodeName":"m"}}"#), fixture.now);
    assert!(!fixture.queue.nominated().contains_key("n"));
    fixture.queue.delete("p");
    assert!(fixture.queue.nominated().is_empty());
}
