//! The client against a server in the same process.

mod discovery;
mod transport;
mod typed;
