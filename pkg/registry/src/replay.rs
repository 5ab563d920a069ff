//! Checks validation against recorded answers of upstream's server, where a recording is at hand (`../shared/replay` beside the checkout).

mod core;
mod runner;
