//! What the two endpoint controllers agree on: which pods stand behind a service, under which ports, and since when.
//!
//! Upstream: pkg/controller/util/endpoint, staging/src/k8s.io/endpointslice/util.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use api::core::v1::{Pod, Service, ServicePort};
use apimachinery::{IntOrString, Time};
use component_helpers::pod;
use informer::{Event, Informer, ObjectKey, Store, WorkQueue};
use parking_lot::Mutex;

/// When the oldest change that an endpoints object shows was made: consumers measure delays by it.
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// Marks what belongs to a service without a cluster IP.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// Whether a controller makes endpoints of this service: those without a selector are their owner's business.
pub fn is_managed(service: &Service) -> bool {
    service.spec.type_ != "ExternalName" && !service.spec.selector.is_empty()
}

pub fn is_headless(service: &Service) -> bool {
    service.spec.cluster_ip == "None"
}

/// Whether the service's selector picks the pod. An empty one picks nothing.
pub fn selects(service: &Service, pod: &Pod) -> bool {
    is_managed(service) && service.spec.selector.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value))
}

/// The addresses of a pod, one per family at most in practice.
pub fn addresses(pod: &Pod) -> impl Iterator<Item = &str> {
    let only = (pod.status.pod_ips.is_empty() && !pod.status.pod_ip.is_empty()).then_some(pod.status.pod_ip.as_str());
    pod.status.pod_ips.iter().map(|address| address.ip.as_str()).chain(only)
}

pub fn is_ipv6(address: &str) -> bool {
    matches!(address.parse(), Ok(IpAddr::V6(_)))
}

/// Whether a pod can be an endpoint at all.
pub fn can_serve(pod: &Pod) -> bool {
    !pod::is_terminal(pod) && addresses(pod).next().is_some()
}

/// The name by which DNS knows the pod behind this service, if any.
pub fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let named = !pod.spec.hostname.is_empty()
        && pod.spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace;
    named.then(|| pod.spec.hostname.clone())
}

/// The port of this pod that a service port means: a number, or what the pod calls so. `None` if it has no such port.
pub fn target_port(service_port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &service_port.target_port {
        IntOrString::Int(0) => return Some(service_port.port),
        IntOrString::Int(number) => return Some(*number),
        IntOrString::String(name) => name,
    };
    let sidecars = pod.spec.init_containers.iter().filter(|container| component_helpers::resource::is_sidecar(container));
    let containers = pod.spec.containers.iter().chain(sidecars);
    let mut ports = containers.flat_map(|container| &container.ports);
    let protocol = |text: &str| if text.is_empty() { "TCP".to_string() } else { text.to_string() };
    let found = ports.find(|port| port.name == *name && protocol(&port.protocol) == protocol(&service_port.protocol));
    found.map(|port| port.container_port)
}

/// Whether a change of a pod can change endpoints.
pub fn matters(old: &Pod, new: &Pod) -> bool {
    let look = |pod: &Pod| (pod::is_ready(pod), pod::is_terminal(pod), pod.metadata.deletion_timestamp.is_some());
    look(old) != look(new)
        || old.metadata.labels != new.metadata.labels
        || old.metadata.uid != new.metadata.uid
        || old.spec.node_name != new.spec.node_name
        || old.spec.hostname != new.spec.hostname
        || old.spec.subdomain != new.spec.subdomain
        || old.status.pod_ip != new.status.pod_ip
        || old.status.pod_ips != new.status.pod_ips
}

/// Puts the services whose endpoints a pod's change concerns into `queue`, after `batch`.
pub fn enqueue_services(pods: &Informer<Pod>, services: Arc<Store<Service>>, queue: WorkQueue, batch: std::time::Duration) {
    pods.on_event(move |event| {
        let (old, new) = match event {
            Event::Added(pod) => (None, Some(pod)),
            Event::Deleted(pod) => (Some(pod), None),
            Event::Updated { old, new } => {
                if !matters(old, new) {
                    return;
                }
                (Some(old), Some(new))
            }
        };
        let selected = |service: &Service, pod: Option<&Arc<Pod>>| pod.is_some_and(|pod| selects(service, pod));
        for service in services.in_namespace(&event.object().metadata.namespace) {
            if selected(&service, new) || selected(&service, old) {
                queue.add_after(ObjectKey::of_metadata(&service.metadata), batch);
            }
        }
    });
}

/// The pods behind a service, by name, so that what is made of them does not depend on the cache's order.
pub fn pods_of(service: &Service, pods: &Store<Pod>) -> Vec<Arc<Pod>> {
    let mut pods = pods.in_namespace(&service.metadata.namespace);
    pods.retain(|pod| selects(service, pod));
    pods.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
    pods
}

/// Remembers, per service, since when each pod is as it is, to tell the time of the oldest change that is new.
#[derive(Debug, Default)]
pub struct TriggerTimes(Mutex<HashMap<ObjectKey, Known>>);

#[derive(Debug, Default)]
struct Known {
    service: Time,
    pods: HashMap<String, Time>,
}

impl TriggerTimes {
    /// The time of the oldest change since the last call for this service; `None` if none has a time.
    pub fn next(&self, key: &ObjectKey, service: &Service, pods: &[Arc<Pod>]) -> Option<Time> {
        let mut all = self.0.lock();
        let known = all.entry(key.clone()).or_default();
        let mut times = HashMap::with_capacity(pods.len());
        let mut oldest: Option<Time> = None;
        let mut consider = |time: Time| oldest = Some(oldest.map_or(time, |old| old.min(time)));
        for pod in pods {
            let time = pod::condition(&pod.status, "Ready").map(|ready| ready.last_transition_time).unwrap_or_default();
            let before = known.pods.get(&pod.metadata.name).copied().unwrap_or_default();
            if time > before {
                consider(time);
            }
            times.insert(pod.metadata.name.clone(), time);
        }
        let created = service.metadata.creation_timestamp;
        if created > known.service {
            consider(created);
        }
        *known = Known { service: created, pods: times };
        oldest
    }

    pub fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
pub mod fixtures {
    use api::core::v1::{Container, ContainerPort, PodCondition, PodIP};

    use super::*;

    pub fn service(ports: &[(&str, IntOrString)]) -> Service {
        let mut service = Service::default();
        service.metadata.name = "web".into();
        service.metadata.namespace = "ns".into();
        service.metadata.uid = "service-uid".into();
        service.spec.selector.insert("app", "web".to_string());
        service.spec.cluster_ip = "10.0.0.1".into();
        service.spec.ip_families = ["IPv4".to_string()].into();
        for (name, target) in ports {
            service.spec.ports.push(ServicePort {
                name: (*name).into(),
                port: 80,
                protocol: "TCP".into(),
                target_port: target.clone(),
                ..ServicePort::default()
            });
        }
        service
    }

    /// `state` is of `ready`, `unready`, `terminating` (and still ready), `done`.
    pub fn pod(name: &str, address: &str, state: &str) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = name.into();
        pod.metadata.namespace = "ns".into();
        pod.metadata.uid = format!("{name}-uid");
        pod.metadata.labels.insert("app", "web".to_string());
        pod.spec.node_name = "n1".into();
        pod.spec.containers.push(Container {
            ports: [ContainerPort { name: "http".into(), container_port: 8080, protocol: "TCP".into(), ..ContainerPort::default() }].into(),
            ..Container::default()
        });
        pod.status.phase = if state == "done" { "Succeeded".into() } else { "Running".into() };
        if !address.is_empty() {
            pod.status.pod_ip = address.into();
            pod.status.pod_ips.push(PodIP { ip: address.into() });
        }
        let status = if matches!(state, "ready" | "terminating") { "True" } else { "False" };
        let ready =
            PodCondition { type_: "Ready".into(), status: status.into(), last_transition_time: Time::from_unix(100), ..Default::default() };
        pod.status.conditions.push(ready);
        if state == "terminating" {
            pod.metadata.deletion_timestamp = Some(Time::from_unix(200));
        }
        Arc::new(pod)
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{pod, service};
    use super::*;

    #[test]
    fn ports_are_found_by_number_or_name() {
        let pod = pod("a", "10.1.0.1", "ready");
        for (target, expected) in
            [(IntOrString::Int(9), Some(9)), (IntOrString::from("http"), Some(8080)), (IntOrString::from("dns"), None)]
        {
            assert_eq!(target_port(&service(&[("", target)]).spec.ports[0], &pod), expected);
        }
    }

    #[test]
    fn only_what_endpoints_show_matters() {
        let old = pod("a", "10.1.0.1", "ready");
        let mut new = (*old).clone();
        new.metadata.annotations.insert("a", "b".to_string());
        new.metadata.resource_version = "2".into();
        assert!(!matters(&old, &new));
        for other in [pod("a", "10.1.0.1", "unready"), pod("a", "10.1.0.2", "ready"), pod("a", "10.1.0.1", "terminating")] {
            assert!(matters(&old, &other));
        }
    }

    #[test]
    fn the_oldest_new_change_is_told() {
        let (times, key, service) = (TriggerTimes::default(), ObjectKey::new("ns", "web"), service(&[]));
        let a = pod("a", "10.1.0.1", "ready");
        assert_eq!(times.next(&key, &service, std::slice::from_ref(&a)), Some(Time::from_unix(100)));
        assert_eq!(times.next(&key, &service, std::slice::from_ref(&a)), None);
        let mut later = (*a).clone();
        later.status.conditions[0].last_transition_time = Time::from_unix(150);
        assert_eq!(times.next(&key, &service, &[Arc::new(later)]), Some(Time::from_unix(150)));
    }
}
