//! Amounts of resources as numbers, for adding and comparing them many times. Upstream: `Resource` of kube-scheduler/framework.

use api::core::v1::Pod;
use apimachinery::quantity::Format;
use apimachinery::{Map, Quantity};
use component_helpers::resource;

/// What a container without a cpu request is taken to use when nodes are scored, in thousandths.
pub const DEFAULT_MILLI_CPU: i64 = 100;
/// What a container without a memory request is taken to use when nodes are scored, in bytes.
pub const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts by resource. Cpu is in thousandths, everything else in whole units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// Extended resources, huge pages and the like, by name.
    scalar: Vec<(String, i64)>,
}

impl Amounts {
    /// From a list as the API has it. `pods` is not among the amounts: it is counted.
    pub fn of(list: &Map<Quantity>) -> Amounts {
        let mut amounts = Amounts::default();
        for (name, quantity) in list {
            match name {
                "cpu" => amounts.milli_cpu = quantity.milli_value(),
                "memory" => amounts.memory = quantity.value(),
                "ephemeral-storage" => amounts.ephemeral_storage = quantity.value(),
                name if is_scalar(name) => amounts.scalar.push((name.to_owned(), quantity.value())),
                _ => {}
            }
        }
        amounts
    }

    /// What must be free on a node for the pod to start.
    pub fn requested_by(pod: &Pod) -> Amounts {
        Amounts::of(&resource::pod_requests(pod))
    }

    /// The amount of one resource.
    pub fn get(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory,
            "ephemeral-storage" => self.ephemeral_storage,
            name => match self.position(name) {
                Ok(at) => self.scalar[at].1,
                Err(_) => 0,
            },
        }
    }

    /// Resources besides cpu, memory and ephemeral storage, sorted by name.
    pub fn scalar(&self) -> impl Iterator<Item = (&str, i64)> {
        self.scalar.iter().map(|(name, amount)| (name.as_str(), *amount))
    }

    pub fn is_zero(&self) -> bool {
        self.milli_cpu == 0 && self.memory == 0 && self.ephemeral_storage == 0 && self.scalar.iter().all(|(_, amount)| *amount == 0)
    }

    pub fn add(&mut self, other: &Amounts) {
        self.change(other, 1);
    }

    pub fn subtract(&mut self, other: &Amounts) {
        self.change(other, -1);
    }

    fn change(&mut self, other: &Amounts, sign: i64) {
        self.milli_cpu += sign * other.milli_cpu;
        self.memory += sign * other.memory;
        self.ephemeral_storage += sign * other.ephemeral_storage;
        for (name, amount) in &other.scalar {
            match self.position(name) {
                Ok(at) => self.scalar[at].1 += sign * amount,
                Err(at) => self.scalar.insert(at, (name.clone(), sign * amount)),
            }
        }
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.scalar.binary_search_by(|(known, _)| known.as_str().cmp(name))
    }
}

/// Cpu (thousandths) and memory of a pod, with the defaults for containers that do not say: what scoring counts, so that pods
/// without requests spread as well.
pub fn nonzero_requests(pod: &Pod) -> (i64, i64) {
    let mut missing = Map::empty();
    // A pod-level amount already speaks for all containers.
    let pod_level = |name: &str| pod.spec.resources.as_ref().is_some_and(|resources| resources.requests.contains_key(name));
    if !pod_level("cpu") {
        missing.insert("cpu", Quantity::from_milli(DEFAULT_MILLI_CPU, Format::DecimalSI));
    }
    if !pod_level("memory") {
        missing.insert("memory", Quantity::from_value(DEFAULT_MEMORY, Format::BinarySI));
    }
    let requests = resource::pod_requests_or(pod, &missing);
    (resource::milli(&requests, "cpu"), resource::units(&requests, "memory"))
}

/// True for resources that are counted in whole units and that nodes may or may not have.
pub fn is_scalar(name: &str) -> bool {
    name.contains('/') || name.starts_with("hugepages-") || name.starts_with("attachable-volumes-")
}

/// True for resources that a device plugin or an administrator defined.
pub fn is_extended(name: &str) -> bool {
    match name.split_once('/') {
        Some((domain, _)) => domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io") && domain != "requests.kubernetes.io",
        None => false,
    }
}
