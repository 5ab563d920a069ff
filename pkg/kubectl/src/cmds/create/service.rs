//! `create service ...` and `create ingress`.

use apimachinery::Value;

use super::{create_one, name_arg, object_of, required, skeleton};
use crate::context::{Context, Outcome};
use crate::failure::Failure;

pub async fn cluster_ip(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let mut object = service_object(&name_arg(ctx)?, "ClusterIP", &line.strings("tcp"), None)?;
    match line.text_opt("clusterip") {
        Some("None") => object.set_at(&["spec", "clusterIP"], "None"),
        Some(ip) => object.set_at(&["spec", "clusterIP"], ip),
        None => {}
    }
    if line.strings("tcp").is_empty() && line.text("clusterip") != "None" {
        return Err(Failure::text("at least one tcp port specifier must be provided"));
    }
    create_one(ctx, object).await
}

pub async fn node_port(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    need_ports(ctx)?;
    let port = (line.int("node-port") != 0).then(|| line.int("node-port"));
    create_one(ctx, service_object(&name_arg(ctx)?, "NodePort", &line.strings("tcp"), port)?).await
}

pub async fn load_balancer(ctx: &Context) -> Outcome {
    need_ports(ctx)?;
    create_one(ctx, service_object(&name_arg(ctx)?, "LoadBalancer", &ctx.line.strings("tcp"), None)?).await
}

pub async fn external_name(ctx: &Context) -> Outcome {
    required(ctx, &["external-name"])?;
    let mut object = service_object(&name_arg(ctx)?, "ExternalName", &ctx.line.strings("tcp"), None)?;
    object.set_at(&["spec", "externalName"], ctx.line.text("external-name"));
    create_one(ctx, object).await
}

fn need_ports(ctx: &Context) -> Outcome {
    match ctx.line.strings("tcp").is_empty() {
        true => Err(Failure::text("at least one tcp port specifier must be provided")),
        false => Ok(()),
    }
}

/// A Service in front of the pods labelled `app=name`. Ports are `port` or `port:targetPort`.
pub fn service_object(name: &str, kind: &str, ports: &[String], node_port: Option<i64>) -> Result<Value, Failure> {
    let mut object = skeleton("v1", "Service", name);
    object.set_at(&["metadata", "labels", "app"], name);
    object.set_at(&["spec", "type"], kind);
    object.set_at(&["spec", "selector", "app"], name);
    let mut list = Vec::new();
    for text in ports {
        let (port, target) = text.split_once(':').unwrap_or((text, text));
        let number: u16 =
            port.parse().map_err(|_| Failure::text(format!("invalid port {port:?}: must be a number between 1 and 65535")))?;
        let target = target.parse::<i64>().map_or_else(|_| Value::from(target), Value::from);
        let mut entry = object_of([
            ("name", text.replace(':', "-").into()),
            ("port", i64::from(number).into()),
            ("protocol", "TCP".into()),
            ("targetPort", target),
        ]);
        if let Some(port) = node_port {
            entry.set_at(&["nodePort"], port);
        }
        list.push(entry);
    }
    if !list.is_empty() {
        object.set_at(&["spec", "ports"], Value::Array(list));
    }
    Ok(object)
}

/// A rule is `host/path=service:port[,tls[=secret]]`; a path that ends in `*` is a prefix.
pub async fn ingress(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let mut object = skeleton("networking.k8s.io/v1", "Ingress", &name_arg(ctx)?);
    if let Some(class) = line.text_opt("class") {
        object.set_at(&["spec", "ingressClassName"], class);
    }
    for pair in line.array("annotation") {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::text(format!("annotation {pair} is invalid and should be in format key=[value]")))?;
        object.set_at(&["metadata", "annotations", key], value);
    }
    if let Some(text) = line.text_opt("default-backend") {
        object.set_at(&["spec", "defaultBackend"], backend(text)?);
    }
    let (mut rules, mut tls): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
    for rule in line.array("rule") {
        let (body, options) = rule.split_once(',').unwrap_or((&rule, ""));
        let wrong = || Failure::text(format!("rule {rule} is invalid and should be in format host/path=svcname:svcport[,tls[=secret]]"));
        let (place, service) = body.split_once('=').ok_or_else(wrong)?;
        let (host, path) = place.split_at(place.find('/').ok_or_else(wrong)?);
        let (path, kind) = match path.strip_suffix('*') {
            Some(prefix) => (prefix, "Prefix"),
            None => (path, "Exact"),
        };
        let path = object_of([("backend", backend(service)?), ("path", path.into()), ("pathType", kind.into())]);
        match rules.iter_mut().find(|rule| rule.str_at(&["host"]).unwrap_or_default() == host) {
            Some(rule) => {
                if let Some(paths) = rule.at_mut(&["http", "paths"]).and_then(Value::as_array_mut) {
                    paths.push(path);
                }
            }
            None => {
                let mut rule = Value::object();
                if !host.is_empty() {
                    rule.set_at(&["host"], host);
                }
                rule.set_at(&["http", "paths"], vec![path]);
                rules.push(rule);
            }
        }
        if let Some(secret) = options.strip_prefix("tls") {
            let mut entry = object_of([("hosts", vec![host].into())]);
            if let Some(secret) = secret.strip_prefix('=') {
                entry.set_at(&["secretName"], secret);
            }
            tls.push(entry);
        } else if !options.is_empty() {
            return Err(wrong());
        }
    }
    if rules.is_empty() && !line.changed("default-backend") {
        return Err(Failure::text(
            "not enough information provided: every ingress has to either specify a default-backend (which catches all traffic) or a list of rules (which catch specific paths)",
        ));
    }
    if !rules.is_empty() {
        object.set_at(&["spec", "rules"], Value::Array(rules));
    }
    if !tls.is_empty() {
        object.set_at(&["spec", "tls"], Value::Array(tls));
    }
    create_one(ctx, object).await
}

fn backend(text: &str) -> Result<Value, Failure> {
    let (name, port) = text
        .split_once(':')
        .ok_or_else(|| Failure::text(format!("default-backend should be in format servicename:serviceport, got {text}")))?;
    let mut backend = Value::object();
    backend.set_at(&["service", "name"], name);
    match port.parse::<i64>() {
        Ok(number) => backend.set_at(&["service", "port", "number"], number),
        Err(_) => backend.set_at(&["service", "port", "name"], port),
    }
    Ok(backend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_names_and_targets() {
        let service = service_object("web", "NodePort", &["80:http".into(), "443".into()], None).unwrap();
        assert_eq!(
            crate::resources::text(&service["spec"]["ports"]),
            r#"[{"name":"80-http","port":80,"protocol":"TCP","targetPort":"http"},{"name":"443","port":443,"protocol":"TCP","targetPort":443}]"#
        );
        assert!(service_object("web", "ClusterIP", &["x".into()], None).is_err());
    }
}
