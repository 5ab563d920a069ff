//! Health-check node ports: a load balancer asks each node whether it has ready endpoints of a Service.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use component_base::http::{Response, handler, with_type};
use component_base::serving::{Server, ServingConfig};
use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ProxyHealth;
use super::proxy::NO_SNIFF;
use crate::service::ServiceName;

/// Tells a load balancer how many endpoints there are, for it to weigh nodes.
const WEIGHT: HeaderName = HeaderName::from_static("x-load-balancing-endpoint-weight");

/// The port of one Service and what is answered there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Binding {
    pub port: u16,
    /// Ready endpoints on this node.
    pub local_endpoints: usize,
}

/// One Service's listeners; they end when this is dropped.
#[derive(Debug)]
struct Listening {
    port: u16,
    local_endpoints: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The health-check servers of all Services.
#[derive(Debug)]
pub struct ServiceHealth {
    addresses: Vec<IpAddr>,
    health: Arc<ProxyHealth>,
    listening: HashMap<ServiceName, Listening>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl ServiceHealth {
    /// Listens nowhere yet. All servers end when `stop` fires.
    pub fn new(health: Arc<ProxyHealth>, stop: CancellationToken) -> Self {
        let (listening, tasks) = (HashMap::new(), TaskTracker::new());
        Self { addresses: Vec::new(), health, listening, tasks, stop }
    }

    /// On which addresses of the node to listen from now on: those of node ports. Services must be set again.
    pub fn set_addresses(&mut self, addresses: Vec<IpAddr>) {
        if addresses != self.addresses {
            self.addresses = addresses;
            self.listening.clear();
        }
    }

    /// What is to be answered for `service`; `None` if it has no such port (any more).
    pub fn set(&mut self, service: &ServiceName, binding: Option<Binding>) {
        let Some(binding) = binding else {
            self.listening.remove(service);
            return;
        };
        if self.listening.get(service).is_none_or(|listening| listening.port != binding.port) {
            self.listening.remove(service);
            let listening = self.listen(service, binding.port);
            self.listening.insert(service.clone(), listening);
        }
        self.listening[service].local_endpoints.store(binding.local_endpoints, Ordering::Relaxed);
    }

    /// Waits until the servers have ended. `stop` must have fired.
    pub async fn drain(self) {
        drop(self.listening);
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn listen(&self, service: &ServiceName, port: u16) -> Listening {
        let local_endpoints = Arc::new(AtomicUsize::new(0));
        let stop = self.stop.child_token();
        for address in &self.addresses {
            let address = SocketAddr::new(*address, port);
            match Server::bind(ServingConfig::plain(address)) {
                Ok(server) => {
                    let answers = Answers {
                        service: service.clone(),
                        local_endpoints: local_endpoints.clone(),
                        health: Arc::downgrade(&self.health),
                    };
                    let handler = handler(move |_| std::future::ready(answers.answer(SystemTime::now())));
                    self.tasks.spawn(server.run(handler, stop.clone()));
                }
                Err(error) => {
                    // The Service works without; only its load balancer will not send here.
                    tracing::error!(service = %service, %address, err = %error, "Failed to start healthcheck");
                }
            }
        }
        Listening { port, local_endpoints, stop }
    }
}

struct Answers {
    service: ServiceName,
    local_endpoints: Arc<AtomicUsize>,
    health: Weak<ProxyHealth>,
}

impl Answers {
    fn answer(&self, now: SystemTime) -> Response {
        let count = self.local_endpoints.load(Ordering::Relaxed);
        let healthy = self.health.upgrade().is_some_and(|health| health.is_healthy(now));
        let (namespace, name) = (&self.service.namespace, &self.service.name);
        let body = format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\
             \t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {healthy}\n}}"
        );
        let status = if count > 0 && healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let mut response = with_type(status, "application/json", body);
        response.headers_mut().insert(NO_SNIFF.0, NO_SNIFF.1);
        response.headers_mut().insert(WEIGHT, HeaderValue::from(count));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use component_base::metrics::{Registry, Stability};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::service::Family;

    async fn ask(port: u16) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    #[tokio::test]
    async fn a_port_answers_for_its_service_until_the_service_goes() {
        let registry = Registry::new();
        let counter = |name| registry.counter(name, "", Stability::Alpha, &["code"]);
        let health = Arc::new(ProxyHealth::new(Duration::from_secs(60), counter("a"), counter("b")));
        health.updated(Family::V4, SystemTime::now());
        let stop = CancellationToken::new();
        let mut services = ServiceHealth::new(health, stop.clone());
        services.set_addresses(vec!["127.0.0.1".parse().unwrap()]);
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let name = ServiceName::new("ns", "web");
        services.set(&name, Some(Binding { port, local_endpoints: 2 }));
        let answer = ask(port).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("x-load-balancing-endpoint-weight: 2"), "{answer}");
        assert!(answer.contains("\"localEndpoints\": 2"), "{answer}");
        services.set(&name, Some(Binding { port, local_endpoints: 0 }));
        assert!(ask(port).await.unwrap().starts_with("HTTP/1.1 503"));
        services.set(&name, None);
        stop.cancel();
        services.drain().await;
        assert_eq!(ask(port).await, None);
    }
}
