//! Is this proxy well (`/healthz`, `/livez` on 10256), and has this node endpoints of a Service (health-check node ports)?
//!
//! Upstream: pkg/proxy/healthcheck.

mod proxy;
mod service;

pub use proxy::ProxyHealth;
pub use service::{Binding, ServiceHealth};
