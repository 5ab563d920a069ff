//! `pods/NAME/exec`, `attach` and `portforward`: sessions that go on to the Pod's kubelet.

use std::sync::Arc;

use api::core::v1::{Node, Pod};
use apimachinery::status::StatusError;
use apiserver::request::RequestContext;
use apiserver::rest::Connecter;
use async_trait::async_trait;
use component_base::http::{Request, Response};
use http::{Method, Uri};
use streaming::gateway::{self, Backend};
use streaming::remotecommand::Options;
use streaming::{Error, KeepAlive};

use super::query::{Query, encode};
use super::{Connections, container_of, http as carry};

/// Runs a command in a container, or attaches to the one it runs.
#[derive(Clone)]
pub struct RemoteCommandConnecter {
    pub connections: Connections,
    /// `exec` or `attach`.
    pub verb: &'static str,
}

#[async_trait]
impl Connecter for RemoteCommandConnecter {
    async fn connect(&self, context: Arc<RequestContext>, mut request: Request) -> Result<Response, StatusError> {
        let query = Query::parse(request.uri().query());
        let options = Options {
            stdin: query.is_set("stdin"),
            stdout: query.is_set("stdout"),
            stderr: query.is_set("stderr"),
            tty: query.is_set("tty"),
        };
        if !(options.stdin || options.stdout || options.stderr) {
            return Err(StatusError::bad_request("you must specify at least one of stdin, stdout, stderr"));
        }
        let pod = self.connections.pod(&context.info.namespace, &context.info.name).await?;
        let container = container_of(&pod, query.get("container"))?;
        let (host, port) = self.connections.kubelet_of(&pod).await?;
        let path = format!("/{}/{}/{}/{container}", self.verb, pod.metadata.namespace, pod.metadata.name);
        let uri = location(&host, port, &path, &kubelet_query(options, &query))?;
        carry::remove_credentials(request.headers_mut());
        let backend = self.connections.backend(host, port, uri);
        gateway::remote_command(request, options, backend, KeepAlive::default()).await.map(carry::from_bytes).map_err(refused)
    }
}

/// The kubelet has names of its own for the streams.
fn kubelet_query(options: Options, query: &Query) -> String {
    let flags = [("input", options.stdin), ("output", options.stdout), ("error", options.stderr), ("tty", options.tty)];
    let mut pairs: Vec<String> = flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| format!("{name}=1")).collect();
    pairs.extend(query.all("command").map(|part| format!("command={}", encode(part))));
    pairs.join("&")
}

/// Forwards connections to ports of a Pod.
#[derive(Clone)]
pub struct PortForwardConnecter(pub Connections);

#[async_trait]
impl Connecter for PortForwardConnecter {
    async fn connect(&self, context: Arc<RequestContext>, mut request: Request) -> Result<Response, StatusError> {
        let query = Query::parse(request.uri().query());
        let pod = self.0.pod(&context.info.namespace, &context.info.name).await?;
        let (host, port) = self.0.kubelet_of(&pod).await?;
        let ports: Vec<String> = query.all("ports").map(|ports| format!("port={}", encode(ports))).collect();
        let path = format!("/portForward/{}/{}", pod.metadata.namespace, pod.metadata.name);
        let uri = location(&host, port, &path, &ports.join("&"))?;
        carry::remove_credentials(request.headers_mut());
        let backend = self.0.backend(host, port, uri);
        gateway::port_forward(request, backend, KeepAlive::default()).await.map(carry::from_bytes).map_err(refused)
    }
}

impl Connections {
    /// Host and port of the kubelet that runs the Pod.
    async fn kubelet_of(&self, pod: &Pod) -> Result<(String, u16), StatusError> {
        if pod.spec.node_name.is_empty() {
            return Err(StatusError::bad_request(format!("pod {} does not have a host assigned", pod.metadata.name)));
        }
        let node = self.find("nodes", "", &pod.spec.node_name).await.map_err(|error| StatusError::bad_request(error.message))?;
        let node: &Node = node.downcast_ref().expect("nodes are Nodes");
        self.nodes.address(node).map_err(StatusError::internal)
    }

    fn backend(&self, host: String, port: u16, uri: Uri) -> Backend {
        let nodes = self.nodes.clone();
        let dial =
            async move { nodes.dial_kubelet(&host, port).await.map_err(|error| Error::Upgrade(format!("error dialing backend: {error}"))) };
        let mut request = http::Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        Backend { dial: Box::pin(dial), request }
    }
}

fn location(host: &str, port: u16, path: &str, query: &str) -> Result<Uri, StatusError> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("https://{host}:{port}{path}{query}").parse().map_err(StatusError::internal)
}

fn refused(error: Error) -> StatusError {
    match error {
        Error::Upgrade(text) => StatusError::internal(text),
        error => StatusError::internal(format_args!("error dialing backend: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_the_kubelet_in_its_words() {
        let query = Query::parse(Some("command=sh&command=-c&command=a+b&stdin=true&stdout=1&tty=false"));
        let options = Options { stdin: true, stdout: true, stderr: false, tty: false };
        assert_eq!(kubelet_query(options, &query), "input=1&output=1&command=sh&command=-c&command=a+b");
        let uri = location("192.0.2.1", 10250, "/exec/n/p/c", "input=1").unwrap();
        assert_eq!(uri.to_string(), "https://192.0.2.1:10250/exec/n/p/c?input=1");
    }
}
