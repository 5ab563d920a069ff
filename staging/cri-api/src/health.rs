//! One call of the gRPC health protocol, `grpc.health.v1.Health/Check`, which probes speak.

use crate::call;
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::Endpoint;

#[derive(Clone, PartialEq, ::prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, ::prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// Asks the server at `address`, without TLS, how `service` does; the empty name is the server as a whole.
pub async fn check(address: SocketAddr, service: &str) -> Result<ServingStatus, Status> {
    let connect = tower::service_fn(move |_| async move { TcpStream::connect(address).await.map(TokioIo::new) });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect);
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer: HealthCheckResponse = call::unary(&channel, "/grpc.health.v1.Health/Check", request).await?;
    Ok(answer.status())
}
