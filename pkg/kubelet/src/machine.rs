//! The machine the kubelet runs on: its size and its names.

use apimachinery::quantity::Format;
use apimachinery::{Map, Quantity};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;

/// What a machine has.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub cpus: i64,
    pub memory: i64,
    /// Bytes of the file system the kubelet's data is on.
    pub storage: i64,
    /// Reserved huge pages, in bytes by page size in bytes.
    pub huge_pages: Vec<(i64, i64)>,
    pub swap: i64,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// `0-3,8` -> 5
fn count_list(list: &str) -> i64 {
    let part = |part: &str| -> Option<i64> {
        match part.split_once('-') {
            Some((first, last)) => Some(last.parse::<i64>().ok()? - first.parse::<i64>().ok()? + 1),
            None => part.parse::<i64>().ok().map(|_| 1),
        }
    };
    list.split(',').filter_map(part).sum()
}

fn meminfo(text: &str, name: &str) -> i64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<i64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// (capacity, available) in bytes of the file system `path` is on.
pub fn disk(path: &Path) -> (u64, u64) {
    match rustix::fs::statvfs(path) {
        Ok(stat) => (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize),
        Err(_) => (0, 0),
    }
}

/// (inodes, free inodes) of the file system `path` is on.
pub fn inodes(path: &Path) -> (u64, u64) {
    rustix::fs::statvfs(path).map(|stat| (stat.f_files, stat.f_ffree)).unwrap_or_default()
}

impl Machine {
    pub fn detect(root: &Path) -> Machine {
        let memory = read("/proc/meminfo");
        let mut huge_pages = Vec::new();
        for entry in std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let size = name.strip_prefix("hugepages-").and_then(|rest| rest.strip_suffix("kB")?.parse::<i64>().ok());
            let count = read(&entry.path().join("nr_hugepages").display().to_string()).parse::<i64>();
            if let (Some(size), Ok(count)) = (size, count) {
                huge_pages.push((size * 1024, size * 1024 * count));
            }
        }
        let online = count_list(&read("/sys/devices/system/cpu/online"));
        Machine {
            cpus: if online > 0 { online } else { std::thread::available_parallelism().map_or(1, |count| count.get() as i64) },
            memory: meminfo(&memory, "MemTotal"),
            storage: disk(root).0 as i64,
            huge_pages,
            swap: meminfo(&memory, "SwapTotal"),
        }
    }

    pub fn capacity(&self, max_pods: usize) -> Map<Quantity> {
        let mut capacity: Map<Quantity> = [
            ("cpu", Quantity::from_value(self.cpus, Format::DecimalSI)),
            ("memory", Quantity::from_value(self.memory, Format::BinarySI)),
            ("ephemeral-storage", Quantity::from_value(self.storage, Format::BinarySI)),
            ("pods", Quantity::from_value(max_pods as i64, Format::DecimalSI)),
        ]
        .into();
        for (size, bytes) in &self.huge_pages {
            let name = format!("hugepages-{}", Quantity::from_value(*size, Format::BinarySI));
            capacity.insert(name, Quantity::from_value(*bytes, Format::BinarySI));
        }
        capacity
    }
}

/// What is left for pods of `capacity`.
pub fn allocatable(capacity: &Map<Quantity>, reserved: &[&Map<Quantity>]) -> Map<Quantity> {
    let mut left = capacity.clone();
    for list in reserved {
        for (name, amount) in list.iter() {
            if let Some(quantity) = left.get_mut(name) {
                quantity.sub(amount);
                if quantity.is_negative() {
                    *quantity = Quantity::from_value(0, quantity.format());
                }
            }
        }
    }
    left
}

/// The first word of each line `KEY="value"` in os-release.
fn os_release(name: &str) -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").or_else(|_| std::fs::read_to_string("/usr/lib/os-release")).ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.trim_matches('"').to_owned()))
}

/// `status.nodeInfo`, without what the runtime tells.
pub fn node_info() -> api::core::v1::NodeSystemInfo {
    let uname = rustix::system::uname();
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let or = |first: String, second: String| if first.is_empty() { second } else { first };
    let machine_id = or(read("/etc/machine-id"), read("/var/lib/dbus/machine-id"));
    api::core::v1::NodeSystemInfo {
        system_uuid: or(read("/sys/class/dmi/id/product_uuid"), machine_id.clone()),
        machine_id,
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        kernel_version: uname.release().to_string_lossy().into_owned(),
        os_image: os_release("PRETTY_NAME").unwrap_or_else(|| "Unknown".to_owned()),
        kubelet_version: component_base::version::GIT_VERSION.to_owned(),
        operating_system: "linux".to_owned(),
        architecture: architecture.to_owned(),
        ..Default::default()
    }
}

pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().trim().to_lowercase()
}

/// The address this machine talks to others from: what the route to the outside would use. Nothing is sent.
pub fn default_ip() -> Option<IpAddr> {
    let source = |bind: &str, to: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind(bind).ok()?;
        socket.connect(to).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
    };
    source("0.0.0.0:0", "192.0.2.1:9").or_else(|| source("[::]:0", "[2001:db8::1]:9"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_meminfo() {
        assert_eq!((count_list("0-3,8"), count_list("0"), count_list("")), (5, 1, 0));
        assert_eq!(meminfo("MemTotal:       16 kB\nMemFree: 1 kB\n", "MemTotal"), 16 * 1024);
    }

    #[test]
    fn what_is_reserved_is_taken_off() {
        let machine = Machine { cpus: 2, memory: 1 << 30, storage: 1 << 30, huge_pages: vec![(2 << 20, 0)], swap: 0 };
        let reserved: Map<Quantity> = [("cpu", "500m".parse().unwrap()), ("memory", "2Gi".parse().unwrap())].into();
        let left = allocatable(&machine.capacity(110), &[&reserved]);
        let text = |name: &str| left.get(name).unwrap().to_string();
        assert_eq!(
            (text("cpu"), text("memory"), text("pods"), text("hugepages-2Mi")),
            ("1500m".into(), "0".into(), "110".into(), "0".into())
        );
    }
}
