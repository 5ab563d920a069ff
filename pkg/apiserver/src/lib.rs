//! The generic API server: everything that does not depend on which resources are served.
//!
//! Owns the request pipeline, authentication, authorization, admission, the watch cache, encoding and discovery. Knows no built-in resource: those are
//! declared in `registry` on top of [`rest`]. Upstream: staging/src/k8s.io/apiserver.
//!
//! A request enters in [`server`] (the order of its steps is one list there), is served in [`handlers`], reads from [`cache`] and writes through
//! [`store`].

pub mod server;

pub mod authentication;
pub mod authorization;
pub mod request;

mod apply_versions;
pub mod handlers;
mod managed_fields;
pub mod rest;

pub mod admission;

pub mod cache;
pub mod kinds;
pub mod objects;
pub mod store;

pub mod discovery;
pub mod facts;
mod openapi;

pub mod service_account;
