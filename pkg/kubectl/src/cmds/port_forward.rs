//! `kubectl port-forward`. Upstream: `kubectl/pkg/cmd/portforward`, `client-go/tools/portforward`.

use std::net::IpAddr;
use std::sync::Arc;

use apimachinery::Value;
use streaming::portforward::Client as Forwarder;
use tokio::net::{TcpListener, TcpStream};

use crate::context::{Context, Outcome, errln, outln};
use crate::failure::Failure;
use crate::resources::{Ask, Target};
use crate::{pods, remote};

pub async fn run(ctx: &Context) -> Outcome {
    let line = &ctx.line;
    let [word, ports @ ..] = line.args.as_slice() else {
        return Err(Failure::usage("TYPE/NAME and list of ports are required for port-forward"));
    };
    if ports.is_empty() {
        return Err(Failure::usage("TYPE/NAME and list of ports are required for port-forward"));
    }
    let ask = Ask { args: vec![word.clone()], default_type: Some("pods"), ..Ask::default() };
    let (targets, mut failures) = ask.objects(ctx).await?;
    if !failures.is_empty() {
        return Err(failures.remove(0));
    }
    let Some(target) = targets.first() else { return Err(Failure::text("nothing to forward to")) };
    let pod = pods::pods_of(ctx, target).await?.into_iter().next();
    let pod = pod.ok_or_else(|| Failure::text(format!("no pods found for {}", target.full_name())))?;
    let phase = pod.str_at(&["status", "phase"]).unwrap_or_default();
    if phase != "Running" {
        return Err(Failure::text(format!("unable to forward port because pod is not running. Current status={phase}")));
    }
    let mut pairs = Vec::new();
    for text in ports {
        pairs.push(parse(text, target, &pod)?);
    }
    let resource = apimachinery::gvk::GroupVersionResource::new("", "v1", "pods");
    let (namespace, name) =
        (pod.str_at(&["metadata", "namespace"]).unwrap_or_default(), pod.str_at(&["metadata", "name"]).unwrap_or_default());
    let path = client::ResourcePath::new(resource, namespace).object(name, "portforward")?;
    let forwarder = Arc::new(remote::port_forward(ctx.client()?, &path).await?);

    let mut bound = 0;
    for (local, port) in pairs {
        for address in addresses(&line.strings("address"))? {
            match TcpListener::bind((address, local)).await {
                Ok(listener) => {
                    let at = listener.local_addr().map_err(|err| Failure::text(err.to_string()))?;
                    outln(&format!("Forwarding from {at} -> {port}"));
                    tokio::spawn(serve(listener, forwarder.clone(), port));
                    bound += 1;
                }
                Err(err) => errln(&format!("Unable to listen on port {local}: {err}")),
            }
        }
    }
    if bound == 0 {
        return Err(Failure::text("unable to listen on any of the requested ports"));
    }
    tokio::select! {
        ended = forwarder.closed() => Err(Failure::text(format!("lost connection to pod: {ended}"))),
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

async fn serve(listener: TcpListener, forwarder: Arc<Forwarder>, port: u16) {
    while let Ok((socket, _)) = listener.accept().await {
        outln(&format!("Handling connection for {port}"));
        tokio::spawn(handle(socket, forwarder.clone(), port));
    }
}

async fn handle(mut socket: TcpStream, forwarder: Arc<Forwarder>, port: u16) {
    let forwarded = match forwarder.open(port).await {
        Ok(forwarded) => forwarded,
        Err(err) => return errln(&format!("E an error occurred forwarding {port}: {err}")),
    };
    let mut data = forwarded.data;
    let copied = async {
        // A client that breaks off is no error of ours.
        drop(tokio::io::copy_bidirectional(&mut socket, &mut data).await);
        drop(data);
    };
    let ((), message) = tokio::join!(copied, forwarded.error.message());
    if let Ok(Some(message)) = message {
        errln(&format!("E an error occurred forwarding {port}: {message}"));
    }
}

/// `localhost` is both loopbacks.
fn addresses(words: &[String]) -> Result<Vec<IpAddr>, Failure> {
    let mut found = Vec::new();
    for word in words {
        if word == "localhost" {
            found.extend([IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
            continue;
        }
        found.push(word.parse().map_err(|_| Failure::text(format!("{word} is not a valid IP")))?);
    }
    Ok(found)
}

/// `80`, `8080:80`, `:80`; a Service's port is looked up in the pod.
fn parse(text: &str, target: &Target, pod: &Value) -> Result<(u16, u16), Failure> {
    let (local, remote) = text.split_once(':').unwrap_or((text, text));
    let wrong = |word: &str| Failure::text(format!("error parsing port {word:?}: invalid port"));
    let remote = match target.resource.kind.as_str() {
        "Service" => service_port(remote, target.value(), pod)?,
        _ => match remote.parse() {
            Ok(number) => number,
            Err(_) => named_port(remote, pod).ok_or_else(|| wrong(remote))?,
        },
    };
    if remote == 0 {
        return Err(Failure::text("remote port must be > 0"));
    }
    let local = match local {
        "" => 0,
        word => word.parse().or_else(|_| if text.contains(':') { Err(wrong(word)) } else { Ok(remote) })?,
    };
    Ok((local, remote))
}

fn named_port(name: &str, pod: &Value) -> Option<u16> {
    let containers = pod.at(&["spec", "containers"]).and_then(Value::as_array).unwrap_or_default();
    let ports = containers.iter().flat_map(|container| container.get("ports").and_then(Value::as_array).unwrap_or_default());
    let found = ports.into_iter().find(|port| port.str_at(&["name"]) == Some(name))?;
    found.get("containerPort").and_then(Value::as_i64).and_then(|port| u16::try_from(port).ok())
}

fn service_port(word: &str, service: &Value, pod: &Value) -> Result<u16, Failure> {
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array).unwrap_or_default();
    let number = word.parse::<i64>().ok();
    let port = ports
        .iter()
        .find(|port| match number {
            Some(number) => port.get("port").and_then(Value::as_i64) == Some(number),
            None => port.str_at(&["name"]) == Some(word),
        })
        .ok_or_else(|| {
            Failure::text(format!(
                "Service {} does not have a service port {word}",
                service.str_at(&["metadata", "name"]).unwrap_or_default()
            ))
        })?;
    if service.str_at(&["spec", "clusterIP"]) == Some("None")
        && let Some(number) = number
    {
        return u16::try_from(number).map_err(|_| Failure::text(format!("invalid port {number}")));
    }
    let target = port.get("targetPort").or_else(|| port.get("port")).unwrap_or(&Value::Null);
    let found = match target {
        Value::String(name) => named_port(name, pod),
        other => other.as_i64().and_then(|port| u16::try_from(port).ok()),
    };
    found.ok_or_else(|| {
        Failure::text(format!(
            "Pod {:?} does not have a named port {:?}",
            pod.str_at(&["metadata", "name"]).unwrap_or_default(),
            target.as_str().unwrap_or_default()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use client::ApiResource;

    #[test]
    fn ports() {
        let pod = Value::parse(br#"{"spec":{"containers":[{"ports":[{"name":"http","containerPort":8080}]}]}}"#).unwrap();
        let of = |kind: &str, object: &[u8]| {
            Target::of_object(ApiResource { kind: kind.into(), ..ApiResource::default() }, Value::parse(object).unwrap())
        };
        let own = of("Pod", b"{}");
        let service = of("Service", br#"{"spec":{"ports":[{"port":80,"targetPort":"http"}]}}"#);
        for (text, target, expected) in [
            ("80", &own, Some((80, 80))),
            ("8080:80", &own, Some((8080, 80))),
            (":80", &own, Some((0, 80))),
            ("http", &own, Some((8080, 8080))),
            ("x:80", &own, None),
            ("9000:80", &service, Some((9000, 8080))),
            ("80", &service, Some((80, 8080))),
            ("81", &service, None),
        ] {
            assert_eq!(parse(text, target, &pod).ok(), expected, "{text}");
        }
    }
}
