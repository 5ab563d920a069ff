//! The cgroup file systems, v1 and v2: make, limit, read and remove a cgroup by its path below the root.
//!
//! v1 mounts one hierarchy per controller (or several in one), v2 has a single tree. Which one a machine has is told by
//! the file system types in mountinfo. Controllers a machine lacks are skipped: a limit that cannot be held is reported
//! by [`Cgroups::missing`], not by a pod that never starts.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// The cpu period the kubelet writes unless it is configured otherwise, in microseconds.
pub const DEFAULT_CPU_PERIOD: i64 = 100_000;
/// What the kernel takes as "hardly anything"; fewer shares are raised to it.
pub const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
/// Smallest quota the kernel accepts, in microseconds.
const MIN_QUOTA: i64 = 1_000;

/// Millicores as cpu shares: 1000 is one core and 1024 shares.
pub fn milli_cpu_to_shares(milli: i64) -> i64 {
    if milli <= 0 {
        return MIN_SHARES;
    }
    (milli * 1024 / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// Millicores as microseconds of cpu per period; 0 means no limit.
pub fn milli_cpu_to_quota(milli: i64, period: i64) -> i64 {
    if milli <= 0 {
        return 0;
    }
    (milli * period / 1000).max(MIN_QUOTA)
}

/// cgroup v2 has weights 1..10000 where v1 has shares 2..262144.
fn shares_to_weight(shares: i64) -> i64 {
    1 + (shares.clamp(MIN_SHARES, MAX_SHARES) - MIN_SHARES) * 9999 / (MAX_SHARES - MIN_SHARES)
}

/// What to write into a cgroup; what is `None` is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub cpu_shares: Option<i64>,
    /// Microseconds per period; -1 lifts the limit.
    pub cpu_quota: Option<i64>,
    pub cpu_period: Option<i64>,
    /// Bytes; -1 lifts the limit.
    pub memory: Option<i64>,
    pub pids: Option<i64>,
}

/// What a cgroup has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_nanos: Option<u64>,
    pub memory: Option<u64>,
    /// Memory in use less what the kernel could drop at once: what eviction looks at.
    pub working_set: Option<u64>,
    pub rss: Option<u64>,
    pub page_faults: Option<u64>,
    pub major_page_faults: Option<u64>,
    pub pids: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Layout {
    /// Controller name -> where its hierarchy is mounted.
    V1(BTreeMap<String, PathBuf>),
    V2(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Cgroups {
    layout: Layout,
}

impl Cgroups {
    /// Looks at this machine's mounts.
    pub fn detect() -> io::Result<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/mountinfo")?)
    }

    fn parse(mountinfo: &str) -> io::Result<Self> {
        let mut v1 = BTreeMap::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(target) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup") => {
                    for option in right.nth(1).unwrap_or_default().split(',') {
                        let name = option.strip_prefix("name=").unwrap_or(option);
                        if !matches!(name, "rw" | "ro" | "xattr" | "") && !name.contains('=') {
                            v1.entry(name.to_owned()).or_insert_with(|| PathBuf::from(target));
                        }
                    }
                }
                Some("cgroup2") => {
                    v2.get_or_insert_with(|| PathBuf::from(target));
                }
                _ => {}
            }
        }
        // A hybrid machine mounts v2 as well, without controllers: where memory is on v1, v1 it is.
        let layout = match v2 {
            _ if v1.contains_key("memory") || v1.contains_key("cpu") => Layout::V1(v1),
            Some(root) => Layout::V2(root),
            None => return Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted")),
        };
        Ok(Self { layout })
    }

    pub fn is_v2(&self) -> bool {
        matches!(self.layout, Layout::V2(_))
    }

    /// The controllers that resource limits need and this machine does not have.
    pub fn missing(&self) -> Vec<&'static str> {
        const NEEDED: [&str; 3] = ["cpu", "memory", "pids"];
        match &self.layout {
            Layout::V1(mounts) => NEEDED.into_iter().filter(|name| !mounts.contains_key(*name)).collect(),
            Layout::V2(root) => {
                let has = std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
                NEEDED.into_iter().filter(|name| !has.split_whitespace().any(|has| has == *name)).collect()
            }
        }
    }

    /// Every directory that together is the cgroup `path`.
    fn directories(&self, path: &str) -> Vec<PathBuf> {
        let below = path.trim_start_matches('/');
        match &self.layout {
            Layout::V1(mounts) => {
                let mut roots: Vec<&PathBuf> = mounts.values().collect();
                roots.sort();
                roots.dedup();
                roots.into_iter().map(|root| root.join(below)).collect()
            }
            Layout::V2(root) => vec![root.join(below)],
        }
    }

    fn controller(&self, name: &str, path: &str) -> Option<PathBuf> {
        let below = path.trim_start_matches('/');
        match &self.layout {
            Layout::V1(mounts) => mounts.get(name).map(|root| root.join(below)),
            Layout::V2(root) => Some(root.join(below)),
        }
    }

    pub fn exists(&self, path: &str) -> bool {
        self.controller("memory", path).is_some_and(|dir| dir.is_dir())
    }

    /// Makes the cgroup and its parents; one that is there already is kept.
    pub fn create(&self, path: &str) -> io::Result<()> {
        match &self.layout {
            Layout::V1(mounts) => {
                for name in ["cpu", "cpuacct", "memory", "pids"] {
                    if let Some(root) = mounts.get(name) {
                        std::fs::create_dir_all(root.join(path.trim_start_matches('/')))?;
                    }
                }
                if let Some(root) = mounts.get("cpuset") {
                    create_cpuset(root, path)?;
                }
                Ok(())
            }
            Layout::V2(root) => {
                let mut dir = root.clone();
                for part in path.split('/').filter(|part| !part.is_empty()) {
                    enable_controllers(&dir);
                    dir.push(part);
                    match std::fs::create_dir(&dir) {
                        Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
                        _ => {}
                    }
                }
                enable_controllers(&dir);
                Ok(())
            }
        }
    }

    /// Writes the limits given; a controller that is not there is skipped.
    pub fn limit(&self, path: &str, limits: &Limits) -> io::Result<()> {
        let write = |controller: &str, file: &str, value: String| -> io::Result<()> {
            match self.controller(controller, path).map(|dir| dir.join(file)) {
                Some(file) if file.exists() => std::fs::write(&file, value)
                    .map_err(|err| io::Error::new(err.kind(), format!("cannot write {}: {err}", file.display()))),
                _ => Ok(()),
            }
        };
        let v2 = self.is_v2();
        if let Some(shares) = limits.cpu_shares {
            match v2 {
                true => write("cpu", "cpu.weight", shares_to_weight(shares).to_string())?,
                false => write("cpu", "cpu.shares", shares.to_string())?,
            }
        }
        if let Some(quota) = limits.cpu_quota {
            let period = limits.cpu_period.unwrap_or(DEFAULT_CPU_PERIOD);
            if v2 {
                let quota = if quota < 0 { "max".to_owned() } else { quota.to_string() };
                write("cpu", "cpu.max", format!("{quota} {period}"))?;
            } else {
                write("cpu", "cpu.cfs_period_us", period.to_string())?;
                write("cpu", "cpu.cfs_quota_us", quota.to_string())?;
            }
        }
        if let Some(memory) = limits.memory {
            match v2 {
                true => write("memory", "memory.max", unlimited_or(memory))?,
                false => write("memory", "memory.limit_in_bytes", memory.to_string())?,
            }
        }
        if let Some(pids) = limits.pids {
            write("pids", "pids.max", unlimited_or(pids))?;
        }
        Ok(())
    }

    /// Names of the cgroups directly below `path`, over all hierarchies.
    pub fn children(&self, path: &str) -> Vec<String> {
        let mut names: Vec<String> = self.directories(path).iter().flat_map(|dir| subdirectories(dir)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Every process in the cgroup and below.
    pub fn processes(&self, path: &str) -> Vec<i32> {
        fn collect(dir: &Path, into: &mut Vec<i32>) {
            let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            into.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            for name in subdirectories(dir) {
                collect(&dir.join(name), into);
            }
        }
        let mut processes = Vec::new();
        for dir in self.directories(path) {
            collect(&dir, &mut processes);
        }
        processes.sort_unstable();
        processes.dedup();
        processes
    }

    /// Removes the cgroup and all below it. Fails with "busy" while processes are in it.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        fn remove(dir: &Path) -> io::Result<()> {
            for name in subdirectories(dir) {
                remove(&dir.join(name))?;
            }
            match std::fs::remove_dir(dir) {
                Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
                result => result,
            }
        }
        for dir in self.directories(path) {
            remove(&dir)?;
        }
        Ok(())
    }

    pub fn usage(&self, path: &str) -> Usage {
        if self.is_v2() { self.usage_v2(path) } else { self.usage_v1(path) }
    }

    fn read(&self, controller: &str, path: &str, file: &str) -> Option<String> {
        std::fs::read_to_string(self.controller(controller, path)?.join(file)).ok()
    }

    fn usage_v1(&self, path: &str) -> Usage {
        let number = |controller: &str, file: &str| self.read(controller, path, file)?.trim().parse::<u64>().ok();
        let stat = self.read("memory", path, "memory.stat").unwrap_or_default();
        let memory = number("memory", "memory.usage_in_bytes");
        Usage {
            cpu_nanos: number("cpuacct", "cpuacct.usage"),
            memory,
            working_set: memory.map(|used| used.saturating_sub(stat_field(&stat, "total_inactive_file").unwrap_or(0))),
            rss: stat_field(&stat, "total_rss"),
            page_faults: stat_field(&stat, "total_pgfault"),
            major_page_faults: stat_field(&stat, "total_pgmajfault"),
            pids: number("pids", "pids.current"),
        }
    }

    fn usage_v2(&self, path: &str) -> Usage {
        let stat = self.read("memory", path, "memory.stat").unwrap_or_default();
        let cpu = self.read("cpu", path, "cpu.stat").unwrap_or_default();
        let memory = self.read("memory", path, "memory.current").and_then(|text| text.trim().parse::<u64>().ok());
        Usage {
            cpu_nanos: stat_field(&cpu, "usage_usec").map(|micros| micros * 1000),
            memory,
            working_set: memory.map(|used| used.saturating_sub(stat_field(&stat, "inactive_file").unwrap_or(0))),
            rss: stat_field(&stat, "anon"),
            page_faults: stat_field(&stat, "pgfault"),
            major_page_faults: stat_field(&stat, "pgmajfault"),
            pids: self.read("pids", path, "pids.current").and_then(|text| text.trim().parse().ok()),
        }
    }
}

fn unlimited_or(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn stat_field(stat: &str, name: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn subdirectories(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// A new v1 cpuset holds no cpus and no memory nodes, and takes no process until both are copied from its parent.
fn create_cpuset(root: &Path, path: &str) -> io::Result<()> {
    let mut dir = root.to_owned();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let parent = dir.clone();
        dir.push(part);
        match std::fs::create_dir(&dir) {
            Err(err) if err.kind() != io::ErrorKind::AlreadyExists => return Err(err),
            _ => {}
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let Ok(current) = std::fs::read_to_string(dir.join(file)) else { continue };
            if current.trim().is_empty() {
                std::fs::write(dir.join(file), std::fs::read_to_string(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

/// Passes on to the children what the cgroup has; one controller at a time, since one refusal would void them all.
fn enable_controllers(dir: &Path) {
    let has = std::fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    for name in has.split_whitespace() {
        let _ = std::fs::write(dir.join("cgroup.subtree_control"), format!("+{name}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 30 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:28 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_machine_is_v1() {
        let cgroups = Cgroups::parse(HYBRID).unwrap();
        assert!(!cgroups.is_v2());
        assert_eq!(cgroups.missing(), ["pids"]);
        let directories: Vec<String> = cgroups.directories("/kubepods/a").iter().map(|d| d.display().to_string()).collect();
        assert_eq!(
            directories,
            ["/sys/fs/cgroup/cpu,cpuacct/kubepods/a", "/sys/fs/cgroup/memory/kubepods/a", "/sys/fs/cgroup/systemd/kubepods/a"]
        );
    }

    #[test]
    fn a_machine_with_v2_alone_is_v2() {
        let cgroups = Cgroups::parse("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate").unwrap();
        assert_eq!(cgroups.directories("kubepods"), [PathBuf::from("/sys/fs/cgroup/kubepods")]);
        assert!(Cgroups::parse("1 1 0:1 / / rw - ext4 /dev/vda rw").is_err());
    }

    #[test]
    fn cpu_is_shares_quota_and_weight() {
        for (milli, shares, quota, weight) in
            [(0, 2, 0, 1), (1, 2, 1000, 1), (100, 102, 10_000, 4), (1000, 1024, 100_000, 39), (1_000_000, 262_144, 100_000_000, 10_000)]
        {
            assert_eq!(milli_cpu_to_shares(milli), shares);
            assert_eq!(milli_cpu_to_quota(milli, DEFAULT_CPU_PERIOD), quota);
            assert_eq!(shares_to_weight(shares), weight);
        }
    }

    #[test]
    fn v2_is_made_limited_read_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let cgroups = Cgroups { layout: Layout::V2(dir.path().to_owned()) };
        cgroups.create("/kubepods/burstable/podA").unwrap();
        cgroups.create("/kubepods/burstable/podA").unwrap();
        let pod = dir.path().join("kubepods/burstable/podA");
        for (file, text) in [
            ("cpu.weight", ""),
            ("cpu.max", ""),
            ("memory.max", ""),
            ("memory.current", "100\n"),
            ("memory.stat", "anon 40\ninactive_file 30\n"),
        ] {
            std::fs::write(pod.join(file), text).unwrap();
        }
        let limits = Limits { cpu_shares: Some(1024), cpu_quota: Some(50_000), memory: Some(-1), ..Default::default() };
        cgroups.limit("/kubepods/burstable/podA", &limits).unwrap();
        assert_eq!(std::fs::read_to_string(pod.join("cpu.max")).unwrap(), "50000 100000");
        assert_eq!(std::fs::read_to_string(pod.join("memory.max")).unwrap(), "max");
        let usage = cgroups.usage("/kubepods/burstable/podA");
        assert_eq!((usage.memory, usage.working_set, usage.rss, usage.cpu_nanos), (Some(100), Some(70), Some(40), None));
        assert_eq!(cgroups.children("/kubepods"), ["burstable"]);
        for file in ["cpu.weight", "cpu.max", "memory.max", "memory.current", "memory.stat"] {
            std::fs::remove_file(pod.join(file)).unwrap();
        }
        cgroups.remove("/kubepods").unwrap();
        assert!(!dir.path().join("kubepods").exists());
    }
}
