//! The generic API server: everything that does not depend on which resources are served.
//!
//! Owns the request pipeline, authentication, authorization, admission, the watch cache, encoding and discovery. Knows no built-in resource: those are
//! declared in `registry` on top of [`rest`]. Upstream: staging/src/k8s.io/apiserver.

pub mod admission;
pub mod authentication;
pub mod authorization;
pub mod facts;
pub mod objects;
pub mod request;
pub mod rest;
pub mod service_account;
