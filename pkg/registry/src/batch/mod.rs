//! The batch group. Upstream: pkg/registry/batch, pkg/apis/batch.

mod cron_job;
mod job;
pub mod schedule;

use apiserver::rest::ResourceDef;

/// The group's resources.
pub fn resources() -> Vec<ResourceDef> {
    vec![job::resource(), cron_job::resource()]
}
