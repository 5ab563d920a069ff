//! kubectl: what people and scripts drive a cluster with.
//!
//! One module per command in [`cmds`], registered in [`cmds::ALL`]; what all of them share is here: the command line ([`flags`]), the
//! cluster it speaks to ([`context`]), the way from words and files to objects ([`resources`]), and printing ([`print`]).
//! Upstream: staging/src/k8s.io/{kubectl,cli-runtime}. Start reading at [`app::run`].

pub mod app;

pub mod context;
mod discovery_cache;
pub mod failure;
pub mod flags;
mod help;
pub mod print;
pub mod resources;

pub mod describe;
pub mod pods;
pub mod remote;

pub mod cmds;
