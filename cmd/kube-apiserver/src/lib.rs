//! The composition of kube-apiserver: flags to a config, a config to a running server. Upstream: cmd/kube-apiserver/app.
//!
//! Knows which parts there are; what they do is written in `apiserver`, `registry` and `plugin`. Start at [`run`].

pub mod access;
pub mod bootstrap;
pub mod config;
pub mod options;
mod paths;
mod server;

pub use config::Config;
pub use server::run;
