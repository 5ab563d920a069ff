//! Workloads, Services, and what carries configuration.

use apimachinery::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Subject, Text, at, controlled_by, items, number, or_none, pods};
use crate::print::{age, plain};

fn selector(object: &Value) -> String {
    crate::pods::selector_of(object, at(object, &["kind"])).unwrap_or_default()
}

fn conditions(object: &Value, text: &mut Text) {
    let list = items(object, &["status", "conditions"]);
    if !list.is_empty() {
        text.line(0, "Conditions:\n  Type\tStatus\tReason\n  ----\t------\t------");
        for condition in list {
            text.line(1, format!("{} \t{}\t{}", at(condition, &["type"]), at(condition, &["status"]), at(condition, &["reason"])));
        }
    }
}

/// How many of the pods are in which phase.
fn pods_status(pods: &[Value], text: &mut Text) {
    let count = |phase: &str| pods.iter().filter(|pod| at(pod, &["status", "phase"]) == phase).count();
    text.field(
        0,
        "Pods Status",
        format!(
            "{} Running / {} Waiting / {} Succeeded / {} Failed",
            count("Running"),
            count("Pending"),
            count("Succeeded"),
            count("Failed")
        ),
    );
}

pub fn deployment(subject: &Subject<'_>, text: &mut Text) {
    let object = subject.object;
    text.head(object);
    text.field(0, "CreationTimestamp", age::rfc1123(at(object, &["metadata", "creationTimestamp"])));
    text.metadata(object);
    text.field(0, "Selector", selector(object));
    text.field(
        0,
        "Replicas",
        format!(
            "{} desired | {} updated | {} total | {} available | {} unavailable",
            number(object, &["spec", "replicas"]),
            number(object, &["status", "updatedReplicas"]),
            number(object, &["status", "replicas"]),
            number(object, &["status", "availableReplicas"]),
            number(object, &["status", "unavailableReplicas"])
        ),
    );
    text.field(0, "StrategyType", at(object, &["spec", "strategy", "type"]));
    text.field(0, "MinReadySeconds", number(object, &["spec", "minReadySeconds"]));
    if let Some(rolling) = object.at(&["spec", "strategy", "rollingUpdate"]) {
        let part = |key: &str| rolling.get(key).map(plain::go).unwrap_or_default();
        text.field(0, "RollingUpdateStrategy", format!("{} max unavailable, {} max surge", part("maxUnavailable"), part("maxSurge")));
    }
    pods::template(&object["spec"]["template"], text);
    conditions(object, text);
    let template = |set: &Value| {
        let mut template = set.at(&["spec", "template"]).cloned().unwrap_or_default();
        template.remove_at(&["metadata", "labels", "pod-template-hash"]);
        template
    };
    let current = object.at(&["spec", "template"]).cloned().unwrap_or_default();
    let words = |set: &Value| {
        let (name, wanted, made) =
            (at(set, &["metadata", "name"]), number(set, &["spec", "replicas"]), number(set, &["status", "replicas"]));
        format!("{name} ({made}/{wanted} replicas created)")
    };
    let (new, old): (Vec<&Value>, Vec<&Value>) = subject.related.iter().partition(|set| template(set) == current);
    let old: Vec<String> = old.into_iter().map(words).collect();
    let new: Vec<String> = new.into_iter().map(words).collect();
    text.field(0, "OldReplicaSets", or_none(&old.join(", ")));
    text.field(0, "NewReplicaSet", or_none(&new.join(", ")));
}

pub fn replica_set(subject: &Subject<'_>, text: &mut Text) {
    let object = subject.object;
    text.head(object);
    text.field(0, "Selector", selector(object));
    text.metadata(object);
    controlled_by(object, text);
    text.field(
        0,
        "Replicas",
        format!("{} current / {} desired", number(object, &["status", "replicas"]), number(object, &["spec", "replicas"])),
    );
    pods_status(subject.pods, text);
    pods::template(&object["spec"]["template"], text);
    conditions(object, text);
}

pub fn stateful_set(subject: &Subject<'_>, text: &mut Text) {
    let object = subject.object;
    text.head(object);
    text.field(0, "CreationTimestamp", age::rfc1123(at(object, &["metadata", "creationTimestamp"])));
    text.field(0, "Selector", selector(object));
    text.metadata(object);
    text.field(
        0,
        "Replicas",
        format!("{} desired | {} total", number(object, &["spec", "replicas"]), number(object, &["status", "replicas"])),
    );
    text.field(0, "Update Strategy", at(object, &["spec", "updateStrategy", "type"]));
    if let Some(partition) = object.at(&["spec", "updateStrategy", "rollingUpdate", "partition"]) {
        text.field(1, "Partition", plain::go(partition));
    }
    pods_status(subject.pods, text);
    pods::template(&object["spec"]["template"], text);
    let claims = items(object, &["spec", "volumeClaimTemplates"]);
    if claims.is_empty() {
        text.line(0, "Volume Claims:\t<none>");
    } else {
        text.line(0, "Volume Claims:");
        for claim in claims {
            text.field(1, "Name", at(claim, &["metadata", "name"]));
            text.field(1, "StorageClass", at(claim, &["spec", "storageClassName"]));
            text.field(1, "Capacity", or_none(at(claim, &["spec", "resources", "requests", "storage"])));
            text.field(1, "Access Modes", plain::go(&claim["spec"]["accessModes"]));
        }
    }
}

pub fn daemon_set(subject: &Subject<'_>, text: &mut Text) {
    let object = subject.object;
    text.head(object);
    text.field(0, "Selector", selector(object));
    text.pairs("Node-Selector", object.at(&["spec", "template", "spec", "nodeSelector"]), "=");
    text.metadata(object);
    for (title, field) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        text.line(0, format!("{title}: {}", number(object, &["status", field])));
    }
    pods_status(subject.pods, text);
    pods::template(&object["spec"]["template"], text);
}

pub fn job(subject: &Subject<'_>, text: &mut Text) {
    let object = subject.object;
    text.head(object);
    text.field(0, "Selector", selector(object));
    text.metadata(object);
    controlled_by(object, text);
    let shown = |field: &str| object.at(&["spec", field]).map_or_else(|| "<unset>".to_string(), plain::go);
    text.field(0, "Parallelism", shown("parallelism"));
    text.field(0, "Completions", shown("completions"));
    if let Some(mode) = object.str_at(&["spec", "completionMode"]) {
        text.field(0, "Completion Mode", mode);
    }
    text.field(0, "Suspend", shown("suspend"));
    text.field(0, "Backoff Limit", shown("backoffLimit"));
    let time = |field: &str| object.str_at(&["status", field]);
    if let Some(start) = time("startTime") {
        text.field(0, "Start Time", age::rfc1123(start));
    }
    if let Some(end) = time("completionTime") {
        text.field(0, "Completed At", age::rfc1123(end));
        if let (Some(start), Some(end)) = (time("startTime").and_then(age::unix), age::unix(end)) {
            text.field(0, "Duration", age::human(end - start));
        }
    }
    text.field(
        0,
        "Pods Statuses",
        format!(
            "{} Active ({} Ready) / {} Succeeded / {} Failed",
            number(object, &["status", "active"]),
            number(object, &["status", "ready"]),
            number(object, &["status", "succeeded"]),
            number(object, &["status", "failed"])
        ),
    );
    pods::template(&object["spec"]["template"], text);
}

pub fn service(subject: &Subject<'_>, text: &mut Text) {
    let object = subject.object;
    text.head(object);
    text.metadata(object);
    text.field(0, "Selector", or_none(&selector(object)));
    text.field(0, "Type", at(object, &["spec", "type"]));
    if !at(object, &["spec", "ipFamilyPolicy"]).is_empty() {
        text.field(0, "IP Family Policy", at(object, &["spec", "ipFamilyPolicy"]));
    }
    let list = |path: &[&str]| items(object, path).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",");
    text.field(0, "IP Families", or_none(&list(&["spec", "ipFamilies"])));
    text.field(0, "IP", at(object, &["spec", "clusterIP"]));
    text.field(0, "IPs", or_none(&list(&["spec", "clusterIPs"])));
    for (title, path) in [("External IPs", &["spec", "externalIPs"][..])] {
        if !list(path).is_empty() {
            text.field(0, title, list(path));
        }
    }
    if !at(object, &["spec", "externalName"]).is_empty() {
        text.field(0, "External Name", at(object, &["spec", "externalName"]));
    }
    let ingress: Vec<&str> = items(object, &["status", "loadBalancer", "ingress"])
        .iter()
        .filter_map(|entry| entry.str_at(&["ip"]).or(entry.str_at(&["hostname"])))
        .collect();
    if !ingress.is_empty() {
        text.field(0, "LoadBalancer Ingress", ingress.join(", "));
    }
    for port in items(object, &["spec", "ports"]) {
        let name = match at(port, &["name"]) {
            "" => "<unset>",
            name => name,
        };
        let protocol = at(port, &["protocol"]);
        text.field(0, "Port", format!("{name}\t{}/{protocol}", number(port, &["port"])));
        text.field(0, "TargetPort", format!("{}/{protocol}", port.get("targetPort").map(plain::go).unwrap_or_default()));
        if number(port, &["nodePort"]) != 0 {
            text.field(0, "NodePort", format!("{name}\t{}/{protocol}", number(port, &["nodePort"])));
        }
        text.field(0, "Endpoints", endpoints(subject.related, at(port, &["name"])));
    }
    text.field(0, "Session Affinity", at(object, &["spec", "sessionAffinity"]));
    for (title, field) in [("External Traffic Policy", "externalTrafficPolicy"), ("Internal Traffic Policy", "internalTrafficPolicy")] {
        if !at(object, &["spec", field]).is_empty() {
            text.field(0, title, at(object, &["spec", field]));
        }
    }
}

/// The addresses that answer for a port, three of them at most.
fn endpoints(slices: &[Value], name: &str) -> String {
    let mut found = Vec::new();
    for slice in slices {
        for port in items(slice, &["ports"]).iter().filter(|port| at(port, &["name"]) == name) {
            for endpoint in items(slice, &["endpoints"]) {
                if endpoint.at(&["conditions", "ready"]).and_then(Value::as_bool) == Some(false) {
                    continue;
                }
                let address = endpoint.get("addresses").and_then(|all| all[0].as_str()).unwrap_or_default();
                let address = if address.contains(':') { format!("[{address}]") } else { address.to_string() };
                found.push(format!("{address}:{}", number(port, &["port"])));
            }
        }
    }
    match found.len() {
        0 => String::new(),
        count if count > 3 => format!("{} + {} more...", found[..3].join(","), count - 3),
        _ => found.join(","),
    }
}

pub fn config_map(subject: &Subject<'_>, text: &mut Text) {
    let object = subject.object;
    text.head(object);
    text.metadata(object);
    text.line(0, "\nData\n====");
    for (key, value) in object.get("data").and_then(Value::as_object).map(|data| data.sorted()).unwrap_or_default() {
        text.line(0, format!("{key}:\n----\n{}\n", value.as_str().unwrap_or_default()));
    }
    text.line(0, "\nBinaryData\n====");
    for (key, value) in object.get("binaryData").and_then(Value::as_object).map(|data| data.sorted()).unwrap_or_default() {
        text.line(0, format!("{key}: {} bytes", decoded_length(value)));
    }
    text.line(0, "");
}

fn decoded_length(value: &Value) -> usize {
    STANDARD.decode(value.as_str().unwrap_or_default()).map_or(0, |bytes| bytes.len())
}

pub fn secret(subject: &Subject<'_>, text: &mut Text) {
    let object = subject.object;
    text.head(object);
    text.metadata(object);
    text.line(0, format!("\nType:\t{}\n\nData\n====", at(object, &["type"])));
    for (key, value) in object.get("data").and_then(Value::as_object).map(|data| data.sorted()).unwrap_or_default() {
        match at(object, &["type"]) == "kubernetes.io/service-account-token" && key == "token" {
            true => {
                let token = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
                text.field(0, key, String::from_utf8_lossy(&token));
            }
            false => text.field(0, key, format!("{} bytes", decoded_length(value))),
        }
    }
}

pub fn claim(subject: &Subject<'_>, text: &mut Text) {
    let object = subject.object;
    text.head(object);
    text.field(0, "StorageClass", at(object, &["spec", "storageClassName"]));
    match object.at(&["metadata", "deletionTimestamp"]).is_some() {
        true => text.field(0, "Status", "Terminating"),
        false => text.field(0, "Status", at(object, &["status", "phase"])),
    }
    text.field(0, "Volume", at(object, &["spec", "volumeName"]));
    text.metadata(object);
    text.field(0, "Finalizers", object.at(&["metadata", "finalizers"]).map_or_else(|| "[]".into(), plain::go));
    text.field(0, "Capacity", at(object, &["status", "capacity", "storage"]));
    let modes: Vec<&str> = items(object, &["status", "accessModes"])
        .iter()
        .filter_map(Value::as_str)
        .map(|mode| match mode {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        })
        .collect();
    text.field(0, "Access Modes", modes.join(","));
    text.field(0, "VolumeMode", at(object, &["spec", "volumeMode"]));
    let claim = at(object, &["metadata", "name"]);
    let users: Vec<&str> = subject
        .pods
        .iter()
        .filter(|pod| items(pod, &["spec", "volumes"]).iter().any(|volume| at(volume, &["persistentVolumeClaim", "claimName"]) == claim))
        .map(|pod| at(pod, &["metadata", "name"]))
        .collect();
    text.field(0, "Used By", or_none(&users.join("\n\t")));
}
