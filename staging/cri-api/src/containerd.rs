//! containerd's own event stream: tells of a container's end at once, where CRI of that age has to be asked.
//!
//! Only what the kubelet needs of it: that something happened to a task of a Kubernetes container.

use crate::call;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

#[derive(Clone, PartialEq, ::prost::Message)]
struct SubscribeRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// An event; its other fields are not looked at.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Envelope {
    #[prost(message, optional, tag = "4")]
    event: Option<Any>,
}

#[derive(Clone, PartialEq, ::prost::Message)]
struct Any {
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// What TaskExit and TaskOOM begin with. The latter has no process id.
#[derive(Clone, PartialEq, ::prost::Message)]
struct TaskEnd {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    id: String,
}

impl Envelope {
    /// Whether it is about the container itself and not about a process that was executed in it.
    pub fn is_about_container(&self) -> bool {
        let end = self.event.as_ref().and_then(|event| TaskEnd::decode(event.value.as_slice()).ok());
        end.is_none_or(|end| end.id.is_empty() || end.id == end.container_id)
    }
}

/// Ends of processes and memory kills in the namespace CRI uses. Unimplemented where the runtime is not containerd.
pub async fn task_ends(channel: &Channel) -> Result<Streaming<Envelope>, Status> {
    let filters = ["/tasks/exit", "/tasks/oom"].map(|topic| format!("namespace==\"k8s.io\",topic==\"{topic}\"")).to_vec();
    call::server_streaming(channel, "/containerd.services.events.v1.Events/Subscribe", SubscribeRequest { filters }).await
}
