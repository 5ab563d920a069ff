//! The client against a server in the same process.

mod transport;
mod typed;
