//! What every program of the project is built on: options to config to run, flags, feature gates, logs, tasks, clocks,
//! secure serving, health, metrics, version.
//!
//! Knows nothing of API objects and holds no client. Upstream: staging/src/k8s.io/component-base, and the serving and
//! health parts of staging/src/k8s.io/apiserver. Start reading at [`daemon`].

pub mod daemon;

pub mod config_file;
pub mod duration;
pub mod features;
pub mod flags;
pub mod problems;

pub mod logs;
pub mod version;

pub mod backoff;
pub mod clock;
pub mod tasks;

pub mod endpoints;
pub mod health;
pub mod http;
pub mod metrics;
pub mod reload;
pub mod serving;
