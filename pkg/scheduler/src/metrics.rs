//! The scheduler's metrics, by upstream's names. Upstream: pkg/scheduler/metrics.

use component_base::metrics::{CounterFamily, GaugeFamily, HistogramFamily, Registry, Stability, exponential_buckets};

/// Handles on the metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    pub attempts: CounterFamily,
    pub attempt_duration: HistogramFamily,
    pub algorithm_duration: HistogramFamily,
    pub pending_pods: GaugeFamily,
    pub unschedulable_pods: GaugeFamily,
    pub pod_attempts: HistogramFamily,
    pub pod_duration: HistogramFamily,
    pub preemption_attempts: CounterFamily,
    pub preemption_victims: HistogramFamily,
    pub incoming_pods: CounterFamily,
    pub cache_size: GaugeFamily,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Metrics {
        use Stability::{Alpha, Beta, Stable};
        let doubling = |start: f64, count: usize| exponential_buckets(start, 2.0, count);
        Metrics {
            attempts: registry.counter(
                "scheduler_schedule_attempts_total",
                "Attempts to schedule a pod by result: 'scheduled', 'unschedulable' (no node fits), 'error' (something went wrong).",
                Stable,
                &["profile", "result"],
            ),
            attempt_duration: registry.histogram(
                "scheduler_scheduling_attempt_duration_seconds",
                "Time of an attempt: the choice of a node and binding to it.",
                Stable,
                &["profile", "result"],
                &doubling(0.001, 15),
            ),
            algorithm_duration: registry.histogram(
                "scheduler_scheduling_algorithm_duration_seconds",
                "Time it takes to choose a node.",
                Alpha,
                &[],
                &doubling(0.001, 15),
            ),
            pending_pods: registry.gauge("scheduler_pending_pods", "Pods without a node by the queue they are in.", Stable, &["queue"]),
            unschedulable_pods: registry.gauge(
                "scheduler_unschedulable_pods",
                "Pods that wait by the plugin that refused them; a pod counts for each of its plugins.",
                Beta,
                &["plugin", "profile"],
            ),
            pod_attempts: registry.histogram(
                "scheduler_pod_scheduling_attempts",
                "Attempts it took to schedule a pod.",
                Stable,
                &[],
                &doubling(1.0, 5),
            ),
            pod_duration: registry.histogram(
                "scheduler_pod_scheduling_sli_duration_seconds",
                "Time from the first attempt at a pod until it is bound.",
                Beta,
                &["attempts"],
                &doubling(0.01, 20),
            ),
            preemption_attempts: registry.counter(
                "scheduler_preemption_attempts_total",
                "Attempts to make room by preemption.",
                Stable,
                &[],
            ),
            preemption_victims: registry.histogram(
                "scheduler_preemption_victims",
                "Pods chosen as victims of a preemption.",
                Stable,
                &[],
                &doubling(1.0, 7),
            ),
            incoming_pods: registry.counter(
                "scheduler_queue_incoming_pods_total",
                "Pods put into a queue by event and queue.",
                Stable,
                &["event", "queue"],
            ),
            cache_size: registry.gauge("scheduler_cache_size", "Nodes, pods and assumed pods in the cache.", Alpha, &["type"]),
        }
    }
}
