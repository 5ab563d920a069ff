//! The container runtime interface, v1: messages, a client over a unix socket, and server traits for fake runtimes.
//!
//! Everything below [`generated`] comes from `api/grpc.json`; written by hand are only [`connect`] and the thin layer
//! over tonic that the generated code calls. Upstream: `k8s.io/cri-api`.

pub mod call;
mod connect;
pub mod containerd;
pub mod generated;
pub mod health;

pub use connect::{ParseEndpointError, connect, socket_path};
pub use generated::runtime_v1 as v1;
pub use generated::runtime_v1_services::{
    ImageService, ImageServiceClient, ImageServiceServer, RuntimeService, RuntimeServiceClient, RuntimeServiceServer,
};
pub use tonic::{Code, Status, transport::Channel};
