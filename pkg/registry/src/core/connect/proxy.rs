//! `proxy` of Pods, Services and nodes: a client's request as it is, sent on from the API server. Upstream: ResourceLocation of each, ProxyREST.

use std::sync::Arc;

use api::core::v1::{Node, Pod, Service};
use api::discovery::v1::EndpointSlice;
use apimachinery::IntOrString;
use apimachinery::gvk::GroupResource;
use apimachinery::names::random_u64;
use apimachinery::status::StatusError;
use apiserver::objects::Objects;
use apiserver::request::RequestContext;
use apiserver::rest::Connecter;
use async_trait::async_trait;
use component_base::http::{Request, Response, empty};
use http::header::{HeaderValue, LOCATION};
use http::{Method, StatusCode, Uri};

use super::{Connections, http as carry};

/// To a Pod's port.
#[derive(Clone)]
pub struct PodProxy(pub Connections);

/// To a ready endpoint of a Service.
#[derive(Clone)]
pub struct ServiceProxy(pub Connections);

/// To a node's kubelet.
#[derive(Clone)]
pub struct NodeProxy(pub Connections);

/// Where a proxied request goes.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
    tls: bool,
    kubelet: bool,
}

/// `name`, `name:port` or `scheme:name:port`.
#[derive(Debug, PartialEq, Eq)]
struct Named<'a> {
    tls: bool,
    name: &'a str,
    port: &'a str,
}

fn parse_name(text: &str) -> Option<Named<'_>> {
    match text.split(':').collect::<Vec<_>>()[..] {
        [name] => Some(Named { tls: false, name, port: "" }),
        [name, port] => Some(Named { tls: false, name, port }),
        [scheme @ ("http" | "https" | ""), name, port] => Some(Named { tls: scheme == "https", name, port }),
        _ => None,
    }
}

fn named<'a>(resource: &str, text: &'a str) -> Result<Named<'a>, StatusError> {
    parse_name(text).ok_or_else(|| StatusError::bad_request(format!("invalid {resource} request {}", apimachinery::gotext::quote(text))))
}

#[async_trait]
impl Connecter for PodProxy {
    async fn connect(&self, context: Arc<RequestContext>, request: Request) -> Result<Response, StatusError> {
        let wanted = named("pod", &context.info.name)?;
        let pod = self.0.pod(&context.info.namespace, wanted.name).await?;
        let target = pod_target(&pod, &wanted)?;
        self.0.carry(&context, request, target).await
    }
}

fn pod_target(pod: &Pod, wanted: &Named<'_>) -> Result<Target, StatusError> {
    let host = pod.status.pod_ips.first().map_or(pod.status.pod_ip.as_str(), |ip| ip.ip.as_str());
    if host.is_empty() {
        return Err(StatusError::bad_request("address not allowed"));
    }
    let ports = || pod.spec.containers.iter().flat_map(|container| container.ports.iter());
    let port = match wanted.port {
        "" => ports().next().map_or(if wanted.tls { 443 } else { 80 }, |port| port.container_port),
        text => match text.parse() {
            Ok(port) => port,
            Err(_) => {
                let found = ports().find(|port| port.name == text).map(|port| port.container_port);
                found.ok_or_else(|| StatusError::bad_request(format!("invalid port {}", apimachinery::gotext::quote(text))))?
            }
        },
    };
    let port = u16::try_from(port).map_err(|_| StatusError::bad_request(format!("invalid port {port}")))?;
    Ok(Target { host: host.to_owned(), port, tls: wanted.tls, kubelet: false })
}

#[async_trait]
impl Connecter for ServiceProxy {
    async fn connect(&self, context: Arc<RequestContext>, request: Request) -> Result<Response, StatusError> {
        let wanted = named("service", &context.info.name)?;
        let namespace = context.info.namespace.as_str();
        let object = self.0.find("services", namespace, wanted.name).await?;
        let service: &Service = object.downcast_ref().expect("services are Services");
        let slices = self.0.objects.list("discovery.k8s.io", "endpointslices", namespace).await?;
        let slices: Vec<&EndpointSlice> = slices
            .iter()
            .filter_map(|slice| slice.downcast_ref::<EndpointSlice>())
            .filter(|slice| slice.metadata.labels.get_str("kubernetes.io/service-name") == wanted.name)
            .collect();
        let target = service_target(service, &slices, &wanted, random_u64())?;
        self.0.carry(&context, request, target).await
    }
}

fn service_target(service: &Service, slices: &[&EndpointSlice], wanted: &Named<'_>, random: u64) -> Result<Target, StatusError> {
    let port_name = match wanted.port {
        "" => "",
        text => {
            let by_number = text.parse::<i32>().ok();
            let found = service.spec.ports.iter().find(|port| port.name == text || by_number == Some(port.port));
            match found {
                Some(port) => port.name.as_str(),
                None if by_number.is_some() => {
                    return Err(StatusError::service_unavailable(format!(
                        "no service port {text} found for service {}",
                        quoted(wanted.name)
                    )));
                }
                None => text,
            }
        }
    };
    let none = || StatusError::service_unavailable(format!("no endpoints available for service {}", quoted(wanted.name)));
    if service.spec.type_ == "ExternalName" {
        return Err(none());
    }
    let mut candidates: Vec<(&str, i32)> = Vec::new();
    for slice in slices {
        let port = slice.ports.iter().find(|port| wanted.port.is_empty() || port.name.as_deref().unwrap_or_default() == port_name);
        let Some(number) = port.and_then(|port| port.port) else { continue };
        let ready = slice.endpoints.iter().filter(|endpoint| endpoint.conditions.ready != Some(false));
        candidates.extend(ready.filter_map(|endpoint| endpoint.addresses.first()).map(|address| (address.as_str(), number)));
    }
    if candidates.is_empty() {
        return Err(none());
    }
    let (host, port) = candidates[(random % candidates.len() as u64) as usize];
    let port = u16::try_from(port).map_err(|_| none())?;
    Ok(Target { host: host.to_owned(), port, tls: wanted.tls, kubelet: false })
}

fn quoted(text: &str) -> String {
    apimachinery::gotext::quote(text)
}

#[async_trait]
impl Connecter for NodeProxy {
    async fn connect(&self, context: Arc<RequestContext>, request: Request) -> Result<Response, StatusError> {
        let wanted = named("node", &context.info.name)?;
        let object = self.0.objects.get("", "nodes", "", wanted.name).await?;
        let object = object.ok_or_else(|| StatusError::not_found(&GroupResource::new("", "nodes"), wanted.name))?;
        let node: &Node = object.downcast_ref().expect("nodes are Nodes");
        let (host, kubelet_port) = self.0.nodes.address(node).map_err(StatusError::internal)?;
        let asked = if wanted.port.is_empty() { IntOrString::Int(0) } else { IntOrString::parse(wanted.port) };
        let target = match asked {
            IntOrString::Int(0) => Target { host, port: kubelet_port, tls: true, kubelet: true },
            IntOrString::Int(port) if port == i32::from(kubelet_port) => Target { host, port: kubelet_port, tls: true, kubelet: true },
            IntOrString::Int(port) => {
                let port = u16::try_from(port).map_err(|_| StatusError::bad_request(format!("invalid port {port}")))?;
                Target { host, port, tls: wanted.tls, kubelet: false }
            }
            IntOrString::String(text) => return Err(StatusError::bad_request(format!("invalid port {}", quoted(&text)))),
        };
        self.0.carry(&context, request, target).await
    }
}

/// The part of a URL's path after `/proxy`, as sent.
fn tail<'a>(path: &'a str, context: &RequestContext) -> &'a str {
    // Resource, name and subresource follow the namespace or the version; a name never holds a slash.
    let marker = format!("/{}/", context.info.resource);
    let after = path.split_once(&marker).map_or("", |(_, after)| after);
    after.split_once("/proxy").map_or("", |(_, tail)| tail)
}

impl Connections {
    async fn carry(&self, context: &RequestContext, mut request: Request, target: Target) -> Result<Response, StatusError> {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let tail = tail(&path, context).to_owned();
        let upgrade = streaming::upgrade::requested(request.headers()).is_some();
        if tail.is_empty() && !upgrade && matches!(*request.method(), Method::GET | Method::HEAD) {
            // Relative links of a page work only below a path that ends with a slash.
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            let location = HeaderValue::from_str(&format!("{path}/{query}")).map_err(StatusError::internal)?;
            response.headers_mut().insert(LOCATION, location);
            return Ok(response);
        }
        let scheme = if target.tls { "https" } else { "http" };
        let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
        let tail = if tail.is_empty() { "/" } else { &tail };
        let uri: Uri = format!("{scheme}://{host}:{}{tail}{query}", target.port).parse().map_err(StatusError::internal)?;
        let io = match target.kubelet {
            true => self.nodes.dial_kubelet(&target.host, target.port).await,
            false => self.nodes.dial_endpoint(&target.host, target.port, target.tls).await,
        };
        let io = io.map_err(|error| carry::unreachable(format_args!("dial tcp {host}:{}: {error}", target.port)))?;
        if upgrade {
            carry::remove_credentials(request.headers_mut());
            let mut onward = http::Request::new(());
            *onward.uri_mut() = uri;
            return streaming::proxy::forward(request, io, onward).await.map(carry::from_bytes).map_err(carry::unreachable);
        }
        Ok(carry::back(carry::exchange(io, carry::onward(request, &uri)).await?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_have_schemes_and_ports() {
        for (text, expected) in [
            ("a", Some((false, "a", ""))),
            ("a:80", Some((false, "a", "80"))),
            ("https:a:", Some((true, "a", ""))),
            (":a:web", Some((false, "a", "web"))),
            ("ftp:a:1", None),
        ] {
            let found = parse_name(text).map(|named| (named.tls, named.name, named.port));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_service_is_reached_at_a_ready_endpoint() {
        let service: Service =
            apimachinery::json::from_slice(br#"{"spec":{"ports":[{"name":"web","port":80},{"name":"admin","port":81}]}}"#).unwrap();
        let slice: EndpointSlice = apimachinery::json::from_slice(
            br#"{"ports":[{"name":"web","port":8080},{"name":"admin","port":8081}],"endpoints":[
                {"addresses":["10.0.0.1"],"conditions":{"ready":false}},{"addresses":["10.0.0.2"],"conditions":{"ready":true}}]}"#,
        )
        .unwrap();
        let target = |name: &str, slices: &[&EndpointSlice]| {
            service_target(&service, slices, &parse_name(name).unwrap(), 7).map(|target| format!("{}:{}", target.host, target.port))
        };
        assert_eq!(target("s:admin", &[&slice]).unwrap(), "10.0.0.2:8081");
        assert_eq!(target("s:80", &[&slice]).unwrap(), "10.0.0.2:8080");
        assert_eq!(target("s", &[&slice]).unwrap(), "10.0.0.2:8080");
        assert_eq!(target("s", &[]).unwrap_err().message, "no endpoints available for service \"s\"");
    }
}
