//! Nodes.

use apimachinery::{Quantity, Value};

use super::{Subject, Text, at, items, number};
use crate::print::{age, plain};

pub fn node(subject: &Subject<'_>, text: &mut Text) {
    let node = subject.object;
    text.field(0, "Name", at(node, &["metadata", "name"]));
    let labels = node.at(&["metadata", "labels"]).and_then(Value::as_object).map(|labels| labels.sorted()).unwrap_or_default();
    let roles: Vec<&str> =
        labels.iter().filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/")).filter(|role| !role.is_empty()).collect();
    text.field(0, "Roles", super::or_none(&roles.join(",")));
    text.metadata(node);
    text.field(0, "CreationTimestamp", age::rfc1123(at(node, &["metadata", "creationTimestamp"])));
    let mut name = "Taints:";
    for taint in items(node, &["spec", "taints"]) {
        let value = at(taint, &["value"]);
        let value = if value.is_empty() { String::new() } else { format!("={value}") };
        text.line(0, format!("{name}\t{}{value}:{}", at(taint, &["key"]), at(taint, &["effect"])));
        name = "";
    }
    if !name.is_empty() {
        text.line(0, "Taints:\t<none>");
    }
    text.field(0, "Unschedulable", node.at(&["spec", "unschedulable"]).and_then(Value::as_bool).unwrap_or(false));
    let conditions = items(node, &["status", "conditions"]);
    if !conditions.is_empty() {
        text.line(0, "Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage\n  ----\t------\t-----------------\t------------------\t------\t-------");
        for condition in conditions {
            let time = |field: &str| age::rfc1123(at(condition, &[field]));
            text.line(
                1,
                format!(
                    "{} \t{} \t{} \t{} \t{} \t{} ",
                    at(condition, &["type"]),
                    at(condition, &["status"]),
                    time("lastHeartbeatTime"),
                    time("lastTransitionTime"),
                    at(condition, &["reason"]),
                    at(condition, &["message"])
                ),
            );
        }
    }
    text.line(0, "Addresses:");
    for address in items(node, &["status", "addresses"]) {
        text.field(1, at(address, &["type"]), at(address, &["address"]));
    }
    for (title, field) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        if let Some(amounts) = node.at(&["status", field]).and_then(Value::as_object) {
            text.line(0, format!("{title}:"));
            for (name, amount) in amounts.sorted() {
                text.field(1, name, plain::go(amount));
            }
        }
    }
    text.line(0, "System Info:");
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ] {
        text.field(1, title, at(node, &["status", "nodeInfo", field]));
    }
    if !at(node, &["spec", "podCIDR"]).is_empty() {
        text.field(0, "PodCIDR", at(node, &["spec", "podCIDR"]));
        let all: Vec<&str> = items(node, &["spec", "podCIDRs"]).iter().filter_map(Value::as_str).collect();
        text.field(0, "PodCIDRs", all.join(","));
    }
    if !at(node, &["spec", "providerID"]).is_empty() {
        text.field(0, "ProviderID", at(node, &["spec", "providerID"]));
    }
    pods_on(node, subject.pods, text);
}

/// Sums of what the containers of a pod ask for.
fn sum(pod: &Value, what: &str, resource: &str) -> Quantity {
    let mut total = Quantity::default();
    for container in items(pod, &["spec", "containers"]) {
        if let Some(amount) = container.at(&["resources", what, resource]).map(plain::go).and_then(|text| text.parse::<Quantity>().ok()) {
            total.add(&amount);
        }
    }
    total
}

fn percent(amount: &Quantity, node: &Value, resource: &str) -> i64 {
    let whole = node.at(&["status", "allocatable", resource]).map(plain::go).and_then(|text| text.parse::<Quantity>().ok());
    match whole.map(|whole| whole.as_f64()) {
        Some(whole) if whole > 0.0 => (amount.as_f64() / whole * 100.0) as i64,
        _ => 0,
    }
}

fn pods_on(node: &Value, pods: &[Value], text: &mut Text) {
    const COLUMNS: [(&str, &str); 4] = [("requests", "cpu"), ("limits", "cpu"), ("requests", "memory"), ("limits", "memory")];
    text.line(0, format!("Non-terminated Pods:\t({} in total)", pods.len()));
    text.line(0, "  Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge\n  ---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    let mut totals: [Quantity; 4] = Default::default();
    for pod in pods {
        let mut cells = Vec::new();
        for (index, (what, resource)) in COLUMNS.iter().enumerate() {
            let amount = sum(pod, what, resource);
            cells.push(format!("{amount} ({}%)", percent(&amount, node, resource)));
            totals[index].add(&amount);
        }
        let age = age::since(pod.str_at(&["metadata", "creationTimestamp"]));
        text.line(1, format!("{}\t{}\t\t{}\t{age}", at(pod, &["metadata", "namespace"]), at(pod, &["metadata", "name"]), cells.join("\t")));
    }
    text.line(0, "Allocated resources:\n  (Total limits may be over 100 percent, i.e., overcommitted.)\n  Resource\tRequests\tLimits\n  --------\t--------\t------");
    for (resource, index) in [("cpu", 0), ("memory", 2)] {
        let shown = |amount: &Quantity| format!("{amount} ({}%)", percent(amount, node, resource));
        text.line(1, format!("{resource}\t{}\t{}", shown(&totals[index]), shown(&totals[index + 1])));
    }
    let _ = number;
}
