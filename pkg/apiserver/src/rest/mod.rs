//! The contract between the generic server and a resource. Upstream: apiserver/pkg/registry/rest.
//!
//! Start at [`ResourceDef`]: `registry` hands the server a list of them. The order of calls is written on [`strategy`].

pub mod connect;
pub mod convert;
pub mod definition;
pub mod hooks;
pub mod scale;
pub mod strategy;

pub use connect::{Answer, Connecter, Creater};
pub use convert::Convert;
pub use definition::{ResourceDef, Serving, Subresource};
pub use hooks::{Finish, Hooks};
pub use scale::ScaleAccess;
pub use strategy::{ErasedStrategy, Graceful, Strategy, erase};
