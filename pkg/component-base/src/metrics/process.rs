//! Metrics about the process itself, read from /proc when they are asked for.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Registry, Stability};
use crate::version;

/// Clock ticks per second in /proc: the same on every Linux that user space sees.
const TICKS: f64 = 100.0;

pub(super) fn declare(registry: &Registry) {
    let build = registry.gauge(
        "kubernetes_build_info",
        "A metric with a constant '1' value labeled by major, minor, git version, git commit, git tree state, build date, \
         Go version, and compiler from which Kubernetes was built, and platform on which it is running.",
        Stability::Beta,
        &["major", "minor", "git_version", "git_commit", "git_tree_state", "build_date", "go_version", "compiler", "platform"],
    );
    build
        .with(&[
            version::MAJOR,
            version::MINOR,
            version::GIT_VERSION,
            version::git_commit(),
            version::git_tree_state(),
            version::build_date(),
            version::COMPILER,
            "rustc",
            &version::platform(),
        ])
        .set(1.0);

    let registered = registry.counter(
        "registered_metrics_total",
        "The count of registered metrics broken by stability level and deprecation version.",
        Stability::Beta,
        &["stability_level", "deprecated_version"],
    );
    let known = registry.clone();
    registry.before_each_scrape(move || {
        for (stability, name) in [(Stability::Alpha, "ALPHA"), (Stability::Beta, "BETA"), (Stability::Stable, "STABLE")] {
            let declared = known.declared_with(stability) as u64;
            if declared > 0 {
                let counter = registered.with(&[name, ""]);
                counter.add(declared.saturating_sub(counter.value() as u64));
            }
        }
    });

    let gauge = |name: &str, help: &str| registry.gauge(name, help, Stability::Unmarked, &[]).with(&[]);
    let cpu = registry
        .counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", Stability::Unmarked, &[])
        .with(&[]);
    let resident = gauge("process_resident_memory_bytes", "Resident memory size in bytes.");
    let virtual_size = gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.");
    let virtual_limit = gauge("process_virtual_memory_max_bytes", "Maximum amount of virtual memory available in bytes.");
    let open = gauge("process_open_fds", "Number of open file descriptors.");
    let limit = gauge("process_max_fds", "Maximum number of open file descriptors.");
    let start = gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.");
    start.set(start_time().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1000.0);
    registry.before_each_scrape(move || {
        if let Some(stat) = Stat::read() {
            let more = stat.cpu_seconds - cpu.value();
            cpu.add_duration(std::time::Duration::from_secs_f64(more.max(0.0)));
            virtual_size.set(stat.virtual_bytes);
        }
        if let Some(bytes) = resident_bytes() {
            resident.set(bytes);
        }
        open.set(fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as f64);
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        limit.set(soft_limit(&limits, "Max open files"));
        virtual_limit.set(soft_limit(&limits, "Max address space"));
    });
}

/// When the process started; now, where /proc does not tell.
pub(crate) fn start_time() -> SystemTime {
    let boot = fs::read_to_string("/proc/stat")
        .ok()
        .and_then(|text| text.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|seconds| seconds.trim().parse::<f64>().ok()));
    match (boot, Stat::read()) {
        (Some(boot), Some(stat)) => UNIX_EPOCH + std::time::Duration::from_secs_f64(boot + stat.start_ticks / TICKS),
        _ => SystemTime::now(),
    }
}

/// What is needed of /proc/self/stat.
struct Stat {
    cpu_seconds: f64,
    start_ticks: f64,
    virtual_bytes: f64,
}

impl Stat {
    fn read() -> Option<Stat> {
        let text = fs::read_to_string("/proc/self/stat").ok()?;
        // The name in parentheses may hold spaces: count from behind it, where field 3 begins.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<f64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Stat { cpu_seconds: (field(14)? + field(15)?) / TICKS, start_ticks: field(22)?, virtual_bytes: field(23)? })
    }
}

fn resident_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// The soft limit in a line of /proc/self/limits; unlimited is the largest number there is.
fn soft_limit(limits: &str, name: &str) -> f64 {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    match line.split_whitespace().next() {
        Some("unlimited") => u64::MAX as f64,
        Some(number) => number.parse().unwrap_or(0.0),
        None => 0.0,
    }
}
