//! `/stats/summary`: usage of the node, its pods and their containers, as `kubectl top` and eviction read it.

use super::Context;
use crate::clock;
use crate::cm::cgroups::Usage;
use crate::machine;
use apimachinery::Value;
use component_base::http::{Response, json};
use http::StatusCode;
use std::path::Path;

fn time(nanos: i64) -> String {
    apimachinery::Time::from_unix(nanos / 1_000_000_000).to_string()
}

fn set(value: &mut Value, path: &[&str], number: Option<u64>) {
    if let Some(number) = number {
        value.set_at(path, number as i64);
    }
}

fn put_usage(value: &mut Value, usage: &Usage, now: &str) {
    value.set_at(&["cpu", "time"], now);
    set(value, &["cpu", "usageCoreNanoSeconds"], usage.cpu_nanos);
    value.set_at(&["memory", "time"], now);
    set(value, &["memory", "usageBytes"], usage.memory);
    set(value, &["memory", "workingSetBytes"], usage.working_set);
    set(value, &["memory", "rssBytes"], usage.rss);
    set(value, &["memory", "pageFaults"], usage.page_faults);
    set(value, &["memory", "majorPageFaults"], usage.major_page_faults);
}

fn file_system(path: &Path, now: &str) -> Value {
    let (capacity, available) = machine::disk(path);
    let (inodes, inodes_free) = machine::inodes(path);
    let mut value = Value::object();
    value.set_at(&["time"], now);
    for (name, number) in [
        ("availableBytes", available),
        ("capacityBytes", capacity),
        ("usedBytes", capacity.saturating_sub(available)),
        ("inodesFree", inodes_free),
        ("inodes", inodes),
        ("inodesUsed", inodes.saturating_sub(inodes_free)),
    ] {
        value.set_at(&[name], number as i64);
    }
    value
}

pub async fn summary(context: &Context) -> Response {
    let node = &context.node;
    let now = time(clock::now_nanos());
    let mut summary = Value::object();
    let mut own = Value::object();
    own.set_at(&["nodeName"], node.settings.node_name.as_str());
    own.set_at(&["startTime"], time(clock::nanos(context.started)).as_str());
    let usage = node.cgroups.node_usage();
    put_usage(&mut own, &usage, &now);
    if let Some(used) = usage.working_set {
        let available = (node.settings.memory_capacity as u64).saturating_sub(used);
        own.set_at(&["memory", "availableBytes"], available as i64);
    }
    let mut pods_container = Value::object();
    pods_container.set_at(&["name"], "pods");
    put_usage(&mut pods_container, &node.cgroups.pods_usage(), &now);
    own.set_at(&["systemContainers"], Value::Array(vec![pods_container]));
    own.set_at(&["fs"], file_system(&node.settings.root, &now));
    own.set_at(&["runtime", "imageFs"], file_system(&node.settings.root, &now));
    summary.set_at(&["node"], own);

    let mut pods = Vec::new();
    for pod in context.workers.pods() {
        let Some(status) = node.cache.get(&pod.metadata.uid) else { continue };
        let mut value = Value::object();
        value.set_at(&["podRef", "name"], pod.metadata.name.as_str());
        value.set_at(&["podRef", "namespace"], pod.metadata.namespace.as_str());
        value.set_at(&["podRef", "uid"], pod.metadata.uid.as_str());
        let started = status.sandboxes.first().map_or(0, |sandbox| sandbox.created_at);
        value.set_at(&["startTime"], time(started).as_str());
        let mut containers = Vec::new();
        for container in status.running() {
            let mut value = Value::object();
            value.set_at(&["name"], container.name.as_str());
            value.set_at(&["startTime"], time(container.started_at).as_str());
            put_usage(&mut value, &node.cgroups.container_usage(&pod, &container.id), &now);
            containers.push(value);
        }
        if containers.is_empty() {
            continue;
        }
        value.set_at(&["containers"], Value::Array(containers));
        let usage = node.cgroups.pod_usage(&pod);
        put_usage(&mut value, &usage, &now);
        set(&mut value, &["process_stats", "process_count"], usage.pids);
        pods.push(value);
    }
    summary.set_at(&["pods"], Value::Array(pods));
    json(StatusCode::OK, summary.to_vec())
}
