//! Informers, elections and events against a server in the same process.

mod events;
mod leader;
mod reflector;
