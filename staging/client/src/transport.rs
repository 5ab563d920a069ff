//! Connections: TCP, proxies, TLS, and the pool that shares them between requests.
//!
//! Upstream: `client-go/transport`. Nothing in here knows what an API object is.

mod body;
mod connect;
mod identity;
mod pool;
mod tls;

pub use body::RequestBody;
pub use identity::ClientIdentity;

pub(crate) use connect::Connector;
pub(crate) use pool::{Lease, Pool};
pub(crate) use tls::TlsSource;
