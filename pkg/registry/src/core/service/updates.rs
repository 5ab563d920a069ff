//! What an update keeps or drops without being told: allocated values that a client left out, and fields that a new type has no use for.

use std::collections::BTreeMap;

use api::core::v1::Service;
use apimachinery::List;

use super::{is_externally_accessible, needs_cluster_ip, needs_health_check_port, needs_node_port};

/// Gives a changed Service the allocated values that its writer did not mention, so that writing the same manifest twice works.
pub fn keep_allocated(new: &mut Service, old: &Service) {
    if needs_cluster_ip(new) && needs_cluster_ip(old) {
        if new.spec.cluster_ip.is_empty() {
            new.spec.cluster_ip.clone_from(&old.spec.cluster_ip);
        }
        if new.spec.cluster_ips.is_empty() && new.spec.cluster_ip == old.spec.cluster_ip {
            new.spec.cluster_ips.clone_from(&old.spec.cluster_ips);
        }
    }
    if needs_node_port(new) && needs_node_port(old) {
        keep_node_ports(new, old);
    }
    if needs_health_check_port(new) && needs_health_check_port(old) && new.spec.health_check_node_port == 0 {
        new.spec.health_check_node_port = old.spec.health_check_node_port;
    }
}

fn keep_node_ports(new: &mut Service, old: &Service) {
    let mut used: Vec<i32> = new.spec.ports.iter().map(|port| port.node_port).filter(|port| *port != 0).collect();
    let by_name: BTreeMap<&str, i32> = old.spec.ports.iter().map(|port| (port.name.as_str(), port.node_port)).collect();
    for port in &mut new.spec.ports {
        if port.node_port != 0 {
            continue;
        }
        if let Some(&known) = by_name.get(port.name.as_str())
            && known != 0
            && !used.contains(&known)
        {
            port.node_port = known;
            used.push(known);
        }
    }
}

/// Brings `clusterIP` and `clusterIPs` in line; clients that know only one of them change the other through it.
pub fn align_cluster_ips(new: &mut Service, old: Option<&Service>) {
    let spec = &mut new.spec;
    let Some(old) = old else {
        if !spec.cluster_ip.is_empty() && spec.cluster_ips.is_empty() {
            spec.cluster_ips = List::from(vec![spec.cluster_ip.clone()]);
        }
        return;
    };
    let same_list = spec.cluster_ips[..] == old.spec.cluster_ips[..];
    if !old.spec.cluster_ip.is_empty() && spec.cluster_ip.is_empty() && same_list {
        spec.cluster_ips = List::nil();
    } else if spec.cluster_ip != old.spec.cluster_ip && same_list {
        spec.cluster_ips = List::from(vec![spec.cluster_ip.clone()]);
    }
}

/// Clears fields that the new type has no use for, unless the writer changed them too (then validation has to say so).
pub fn drop_unused(new: &mut Service, old: &Service) {
    let same_ips = new.spec.cluster_ip == old.spec.cluster_ip && new.spec.cluster_ips[..] == old.spec.cluster_ips[..];
    if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        if same_ips {
            new.spec.cluster_ip.clear();
            new.spec.cluster_ips = List::nil();
        }
        if new.spec.ip_families[..] == old.spec.ip_families[..] {
            new.spec.ip_families = List::nil();
        }
        if new.spec.ip_family_policy == old.spec.ip_family_policy {
            new.spec.ip_family_policy = None;
        }
    }
    if needs_node_port(old) && !needs_node_port(new) && same_node_ports(new, old) {
        new.spec.ports.iter_mut().for_each(|port| port.node_port = 0);
    }
    let same_health_port = new.spec.health_check_node_port == old.spec.health_check_node_port;
    if needs_health_check_port(old) && !needs_health_check_port(new) && same_health_port {
        new.spec.health_check_node_port = 0;
    }
    if old.spec.type_ == "LoadBalancer" && new.spec.type_ != "LoadBalancer" {
        if new.spec.allocate_load_balancer_node_ports == old.spec.allocate_load_balancer_node_ports {
            new.spec.allocate_load_balancer_node_ports = None;
        }
        if new.spec.load_balancer_class == old.spec.load_balancer_class {
            new.spec.load_balancer_class = None;
        }
    }
    let same_policy = new.spec.external_traffic_policy == old.spec.external_traffic_policy;
    if is_externally_accessible(old) && !is_externally_accessible(new) && same_policy {
        new.spec.external_traffic_policy.clear();
    }
    let became_alias = old.spec.type_ != "ExternalName" && new.spec.type_ == "ExternalName";
    if became_alias && new.spec.internal_traffic_policy == old.spec.internal_traffic_policy {
        new.spec.internal_traffic_policy = None;
    }
}

fn same_node_ports(new: &Service, old: &Service) -> bool {
    let ports = |service: &Service| {
        let mut ports: Vec<i32> = service.spec.ports.iter().map(|port| port.node_port).collect();
        ports.sort_unstable();
        ports
    };
    ports(new) == ports(old)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(kind: &str) -> Service {
        let json = format!(
            r#"{{"spec":{{"type":"{kind}","clusterIP":"10.0.0.1","clusterIPs":["10.0.0.1"],"ports":[{{"name":"a","port":80,"nodePort":30001}}]}}}}"#
        );
        apimachinery::json::from_slice(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_manifest_without_allocated_values_keeps_them() {
        let old = service("NodePort");
        let mut new = service("NodePort");
        new.spec.cluster_ip.clear();
        new.spec.cluster_ips = List::nil();
        new.spec.ports[0].node_port = 0;
        keep_allocated(&mut new, &old);
        assert_eq!(new, old);
    }

    #[test]
    fn a_new_type_drops_what_it_cannot_use() {
        let old = service("NodePort");
        let mut new = service("ClusterIP");
        drop_unused(&mut new, &old);
        assert_eq!((new.spec.ports[0].node_port, new.spec.cluster_ip.as_str()), (0, "10.0.0.1"));
        let mut new = service("ExternalName");
        drop_unused(&mut new, &old);
        assert_eq!((new.spec.ports[0].node_port, new.spec.cluster_ip.as_str(), new.spec.cluster_ips.len()), (0, "", 0));
    }
}
