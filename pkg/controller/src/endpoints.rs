//! endpoints-controller: the older form of what endpointslice-controller publishes, one object per service.
//!
//! Reads Services and Pods; writes Endpoints. Upstream: pkg/controller/endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service};
use apimachinery::{List, Time};
use client::{Api, DeleteParams};
use component_base::tasks::Tasks;
use component_helpers::pod;
use informer::{Event, ObjectKey, Reconcile, Recorder, Requeue, Store, WorkQueue};

use crate::service_pods::{self, HEADLESS, TRIGGER_TIME, TriggerTimes, enqueue_services, is_headless, is_ipv6, pods_of};
use crate::{ControllerContext, Registration, StartError, Started, WriteError};

pub const REGISTRATION: Registration = Registration { name: "endpoints-controller", alias: Some("endpoint"), default_on: true, start };

/// More addresses than this do not fit into one object that every node reads.
const MAX_ADDRESSES: usize = 1000;
/// Says that addresses were left out.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");

/// One look at a service and what belongs to it.
pub struct Observed<'a> {
    pub service: &'a Service,
    /// In the order of their names.
    pub pods: &'a [Arc<Pod>],
    pub current: Option<&'a Endpoints>,
    pub trigger: Option<Time>,
}

/// A write to make.
#[derive(Debug, PartialEq)]
pub enum Action {
    Create(Box<Endpoints>),
    Update(Box<Endpoints>),
}

/// Decides what to write.
pub fn plan(seen: &Observed<'_>) -> Option<Action> {
    let (subsets, truncated) = subsets(seen.service, seen.pods);
    let mut next = seen.current.cloned().unwrap_or_default();
    next.metadata.name = seen.service.metadata.name.clone();
    next.metadata.namespace = seen.service.metadata.namespace.clone();
    next.metadata.labels = seen.service.metadata.labels.clone();
    next.metadata.labels.remove(HEADLESS);
    if is_headless(seen.service) {
        next.metadata.labels.insert(HEADLESS, String::new());
    }
    next.metadata.labels.insert(MANAGED_BY.0, MANAGED_BY.1.to_string());
    if truncated {
        next.metadata.annotations.insert(OVER_CAPACITY, "truncated".to_string());
    } else {
        next.metadata.annotations.remove(OVER_CAPACITY);
    }
    next.subsets = subsets;
    next.metadata.labels.normalize_empty();
    if let Some(current) = seen.current
        && current.subsets[..] == next.subsets[..]
        && current.metadata.labels == next.metadata.labels
        && current.metadata.annotations.get(OVER_CAPACITY) == next.metadata.annotations.get(OVER_CAPACITY)
    {
        return None;
    }
    match seen.trigger {
        Some(time) => drop(next.metadata.annotations.insert(TRIGGER_TIME, time.to_string())),
        None => drop(next.metadata.annotations.remove(TRIGGER_TIME)),
    }
    Some(if seen.current.is_none() { Action::Create(Box::new(next)) } else { Action::Update(Box::new(next)) })
}

/// A port as it sorts: name, number, protocol, application protocol.
type PortKey = (String, i32, String, Option<String>);

/// Addresses that have the same ports together. The second says whether some were left out.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> (List<EndpointSubset>, bool) {
    let terminating_too = service.spec.publish_not_ready_addresses;
    let mut by_ports: BTreeMap<Vec<PortKey>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| service_pods::can_serve(pod)) {
        if pod.metadata.deletion_timestamp.is_some() && !terminating_too {
            continue;
        }
        let Some(address) = address(service, pod) else { continue };
        let mut ports: Vec<PortKey> = service
            .spec
            .ports
            .iter()
            .filter_map(|port| {
                let protocol = if port.protocol.is_empty() { "TCP" } else { &port.protocol };
                Some((port.name.clone(), service_pods::target_port(port, pod)?, protocol.to_string(), port.app_protocol.clone()))
            })
            .collect();
        // Only a headless service may go without ports.
        if ports.is_empty() && !(is_headless(service) && service.spec.ports.is_empty()) {
            continue;
        }
        ports.sort();
        let (ready, unready) = by_ports.entry(ports).or_default();
        let is_ready = service.spec.publish_not_ready_addresses || pod::is_ready(pod);
        if is_ready { ready.push(address) } else { unready.push(address) }
    }
    let truncated = truncate(&mut by_ports);
    let subset = |(ports, (mut ready, mut unready)): (Vec<PortKey>, (Vec<EndpointAddress>, Vec<EndpointAddress>))| {
        ready.sort_by(|left, right| left.ip.cmp(&right.ip));
        unready.sort_by(|left, right| left.ip.cmp(&right.ip));
        let mut subset = EndpointSubset::default();
        subset.addresses.extend(ready);
        subset.not_ready_addresses.extend(unready);
        let port = |(name, port, protocol, app_protocol)| EndpointPort { name, port, protocol, app_protocol };
        subset.ports.extend(ports.into_iter().map(port));
        subset
    };
    (
        by_ports.into_iter().map(subset).filter(|subset| !subset.addresses.is_empty() || !subset.not_ready_addresses.is_empty()).collect(),
        truncated,
    )
}

/// Takes the same share from every subset, those that are not ready first.
fn truncate(groups: &mut BTreeMap<Vec<PortKey>, (Vec<EndpointAddress>, Vec<EndpointAddress>)>) -> bool {
    let ready: usize = groups.values().map(|(ready, _)| ready.len()).sum();
    let all: usize = groups.values().map(|(ready, unready)| ready.len() + unready.len()).sum();
    if all <= MAX_ADDRESSES {
        return false;
    }
    let mut room = MAX_ADDRESSES;
    for (addresses, _) in groups.values_mut() {
        let share = if ready <= MAX_ADDRESSES { addresses.len() } else { addresses.len() * MAX_ADDRESSES / ready };
        addresses.truncate(share);
        room -= share.min(room);
    }
    let unready_all = all - ready;
    let room_for_unready = if ready >= MAX_ADDRESSES { 0 } else { room };
    for (_, addresses) in groups.values_mut() {
        let share = (addresses.len() * room_for_unready).checked_div(unready_all).unwrap_or(0);
        addresses.truncate(share);
    }
    true
}

/// `None` if the pod has no address of the service's first family.
fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let ipv6 = match service.spec.ip_families.first() {
        Some(family) => family == "IPv6",
        None => is_ipv6(&service.spec.cluster_ip) || (is_headless(service) && is_ipv6(&pod.status.pod_ip)),
    };
    let ip = service_pods::addresses(pod).find(|address| is_ipv6(address) == ipv6)?;
    Some(EndpointAddress {
        ip: ip.to_string(),
        hostname: service_pods::hostname(service, pod).unwrap_or_default(),
        node_name: (!pod.spec.node_name.is_empty()).then(|| pod.spec.node_name.clone()),
        target_ref: Some(Box::new(ObjectReference {
            kind: "Pod".into(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        })),
    })
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    let mut sources = context.sources();
    let services = sources.of::<Service>();
    let pods = sources.of::<Pod>();
    let endpoints = sources.of::<Endpoints>();
    let queue = WorkQueue::new("endpoint");
    services.enqueue(&queue);
    enqueue_services(&pods, services.store(), queue.clone(), context.settings.endpoint_updates_batch_period);
    let deleted = queue.clone();
    endpoints.on_event(move |event| {
        // Also those found at the start whose service went away while nobody looked.
        if matches!(event, Event::Deleted(_) | Event::Added(_)) {
            deleted.add(event.key());
        }
    });
    // That Endpoints are deprecated is no news to whoever writes them for those that still read them.
    let client = context.client("endpoint-controller")?.with_warnings(|_| {});
    let reconciler = EndpointsController {
        services: services.store(),
        pods: pods.store(),
        endpoints: endpoints.store(),
        triggers: TriggerTimes::default(),
        api: Api::all(&client),
        recorder: context.recorder("endpoint-controller"),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, context.settings.workers.endpoint);
    Ok(Started::Running)
}

struct EndpointsController {
    services: Arc<Store<Service>>,
    pods: Arc<Store<Pod>>,
    endpoints: Arc<Store<Endpoints>>,
    triggers: TriggerTimes,
    api: Api<Endpoints>,
    recorder: Recorder,
}

impl Reconcile for EndpointsController {
    const NAME: &'static str = "endpoints-controller";
    const MAX_RETRIES: Option<u32> = Some(15);
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let api = self.api.within(key.namespace());
        let refused = |verb, err| WriteError::new(verb, format!("endpoints \"{key}\""), err);
        let current = self.endpoints.get(key);
        let Some(service) = self.services.get(key) else {
            self.triggers.forget(key);
            // Only what is known to be this controller's: objects made by hand for no service are not ours to take.
            let Some(orphan) = current.filter(|known| known.metadata.labels.get_str(MANAGED_BY.0) == MANAGED_BY.1) else {
                return Ok(Requeue::OnChange);
            };
            return match api.delete(key.name(), &DeleteParams::of_uid(orphan.metadata.uid.clone())).await {
                Err(err) if !err.is_not_found() && !err.is_conflict() => Err(refused("delete", err)),
                _ => Ok(Requeue::OnChange),
            };
        };
        if !service_pods::is_managed(&service) {
            return Ok(Requeue::OnChange);
        }
        let pods = pods_of(&service, &self.pods);
        let trigger = self.triggers.next(key, &service, &pods);
        let (verb, written) = match plan(&Observed { service: &service, pods: &pods, current: current.as_deref(), trigger }) {
            None => return Ok(Requeue::OnChange),
            Some(Action::Create(endpoints)) => ("create", api.create(&endpoints).await),
            Some(Action::Update(endpoints)) => ("update", api.update(&endpoints).await),
        };
        match written {
            Ok(_) => Ok(Requeue::OnChange),
            Err(err) if err.is_namespace_terminating() => Ok(Requeue::OnChange),
            Err(err) => {
                self.triggers.forget(key);
                let (reason, what) =
                    if verb == "create" { ("FailedToCreateEndpoint", "create") } else { ("FailedToUpdateEndpoint", "update") };
                self.recorder.about(service.as_ref(), "Warning", reason, &format!("Failed to {what} endpoint {key}: {err}"));
                Err(refused(verb, err))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use apimachinery::IntOrString;

    use super::*;
    use crate::service_pods::fixtures::{pod, service};

    fn render(endpoints: &Endpoints) -> Vec<String> {
        let ips = |addresses: &[EndpointAddress]| addresses.iter().map(|address| address.ip.clone()).collect::<Vec<_>>().join(" ");
        let subset = |subset: &EndpointSubset| {
            let ports: Vec<String> = subset.ports.iter().map(|port| port.port.to_string()).collect();
            format!(":{} {} | {}", ports.join(","), ips(&subset.addresses), ips(&subset.not_ready_addresses))
        };
        endpoints.subsets.iter().map(subset).collect()
    }

    #[track_caller]
    fn made(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
        let Some(Action::Create(endpoints)) = plan(&Observed { service, pods, current: None, trigger: None }) else {
            panic!("a service with a selector has endpoints")
        };
        assert_eq!(plan(&Observed { service, pods, current: Some(&endpoints), trigger: None }), None, "planning twice changes nothing");
        *endpoints
    }

    #[test]
    fn addresses_with_equal_ports_share_a_subset() {
        let mut other = (*pod("b", "10.1.0.2", "ready")).clone();
        other.spec.containers[0].ports[0].container_port = 9090;
        let pods = [
            pod("a", "10.1.0.1", "ready"),
            Arc::new(other),
            pod("c", "10.1.0.3", "unready"),
            pod("d", "10.1.0.4", "terminating"),
            pod("e", "10.1.0.5", "done"),
        ];
        let mut service = service(&[("http", IntOrString::from("http"))]);
        assert_eq!(render(&made(&service, &pods)), [":8080 10.1.0.1 | 10.1.0.3", ":9090 10.1.0.2 | "]);
        service.spec.publish_not_ready_addresses = true;
        assert_eq!(render(&made(&service, &pods)), [":8080 10.1.0.1 10.1.0.3 10.1.0.4 | ", ":9090 10.1.0.2 | "]);
    }

    #[test]
    fn a_headless_service_needs_no_ports() {
        let mut service = service(&[]);
        let pods = [pod("a", "10.1.0.1", "ready")];
        assert!(render(&made(&service, &pods)).is_empty());
        service.spec.cluster_ip = "None".into();
        let endpoints = made(&service, &pods);
        assert_eq!(render(&endpoints), [": 10.1.0.1 | "]);
        assert!(endpoints.metadata.labels.contains_key(HEADLESS));
    }

    #[test]
    fn more_than_fit_are_left_out_evenly() {
        let pods: Vec<_> = (0..1500)
            .map(|n| pod(&format!("p{n}"), &format!("10.1.{}.{}", n / 250, n % 250), if n < 900 { "ready" } else { "unready" }))
            .collect();
        let endpoints = made(&service(&[("http", IntOrString::Int(80))]), &pods);
        let subset = &endpoints.subsets[0];
        assert_eq!((subset.addresses.len(), subset.not_ready_addresses.len()), (900, 100));
        assert_eq!(endpoints.metadata.annotations.get_str(OVER_CAPACITY), "truncated");
    }
}
