//! containerd's own event stream: tells of a container's end at once, where CRI of that age has to be asked.
//!
//! Only what the kubelet needs of it: that something happened to a task of a Kubernetes container.

use crate::call;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

#[derive(Clone, PartialEq, ::prost::Message)]
struct SubscribeRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// The payload is left undecoded: the topic says enough.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Envelope {
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub topic: String,
}

/// Ends of processes and memory kills in the namespace CRI uses. Unimplemented where the runtime is not containerd.
pub async fn task_ends(channel: &Channel) -> Result<Streaming<Envelope>, Status> {
    let filters = ["/tasks/exit", "/tasks/oom"].map(|topic| format!("namespace==\"k8s.io\",topic==\"{topic}\"")).to_vec();
    call::server_streaming(channel, "/containerd.services.events.v1.Events/Subscribe", SubscribeRequest { filters }).await
}
