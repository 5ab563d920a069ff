//! Objects described for people, in upstream's layout. Upstream: `kubectl/pkg/describe`.
//!
//! Pure: from an object, and what belongs to it, to text whose cells end in tabs; [`align`] lays it out.

mod generic;
mod nodes;
mod pods;
mod workloads;

use std::fmt::Write;

use apimachinery::Value;

pub use crate::print::tab::align;

/// An object and what its description needs from elsewhere.
pub struct Subject<'a> {
    pub object: &'a Value,
    pub events: Option<&'a [Value]>,
    /// Pods on a node or of a workload.
    pub pods: &'a [Value],
    /// ReplicaSets of a Deployment, EndpointSlices of a Service.
    pub related: &'a [Value],
}

/// The description, laid out.
pub fn describe(subject: &Subject<'_>) -> String {
    let object = subject.object;
    let mut text = Text::default();
    match object.str_at(&["kind"]).unwrap_or_default() {
        "Pod" => pods::pod(subject, &mut text),
        "Node" => nodes::node(subject, &mut text),
        "Deployment" => workloads::deployment(subject, &mut text),
        "ReplicaSet" | "ReplicationController" => workloads::replica_set(subject, &mut text),
        "StatefulSet" => workloads::stateful_set(subject, &mut text),
        "DaemonSet" => workloads::daemon_set(subject, &mut text),
        "Job" => workloads::job(subject, &mut text),
        "Service" => workloads::service(subject, &mut text),
        "ConfigMap" => workloads::config_map(subject, &mut text),
        "Secret" => workloads::secret(subject, &mut text),
        "PersistentVolumeClaim" => workloads::claim(subject, &mut text),
        _ => generic::any(object, &mut text),
    }
    if let Some(events) = subject.events {
        describe_events(events, &mut text);
    }
    align(&text.0, 0, 2)
}

/// A pod template alone: what `rollout history --revision` shows.
pub fn pod_template(template: &Value) -> String {
    let mut text = Text::default();
    pods::template(template, &mut text);
    align(&text.0, 0, 2)
}

/// Text being written, a line at a time.
#[derive(Default)]
pub struct Text(pub String);

impl Text {
    /// A line at a depth of two spaces each.
    pub fn line(&mut self, depth: usize, line: impl AsRef<str>) {
        let _ = writeln!(self.0, "{}{}", "  ".repeat(depth), line.as_ref());
    }

    /// `Name:<tab>value`.
    pub fn field(&mut self, depth: usize, name: &str, value: impl std::fmt::Display) {
        self.line(depth, format!("{name}:\t{value}"));
    }

    /// Labels or annotations: one per line, `<none>` without any.
    pub fn pairs(&mut self, name: &str, pairs: Option<&Value>, separator: &str) {
        let sorted = pairs.and_then(Value::as_object).map(|pairs| pairs.sorted()).unwrap_or_default();
        let shown: Vec<String> = sorted
            .into_iter()
            .filter(|(key, _)| *key != crate::cmds::apply::LAST_APPLIED)
            .map(|(key, value)| format!("{key}{separator}{}", value.as_str().unwrap_or_default()))
            .collect();
        match shown.split_first() {
            None => self.field(0, name, "<none>"),
            Some((first, rest)) => {
                self.field(0, name, first);
                for pair in rest {
                    self.line(0, format!("\t{pair}"));
                }
            }
        }
    }

    /// Name, namespace, labels, annotations: how most descriptions begin.
    pub fn head(&mut self, object: &Value) {
        self.field(0, "Name", at(object, &["metadata", "name"]));
        if object.at(&["metadata", "namespace"]).is_some() {
            self.field(0, "Namespace", at(object, &["metadata", "namespace"]));
        }
    }

    pub fn metadata(&mut self, object: &Value) {
        self.pairs("Labels", object.at(&["metadata", "labels"]), "=");
        self.pairs("Annotations", object.at(&["metadata", "annotations"]), ": ");
    }
}

/// A text at a path; empty if it is not there.
pub fn at<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    object.str_at(path).unwrap_or_default()
}

pub fn number(object: &Value, path: &[&str]) -> i64 {
    object.at(path).and_then(Value::as_i64).unwrap_or(0)
}

pub fn items<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    object.at(path).and_then(Value::as_array).unwrap_or_default()
}

pub fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// The owner that controls the object: `ReplicaSet/web-1`.
pub fn controlled_by(object: &Value, text: &mut Text) {
    let owners = items(object, &["metadata", "ownerReferences"]);
    if let Some(owner) = owners.iter().find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true)) {
        text.field(0, "Controlled By", format!("{}/{}", at(owner, &["kind"]), at(owner, &["name"])));
    }
}

fn describe_events(events: &[Value], text: &mut Text) {
    if events.is_empty() {
        text.line(0, "Events:\t<none>");
        return;
    }
    text.line(0, "Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------");
    for event in events {
        let last = event.str_at(&["series", "lastObservedTime"]).or(event.str_at(&["lastTimestamp"])).or(event.str_at(&["eventTime"]));
        let first = event.str_at(&["firstTimestamp"]).or(event.str_at(&["eventTime"]));
        let count = number(event, &["series", "count"]).max(number(event, &["count"]));
        let age = match count > 1 {
            true => format!("{} (x{count} over {})", crate::print::age::since(last), crate::print::age::since(first)),
            false => crate::print::age::since(first.or(last)),
        };
        let from = match at(event, &["source", "component"]) {
            "" => at(event, &["reportingComponent"]),
            component => component,
        };
        let message = at(event, &["message"]).trim();
        text.line(1, format!("{}\t{}\t{age}\t{from}\t{message}", at(event, &["type"]), at(event, &["reason"])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(object: &str) -> String {
        let object = Value::parse(object.as_bytes()).unwrap();
        describe(&Subject { object: &object, events: Some(&[]), pods: &[], related: &[] })
    }

    #[test]
    fn config_maps() {
        let text = told(r#"{"kind":"ConfigMap","metadata":{"name":"a","namespace":"n","labels":{"x":"1"}},"data":{"k":"v"}}"#);
        let expected = "Name:         a\nNamespace:    n\nLabels:       x=1\nAnnotations:  <none>\n\nData\n====\nk:\n----\nv\n\n\nBinaryData\n====\n\nEvents:  <none>\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn unknown_kinds_are_told_field_by_field() {
        let text = told(r#"{"apiVersion":"x/v1","kind":"Thing","metadata":{"name":"a"},"spec":{"twoWords":[{"b":1},{"c":"d"}]}}"#);
        assert!(text.contains("Spec:\n  Two Words:\n    B:   1\n    C:   d\nEvents:  <none>\n"), "{text}");
    }
}
