use apimachinery::IntOrString;
use client::Client;
use client::testing::{Answer, Server};

use super::*;
use crate::service_pods::fixtures::{pod, service};

fn node(zone: &str) -> Arc<Node> {
    let mut node = Node::default();
    node.metadata.labels.insert("topology.kubernetes.io/zone", zone.to_string());
    Arc::new(node)
}

fn look(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>], max: usize) -> Plan {
    let known = |name: &str| (name == "n1").then(|| node("z1"));
    plan(&Observed { service, pods, node: &known, slices, max, trigger: None })
}

/// `address[ready|serving|terminating]`, one line per slice.
fn render(slices: &[EndpointSlice]) -> Vec<String> {
    let one = |slice: &EndpointSlice| {
        let endpoint = |endpoint: &api::discovery::v1::Endpoint| {
            let conditions = &endpoint.conditions;
            let flags = [(conditions.ready, 'r'), (conditions.serving, 's'), (conditions.terminating, 't')];
            let flags: String = flags.iter().filter(|(on, _)| *on == Some(true)).map(|(_, letter)| *letter).collect();
            format!("{}[{flags}]", endpoint.addresses.join(","))
        };
        let ports: Vec<String> = slice.ports.iter().map(|port| port.port.unwrap_or(0).to_string()).collect();
        let endpoints: Vec<String> = slice.endpoints.iter().map(endpoint).collect();
        format!("{} {} :{} {}", slice.metadata.name, slice.address_type, ports.join(","), endpoints.join(" ")).trim().to_string()
    };
    slices.iter().map(one).collect()
}

/// As the server would have it after the plan.
fn apply(slices: &[Arc<EndpointSlice>], plan: Plan) -> Vec<Arc<EndpointSlice>> {
    let mut next: Vec<Arc<EndpointSlice>> = slices.to_vec();
    next.retain(|slice| !plan.delete.iter().chain(&plan.update).any(|gone| gone.metadata.name == slice.metadata.name));
    next.extend(plan.update.into_iter().map(Arc::new));
    for mut slice in plan.create {
        slice.metadata.name = format!("web-{}", next.len());
        next.push(Arc::new(slice));
    }
    next.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
    next
}

/// Applies plans until nothing is left to do, which must be after one.
#[track_caller]
fn settle(service: &Service, pods: &[Arc<Pod>], slices: &[Arc<EndpointSlice>], max: usize) -> Vec<Arc<EndpointSlice>> {
    let after = apply(slices, look(service, pods, slices, max));
    assert_eq!(look(service, pods, &after, max), Plan::default(), "planning twice must change nothing");
    after
}

fn web() -> Service {
    service(&[("http", IntOrString::from("http"))])
}

#[test]
fn states_of_pods_become_conditions() {
    let pods = [
        pod("a", "10.1.0.1", "ready"),
        pod("b", "10.1.0.2", "unready"),
        pod("c", "10.1.0.3", "terminating"),
        pod("d", "10.1.0.4", "done"),
        pod("e", "", "ready"),
    ];
    let made = look(&web(), &pods, &[], 100);
    assert_eq!(render(&made.create), ["IPv4 :8080 10.1.0.1[rs] 10.1.0.2[] 10.1.0.3[st]"]);
    let mut published = web();
    published.spec.publish_not_ready_addresses = true;
    let made = look(&published, &pods, &[], 100);
    assert_eq!(render(&made.create), ["IPv4 :8080 10.1.0.1[rs] 10.1.0.2[r] 10.1.0.3[rst]"]);
}

#[test]
fn a_slice_says_whose_it_is() {
    let mut service = web();
    service.spec.cluster_ip = "None".into();
    service.metadata.labels.insert("team", "blue".to_string());
    let mut named = (*pod("a", "10.1.0.1", "ready")).clone();
    named.spec.hostname = "a".into();
    named.spec.subdomain = "web".into();
    let known = |_: &str| Some(node("z1"));
    let pods = [Arc::new(named)];
    let trigger = Some(apimachinery::Time::from_unix(0));
    let made = plan(&Observed { service: &service, pods: &pods, node: &known, slices: &[], max: 100, trigger });
    let slice = &made.create[0];
    let labels: Vec<(&str, &str)> = slice.metadata.labels.iter().map(|(key, value)| (key, value.as_str())).collect();
    assert_eq!(labels, [(MANAGED_BY, MANAGER), (SERVICE_NAME, "web"), ("service.kubernetes.io/headless", ""), ("team", "blue"),]);
    assert_eq!(slice.metadata.annotations.get_str(service_pods::TRIGGER_TIME), "1970-01-01T00:00:00Z");
    assert_eq!(slice.metadata.generate_name, "web-");
    assert_eq!(slice.metadata.owner_references[0].uid, "service-uid");
    let endpoint = &slice.endpoints[0];
    assert_eq!(
        (endpoint.hostname.as_deref(), endpoint.node_name.as_deref(), endpoint.zone.as_deref()),
        (Some("a"), Some("n1"), Some("z1"))
    );
    assert_eq!(endpoint.target_ref.as_ref().map(|target| target.uid.as_str()), Some("a-uid"));
}

#[test]
fn a_service_without_pods_has_one_empty_slice() {
    let service = web();
    let empty = settle(&service, &[], &[], 100);
    assert_eq!((empty.len(), empty[0].endpoints.len()), (1, 0));
    // The first pod moves into it, the last leaves it behind.
    let one = settle(&service, &[pod("a", "10.1.0.1", "ready")], &empty, 100);
    assert_eq!(render(&[(*one[0]).clone()]), ["web-0 IPv4 :8080 10.1.0.1[rs]"]);
    let again = settle(&service, &[], &one, 100);
    assert_eq!(render(&[(*again[0]).clone()]), ["web-0 IPv4 :"]);
}

#[test]
fn changes_stay_in_their_slice_and_new_pods_fill_it() {
    let service = web();
    let pods: Vec<_> = (1..=5).map(|n| pod(&format!("p{n}"), &format!("10.1.0.{n}"), "ready")).collect();
    let slices = settle(&service, &pods, &[], 2);
    assert_eq!(slices.len(), 3);

    let mut changed = pods.clone();
    changed[2] = pod("p3", "10.1.0.3", "unready");
    let next = look(&service, &changed, &slices, 2);
    assert_eq!(render(&next.update), ["web-1 IPv4 :8080 10.1.0.3[] 10.1.0.4[rs]"]);
    assert_eq!((next.create.len(), next.delete.len()), (0, 0));

    let more: Vec<_> = pods.iter().cloned().chain([pod("p6", "10.1.0.6", "ready")]).collect();
    let next = look(&service, &more, &slices, 2);
    assert_eq!(render(&next.update), ["web-2 IPv4 :8080 10.1.0.5[rs] 10.1.0.6[rs]"]);

    let fewer: Vec<_> = pods[..4].to_vec();
    let next = look(&service, &fewer, &slices, 2);
    assert_eq!((next.create.len(), next.update.len(), render(&next.delete)), (0, 0, vec!["web-2 IPv4 :8080".to_string()]));
}

#[test]
fn families_and_ports_have_slices_of_their_own() {
    let mut service = web();
    service.spec.ip_families.push("IPv6".to_string());
    let mut both = (*pod("a", "10.1.0.1", "ready")).clone();
    both.status.pod_ips.push(api::core::v1::PodIP { ip: "fd00::1".into() });
    let mut other = (*pod("b", "10.1.0.2", "ready")).clone();
    other.spec.containers[0].ports[0].container_port = 9090;
    let pods = [Arc::new(both), Arc::new(other)];
    let slices = settle(&service, &pods, &[], 100);
    let rendered: Vec<EndpointSlice> = slices.iter().map(|slice| (**slice).clone()).collect();
    assert_eq!(render(&rendered), ["web-0 IPv4 :8080 10.1.0.1[rs]", "web-1 IPv4 :9090 10.1.0.2[rs]", "web-2 IPv6 :8080 fd00::1[rs]"]);
    service.spec.ip_families = ["IPv4".to_string()].into();
    let next = look(&service, &pods, &slices, 100);
    assert_eq!(render(&next.delete), ["web-2 IPv6 :8080 fd00::1[rs]"]);
}

#[test]
fn labels_follow_the_service() {
    let mut service = web();
    let pods = [pod("a", "10.1.0.1", "ready")];
    let slices = settle(&service, &pods, &[], 100);
    service.metadata.labels.insert("team", "blue".to_string());
    let next = look(&service, &pods, &slices, 100);
    assert_eq!(next.update[0].metadata.labels.get_str("team"), "blue");
}

#[test]
fn pods_on_unknown_nodes_wait() {
    let mut lost = (*pod("a", "10.1.0.1", "ready")).clone();
    lost.spec.node_name = "n2".into();
    let next = look(&web(), &[Arc::new(lost)], &[], 100);
    assert_eq!(next.unknown_nodes, ["n2"]);
    assert_eq!(render(&next.create), ["IPv4 :"]);
}

#[test]
fn hints_follow_the_traffic_distribution() {
    let mut service = web();
    service.spec.traffic_distribution = Some("PreferSameNode".into());
    let pods = [pod("a", "10.1.0.1", "ready"), pod("b", "10.1.0.2", "unready")];
    let made = look(&service, &pods, &[], 100);
    let hints = made.create[0].endpoints[0].hints.as_ref().unwrap();
    assert_eq!((hints.for_zones[0].name.as_str(), hints.for_nodes[0].name.as_str()), ("z1", "n1"));
    assert_eq!(made.create[0].endpoints[1].hints, None);
}

#[tokio::test]
async fn a_second_change_is_planned_on_the_first_write() {
    let revision = std::sync::atomic::AtomicU64::new(10);
    let server = Server::start(move |seen| {
        let mut slice: EndpointSlice = apimachinery::json::from_slice(&seen.body).unwrap();
        slice.metadata.name = "web-x".into();
        slice.metadata.resource_version = revision.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
        Answer::ok(apimachinery::json::to_vec(&slice))
    })
    .await;
    let client = Client::new(&server.config()).unwrap().with_protobuf(false);
    let (recorder, _events) = Recorder::for_test();
    let controller = EndpointSlices {
        services: Store::new(),
        pods: Store::new(),
        nodes: Store::new(),
        slices: Store::new(),
        overlay: Arc::default(),
        triggers: TriggerTimes::default(),
        api: Api::all(&client),
        recorder,
        max: 100,
    };
    controller.slices.add_index(BY_SERVICE, |slice| service_of(slice).map(|key| key.to_string()).into_iter().collect());
    controller.services.put(Arc::new(web()));
    let mut n1 = (*node("z1")).clone();
    n1.metadata.name = "n1".into();
    controller.nodes.put(Arc::new(n1));
    controller.pods.put(pod("a", "10.1.0.1", "unready"));
    let key = ObjectKey::new("ns", "web");
    controller.reconcile(&key).await.unwrap();
    controller.pods.put(pod("a", "10.1.0.1", "ready"));
    controller.reconcile(&key).await.unwrap();
    controller.reconcile(&key).await.unwrap();
    let base = "/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices";
    assert_eq!(server.lines(), [format!("POST {base}"), format!("PUT {base}/web-x")]);
}
