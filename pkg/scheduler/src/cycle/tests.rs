use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::framework::AnyFilter;
use crate::snapshot::Objects;
use crate::testing::{cluster, cluster_with, node, pod, requests};

fn choose(pod: &Arc<PodInfo>, snapshot: &Snapshot) -> Result<String, String> {
    schedule(&Profile::default(), pod, snapshot, 0).map(|choice| choice.node).map_err(|failure| failure.to_string())
}

fn asking(name: &str, amounts: &str, more: &str) -> Arc<PodInfo> {
    pod(name, &format!(r#"{{"spec":{{{}{more}}}}}"#, requests(amounts)))
}

#[test]
fn the_message_counts_reasons_as_upstream_does() {
    let tainted = r#"{"spec":{"taints":[{"key":"x","effect":"NoSchedule"}]}}"#;
    let snapshot = cluster(vec![
        (node("a", "cpu=1", ""), vec![asking("q", "cpu=1", "")]),
        (node("b", "", tainted), vec![]),
        (node("c", "", tainted), vec![]),
    ]);
    assert_eq!(
        choose(&asking("p", "cpu=500m", ""), &snapshot).unwrap_err(),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: \
         0/3 nodes are available: 1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        choose(&asking("p", "cpu=500m", r#","preemptionPolicy":"Never""#), &snapshot).unwrap_err(),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: \
         not eligible due to preemptionPolicy=Never."
    );
    assert_eq!(
        choose(&pod("p", r#"{"spec":{"volumes":[{"name":"v","persistentVolumeClaim":{"claimName":"c"}}]}}"#), &snapshot).unwrap_err(),
        "0/3 nodes are available: persistentvolumeclaim \"c\" not found. no new claims to deallocate, preemption: \
         0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(choose(&pod("p", ""), &cluster(vec![])).unwrap_err(), "no nodes available to schedule pods");
}

#[test]
fn a_daemon_pod_is_checked_against_its_node_only() {
    let affinity = r#"{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[
        {"matchFields":[{"key":"metadata.name","operator":"In","values":["b"]}]}]}}}}}"#;
    let snapshot = cluster(vec![(node("a", "", ""), vec![]), (node("b", "", ""), vec![])]);
    let choice = schedule(&Profile::default(), &pod("p", affinity), &snapshot, 0).unwrap();
    assert_eq!(choice, Choice { node: "b".to_owned(), evaluated: 1, feasible: 1 });
    let full = cluster(vec![(node("a", "", ""), vec![]), (node("b", "pods=0", ""), vec![])]);
    let message = choose(&pod("p", affinity), &full).unwrap_err();
    assert!(
        message.starts_with("0/2 nodes are available: 1 Too many pods, 1 node(s) didn't satisfy plugin(s) [NodeAffinity]."),
        "{message}"
    );
}

#[test]
fn the_emptier_node_wins_and_ties_go_by_the_random_number() {
    let snapshot = cluster(vec![
        (node("a", "", ""), vec![asking("q", "cpu=2 memory=2Gi", "")]),
        (node("b", "", ""), vec![]),
        (node("c", "", ""), vec![]),
    ]);
    let profile = Profile::default();
    let at = |random| schedule(&profile, &asking("p", "cpu=1 memory=1Gi", ""), &snapshot, random).unwrap().node;
    assert_eq!([at(0), at(1), at(2), at(3)], ["b", "c", "b", "c"]);
}

#[test]
fn room_made_for_another_is_not_taken() {
    let nominated = asking("first", "cpu=3", r#","priority":10"#);
    let mut snapshot = cluster(vec![(node("a", "cpu=4", ""), vec![])]);
    snapshot.nominated = Arc::new([("a".to_owned(), vec![nominated.clone()])].into());
    assert!(choose(&asking("p", "cpu=2", r#","priority":10"#), &snapshot).is_err());
    assert!(choose(&asking("p", "cpu=2", r#","priority":11"#), &snapshot).is_ok());
    assert!(choose(&nominated, &snapshot).is_ok());
}

#[test]
fn a_nominated_node_is_preferred() {
    let snapshot = cluster(vec![(node("a", "", ""), vec![]), (node("b", "", ""), vec![asking("q", "cpu=3", "")])]);
    let nominated = pod("p", r#"{"status":{"nominatedNodeName":"b"}}"#);
    assert_eq!(choose(&nominated, &snapshot), Ok("b".to_owned()));
}

/// `priority:started:cpu` per pod; which pods of which node have to go for a pod of priority 100 that wants `cpu`.
#[track_caller]
fn check_preemption(nodes: &[&str], cpu: &str, budgets: &[&str], expected: &str) {
    let mut objects = Objects::default();
    for (index, budget) in budgets.iter().enumerate() {
        let (victim, allowed) = budget.split_once(':').unwrap();
        let text = format!(
            r#"{{"metadata":{{"name":"b{index}","namespace":"default"}},"spec":{{"selector":{{"matchLabels":{{"name":"{victim}"}}}}}},"status":{{"disruptionsAllowed":{allowed}}}}}"#
        );
        objects.budgets.put(Arc::new(apimachinery::json::from_slice(text.as_bytes()).unwrap()));
    }
    let fill = |(index, pods): (usize, &&str)| {
        let name = char::from(b'a' + index as u8).to_string();
        let pods = pods.split_whitespace().enumerate().map(|(at, text)| {
            let parts: Vec<&str> = text.split(':').collect();
            let uid = format!("{name}{at}");
            let body = format!(
                r#"{{"metadata":{{"labels":{{"name":"{uid}"}}}},"spec":{{"priority":{},{}}},"status":{{"startTime":"2026-01-01T00:00:{:0>2}Z"}}}}"#,
                parts[0],
                requests(&format!("cpu={}", parts[2])),
                parts[1],
            );
            pod(&uid, &body)
        });
        (node(&name, "cpu=4", ""), pods.collect())
    };
    let snapshot = cluster_with(nodes.iter().enumerate().map(fill).collect(), objects);
    let preemptor = asking("p", &format!("cpu={cpu}"), r#","priority":100"#);
    let found = match schedule(&Profile::default(), &preemptor, &snapshot, 0) {
        Ok(choice) => format!("fits {}", choice.node),
        Err(Failure::Unfit(unfit)) if unfit.nomination.is_some() => {
            let nomination = unfit.nomination.unwrap();
            let victims: Vec<&str> = nomination.victims.iter().map(|victim| victim.uid()).collect();
            format!("{}: {}", nomination.node, victims.join(" "))
        }
        Err(failure) => failure.to_string(),
    };
    assert_eq!(found, expected);
}

#[test]
fn preemption_takes_the_least_valuable() {
    check_preemption(&["1:0:2 5:0:2"], "2", &[], "a: a0");
    check_preemption(&["1:0:2 5:0:2"], "4", &[], "a: a1 a0");
    // The lowest of the highest priorities, then the lowest sum, then the fewest, then the youngest.
    check_preemption(&["9:0:4", "5:0:4"], "4", &[], "b: b0");
    check_preemption(&["5:0:2 5:0:2", "5:0:2 1:0:2"], "4", &[], "b: b0 b1");
    check_preemption(&["5:0:2 -5:0:2", "5:0:4"], "4", &[], "b: b0");
    check_preemption(&["5:10:4", "5:30:4", "5:20:4"], "4", &[], "b: b0");
    // A budget weighs more than priority.
    check_preemption(&["1:0:4", "50:0:4"], "4", &["a0:0"], "b: b0");
    check_preemption(&["1:0:4", "50:0:4"], "4", &["a0:1"], "a: a0");
    check_preemption(&["1:0:2 2:0:2"], "2", &["a0:0"], "a: a1");
}

#[test]
fn preemption_spares_equals() {
    let message = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 ";
    check_preemption(&["100:0:4"], "2", &[], &format!("{message}No preemption victims found for incoming pod."));
    check_preemption(&["100:0:3 1:0:1"], "2", &[], &format!("{message}Insufficient cpu."));
}

/// Clusters and pods by chance: whatever is chosen passes every filter and has the best score, and if nothing is chosen, every node
/// fails some filter.
#[test]
fn choices_are_sound_on_random_clusters() {
    let profile = Profile::default();
    let filters: Vec<Arc<dyn AnyFilter>> = profile.filters.clone();
    let mut chosen = 0;
    for seed in 0..150 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut number = 0;
        let mut random_pod = |random: &mut SmallRng| {
            number += 1;
            let app = ["web", "db", "cache"][random.random_range(0..3)];
            let mut spec = vec![requests(&format!("cpu={}m memory={}Mi", random.random_range(0..1500), random.random_range(0..2000)))];
            let key = ["zone", "host"][random.random_range(0..2)];
            let term = format!(r#"{{"labelSelector":{{"matchLabels":{{"app":"db"}}}},"topologyKey":"{key}"}}"#);
            match random.random_range(0..7) {
                0 => spec.push(format!(r#""affinity":{{"podAntiAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":[{term}]}}}}"#)),
                1 => spec.push(format!(r#""affinity":{{"podAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":[{term}]}}}}"#)),
                2 => spec.push(format!(
                    r#""topologySpreadConstraints":[{{"maxSkew":1,"topologyKey":"{key}","whenUnsatisfiable":"DoNotSchedule","labelSelector":{{"matchLabels":{{"app":"{app}"}}}}}}]"#
                )),
                3 => spec.push(r#""tolerations":[{"operator":"Exists"}]"#.to_owned()),
                4 => spec.push(r#""nodeSelector":{"zone":"z1"}"#.to_owned()),
                _ => {}
            }
            pod(&format!("p{number}"), &format!(r#"{{"metadata":{{"labels":{{"app":"{app}"}}}},"spec":{{{}}}}}"#, spec.join(",")))
        };
        let nodes = (0..random.random_range(1..8))
            .map(|index| {
                let zone = random.random_range(0..3);
                let taints = if random.random_bool(0.2) { r#","spec":{"taints":[{"key":"k","effect":"NoSchedule"}]}"# } else { "" };
                let rest = format!(r#"{{"metadata":{{"labels":{{"zone":"z{zone}","host":"h{index}"}}}}{taints}}}"#);
                let pods = (0..random.random_range(0..4)).map(|_| random_pod(&mut random)).collect();
                (node(&format!("n{index}"), "cpu=3 memory=4Gi", &rest), pods)
            })
            .collect();
        let snapshot = cluster(nodes);
        let pod = random_pod(&mut random);
        let fits = |node: &Arc<NodeInfo>| {
            filters.iter().all(|filter| match filter.start(&pod, &snapshot) {
                PreFilterOutcome::Skip => true,
                PreFilterOutcome::Check(active) => active.filter(node).fits(),
                PreFilterOutcome::CheckOnly(active, names) => names.contains(node.name()) && active.filter(node).fits(),
                PreFilterOutcome::Reject(_) => false,
            })
        };
        let feasible: Vec<Arc<NodeInfo>> = snapshot.nodes().iter().filter(|node| fits(node)).cloned().collect();
        match schedule(&profile, &pod, &snapshot, seed) {
            Ok(choice) => {
                chosen += 1;
                let at = feasible.iter().position(|node| node.name() == choice.node).expect("the node passes every filter");
                let scores = score(&profile, &pod, &feasible, &snapshot);
                assert_eq!(scores[at], *scores.iter().max().unwrap(), "seed {seed}");
                assert_eq!(choice.feasible, feasible.len(), "seed {seed}");
            }
            Err(failure) => assert!(feasible.is_empty(), "seed {seed}: {failure}"),
        }
    }
    assert!((30..150).contains(&chosen), "{chosen} of 150: the clusters are too easy or too hard");
}

#[test]
fn ties_are_broken_evenly() {
    let mut counts = [0; 3];
    for random in 0..300 {
        counts[best(&[5, 9, 9, 1, 9], random) / 2] += 1;
    }
    // The indices 1, 2 and 4.
    assert_eq!(counts, [100, 100, 100]);
}
