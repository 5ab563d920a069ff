//! From what people name to a pod to speak to: a pod itself, or one that a workload selects. Upstream: `polymorphichelpers`.

use apimachinery::Value;
use apimachinery::labels::Selector;
use client::ListParams;

use crate::context::Context;
use crate::failure::Failure;
use crate::resources::{Ask, Target, list_all};

/// The pods behind an object, best first: ready ones, then older ones.
pub async fn pods_of(ctx: &Context, target: &Target) -> Result<Vec<Value>, Failure> {
    let object = target.value();
    if target.resource.kind == "Pod" {
        return Ok(vec![object.clone()]);
    }
    let selector = selector_of(object, &target.resource.kind)?;
    let pods = ctx.resource("pods").await?;
    let params = ListParams { label_selector: Some(selector), ..ListParams::default() };
    let (found, _) = list_all(&ctx.api(&pods, &target.namespace)?, params, &pods).await?;
    let mut found: Vec<Value> = found.into_iter().filter_map(|pod| pod.object).collect();
    found.sort_by_key(|pod| {
        let running = pod.str_at(&["status", "phase"]) == Some("Running");
        (!(running && is_ready(pod)), !running, pod.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default().to_string())
    });
    Ok(found)
}

/// The label selector of a workload or a Service, as text.
pub fn selector_of(object: &Value, kind: &str) -> Result<String, Failure> {
    let plain = |labels: &Value| -> String {
        let pairs = labels.as_object().map(|labels| labels.sorted()).unwrap_or_default();
        pairs.into_iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect::<Vec<_>>().join(",")
    };
    let selector = object.at(&["spec", "selector"]);
    let text = match (kind, selector) {
        ("Service" | "ReplicationController", Some(labels)) => plain(labels),
        ("Service", None) => return Err(Failure::text("invalid service: Service is defined without a selector")),
        (_, Some(selector)) if selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some() => {
            let mut parts = vec![selector.get("matchLabels").map(plain).unwrap_or_default()];
            for rule in selector.get("matchExpressions").and_then(Value::as_array).unwrap_or_default() {
                let key = rule.str_at(&["key"]).unwrap_or_default();
                let values: Vec<&str> =
                    rule.get("values").and_then(Value::as_array).unwrap_or_default().iter().filter_map(Value::as_str).collect();
                parts.push(match rule.str_at(&["operator"]).unwrap_or_default() {
                    "In" => format!("{key} in ({})", values.join(",")),
                    "NotIn" => format!("{key} notin ({})", values.join(",")),
                    "Exists" => key.to_string(),
                    _ => format!("!{key}"),
                });
            }
            parts.retain(|part| !part.is_empty());
            parts.join(",")
        }
        _ => return Err(Failure::text(format!("selector for {} not implemented", kind.to_lowercase()))),
    };
    Selector::parse(&text).map_err(|err| Failure::text(err.to_string()))?;
    Ok(text)
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod.at(&["status", "conditions"]).and_then(Value::as_array).unwrap_or_default();
    conditions.iter().any(|condition| condition.str_at(&["type"]) == Some("Ready") && condition.str_at(&["status"]) == Some("True"))
}

/// The one pod that `word` means: `web`, `pod/web`, `deploy/web`.
pub async fn pod_for(ctx: &Context, word: &str) -> Result<Value, Failure> {
    let ask = Ask { args: vec![word.to_string()], default_type: Some("pods"), ..Ask::default() };
    let (targets, mut failures) = ask.objects(ctx).await?;
    if !failures.is_empty() {
        return Err(failures.remove(0));
    }
    let Some(target) = targets.first() else { return Err(Failure::text("no pod was named")) };
    let pods = pods_of(ctx, target).await?;
    pods.into_iter().next().ok_or_else(|| Failure::text(format!("no pods found for {}", target.full_name())))
}

/// The names of a pod's containers: its own, or with the others.
pub fn containers(pod: &Value, all: bool) -> Vec<&str> {
    let lists: &[&str] = if all { &["initContainers", "containers", "ephemeralContainers"] } else { &["containers"] };
    let of = |list: &&str| pod.at(&["spec", list]).and_then(Value::as_array).unwrap_or_default();
    lists.iter().flat_map(of).filter_map(|container| container.str_at(&["name"])).collect()
}

/// The container meant: the one named, the annotated default, or the first, which is told.
pub fn container(pod: &Value, named: &str, quiet: bool) -> Result<String, Failure> {
    let name = pod.str_at(&["metadata", "name"]).unwrap_or_default();
    if !named.is_empty() {
        let known = containers(pod, true);
        return match known.contains(&named) {
            true => Ok(named.to_string()),
            false => Err(Failure::text(format!("container {named} not found in pod {name}"))),
        };
    }
    let own = containers(pod, false);
    let annotated = pod.str_at(&["metadata", "annotations", "kubectl.kubernetes.io/default-container"]);
    if let Some(chosen) = annotated.filter(|chosen| own.contains(chosen)) {
        return Ok(chosen.to_string());
    }
    let first = own.first().ok_or_else(|| Failure::text(format!("pod {name} has no containers")))?;
    if containers(pod, true).len() > 1 && !quiet {
        crate::context::errln(&format!("Defaulted container {first:?} out of: {}", described(pod)));
    }
    Ok(first.to_string())
}

/// `app, setup (init), debugger (ephem)`.
fn described(pod: &Value) -> String {
    let mut parts = Vec::new();
    for (list, note) in [("containers", ""), ("ephemeralContainers", " (ephem)"), ("initContainers", " (init)")] {
        for container in pod.at(&["spec", list]).and_then(Value::as_array).unwrap_or_default() {
            parts.push(format!("{}{note}", container.str_at(&["name"]).unwrap_or_default()));
        }
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_become_text() {
        let object = Value::parse(
            br#"{"spec":{"selector":{"matchLabels":{"b":"2","a":"1"},"matchExpressions":[{"key":"t","operator":"In","values":["x","y"]},{"key":"u","operator":"DoesNotExist"}]}}}"#,
        )
        .unwrap();
        assert_eq!(selector_of(&object, "Deployment").unwrap(), "a=1,b=2,t in (x,y),!u");
        let service = Value::parse(br#"{"spec":{"selector":{"app":"w"}}}"#).unwrap();
        assert_eq!(selector_of(&service, "Service").unwrap(), "app=w");
        assert!(selector_of(&Value::object(), "ConfigMap").is_err());
    }

    #[test]
    fn containers_are_chosen() {
        let pod = Value::parse(
            br#"{"metadata":{"name":"p","annotations":{"kubectl.kubernetes.io/default-container":"b"}},"spec":{"containers":[{"name":"a"},{"name":"b"}],"initContainers":[{"name":"i"}]}}"#,
        )
        .unwrap();
        assert_eq!(container(&pod, "", true).unwrap(), "b");
        assert_eq!(container(&pod, "i", true).unwrap(), "i");
        assert_eq!(container(&pod, "x", true).unwrap_err().report("exec").0, "error: container x not found in pod p\n");
        assert_eq!(described(&pod), "a, b, i (init)");
    }
}
