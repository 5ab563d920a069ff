//! Metrics: counters, gauges and histograms with labels, and their text for Prometheus.
//!
//! Names, labels and buckets are upstream's (`api/metrics.json`). A hot path looks its child up once and keeps the
//! handle: counting is then one atomic addition. Nothing in the program reads a metric, so [`process`] may be global.

mod process;
mod text;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;

pub use text::CONTENT_TYPE;

/// How much users may rely on a metric. Shown at the front of its help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stability {
    Alpha,
    Beta,
    Stable,
    /// No mark: the metrics about the process itself.
    Unmarked,
}

/// Prometheus' own default buckets, in seconds.
pub const DEFAULT_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// `count` buckets, each `factor` times the one before.
pub fn exponential_buckets(start: f64, factor: f64, count: usize) -> Vec<f64> {
    std::iter::successors(Some(start), |bound| Some(bound * factor)).take(count).collect()
}

/// `count` buckets, each `width` above the one before.
pub fn linear_buckets(start: f64, width: f64, count: usize) -> Vec<f64> {
    (0..count).map(|step| start + width * step as f64).collect()
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter {
    whole: AtomicU64,
    /// Bits of an `f64`: what was added in fractions.
    fraction: AtomicU64,
}

impl Counter {
    pub fn inc(&self) {
        self.whole.fetch_add(1, Ordering::Relaxed);
    }

    pub fn add(&self, count: u64) {
        self.whole.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds a time in seconds.
    pub fn add_duration(&self, duration: Duration) {
        add_float(&self.fraction, duration.as_secs_f64());
    }

    pub fn value(&self) -> f64 {
        self.whole.load(Ordering::Relaxed) as f64 + f64::from_bits(self.fraction.load(Ordering::Relaxed))
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge {
    bits: AtomicU64,
}

impl Gauge {
    pub fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Ordering::Relaxed);
    }

    pub fn add(&self, change: f64) {
        add_float(&self.bits, change);
    }

    pub fn inc(&self) {
        self.add(1.0);
    }

    pub fn dec(&self) {
        self.add(-1.0);
    }

    pub fn value(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::Relaxed))
    }
}

fn add_float(bits: &AtomicU64, change: f64) {
    let add = |bits| Some((f64::from_bits(bits) + change).to_bits());
    bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).expect("the closure always gives a value");
}

/// How observations spread over buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: Arc<[f64]>,
    /// One per bound and one for everything above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: Arc<[f64]>) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        add_float(&self.sum, value);
    }

    /// Observes a time in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub fn sum(&self) -> f64 {
        f64::from_bits(self.sum.load(Ordering::Relaxed))
    }
}

/// What a family of metrics is called.
#[derive(Debug)]
struct Description {
    name: String,
    help: String,
    stability: Stability,
    labels: &'static [&'static str],
}

/// All metrics of one name, told apart by the values of their labels.
pub struct Family<M> {
    description: Description,
    make: Box<dyn Fn() -> M + Send + Sync>,
    shards: [RwLock<HashMap<String, Arc<Child<M>>>>; SHARDS],
    hasher: RandomState,
}

/// Lookups of different children rarely meet at one lock.
const SHARDS: usize = 8;

#[derive(Debug)]
struct Child<M> {
    /// As they appear in the text, without braces: `a="x",b="y"`, sorted by name.
    labels: String,
    metric: Arc<M>,
}

pub type CounterFamily = Arc<Family<Counter>>;
pub type GaugeFamily = Arc<Family<Gauge>>;
pub type HistogramFamily = Arc<Family<Histogram>>;

impl<M> fmt::Debug for Family<M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Family").field("description", &self.description).finish_non_exhaustive()
    }
}

thread_local! {
    static KEY: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<M> Family<M> {
    fn new(description: Description, make: Box<dyn Fn() -> M + Send + Sync>) -> Family<M> {
        let shards = std::array::from_fn(|_| RwLock::default());
        Family { description, make, shards, hasher: RandomState::new() }
    }

    /// The metric with these label values, in the order the labels were declared. Made at the first call.
    ///
    /// Panics if the number of values is not the number of labels.
    pub fn with(&self, values: &[&str]) -> Arc<M> {
        assert_eq!(values.len(), self.description.labels.len(), "label values of {}", self.description.name);
        KEY.with_borrow_mut(|key| {
            key.clear();
            for value in values {
                key.push_str(value);
                key.push('\u{1}');
            }
            let shard = &self.shards[self.hasher.hash_one(key.as_str()) as usize % SHARDS];
            if let Some(child) = shard.read().get(key.as_str()) {
                return child.metric.clone();
            }
            let mut children = shard.write();
            let make = || Child { labels: text::labels(self.description.labels, values), metric: Arc::new((self.make)()) };
            children.entry(key.clone()).or_insert_with(|| Arc::new(make())).metric.clone()
        })
    }

    /// Forgets the metric with these label values (of an object that is gone).
    pub fn remove(&self, values: &[&str]) {
        let key: String = values.iter().flat_map(|value| [*value, "\u{1}"]).collect();
        self.shards[self.hasher.hash_one(key.as_str()) as usize % SHARDS].write().remove(&key);
    }

    /// Forgets all metrics, before they are set afresh from the state of the world.
    pub fn clear(&self) {
        for shard in &self.shards {
            shard.write().clear();
        }
    }

    fn children(&self) -> Vec<Arc<Child<M>>> {
        let mut children: Vec<_> = self.shards.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>()).collect();
        children.sort_by(|left, right| left.labels.cmp(&right.labels));
        children
    }
}

#[derive(Clone, Debug)]
enum AnyFamily {
    Counter(CounterFamily),
    Gauge(GaugeFamily),
    Histogram(HistogramFamily),
}

impl AnyFamily {
    fn stability(&self) -> Stability {
        match self {
            AnyFamily::Counter(family) => family.description.stability,
            AnyFamily::Gauge(family) => family.description.stability,
            AnyFamily::Histogram(family) => family.description.stability,
        }
    }
}

type Refresh = Box<dyn Fn() + Send + Sync>;

/// A set of metrics that are shown together. Cloning gives another handle to the same set.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    families: RwLock<BTreeMap<String, AnyFamily>>,
    refreshers: RwLock<Vec<Refresh>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Registry").field("families", &self.inner.families.read().len()).finish()
    }
}

impl Registry {
    /// An empty set.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Declares a counter. Declaring a name again gives the same family; as another type, it panics.
    pub fn counter(&self, name: &str, help: &str, stability: Stability, labels: &'static [&'static str]) -> CounterFamily {
        let make = || AnyFamily::Counter(Arc::new(Family::new(description(name, help, stability, labels), Box::new(Counter::default))));
        match self.declare(name, make) {
            AnyFamily::Counter(family) => family,
            other => panic!("{name} is declared as {other:?} already"),
        }
    }

    /// Declares a gauge.
    pub fn gauge(&self, name: &str, help: &str, stability: Stability, labels: &'static [&'static str]) -> GaugeFamily {
        let make = || AnyFamily::Gauge(Arc::new(Family::new(description(name, help, stability, labels), Box::new(Gauge::default))));
        match self.declare(name, make) {
            AnyFamily::Gauge(family) => family,
            other => panic!("{name} is declared as {other:?} already"),
        }
    }

    /// Declares a histogram with the upper bounds of its buckets, ascending; the one without bound is added.
    pub fn histogram(
        &self,
        name: &str,
        help: &str,
        stability: Stability,
        labels: &'static [&'static str],
        bounds: &[f64],
    ) -> HistogramFamily {
        let bounds: Arc<[f64]> = bounds.into();
        let make = || {
            let bounds = bounds.clone();
            let make = Box::new(move || Histogram::new(bounds.clone()));
            AnyFamily::Histogram(Arc::new(Family::new(description(name, help, stability, labels), make)))
        };
        match self.declare(name, make) {
            AnyFamily::Histogram(family) => family,
            other => panic!("{name} is declared as {other:?} already"),
        }
    }

    fn declare(&self, name: &str, make: impl FnOnce() -> AnyFamily) -> AnyFamily {
        self.inner.families.write().entry(name.to_owned()).or_insert_with(make).clone()
    }

    /// Calls `refresh` before each time the metrics are shown, to set what is only known on demand.
    pub fn before_each_scrape(&self, refresh: impl Fn() + Send + Sync + 'static) {
        self.inner.refreshers.write().push(Box::new(refresh));
    }

    /// All metrics in Prometheus' text format, sorted by name. Families without a metric are left out.
    pub fn text(&self) -> String {
        for refresh in &*self.inner.refreshers.read() {
            refresh();
        }
        let mut out = String::new();
        for family in self.inner.families.read().values() {
            match family {
                AnyFamily::Counter(family) => text::counter(family, &mut out),
                AnyFamily::Gauge(family) => text::gauge(family, &mut out),
                AnyFamily::Histogram(family) => text::histogram(family, &mut out),
            }
        }
        out
    }

    fn declared_with(&self, stability: Stability) -> usize {
        self.inner.families.read().values().filter(|family| family.stability() == stability).count()
    }
}

fn description(name: &str, help: &str, stability: Stability, labels: &'static [&'static str]) -> Description {
    Description { name: name.to_owned(), help: help.to_owned(), stability, labels }
}

/// The registry that `/metrics` of this process shows, with the metrics about the process itself in it.
pub fn process() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = Registry::new();
        process::declare(&registry);
        registry
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let registry = Registry::new();
        let requests = registry.counter("a_total", "Counts \\ things.", Stability::Stable, &["verb", "code"]);
        requests.with(&["GET", "200"]).add(3);
        requests.with(&["a\"\n", "404"]).inc();
        registry.gauge("b", "Depth.", Stability::Alpha, &[]).with(&[]).set(1.5);
        let latency = registry.histogram("c_seconds", "Time.", Stability::Beta, &["x"], &[0.1, 1.0]).with(&["y"]);
        for value in [0.1, 0.5, 2.0] {
            latency.observe(value);
        }
        registry.gauge("unused", "Never set.", Stability::Alpha, &["x"]);
        assert_eq!(
            registry.text(),
            "# HELP a_total [STABLE] Counts \\\\ things.\n# TYPE a_total counter\n\
             a_total{code=\"200\",verb=\"GET\"} 3\na_total{code=\"404\",verb=\"a\\\"\\n\"} 1\n\
             # HELP b [ALPHA] Depth.\n# TYPE b gauge\nb 1.5\n\
             # HELP c_seconds [BETA] Time.\n# TYPE c_seconds histogram\n\
             c_seconds_bucket{x=\"y\",le=\"0.1\"} 1\nc_seconds_bucket{x=\"y\",le=\"1\"} 2\n\
             c_seconds_bucket{x=\"y\",le=\"+Inf\"} 3\nc_seconds_sum{x=\"y\"} 2.6\nc_seconds_count{x=\"y\"} 3\n"
        );
    }

    #[test]
    fn a_name_declared_twice_is_one_family() {
        let registry = Registry::new();
        registry.counter("a", "", Stability::Alpha, &["x"]).with(&["1"]).inc();
        registry.counter("a", "", Stability::Alpha, &["x"]).with(&["1"]).inc();
        let family = registry.counter("a", "", Stability::Alpha, &["x"]);
        assert_eq!(family.with(&["1"]).value(), 2.0);
        family.remove(&["1"]);
        assert_eq!(registry.text(), "");
    }

    #[test]
    fn the_process_shows_itself() {
        let text = process().text();
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"] {
            assert!(text.contains(&format!("\n# TYPE {name} ")), "{name} in {text}");
        }
        assert!(text.contains("kubernetes_build_info{"), "{text}");
    }

    #[test]
    fn buckets_are_made_by_formula() {
        assert_eq!(exponential_buckets(1.0, 2.0, 4), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(linear_buckets(1.0, 0.5, 3), [1.0, 1.5, 2.0]);
    }
}
