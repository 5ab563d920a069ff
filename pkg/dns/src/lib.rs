//! The cluster's DNS server: answers for Services and pods from watches of the API, and forwards everything else.
//!
//! Pure part: [`zone`] (names and records) and [`message`] (a question in bytes becomes an answer in bytes). Around it:
//! [`forward`] (upstream servers and a small cache) and [`server`] (UDP and TCP).
//! It never writes to the API, and never resolves recursively itself.
//!
//! Upstream: CoreDNS with its plugin `kubernetes`; the names are those of the Kubernetes DNS specification.

pub mod options;

pub mod message;
pub mod zone;

mod cache;
pub mod forward;
pub mod metrics;
pub mod resolv_conf;
pub mod server;

pub mod convert;
pub mod watch;

pub mod app;
