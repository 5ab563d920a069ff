//! Hooks: what a container is given to do right after its start and right before its end.
//!
//! Upstream: pkg/kubelet/lifecycle/handlers.go.

use crate::node::Node;
use crate::prober::http;
use api::core::v1::{Container, LifecycleHandler, Pod};
use apimachinery::IntOrString;
use cri_api::v1;
use std::time::Duration;

/// The number of a port given as number or name.
pub fn resolve_port(port: &IntOrString, container: Option<&Container>) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match name.parse::<i32>() {
            Ok(number) => number,
            Err(_) => container
                .and_then(|container| container.ports.iter().find(|port| port.name == *name))
                .map(|port| port.container_port)
                .ok_or_else(|| format!("couldn't find port: {name:?}"))?,
        },
    };
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

/// Runs a hook to its end. The caller sets the limit.
pub async fn run(
    node: &Node,
    pod: &Pod,
    container: Option<&Container>,
    id: &str,
    hook: &LifecycleHandler,
    ips: &[String],
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let request = v1::ExecSyncRequest { container_id: id.to_owned(), cmd: exec.command.to_vec(), timeout: 0 };
        let answer = node.runtime.exec_sync(request).await.map_err(|err| err.message().to_owned())?;
        if answer.exit_code != 0 {
            let output = [answer.stdout, answer.stderr].concat();
            return Err(format!(
                "command '{}' exited with {}: {}",
                exec.command.join(" "),
                answer.exit_code,
                String::from_utf8_lossy(&output)
            ));
        }
        return Ok(());
    }
    if let Some(get) = &hook.http_get {
        let request = http::request(get, container, ips.first().map(String::as_str).unwrap_or_default(), "kube-lifecycle")?;
        let answer = http::get(&request, Duration::from_secs(30)).await?;
        return match answer.status {
            200..400 => Ok(()),
            status => Err(format!("HTTP lifecycle hook ({}) for Container {:?} in Pod failed - status {status}", get.path, id)),
        };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0) as u64)).await;
        return Ok(());
    }
    if hook.tcp_socket.is_some() {
        return Err("tcpSocket is not supported as a lifecycle handler".to_owned());
    }
    Err(format!("invalid handler: no action for container {id} of pod {}", pod.metadata.name))
}
