//! The `workqueue_*` metrics, by upstream's names. Upstream: `component-base/metrics/prometheus/workqueue`.

use std::sync::Arc;
use std::time::Duration;

use component_base::metrics::{Counter, Gauge, Histogram, Stability, exponential_buckets, process};

pub(super) struct QueueMetrics {
    pub(super) depth: Arc<Gauge>,
    pub(super) adds: Arc<Counter>,
    pub(super) queue_duration: Arc<Histogram>,
    pub(super) work_duration: Arc<Histogram>,
    pub(super) retries: Arc<Counter>,
    unfinished: Arc<Gauge>,
    longest: Arc<Gauge>,
}

const NAME: &[&str] = &["name"];

impl QueueMetrics {
    pub(super) fn new(name: &str) -> QueueMetrics {
        let registry = process();
        let bounds = exponential_buckets(1e-8, 10.0, 10);
        let gauge = |metric: &str, help: &str| registry.gauge(metric, help, Stability::Beta, NAME).with(&[name]);
        let counter = |metric: &str, help: &str| registry.counter(metric, help, Stability::Beta, NAME).with(&[name]);
        let histogram = |metric: &str, help: &str| registry.histogram(metric, help, Stability::Beta, NAME, &bounds).with(&[name]);
        QueueMetrics {
            depth: gauge("workqueue_depth", "Items waiting in the queue."),
            adds: counter("workqueue_adds_total", "Items added to the queue."),
            queue_duration: histogram("workqueue_queue_duration_seconds", "How long an item waits in the queue."),
            work_duration: histogram("workqueue_work_duration_seconds", "How long the work on an item takes."),
            retries: counter("workqueue_retries_total", "Items added with a delay."),
            unfinished: gauge("workqueue_unfinished_work_seconds", "Sum of how long the items being worked on have been so."),
            longest: gauge("workqueue_longest_running_processor_seconds", "How long the longest running work has taken so far."),
        }
    }

    /// Sets the metrics about work under way whenever they are read. `running` is `None` once the queue is gone.
    pub(super) fn each_scrape(&self, running: impl Fn() -> Option<Vec<Duration>> + Send + Sync + 'static) {
        let (unfinished, longest) = (self.unfinished.clone(), self.longest.clone());
        process().before_each_scrape(move || {
            let running = running().unwrap_or_default();
            unfinished.set(running.iter().map(Duration::as_secs_f64).sum());
            longest.set(running.iter().max().map_or(0.0, Duration::as_secs_f64));
        });
    }
}
