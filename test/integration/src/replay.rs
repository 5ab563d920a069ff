//! Sends the requests of recorded scenarios and compares the answers with the recorded ones.
//!
//! ```text
//!   GROUP.jsonl --corpus--> scenarios of steps --run--> fill placeholders, send --compare--> Score
//! ```
//! The recording is no part of the project; it lies in `../shared/replay` beside the checkout where there is one, and its
//! README says what a line holds. Bodies in protobuf are compared by status and headers only.

mod compare;
mod corpus;
mod fill;
mod run;

pub use corpus::{Scenario, Step, folder, read};
pub use run::{Score, replay};
