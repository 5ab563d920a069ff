//! `/metrics/resource` and `/metrics/cadvisor`: usage of containers, pods and the node out of cgroup files.

use super::Context;
use crate::cm::cgroups::Usage;
use component_base::http::{Response, with_type};
use http::StatusCode;
use std::fmt::Write as _;

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One metric: its name, type, help and lines.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    lines: Vec<(String, f64)>,
}

impl Family {
    fn new(name: &'static str, kind: &'static str, help: &'static str) -> Self {
        Family { name, kind, help, lines: Vec::new() }
    }

    fn add(&mut self, labels: &str, value: Option<f64>) {
        self.lines.extend(value.map(|value| (labels.to_owned(), value)));
    }
}

fn render(families: &[Family]) -> Response {
    let mut out = String::new();
    for family in families {
        let _ = writeln!(out, "# HELP {0} {1}\n# TYPE {0} {2}", family.name, family.help, family.kind);
        for (labels, value) in &family.lines {
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let _ = writeln!(out, "{}{labels} {value}", family.name);
        }
    }
    with_type(StatusCode::OK, TEXT, out)
}

/// One running container and what it uses.
struct Running {
    namespace: String,
    pod: String,
    container: String,
    id: String,
    image: String,
    started_at: i64,
    usage: Usage,
}

fn running(context: &Context) -> (Vec<Running>, Vec<(String, String, Usage)>) {
    let (mut containers, mut pods) = (Vec::new(), Vec::new());
    for pod in context.workers.pods() {
        let Some(status) = context.node.cache.get(&pod.metadata.uid) else { continue };
        let mut any = false;
        for container in status.running() {
            any = true;
            containers.push(Running {
                namespace: pod.metadata.namespace.clone(),
                pod: pod.metadata.name.clone(),
                container: container.name.clone(),
                id: container.id.clone(),
                image: container.image.clone(),
                started_at: container.started_at,
                usage: context.node.cgroups.container_usage(&pod, &container.id),
            });
        }
        if any {
            pods.push((pod.metadata.namespace.clone(), pod.metadata.name.clone(), context.node.cgroups.pod_usage(&pod)));
        }
    }
    (containers, pods)
}

fn seconds(nanos: Option<u64>) -> Option<f64> {
    nanos.map(|nanos| nanos as f64 / 1e9)
}

fn float(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

pub async fn resource(context: &Context) -> Response {
    let (containers, pods) = running(context);
    let node = context.node.cgroups.node_usage();
    let mut cpu = Family::new(
        "container_cpu_usage_seconds_total",
        "counter",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
    );
    let mut memory = Family::new("container_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the container in bytes");
    let mut start =
        Family::new("container_start_time_seconds", "gauge", "[STABLE] Start time of the container since unix epoch in seconds");
    for one in &containers {
        let labels = format!("container=\"{}\",namespace=\"{}\",pod=\"{}\"", one.container, one.namespace, one.pod);
        cpu.add(&labels, seconds(one.usage.cpu_nanos));
        memory.add(&labels, float(one.usage.working_set));
        start.add(&labels, Some(one.started_at as f64 / 1e9));
    }
    let mut node_cpu =
        Family::new("node_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds");
    node_cpu.add("", seconds(node.cpu_nanos));
    let mut node_memory = Family::new("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes");
    node_memory.add("", float(node.working_set));
    let mut pod_cpu =
        Family::new("pod_cpu_usage_seconds_total", "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds");
    let mut pod_memory = Family::new("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes");
    for (namespace, pod, usage) in &pods {
        let labels = format!("namespace=\"{namespace}\",pod=\"{pod}\"");
        pod_cpu.add(&labels, seconds(usage.cpu_nanos));
        pod_memory.add(&labels, float(usage.working_set));
    }
    let mut error =
        Family::new("resource_scrape_error", "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise");
    error.add("", Some(0.0));
    render(&[cpu, memory, start, node_cpu, node_memory, pod_cpu, pod_memory, error])
}

/// The part of cAdvisor's metrics that comes out of cgroups.
pub fn cadvisor(context: &Context) -> Response {
    let (containers, pods) = running(context);
    let mut cpu = Family::new("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.");
    let mut memory = Family::new(
        "container_memory_usage_bytes",
        "gauge",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
    );
    let mut working = Family::new("container_memory_working_set_bytes", "gauge", "Current working set in bytes.");
    let mut rss = Family::new("container_memory_rss", "gauge", "Size of RSS in bytes.");
    let mut processes = Family::new("container_processes", "gauge", "Number of processes running inside the container.");
    let mut start = Family::new("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds.");
    let mut add = |labels: &str, usage: &Usage, started: Option<f64>| {
        cpu.add(&format!("{labels},cpu=\"total\""), seconds(usage.cpu_nanos));
        memory.add(labels, float(usage.memory));
        working.add(labels, float(usage.working_set));
        rss.add(labels, float(usage.rss));
        processes.add(labels, float(usage.pids));
        start.add(labels, started);
    };
    for one in &containers {
        let labels = format!(
            "container=\"{}\",id=\"{}\",image=\"{}\",name=\"{}\",namespace=\"{}\",pod=\"{}\"",
            one.container, one.id, one.image, one.id, one.namespace, one.pod
        );
        add(&labels, &one.usage, Some(one.started_at as f64 / 1e9));
    }
    for (namespace, pod, usage) in &pods {
        add(&format!("container=\"\",id=\"\",image=\"\",name=\"\",namespace=\"{namespace}\",pod=\"{pod}\""), usage, None);
    }
    add("container=\"\",id=\"/\",image=\"\",name=\"\",namespace=\"\",pod=\"\"", &context.node.cgroups.node_usage(), None);
    render(&[cpu, memory, working, rss, processes, start])
}
