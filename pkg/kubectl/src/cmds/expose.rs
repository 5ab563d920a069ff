//! `kubectl expose`: a Service in front of what runs already. Upstream: `kubectl/pkg/cmd/expose`.

use apimachinery::Value;

use super::create::{object_of, skeleton};
use super::run::send_new;
use crate::context::{Context, Outcome, refuse};
use crate::failure::Failure;
use crate::flags::Line;
use crate::print::Printer;
use crate::resources::{Ask, Target, qualified_kind};

/// Longest name of a Service.
const LONGEST_NAME: usize = 63;

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    refuse(line, &["kustomize", "overrides", "override-type"])?;
    // The selector here is the Service's, it chooses no objects.
    let ask = Ask { labels: None, ..Ask::of(ctx) };
    if ask.args.is_empty() && ask.files.is_empty() {
        return Err(Failure::usage("You must provide one or more resources by argument or filename."));
    }
    let printer = Printer::of(ctx)?;
    let (targets, mut failures) = ask.objects(ctx).await?;
    for target in &targets {
        let exposed = match service_for(line, target) {
            Ok(service) => send_new(ctx, service, &printer, "exposed").await,
            Err(failure) => Err(failure),
        };
        failures.extend(exposed.err());
    }
    Failure::all(failures)
}

/// The Service that the flags and the object describe together.
fn service_for(line: &Line, target: &Target) -> Result<Value, Failure> {
    let (kind, object) = (target.resource.kind.as_str(), target.value());
    if !matches!(kind, "Service" | "ReplicationController" | "Deployment" | "ReplicaSet" | "Pod") {
        return Err(Failure::text(format!("cannot expose a {}", qualified_kind(&target.resource))));
    }
    let selector = match line.text_opt("selector") {
        Some(text) => pairs("selector", text)?,
        None => selector_of(kind, object)?,
    };
    let name: String = line.text_opt("name").unwrap_or(&target.name).chars().take(LONGEST_NAME).collect();
    let mut service = skeleton("v1", "Service", &name);
    if !target.namespace.is_empty() {
        service.set_at(&["metadata", "namespace"], target.namespace.clone());
    }
    let labels = match line.text_opt("labels") {
        Some(text) => Some(pairs("labels", text)?),
        None => object.at(&["metadata", "labels"]).cloned(),
    };
    if let Some(labels) = labels {
        service.set_at(&["metadata", "labels"], labels);
    }
    service.set_at(&["spec", "selector"], selector);
    let ports = ports(line, &ports_of(kind, object))?;
    let headless = line.text("cluster-ip") == "None";
    if ports.is_empty() && !headless {
        return Err(Failure::text("couldn't find port via --port flag or introspection"));
    }
    if !ports.is_empty() {
        service.set_at(&["spec", "ports"], Value::Array(ports));
    }
    match line.text("type") {
        "" => {}
        kind @ ("ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName") => service.set_at(&["spec", "type"], kind),
        other => {
            return Err(Failure::text(format!(
                "invalid service type: {other}, must be one of: ClusterIP, NodePort, LoadBalancer, ExternalName"
            )));
        }
    }
    if let Some(ip) = line.text_opt("cluster-ip") {
        service.set_at(&["spec", "clusterIP"], ip);
    }
    if let Some(ip) = line.text_opt("external-ip") {
        service.set_at(&["spec", "externalIPs"], vec![ip]);
    }
    if let Some(ip) = line.text_opt("load-balancer-ip") {
        service.set_at(&["spec", "loadBalancerIP"], ip);
    }
    match line.text("session-affinity") {
        "" => {}
        affinity @ ("None" | "ClientIP") => service.set_at(&["spec", "sessionAffinity"], affinity),
        other => return Err(Failure::text(format!("unknown session affinity: {other}"))),
    }
    Ok(service)
}

/// `a=b,c=d` as an object.
pub fn pairs(flag: &str, text: &str) -> Result<Value, Failure> {
    let mut object = Value::object();
    for pair in text.split(',') {
        match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => object.set_at(&[key], value),
            _ => return Err(Failure::text(format!("unexpected --{flag}: {pair:?} is not of the form key=value"))),
        }
    }
    Ok(object)
}

/// The labels that a Service finds the object's pods by.
fn selector_of(kind: &str, object: &Value) -> Result<Value, Failure> {
    let (labels, missing) = match kind {
        "Pod" => (object.at(&["metadata", "labels"]), "the pod has no labels and cannot be exposed"),
        "Service" => (object.at(&["spec", "selector"]), "the service has no pod selector set"),
        "ReplicationController" => (object.at(&["spec", "selector"]), "the replication controller has no selector set"),
        _ => {
            let expressions = object.at(&["spec", "selector", "matchExpressions"]).and_then(Value::as_array).unwrap_or_default();
            if !expressions.is_empty() {
                return Err(Failure::text(format!(
                    "couldn't convert expressions - {:?} to map-based selector format",
                    crate::resources::text(&Value::Array(expressions.to_vec()))
                )));
            }
            (object.at(&["spec", "selector", "matchLabels"]), "invalid deployment: no selectors, therefore cannot be exposed")
        }
    };
    labels
        .filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()))
        .cloned()
        .ok_or_else(|| Failure::text(format!("couldn't retrieve selectors via --selector flag or introspection: {missing}")))
}

/// A port and its protocol.
type Port = (i64, String);

/// The ports that the object's containers, or the Service, are known to have.
fn ports_of(kind: &str, object: &Value) -> Vec<Port> {
    let read = |list: Option<&Value>, number: &str| -> Vec<Port> {
        let list = list.and_then(Value::as_array).unwrap_or_default();
        let protocol = |port: &Value| port.str_at(&["protocol"]).unwrap_or("TCP").to_string();
        list.iter().filter_map(|port| Some((port.get(number)?.as_i64()?, protocol(port)))).collect()
    };
    if kind == "Service" {
        return read(object.at(&["spec", "ports"]), "port");
    }
    let path: &[&str] = if kind == "Pod" { &["spec", "containers"] } else { &["spec", "template", "spec", "containers"] };
    let containers = object.at(path).and_then(Value::as_array).unwrap_or_default();
    containers.iter().flat_map(|container| read(container.get("ports"), "containerPort")).collect()
}

fn ports(line: &Line, known: &[Port]) -> Result<Vec<Value>, Failure> {
    let wanted: Vec<Port> = match line.text_opt("port") {
        None => known.to_vec(),
        Some(text) => {
            let protocol =
                |number: i64| known.iter().find(|(port, _)| *port == number).map_or("TCP".to_string(), |(_, protocol)| protocol.clone());
            let number =
                |text: &str| text.parse::<u16>().map(i64::from).map_err(|err| Failure::text(format!("invalid --port {text:?}: {err}")));
            text.split(',').map(|text| number(text).map(|number| (number, protocol(number)))).collect::<Result<_, _>>()?
        }
    };
    let named = wanted.len() > 1;
    let mut list = Vec::new();
    for (at, (number, protocol)) in wanted.into_iter().enumerate() {
        let protocol = line.text_opt("protocol").map_or(protocol, str::to_uppercase);
        if !matches!(protocol.as_str(), "TCP" | "UDP" | "SCTP") {
            return Err(Failure::text(format!("invalid --protocol {protocol:?}: must be TCP, UDP or SCTP")));
        }
        let target = line
            .text_opt("target-port")
            .map_or(Value::from(number), |text| text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from));
        let mut port = object_of([("port", number.into()), ("protocol", protocol.into()), ("targetPort", target)]);
        if named {
            port.set_at(&["name"], format!("port-{}", at + 1));
        }
        list.push(port);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line::parse(&text.split_whitespace().map(str::to_string).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn ports_come_from_flags_or_the_object() {
        let deployment = Value::parse(
            br#"{"spec":{"selector":{"matchLabels":{"app":"w"}},"template":{"spec":{"containers":[{"ports":[{"containerPort":53,"protocol":"UDP"}]}]}}}}"#,
        )
        .unwrap();
        let known = ports_of("Deployment", &deployment);
        for (flags, expected) in [
            ("expose deploy w", r#"[{"port":53,"protocol":"UDP","targetPort":53}]"#),
            ("expose deploy w --port 80 --target-port http", r#"[{"port":80,"protocol":"TCP","targetPort":"http"}]"#),
            (
                "expose deploy w --port 80,53",
                r#"[{"port":80,"protocol":"TCP","targetPort":80,"name":"port-1"},{"port":53,"protocol":"UDP","targetPort":53,"name":"port-2"}]"#,
            ),
        ] {
            assert_eq!(crate::resources::text(&Value::Array(ports(&line(flags), &known).unwrap())), expected, "{flags}");
        }
        assert!(ports(&line("expose deploy w --port x"), &known).is_err());
        assert_eq!(crate::resources::text(&selector_of("Deployment", &deployment).unwrap()), r#"{"app":"w"}"#);
        assert!(selector_of("Pod", &deployment).is_err());
        assert!(pairs("labels", "a").is_err());
    }
}
