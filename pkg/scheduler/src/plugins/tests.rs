//! Tables per plugin: what each filter says of each node, and what each score gives it.

use std::sync::Arc;

use apimachinery::json;

use super::image_locality::ImageLocality;
use super::inter_pod_affinity::InterPodAffinity;
use super::node_affinity::NodeAffinity;
use super::node_name::NodeName;
use super::node_ports::NodePorts;
use super::node_resources::{Balanced, Fit, Strategy, Weighted};
use super::node_unschedulable::NodeUnschedulable;
use super::pod_topology_spread::PodTopologySpread;
use super::taint_toleration::TaintToleration;
use super::volumes::{VolumeBinding, VolumeRestrictions, VolumeZone};
use crate::events::ClusterEvent;
use crate::framework::{Filter, Plugin, PreFilterOutcome, Score, Verdict, any_filter, any_score};
use crate::pod_info::PodInfo;
use crate::snapshot::{Objects, Snapshot};
use crate::testing::{cluster, cluster_with, node, pod, requests};

/// What a filter says: `skip`, `reject: why`, or per node `fits`, `no: why` (`never: why` if no victim helps).
fn verdicts<P: Filter>(plugin: P, pod: &Arc<PodInfo>, snapshot: &Snapshot) -> String {
    let active = match any_filter(&Arc::new(plugin)).start(pod, snapshot) {
        PreFilterOutcome::Skip => return "skip".to_owned(),
        PreFilterOutcome::Reject(reason) => return format!("reject: {reason}"),
        PreFilterOutcome::Check(active) => active,
        PreFilterOutcome::CheckOnly(_, names) => return format!("only {names:?}"),
    };
    let one = |node: &Arc<crate::node_info::NodeInfo>| {
        let verdict = active.filter(node);
        let reasons: Vec<String> = verdict.reasons().map(ToString::to_string).collect();
        match verdict {
            Verdict::Fits => "fits".to_owned(),
            Verdict::Unschedulable(_) => format!("no: {}", reasons.join(", ")),
            Verdict::Unresolvable(_) => format!("never: {}", reasons.join(", ")),
        }
    };
    snapshot.nodes().iter().map(one).collect::<Vec<_>>().join(" | ")
}

/// Raw and normalized scores of all nodes; empty if the plugin has nothing to say.
fn scores<P: Score>(plugin: P, pod: &Arc<PodInfo>, snapshot: &Snapshot) -> (Vec<i64>, Vec<i64>) {
    let Some(active) = any_score(&Arc::new(plugin)).start(pod, snapshot.nodes(), snapshot) else { return (Vec::new(), Vec::new()) };
    let raw: Vec<i64> = snapshot.nodes().iter().map(|node| active.score(node)).collect();
    let mut normalized = raw.clone();
    active.normalize(&mut normalized);
    (raw, normalized)
}

fn with_requests(name: &str, amounts: &str) -> Arc<PodInfo> {
    pod(name, &format!(r#"{{"spec":{{{}}}}}"#, requests(amounts)))
}

#[test]
fn a_named_node_is_the_only_one() {
    let nodes = cluster(vec![(node("a", "", ""), vec![]), (node("b", "", ""), vec![])]);
    assert_eq!(verdicts(NodeName, &pod("p", ""), &nodes), "skip");
    let named = pod("p", r#"{"spec":{"nodeName":"b"}}"#);
    assert_eq!(verdicts(NodeName, &named, &nodes), "never: node(s) didn't match the requested node name | fits");
}

#[test]
fn cordoned_nodes_are_for_those_who_tolerate_it() {
    let nodes = cluster(vec![(node("a", "", r#"{"spec":{"unschedulable":true}}"#), vec![]), (node("b", "", ""), vec![])]);
    assert_eq!(verdicts(NodeUnschedulable, &pod("p", ""), &nodes), "never: node(s) were unschedulable | fits");
    let tolerant = pod("p", r#"{"spec":{"tolerations":[{"key":"node.kubernetes.io/unschedulable","operator":"Exists"}]}}"#);
    assert_eq!(verdicts(NodeUnschedulable, &tolerant, &nodes), "skip");
}

#[test]
fn untolerated_taints_keep_pods_away() {
    let tainted = |effect: &str| format!(r#"{{"spec":{{"taints":[{{"key":"k","value":"v","effect":"{effect}"}}]}}}}"#);
    let nodes = cluster(vec![
        (node("a", "", &tainted("NoSchedule")), vec![]),
        (node("b", "", &tainted("NoExecute")), vec![]),
        (node("c", "", &tainted("PreferNoSchedule")), vec![]),
        (node("d", "", ""), vec![]),
    ]);
    let reason = "node(s) had untolerated taint(s)";
    assert_eq!(verdicts(TaintToleration, &pod("p", ""), &nodes), format!("never: {reason} | never: {reason} | fits | fits"));
    let tolerant = pod("p", r#"{"spec":{"tolerations":[{"key":"k","operator":"Equal","value":"v","effect":"NoSchedule"}]}}"#);
    assert_eq!(verdicts(TaintToleration, &tolerant, &nodes), format!("fits | never: {reason} | fits | fits"));
    assert_eq!(scores(TaintToleration, &tolerant, &nodes), (vec![0, 0, 1, 0], vec![100, 100, 0, 100]));
}

#[test]
fn node_affinity_selects_and_prefers() {
    let labelled = |zone: &str| format!(r#"{{"metadata":{{"labels":{{"zone":"{zone}"}}}}}}"#);
    let nodes = cluster(vec![(node("a", "", &labelled("x")), vec![]), (node("b", "", &labelled("y")), vec![])]);
    let check = |spec: &str, expected: &str| {
        assert_eq!(verdicts(NodeAffinity::default(), &pod("p", &format!(r#"{{"spec":{spec}}}"#)), &nodes), expected, "{spec}");
    };
    let reason = "never: node(s) didn't match Pod's node affinity/selector";
    let required = |terms: &str| {
        format!(
            r#"{{"affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{terms}]}}}}}}}}"#
        )
    };
    check("{}", "skip");
    check(r#"{"nodeSelector":{"zone":"y"}}"#, &format!("{reason} | fits"));
    check(&required(r#"{"matchExpressions":[{"key":"zone","operator":"In","values":["x"]}]}"#), &format!("fits | {reason}"));
    let field = |name: &str| format!(r#"{{"key":"metadata.name","operator":"In","values":["{name}"]}}"#);
    check(&required(&format!(r#"{{"matchFields":[{}]}},{{"matchFields":[{}]}}"#, field("a"), field("z"))), r#"only {"a", "z"}"#);
    check(&required(&format!(r#"{{"matchFields":[{},{}]}}"#, field("a"), field("b"))), "reject: pod affinity terms conflict");

    let preferring = pod(
        "p",
        r#"{"spec":{"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[
            {"weight":5,"preference":{"matchExpressions":[{"key":"zone","operator":"In","values":["y"]}]}},
            {"weight":2,"preference":{"matchExpressions":[{"key":"zone","operator":"Exists"}]}},
            {"weight":9,"preference":{}}]}}}}"#,
    );
    assert_eq!(scores(NodeAffinity::default(), &preferring, &nodes), (vec![2, 7], vec![28, 100]));
    let added = json::from_slice(
        br#"{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["y"]}]}]}}"#,
    );
    let enforcing = NodeAffinity { added: Some(added.unwrap()) };
    assert_eq!(verdicts(enforcing, &pod("p", ""), &nodes), "never: node(s) didn't match scheduler-enforced node affinity | fits");
}

#[test]
fn host_ports_clash_by_address_and_protocol() {
    let with_port = |name: &str, port: &str| pod(name, &format!(r#"{{"spec":{{"containers":[{{"name":"c","ports":[{port}]}}]}}}}"#));
    let nodes = cluster(vec![
        (node("a", "", ""), vec![with_port("x", r#"{"hostPort":80,"hostIP":"10.0.0.1"}"#)]),
        (node("b", "", ""), vec![with_port("y", r#"{"hostPort":80,"protocol":"UDP"}"#)]),
    ]);
    let reason = "no: node(s) didn't have free ports for the requested pod ports";
    for (port, expected) in [
        (r#"{"containerPort":80}"#, "skip".to_owned()),
        (r#"{"hostPort":80}"#, format!("{reason} | fits")),
        (r#"{"hostPort":80,"hostIP":"10.0.0.2"}"#, "fits | fits".to_owned()),
        (r#"{"hostPort":80,"protocol":"UDP","hostIP":"10.0.0.2"}"#, format!("fits | {reason}")),
        (r#"{"hostPort":81}"#, "fits | fits".to_owned()),
    ] {
        assert_eq!(verdicts(NodePorts, &with_port("p", port), &nodes), expected, "{port}");
    }
}

#[test]
fn a_node_needs_room_for_the_requests() {
    let nodes = cluster(vec![
        (node("a", "cpu=2 memory=4Gi pods=3 example.com/gpu=2", ""), vec![with_requests("x", "cpu=1500m memory=1Gi example.com/gpu=1")]),
        (node("b", "cpu=8 memory=1Gi pods=1", ""), vec![with_requests("y", "cpu=1")]),
    ]);
    for (amounts, expected) in [
        ("", "fits | no: Too many pods"),
        ("cpu=500m", "fits | no: Too many pods"),
        ("cpu=600m", "no: Insufficient cpu | no: Too many pods"),
        ("cpu=3", "never: Insufficient cpu | no: Too many pods"),
        ("cpu=600m memory=2Gi", "no: Insufficient cpu | never: Too many pods, Insufficient memory"),
        ("example.com/gpu=2", "no: Insufficient example.com/gpu | never: Too many pods, Insufficient example.com/gpu"),
        ("ephemeral-storage=1Gi", "never: Insufficient ephemeral-storage | never: Too many pods, Insufficient ephemeral-storage"),
    ] {
        assert_eq!(verdicts(Fit::default(), &with_requests("p", amounts), &nodes), expected, "{amounts}");
    }
    let ignoring = Fit { ignored_groups: vec!["example.com".to_owned()], ..Fit::default() };
    assert_eq!(verdicts(ignoring, &with_requests("p", "example.com/gpu=9"), &nodes), "fits | no: Too many pods");
}

#[test]
fn resources_are_scored_by_strategy() {
    let nodes = cluster(vec![
        (node("a", "cpu=4 memory=10Gi", ""), vec![with_requests("x", "cpu=2 memory=2Gi")]),
        (node("b", "cpu=4 memory=10Gi", ""), vec![]),
    ]);
    let fit = |strategy| Fit { strategy, ..Fit::default() };
    let asking = with_requests("p", "cpu=1 memory=3Gi");
    assert_eq!(scores(fit(Strategy::LeastAllocated), &asking, &nodes).0, [(25 + 50) / 2, (75 + 70) / 2]);
    assert_eq!(scores(fit(Strategy::MostAllocated), &asking, &nodes).0, [(75 + 50) / 2, (25 + 30) / 2]);
    let shape = Strategy::RequestedToCapacityRatio(vec![(0, 0), (50, 100), (100, 0)]);
    assert_eq!(scores(fit(shape), &asking, &nodes).0, [75, 55]);
    // Containers without requests count as small ones.
    assert_eq!(scores(fit(Strategy::LeastAllocated), &with_requests("p", ""), &nodes).0, [(47 + 78) / 2, (97 + 98) / 2]);
    let cpu_only = Fit { resources: vec![Weighted { name: "cpu".to_owned(), weight: 3 }], ..Fit::default() };
    assert_eq!(scores(cpu_only, &asking, &nodes).0, [25, 75]);

    assert_eq!(scores(Balanced::default(), &with_requests("p", ""), &nodes), (vec![], vec![]));
    // Used shares: 0.75 and 0.5, and 0.25 and 0.3.
    assert_eq!(scores(Balanced::default(), &asking, &nodes).0, [87, 97]);
}

#[test]
fn images_count_by_size_and_spread() {
    let with_images = |images: &str| format!(r#"{{"status":{{"images":[{images}]}}}}"#);
    let nodes = cluster(vec![
        (node("a", "", &with_images(r#"{"names":["web:1","web@sha256:1"],"sizeBytes":600000000}"#)), vec![]),
        (node("b", "", &with_images(r#"{"names":["tiny:latest"],"sizeBytes":1000}"#)), vec![]),
    ]);
    let using = |image: &str| pod("p", &format!(r#"{{"spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}"#));
    assert_eq!(scores(ImageLocality, &using("web:1"), &nodes).0, [26, 0]);
    assert_eq!(scores(ImageLocality, &using("tiny"), &nodes).0, [0, 0]);
}

fn zoned(name: &str, zone: &str) -> Arc<api::core::v1::Node> {
    let labels = format!(r#"{{"metadata":{{"labels":{{"kubernetes.io/hostname":"{name}","topology.kubernetes.io/zone":"{zone}"}}}}}}"#);
    node(name, "", &labels)
}

fn app(name: &str, app: &str, spec: &str) -> Arc<PodInfo> {
    pod(name, &format!(r#"{{"metadata":{{"labels":{{"app":"{app}"}}}},"spec":{{{spec}}}}}"#))
}

fn term(app: &str, key: &str) -> String {
    format!(r#"{{"labelSelector":{{"matchLabels":{{"app":"{app}"}}}},"topologyKey":"{key}"}}"#)
}

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

#[test]
fn required_pod_affinity_and_anti_affinity() {
    let required =
        |kind: &str, term: &str| format!(r#""affinity":{{"{kind}":{{"requiredDuringSchedulingIgnoredDuringExecution":[{term}]}}}}"#);
    let lonely = app("x", "lonely", &required("podAntiAffinity", &term("web", HOST)));
    let nodes = cluster(vec![
        (zoned("a", "z1"), vec![app("w", "web", "")]),
        (zoned("b", "z1"), vec![lonely]),
        (zoned("c", "z2"), vec![]),
        (node("d", "", ""), vec![]),
    ]);
    let check = |pod: Arc<PodInfo>, expected: &str| assert_eq!(verdicts(InterPodAffinity::default(), &pod, &nodes), expected);
    let near = "never: node(s) didn't match pod affinity rules";
    let away = "no: node(s) didn't match pod anti-affinity rules";
    let existing = "no: node(s) didn't satisfy existing pods anti-affinity rules";
    check(app("p", "db", ""), "skip");
    check(app("p", "web", ""), &format!("fits | {existing} | fits | fits"));
    check(app("p", "db", &required("podAffinity", &term("web", ZONE))), &format!("fits | fits | {near} | {near}"));
    check(app("p", "db", &required("podAntiAffinity", &term("web", ZONE))), &format!("{away} | {away} | fits | fits"));
    check(app("p", "db", &required("podAntiAffinity", &term("web", HOST))), &format!("{away} | fits | fits | fits"));
    // The first of its kind may go wherever the domain is known.
    check(app("p", "db", &required("podAffinity", &term("db", ZONE))), &format!("fits | fits | fits | {near}"));
    check(app("p", "db", &required("podAffinity", &term("absent", ZONE))), &format!("{near} | {near} | {near} | {near}"));
}

#[test]
fn namespace_selectors_look_at_the_namespace() {
    let mut objects = Objects::default();
    objects.namespaces.put(Arc::new(json::from_slice(br#"{"metadata":{"name":"other","labels":{"team":"a"}}}"#).unwrap()));
    let other = pod("w", r#"{"metadata":{"namespace":"other","labels":{"app":"web"}}}"#);
    let nodes = cluster_with(vec![(zoned("a", "z1"), vec![other]), (zoned("b", "z2"), vec![])], objects);
    let away = |scope: &str| {
        let term = format!(r#"{{"labelSelector":{{"matchLabels":{{"app":"web"}}}},"topologyKey":"{ZONE}"{scope}}}"#);
        app("p", "db", &format!(r#""affinity":{{"podAntiAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":[{term}]}}}}"#))
    };
    let refused = "no: node(s) didn't match pod anti-affinity rules | fits";
    for (scope, expected) in [
        ("", "fits | fits"),
        (r#","namespaces":["other"]"#, refused),
        (r#","namespaceSelector":{"matchLabels":{"team":"a"}}"#, refused),
        (r#","namespaceSelector":{"matchLabels":{"team":"b"}}"#, "fits | fits"),
        (r#","namespaceSelector":{}"#, refused),
    ] {
        assert_eq!(verdicts(InterPodAffinity::default(), &away(scope), &nodes), expected, "{scope}");
    }
}

#[test]
fn preferred_pod_affinity_counts_both_ways() {
    let preferred = |kind: &str, weight: i32, term: &str| {
        format!(
            r#""affinity":{{"{kind}":{{"preferredDuringSchedulingIgnoredDuringExecution":[{{"weight":{weight},"podAffinityTerm":{term}}}]}}}}"#
        )
    };
    let nodes = cluster(vec![
        (zoned("a", "z1"), vec![app("w", "web", &preferred("podAffinity", 7, &term("db", HOST)))]),
        (zoned("b", "z1"), vec![]),
        (zoned("c", "z2"), vec![app("v", "cache", &preferred("podAntiAffinity", 3, &term("db", HOST)))]),
    ]);
    assert_eq!(scores(InterPodAffinity::default(), &app("p", "quiet", ""), &nodes), (vec![], vec![]));
    assert_eq!(scores(InterPodAffinity::default(), &app("p", "db", ""), &nodes), (vec![7, 0, -3], vec![100, 30, 0]));
    let both = app("p", "db", &preferred("podAffinity", 5, &term("web", ZONE)));
    assert_eq!(scores(InterPodAffinity::default(), &both, &nodes), (vec![12, 5, -3], vec![100, 53, 0]));
    let ignoring = InterPodAffinity { ignore_preferred_of_existing: true, ..InterPodAffinity::default() };
    assert_eq!(scores(ignoring, &app("p", "db", ""), &nodes), (vec![], vec![]));
}

#[test]
fn hard_spread_bounds_the_skew() {
    let spread = |skew: i32, key: &str, more: &str| {
        let constraint = format!(
            r#"{{"maxSkew":{skew},"topologyKey":"{key}","whenUnsatisfiable":"DoNotSchedule","labelSelector":{{"matchLabels":{{"app":"web"}}}}{more}}}"#
        );
        app("p", "web", &format!(r#""topologySpreadConstraints":[{constraint}]"#))
    };
    let nodes = cluster(vec![
        (zoned("a", "z1"), vec![app("1", "web", ""), app("2", "web", "")]),
        (zoned("b", "z1"), vec![]),
        (zoned("c", "z2"), vec![app("3", "web", ""), app("4", "db", "")]),
        (node("d", "", ""), vec![]),
    ]);
    let check = |pod: Arc<PodInfo>, expected: &str| assert_eq!(verdicts(PodTopologySpread::default(), &pod, &nodes), expected);
    let no = "no: node(s) didn't match pod topology spread constraints";
    let label = "never: node(s) didn't match pod topology spread constraints (missing required label)";
    check(app("p", "web", ""), "skip");
    check(spread(1, ZONE, ""), &format!("{no} | {no} | fits | {label}"));
    check(spread(2, ZONE, ""), &format!("fits | fits | fits | {label}"));
    check(spread(1, HOST, ""), &format!("{no} | fits | {no} | {label}"));
    // A third domain is asked for and counts as empty.
    check(spread(2, ZONE, r#","minDomains":3"#), &format!("{no} | {no} | fits | {label}"));
}

#[test]
fn spread_follows_pods_that_come_and_go_in_a_dry_run() {
    let spec = format!(
        r#""topologySpreadConstraints":[{{"maxSkew":1,"topologyKey":"{ZONE}","whenUnsatisfiable":"DoNotSchedule","labelSelector":{{"matchLabels":{{"app":"web"}}}}}}]"#
    );
    let nodes = cluster(vec![(zoned("a", "z1"), vec![app("1", "web", "")]), (zoned("b", "z2"), vec![])]);
    let PreFilterOutcome::Check(mut active) = any_filter(&Arc::new(PodTopologySpread::default())).start(&app("p", "web", &spec), &nodes)
    else {
        panic!("the pod has a constraint")
    };
    let [a, b] = nodes.nodes() else { panic!("two nodes") };
    assert!(!active.filter(a).fits());
    let copy = active.clone();
    active.add_pod(&app("2", "web", ""), b);
    assert!(active.filter(a).fits());
    assert!(!copy.filter(a).fits());
    active.remove_pod(&app("2", "web", ""), b);
    assert!(!active.filter(a).fits());
}

#[test]
fn soft_spread_prefers_empty_domains() {
    let spec = format!(
        r#""topologySpreadConstraints":[{{"maxSkew":1,"topologyKey":"{ZONE}","whenUnsatisfiable":"ScheduleAnyway","labelSelector":{{"matchLabels":{{"app":"web"}}}}}}]"#
    );
    let nodes = cluster(vec![
        (zoned("a", "z1"), vec![app("1", "web", ""), app("2", "web", "")]),
        (zoned("b", "z2"), vec![app("3", "web", "")]),
        (zoned("c", "z3"), vec![]),
        (node("d", "", ""), vec![]),
    ]);
    // Weight: ln(3 domains + 2).
    assert_eq!(scores(PodTopologySpread::default(), &app("p", "web", &spec), &nodes), (vec![3, 2, 0, -1], vec![0, 33, 100, 0]));
    assert_eq!(scores(PodTopologySpread::default(), &app("p", "web", ""), &nodes), (vec![], vec![]));
}

#[test]
fn pods_of_a_service_are_spread_by_default() {
    let mut objects = Objects::default();
    objects.services.put(Arc::new(
        json::from_slice(br#"{"metadata":{"name":"web","namespace":"default"},"spec":{"selector":{"app":"web"}}}"#).unwrap(),
    ));
    let nodes = cluster_with(vec![(zoned("a", "z1"), vec![app("1", "web", "")]), (zoned("b", "z1"), vec![])], objects);
    let (raw, normalized) = scores(PodTopologySpread::default(), &app("p", "web", ""), &nodes);
    assert!(raw[0] > raw[1] && normalized[0] < normalized[1], "{raw:?} {normalized:?}");
    assert_eq!(scores(PodTopologySpread::with_defaults(Vec::new()), &app("p", "web", ""), &nodes), (vec![], vec![]));
    assert_eq!(scores(PodTopologySpread::default(), &app("p", "db", ""), &nodes), (vec![], vec![]));
}

#[test]
fn claims_must_be_bound_and_reachable() {
    let mut objects = Objects::default();
    let mut claim = |name: &str, spec: &str, annotations: &str| {
        let text = format!(r#"{{"metadata":{{"name":"{name}","namespace":"default","annotations":{{{annotations}}}}},"spec":{{{spec}}}}}"#);
        objects.claims.put(Arc::new(json::from_slice(text.as_bytes()).unwrap()));
    };
    let bound = r#""pv.kubernetes.io/bind-completed":"yes""#;
    claim("bound", r#""volumeName":"v1","accessModes":["ReadWriteOncePod"]"#, bound);
    claim("unbound", "", "");
    claim("lost", r#""volumeName":"v2""#, bound);
    let volume = format!(
        r#"{{"metadata":{{"name":"v1","labels":{{"{ZONE}":"z2"}}}},"spec":{{"nodeAffinity":{{"required":{{"nodeSelectorTerms":[{{"matchExpressions":[{{"key":"{ZONE}","operator":"In","values":["z2"]}}]}}]}}}}}}}}"#
    );
    objects.volumes.put(Arc::new(json::from_slice(volume.as_bytes()).unwrap()));
    let using = |name: &str, claim: &str| {
        pod(name, &format!(r#"{{"spec":{{"volumes":[{{"name":"v","persistentVolumeClaim":{{"claimName":"{claim}"}}}}]}}}}"#))
    };
    let nodes = vec![(zoned("a", "z1"), vec![]), (zoned("b", "z2"), vec![])];
    let empty = cluster_with(nodes, objects.clone());
    for (claim, expected) in [
        ("bound", "never: node(s) didn't match PersistentVolume's node affinity | fits"),
        ("unbound", "reject: pod has unbound immediate PersistentVolumeClaims"),
        ("lost", "reject: persistentvolume \"v2\" not found"),
        ("absent", "reject: persistentvolumeclaim \"absent\" not found"),
    ] {
        assert_eq!(verdicts(VolumeBinding, &using("p", claim), &empty), expected);
    }
    assert_eq!(verdicts(VolumeBinding, &pod("p", ""), &empty), "skip");
    assert_eq!(verdicts(VolumeZone, &using("p", "bound"), &empty), "never: node(s) had no available volume zone | fits");
    assert_eq!(verdicts(VolumeRestrictions, &using("p", "bound"), &empty), "fits | fits");
    let used = cluster_with(vec![(zoned("a", "z1"), vec![]), (zoned("b", "z2"), vec![using("q", "bound")])], objects);
    let taken = "no: node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert_eq!(verdicts(VolumeRestrictions, &using("p", "bound"), &used), format!("{taken} | {taken}"));
}

#[test]
fn only_events_that_may_help_wake_a_pod() {
    let asking = with_requests("p", "cpu=2");
    let bigger = ClusterEvent::NodeUpdated { old: node("a", "cpu=1", ""), new: node("a", "cpu=4", "") };
    let relabelled = ClusterEvent::NodeUpdated { old: node("a", "", ""), new: node("a", "", r#"{"metadata":{"labels":{"x":"y"}}}"#) };
    let too_small = ClusterEvent::NodeAdded(node("a", "cpu=1", ""));
    let gone = ClusterEvent::AssignedPodDeleted(with_requests("q", "cpu=1"));
    let fit = Fit::default();
    assert_eq!([&bigger, &relabelled, &too_small, &gone].map(|event| fit.wakes(&asking, event)), [true, false, false, true]);

    let selecting = pod("p", r#"{"spec":{"nodeSelector":{"x":"y"}}}"#);
    let affinity = NodeAffinity::default();
    assert_eq!([&bigger, &relabelled, &too_small, &gone].map(|event| affinity.wakes(&selecting, event)), [false, true, false, false]);

    let tainted = node("a", "", r#"{"spec":{"taints":[{"key":"k","effect":"NoSchedule"}]}}"#);
    let untainted = ClusterEvent::NodeUpdated { old: tainted.clone(), new: node("a", "", "") };
    let newly_tainted = ClusterEvent::NodeUpdated { old: node("a", "", ""), new: tainted };
    assert_eq!([&untainted, &newly_tainted].map(|event| TaintToleration.wakes(&asking, event)), [true, false]);

    // The domain that had too few pods may have been the node's.
    let deleted = ClusterEvent::NodeDeleted(node("a", "", ""));
    assert!(PodTopologySpread::default().wakes(&asking, &deleted));
    assert!(!fit.wakes(&asking, &deleted));
}
