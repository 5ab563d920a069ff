//! Tests of the whole API server from outside: only what goes over the wire counts.
//!
//! [`Target`] is the server under test: one started in this process with its state in memory, or, where the environment
//! names one (`TARGET_URL`, `TARGET_TOKEN`), any other, upstream's too. The tests speak HTTP to it and know nothing of its
//! insides. `tests/bad_requests.rs` and its neighbours are the table of bad input; `tests/replay.rs` sends the requests of
//! recorded scenarios and compares the answers, where a recording lies beside the checkout ([`replay`]).

mod http;
pub mod replay;
mod target;

pub use http::{Answer, Call};
pub use target::Target;
