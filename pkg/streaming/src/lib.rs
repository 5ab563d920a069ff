//! Exec, attach and port-forward on the wire, both ends: SPDY/3.1 and WebSocket, in every version that a Kubernetes client, API
//! server, kubelet or container runtime may speak.
//!
//! Owns the framing, the upgrade handshakes, and one interface over all protocol versions: [`remotecommand::ServerSession`] and
//! [`remotecommand::ClientSession`] for exec and attach, [`portforward::Server`] and [`portforward::Client`] for port-forward,
//! [`proxy`] to join two of them. Never opens a connection, knows nothing of TLS, Pods or authorization: functions take bytes that
//! are already connected ([`Io`]) or a `hyper` request to be upgraded.
//!
//! Upstream: `k8s.io/apimachinery/pkg/util/httpstream`, `k8s.io/client-go/tools/{remotecommand,portforward}`,
//! `k8s.io/apiserver/pkg/util/proxy`, `k8s.io/kubelet/pkg/cri/streaming`, `github.com/moby/spdystream`.
//!
//! Start reading at [`remotecommand`]; the machine below it is `mux`: one task per connection moves bytes between the socket and
//! the bounded buffers of the streams, for SPDY and WebSocket alike.
//!
//! ```text
//!                   gateway                     what an API server does with a client's request
//!                      |
//!   remotecommand   portforward   proxy          sessions, and joining two of them
//!          \            |          /
//!           spdy    websocket   upgrade          framing; HTTP/1.1 handshakes
//!              \    /
//!               mux                              streams, buffers, back pressure, the driving task
//! ```

#![warn(missing_docs)]

mod error;
pub mod gateway;
mod mux;
pub mod portforward;
pub mod proxy;
pub mod remotecommand;
pub mod spdy;
mod status;
pub mod upgrade;
pub mod websocket;

pub use error::Error;
pub use mux::{KeepAlive, ReadHalf, Stream, WriteHalf};
pub use status::{Cause, Outcome, Status};

#[cfg(test)]
mod tests;

/// Connected bytes: a TCP or unix socket, a TLS session, an upgraded HTTP connection, a tunnel.
pub trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static> Io for T {}

/// [`Io`] of any kind. Everything below works on this one type, so that the machinery is compiled once.
pub type BoxIo = Box<dyn Io>;
