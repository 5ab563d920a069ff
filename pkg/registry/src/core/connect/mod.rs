//! Subresources that are connections: a Pod's logs, commands and ports through its node's kubelet, and proxies to Pods, Services and nodes.
//!
//! [`nodes`] knows how to reach a kubelet, [`http`] how a request is carried on; the others say where to. Upstream: pkg/registry/core/pod/rest,
//! pkg/kubelet/client.

mod http;
mod log;
pub mod nodes;
mod proxy;
mod query;
mod streams;

pub use log::LogConnecter;
pub use nodes::NodeAccess;
pub use proxy::{NodeProxy, PodProxy, ServiceProxy};
pub use streams::{PortForwardConnecter, RemoteCommandConnecter};

use std::sync::Arc;

use api::core::v1::Pod;
use apimachinery::Object;
use apimachinery::gvk::GroupResource;
use apimachinery::status::StatusError;
use apiserver::objects::Objects;

use crate::config::LateObjects;

/// What every connecter needs.
#[derive(Clone)]
pub struct Connections {
    pub objects: Arc<LateObjects>,
    pub nodes: Arc<NodeAccess>,
}

impl Connections {
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> Result<Arc<dyn Object>, StatusError> {
        let found = self.objects.get("", resource, namespace, name).await?;
        found.ok_or_else(|| StatusError::not_found(&GroupResource::new("", resource), name))
    }

    /// The Pod a request names.
    async fn pod(&self, namespace: &str, name: &str) -> Result<Pod, StatusError> {
        let found = self.find("pods", namespace, name).await?;
        Ok(found.downcast_ref::<Pod>().expect("pods are Pods").clone())
    }
}

/// The container a request is about: the one it names, or the only one there is.
fn container_of<'a>(pod: &'a Pod, asked: &'a str) -> Result<&'a str, StatusError> {
    let spec = &pod.spec;
    let name = &pod.metadata.name;
    let containers: Vec<&str> = spec.containers.iter().map(|container| container.name.as_str()).collect();
    let inits: Vec<&str> = spec.init_containers.iter().map(|container| container.name.as_str()).collect();
    let debuggers: Vec<&str> =
        spec.ephemeral_containers.iter().map(|container| container.ephemeral_container_common.name.as_str()).collect();
    if !asked.is_empty() {
        let known = [&containers, &inits, &debuggers].into_iter().any(|names| names.contains(&asked));
        return if known { Ok(asked) } else { Err(StatusError::bad_request(format!("container {asked} is not valid for pod {name}"))) };
    }
    match containers.as_slice() {
        [only] => Ok(only),
        [] => Err(StatusError::bad_request(format!("a container name must be specified for pod {name}"))),
        several => {
            let mut text = format!("a container name must be specified for pod {name}, choose one of: [{}]", several.join(" "));
            if !inits.is_empty() {
                text.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
            }
            if !debuggers.is_empty() {
                text.push_str(&format!(" or one of the ephemeral containers: [{}]", debuggers.join(" ")));
            }
            Err(StatusError::bad_request(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_has_to_be_named_among_several() {
        let one: Pod = apimachinery::json::from_slice(br#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"a"}]}}"#).unwrap();
        assert_eq!(container_of(&one, "").unwrap(), "a");
        assert_eq!(container_of(&one, "b").unwrap_err().message, "container b is not valid for pod p");
        let json = br#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"a"},{"name":"b"}],"initContainers":[{"name":"i"}]}}"#;
        let two: Pod = apimachinery::json::from_slice(json).unwrap();
        assert_eq!(container_of(&two, "i").unwrap(), "i");
        let expected = "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]";
        assert_eq!(container_of(&two, "").unwrap_err().message, expected);
    }
}
