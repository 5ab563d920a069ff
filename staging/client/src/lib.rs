//! The client library: how every component, and any other program, talks to an API server.
//!
//! It owns the way from "which cluster, as whom" (kubeconfig files, in-cluster credentials) to decoded objects and watch
//! events. It never retries on its own judgement (only where the server asked, or where the request provably never left),
//! never reads environment variables, and keeps no cache: that is `pkg/informer`'s.
//!
//! Upstream: `staging/src/k8s.io/client-go` (`rest`, `transport`, `tools/clientcmd`, `discovery`, `dynamic`, `kubernetes`).
//! Start reading at [`Config`], then [`Client::send`].

mod config;
mod credentials;
mod error;
mod exec;
pub mod kubeconfig;

mod client;
mod metrics;
mod rate_limit;
mod request;
mod transport;

mod api;
mod discovery;
mod dynamic;
mod encoding;
mod mapper;
mod params;
mod resource;
mod watch;

#[cfg(feature = "testing")]
pub mod testing;

pub use api::{Api, Deleted};
pub use client::{Client, Upgraded, retry_on_conflict};
pub use config::{Auth, Config, ConfigError, Impersonation, Pem, TlsSettings, default_user_agent, in_cluster};
pub use credentials::{TokenError, TokenSource};
pub use discovery::{ApiGroup, ApiResource, ApiSubresource, ApiVersion, Discovery};
pub use dynamic::DynamicApi;
pub use error::Error;
pub use exec::{AuthError, ExecCluster, ExecSettings, InteractiveMode};
pub use kubeconfig::{Kubeconfig, KubeconfigError, Overrides, Resolved};
pub use mapper::{MapError, RestMapper};
pub use params::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Propagation, WatchParams, WriteParams};
pub use rate_limit::RateLimiter;
pub use request::{Request, Response, ResponseBody};
pub use resource::ResourcePath;
pub use transport::{ClientIdentity, RequestBody};
pub use watch::{DynamicEvent, DynamicWatch, Watch, WatchEvent};
