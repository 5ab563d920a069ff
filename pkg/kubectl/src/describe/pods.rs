//! Pods, and the pod templates of workloads.

use apimachinery::Value;

use super::{Subject, Text, at, controlled_by, items, number, or_none};
use crate::print::{age, plain};

pub fn pod(subject: &Subject<'_>, text: &mut Text) {
    let pod = subject.object;
    text.head(pod);
    if let Some(priority) = pod.at(&["spec", "priority"]) {
        text.field(0, "Priority", plain::go(priority));
    }
    for (name, field) in [("Priority Class Name", "priorityClassName"), ("Runtime Class Name", "runtimeClassName")] {
        if !at(pod, &["spec", field]).is_empty() {
            text.field(0, name, at(pod, &["spec", field]));
        }
    }
    text.field(
        0,
        "Service Account",
        match at(pod, &["spec", "serviceAccountName"]) {
            "" => "default",
            name => name,
        },
    );
    match at(pod, &["spec", "nodeName"]) {
        "" => text.field(0, "Node", "<none>"),
        node => text.field(0, "Node", format!("{node}/{}", at(pod, &["status", "hostIP"]))),
    }
    if let Some(start) = pod.str_at(&["status", "startTime"]) {
        text.field(0, "Start Time", age::rfc1123(start));
    }
    text.metadata(pod);
    match pod.str_at(&["metadata", "deletionTimestamp"]) {
        Some(at) => {
            let text_age = age::human(age::now() - age::unix(at).unwrap_or(0));
            text.field(0, "Status", format!("Terminating (lasts {text_age})"));
            if let Some(grace) = pod.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64) {
                text.field(0, "Termination Grace Period", format!("{grace}s"));
            }
        }
        None => text.field(0, "Status", at(pod, &["status", "phase"])),
    }
    for (name, field) in [("Reason", "reason"), ("Message", "message")] {
        if !at(pod, &["status", field]).is_empty() {
            text.field(0, name, at(pod, &["status", field]));
        }
    }
    text.field(0, "IP", at(pod, &["status", "podIP"]));
    let ips = items(pod, &["status", "podIPs"]);
    match ips {
        [] => text.line(0, "IPs:\t<none>"),
        ips => {
            text.line(0, "IPs:");
            ips.iter().for_each(|ip| text.field(1, "IP", at(ip, &["ip"])));
        }
    }
    controlled_by(pod, text);
    let statuses = |list: &str| items(pod, &["status", list]);
    if !items(pod, &["spec", "initContainers"]).is_empty() {
        containers("Init Containers", items(pod, &["spec", "initContainers"]), statuses("initContainerStatuses"), 0, text);
    }
    containers("Containers", items(pod, &["spec", "containers"]), statuses("containerStatuses"), 0, text);
    if !items(pod, &["spec", "ephemeralContainers"]).is_empty() {
        containers("Ephemeral Containers", items(pod, &["spec", "ephemeralContainers"]), statuses("ephemeralContainerStatuses"), 0, text);
    }
    let conditions = items(pod, &["status", "conditions"]);
    if !conditions.is_empty() {
        text.line(0, "Conditions:\n  Type\tStatus");
        for condition in conditions {
            text.line(1, format!("{} \t{} ", at(condition, &["type"]), at(condition, &["status"])));
        }
    }
    volumes(items(pod, &["spec", "volumes"]), 0, text);
    text.field(0, "QoS Class", or_none(at(pod, &["status", "qosClass"])));
    text.pairs("Node-Selectors", pod.at(&["spec", "nodeSelector"]), "=");
    tolerations(pod, text);
}

fn tolerations(pod: &Value, text: &mut Text) {
    let all = items(pod, &["spec", "tolerations"]);
    let mut name = "Tolerations:";
    if all.is_empty() {
        text.line(0, "Tolerations:\t<none>");
    }
    for toleration in all {
        let mut words = at(toleration, &["key"]).to_string();
        if !at(toleration, &["value"]).is_empty() {
            words.push_str(&format!("={}", at(toleration, &["value"])));
        }
        if !at(toleration, &["effect"]).is_empty() {
            words.push_str(&format!(":{}", at(toleration, &["effect"])));
        }
        if at(toleration, &["operator"]) == "Exists" {
            words.push_str(if words.is_empty() { "op=Exists" } else { " op=Exists" });
        }
        if let Some(seconds) = toleration.get("tolerationSeconds").and_then(Value::as_i64) {
            words.push_str(&format!(" for {seconds}s"));
        }
        text.line(0, format!("{name}\t{words}"));
        name = "";
    }
}

/// A workload's template.
pub fn template(template: &Value, text: &mut Text) {
    text.line(0, "Pod Template:");
    let mut inner = Text::default();
    inner.pairs("Labels", template.at(&["metadata", "labels"]), "=");
    if template.at(&["metadata", "annotations"]).and_then(Value::as_object).is_some_and(|pairs| !pairs.is_empty()) {
        inner.pairs("Annotations", template.at(&["metadata", "annotations"]), ": ");
    }
    if !at(template, &["spec", "serviceAccountName"]).is_empty() {
        inner.field(0, "Service Account", at(template, &["spec", "serviceAccountName"]));
    }
    if !items(template, &["spec", "initContainers"]).is_empty() {
        containers("Init Containers", items(template, &["spec", "initContainers"]), &[], 0, &mut inner);
    }
    containers("Containers", items(template, &["spec", "containers"]), &[], 0, &mut inner);
    volumes(items(template, &["spec", "volumes"]), 0, &mut inner);
    if !at(template, &["spec", "priorityClassName"]).is_empty() {
        inner.field(0, "Priority Class Name", at(template, &["spec", "priorityClassName"]));
    }
    inner.pairs("Node-Selectors", template.at(&["spec", "nodeSelector"]), "=");
    tolerations(template, &mut inner);
    for line in inner.0.lines() {
        text.line(1, line);
    }
}

fn containers(title: &str, list: &[Value], statuses: &[Value], depth: usize, text: &mut Text) {
    text.line(depth, format!("{title}:"));
    for container in list {
        let name = at(container, &["name"]);
        text.line(depth + 1, format!("{name}:"));
        let status = statuses.iter().find(|status| at(status, &["name"]) == name);
        let depth = depth + 2;
        if let Some(status) = status {
            text.field(depth, "Container ID", at(status, &["containerID"]));
        }
        text.field(depth, "Image", at(container, &["image"]));
        if let Some(status) = status {
            text.field(depth, "Image ID", at(status, &["imageID"]));
        }
        let ports = items(container, &["ports"]);
        let list = |key: &str| -> String {
            let shown: Vec<String> = ports.iter().map(|port| format!("{}/{}", number(port, &[key]), at(port, &["protocol"]))).collect();
            shown.join(", ")
        };
        let plural = if ports.len() > 1 { "s" } else { "" };
        text.field(depth, &format!("Port{plural}"), or_none(&list("containerPort")));
        text.field(depth, &format!("Host Port{plural}"), or_none(&list("hostPort")));
        for (title, field) in [("Command", "command"), ("Args", "args")] {
            let words = items(container, &[field]);
            if !words.is_empty() {
                text.line(depth, format!("{title}:"));
                for word in words.iter().filter_map(Value::as_str).flat_map(str::lines) {
                    text.line(depth + 1, word);
                }
            }
        }
        if let Some(status) = status {
            state("State", status.get("state"), depth, text);
            if status.get("lastState").and_then(Value::as_object).is_some_and(|state| !state.is_empty()) {
                state("Last State", status.get("lastState"), depth, text);
            }
            text.field(depth, "Ready", if status.get("ready").and_then(Value::as_bool) == Some(true) { "True" } else { "False" });
            text.field(depth, "Restart Count", number(status, &["restartCount"]));
        }
        for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
            if let Some(amounts) = container.at(&["resources", field]).and_then(Value::as_object).filter(|amounts| !amounts.is_empty()) {
                text.line(depth, format!("{title}:"));
                for (name, amount) in amounts.sorted() {
                    text.field(depth + 1, name, plain::go(amount));
                }
            }
        }
        for (title, field) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")] {
            if let Some(probe) = container.get(field) {
                text.field(depth, title, probe_words(probe));
            }
        }
        environment(container, depth, text);
        mounts(container, depth, text);
    }
}

fn state(title: &str, state: Option<&Value>, depth: usize, text: &mut Text) {
    let state = state.unwrap_or(&Value::Null);
    if let Some(running) = state.get("running") {
        text.field(depth, title, "Running");
        text.field(depth + 1, "Started", age::rfc1123(at(running, &["startedAt"])));
    } else if let Some(waiting) = state.get("waiting") {
        text.field(depth, title, "Waiting");
        if !at(waiting, &["reason"]).is_empty() {
            text.field(depth + 1, "Reason", at(waiting, &["reason"]));
        }
    } else if let Some(ended) = state.get("terminated") {
        text.field(depth, title, "Terminated");
        for (name, field) in [("Reason", "reason"), ("Message", "message")] {
            if !at(ended, &[field]).is_empty() {
                text.field(depth + 1, name, at(ended, &[field]));
            }
        }
        text.field(depth + 1, "Exit Code", number(ended, &["exitCode"]));
        if number(ended, &["signal"]) > 0 {
            text.field(depth + 1, "Signal", number(ended, &["signal"]));
        }
        text.field(depth + 1, "Started", age::rfc1123(at(ended, &["startedAt"])));
        text.field(depth + 1, "Finished", age::rfc1123(at(ended, &["finishedAt"])));
    } else {
        text.field(depth, title, "Waiting");
    }
}

fn probe_words(probe: &Value) -> String {
    let timing = format!(
        "delay={}s timeout={}s period={}s #success={} #failure={}",
        number(probe, &["initialDelaySeconds"]),
        number(probe, &["timeoutSeconds"]),
        number(probe, &["periodSeconds"]),
        number(probe, &["successThreshold"]),
        number(probe, &["failureThreshold"])
    );
    let port = |part: &Value| part.get("port").map(plain::go).unwrap_or_default();
    if let Some(exec) = probe.get("exec") {
        return format!("exec {} {timing}", plain::go(exec.get("command").unwrap_or(&Value::Null)));
    }
    if let Some(get) = probe.get("httpGet") {
        let scheme = at(get, &["scheme"]).to_lowercase();
        return format!("http-get {scheme}://{}:{}{} {timing}", at(get, &["host"]), port(get), at(get, &["path"]));
    }
    if let Some(socket) = probe.get("tcpSocket") {
        return format!("tcp-socket {}:{} {timing}", at(socket, &["host"]), port(socket));
    }
    if let Some(grpc) = probe.get("grpc") {
        return format!("grpc <pod>:{} {} {timing}", port(grpc), at(grpc, &["service"]));
    }
    format!("unknown {timing}")
}

fn environment(container: &Value, depth: usize, text: &mut Text) {
    let from = items(container, &["envFrom"]);
    if !from.is_empty() {
        text.line(depth, "Environment Variables from:");
        for source in from {
            let (kind, part) =
                if source.get("secretRef").is_some() { ("Secret", &source["secretRef"]) } else { ("ConfigMap", &source["configMapRef"]) };
            let optional = part.get("optional").and_then(Value::as_bool).unwrap_or(false);
            text.line(depth + 1, format!("{}\t{kind}\tOptional: {optional}", at(part, &["name"])));
        }
    }
    let all = items(container, &["env"]);
    if all.is_empty() {
        text.field(depth, "Environment", "<none>");
        return;
    }
    text.line(depth, "Environment:");
    for entry in all {
        let name = at(entry, &["name"]);
        let source = entry.get("valueFrom").unwrap_or(&Value::Null);
        let reference = |key: &str, kind: &str| {
            let part = source.get(key)?;
            let optional = part.get("optional").and_then(Value::as_bool).unwrap_or(false);
            Some(format!("<set to the key '{}' {kind} '{}'>\tOptional: {optional}", at(part, &["key"]), at(part, &["name"])))
        };
        let value = if let Some(field) = source.get("fieldRef") {
            format!(" ({}:{})", at(field, &["apiVersion"]), at(field, &["fieldPath"]))
        } else if let Some(resource) = source.get("resourceFieldRef") {
            format!(" ({})", at(resource, &["resource"]))
        } else if let Some(words) = reference("secretKeyRef", "in secret") {
            words
        } else if let Some(words) = reference("configMapKeyRef", "of config map") {
            words
        } else {
            at(entry, &["value"]).replace('\n', "\n\t\t")
        };
        text.field(depth + 1, name, value);
    }
}

fn mounts(container: &Value, depth: usize, text: &mut Text) {
    let all = items(container, &["volumeMounts"]);
    if all.is_empty() {
        text.field(depth, "Mounts", "<none>");
        return;
    }
    text.line(depth, "Mounts:");
    let mut all: Vec<&Value> = all.iter().collect();
    all.sort_by_key(|mount| at(mount, &["mountPath"]));
    for mount in all {
        let mut flags =
            vec![if mount.get("readOnly").and_then(Value::as_bool) == Some(true) { "ro".to_string() } else { "rw".to_string() }];
        if !at(mount, &["subPath"]).is_empty() {
            flags.push(format!("path={:?}", at(mount, &["subPath"])));
        }
        text.line(depth + 1, format!("{} from {} ({})", at(mount, &["mountPath"]), at(mount, &["name"]), flags.join(",")));
    }
}

fn volumes(list: &[Value], depth: usize, text: &mut Text) {
    if list.is_empty() {
        text.line(depth, "Volumes:\t<none>");
        return;
    }
    text.line(depth, "Volumes:");
    for volume in list {
        text.line(depth + 1, format!("{}:", at(volume, &["name"])));
        let depth = depth + 2;
        let part = |key: &str| volume.get(key);
        let flag = |value: &Value, key: &str| value.get(key).and_then(Value::as_bool).unwrap_or(false);
        if let Some(source) = part("hostPath") {
            text.field(depth, "Type", "HostPath (bare host directory volume)");
            text.field(depth, "Path", at(source, &["path"]));
            text.field(depth, "HostPathType", at(source, &["type"]));
        } else if let Some(source) = part("emptyDir") {
            text.field(depth, "Type", "EmptyDir (a temporary directory that shares a pod's lifetime)");
            text.field(depth, "Medium", at(source, &["medium"]));
            text.field(depth, "SizeLimit", or_none(at(source, &["sizeLimit"]).replace("<none>", "").as_str()).replace("<none>", "<unset>"));
        } else if let Some(source) = part("configMap") {
            text.field(depth, "Type", "ConfigMap (a volume populated by a ConfigMap)");
            text.field(depth, "Name", at(source, &["name"]));
            text.field(depth, "Optional", flag(source, "optional"));
        } else if let Some(source) = part("secret") {
            text.field(depth, "Type", "Secret (a volume populated by a Secret)");
            text.field(depth, "SecretName", at(source, &["secretName"]));
            text.field(depth, "Optional", flag(source, "optional"));
        } else if let Some(source) = part("persistentVolumeClaim") {
            text.field(depth, "Type", "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)");
            text.field(depth, "ClaimName", at(source, &["claimName"]));
            text.field(depth, "ReadOnly", flag(source, "readOnly"));
        } else if let Some(source) = part("projected") {
            text.field(depth, "Type", "Projected (a volume that contains injected data from multiple sources)");
            for source in items(source, &["sources"]) {
                if let Some(source) = source.get("secret") {
                    text.field(depth, "SecretName", at(source, &["name"]));
                    text.field(depth, "SecretOptionalName", plain::go(source.get("optional").unwrap_or(&Value::Null)));
                } else if source.get("downwardAPI").is_some() {
                    text.field(depth, "DownwardAPI", "true");
                } else if let Some(source) = source.get("configMap") {
                    text.field(depth, "ConfigMapName", at(source, &["name"]));
                    text.field(depth, "Optional", flag(source, "optional"));
                } else if let Some(source) = source.get("serviceAccountToken") {
                    text.field(depth, "TokenExpirationSeconds", number(source, &["expirationSeconds"]));
                }
            }
        } else {
            let other = volume.as_object().map(|volume| volume.sorted()).unwrap_or_default();
            for (kind, source) in other.into_iter().filter(|(key, _)| *key != "name") {
                text.field(depth, "Type", kind);
                for (key, value) in source.as_object().map(|source| source.sorted()).unwrap_or_default() {
                    text.field(depth, key, plain::go(value));
                }
            }
        }
    }
}
