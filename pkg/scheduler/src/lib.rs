//! The scheduler: finds a node for each pod that has none.
//!
//! It owns the queue of waiting pods, the view of nodes with what is taken on them, the plugins that say where a pod may and should
//! run, and binding. It never starts anything, and it decides nothing outside of [`cycle`], which is pure.
//!
//! ```text
//!   handlers <-- informers
//!    |    |
//!    |    +--> Cache --> Snapshot --> cycle::schedule --> assume --> bind, in the background
//!    +-------> Queue --> a pod ----/         |
//!                ^                           +--> preempt, report
//!                +--- what may help later ---+
//! ```
//! Upstream: pkg/scheduler. Start reading at [`cycle`], then [`framework`]; [`scheduler`] is the shell around both.

pub mod node_info;
pub mod pod_info;
pub mod resources;
pub mod snapshot;

pub mod cycle;
pub mod framework;
pub mod plugins;
pub mod profile;

pub mod cache;
pub mod events;
pub mod queue;

pub mod handlers;
pub mod metrics;
pub mod scheduler;

#[cfg(test)]
mod testing;
