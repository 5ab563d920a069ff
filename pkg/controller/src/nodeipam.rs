//! node-ipam-controller: gives each node its share of the cluster's pod addresses.
//!
//! Reads Nodes; writes `.spec.podCIDR` and `.spec.podCIDRs`, once per node. Upstream: pkg/controller/nodeipam (range allocator).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use api::core::v1::Node;
use apimachinery::Value;
use client::{Api, Patch, PatchParams};
use component_base::tasks::Tasks;
use informer::{Event, ObjectKey, Reconcile, Recorder, Requeue, Store, WorkQueue};
use parking_lot::Mutex;

use crate::{ControllerContext, Registration, Settings, StartError, Started, WriteError};

pub const REGISTRATION: Registration = Registration { name: "node-ipam-controller", alias: Some("nodeipam"), default_on: true, start };

/// A network and what its nodes get of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    network: Cidr,
    /// The prefix length of a node's share.
    mask: u8,
}

/// An address range; the address as a number of `bits` bits, those below the prefix zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    first: u128,
    prefix: u8,
    bits: u8,
}

impl Cidr {
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, prefix) = text.trim().split_once('/')?;
        let (number, bits) = match address.parse().ok()? {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (u128::from(address), 128),
        };
        let prefix: u8 = prefix.parse().ok().filter(|prefix| *prefix <= bits)?;
        let cidr = Cidr { first: number, prefix, bits };
        Some(Cidr { first: number & !(cidr.size() - 1), ..cidr })
    }

    /// How many addresses. A whole IPv6 space is one less than it should be, which nobody will notice.
    fn size(&self) -> u128 {
        1u128.checked_shl(u32::from(self.bits - self.prefix)).unwrap_or(u128::MAX)
    }

    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.bits == other.bits && self.first <= other.last() && other.first <= self.last()
    }

    fn last(&self) -> u128 {
        self.first.saturating_add(self.size() - 1)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = match self.bits {
            32 => IpAddr::V4(Ipv4Addr::from(u32::try_from(self.first).unwrap_or(0))),
            _ => IpAddr::V6(Ipv6Addr::from(self.first)),
        };
        write!(f, "{address}/{}", self.prefix)
    }
}

impl Pool {
    fn share(&self, index: u128) -> Cidr {
        let size = 1u128 << (self.network.bits - self.mask);
        Cidr { first: self.network.first + index * size, prefix: self.mask, bits: self.network.bits }
    }

    /// The first share that overlaps nothing in `used`.
    pub fn free(&self, used: &HashSet<Cidr>) -> Option<Cidr> {
        let shares = 1u128 << (self.mask - self.network.prefix);
        // Shares of this pool are looked up; only what has another size has to be compared.
        let odd: Vec<&Cidr> = used.iter().filter(|known| known.prefix != self.mask && known.bits == self.network.bits).collect();
        let is_free = |share: &Cidr| !used.contains(share) && !odd.iter().any(|known| known.overlaps(share));
        (0..shares).map(|index| self.share(index)).find(is_free)
    }
}

/// The pools that the flags describe.
pub fn pools(settings: &Settings) -> Result<Vec<Pool>, String> {
    let mut pools: Vec<Pool> = Vec::new();
    for text in &settings.cluster_cidr {
        let network = Cidr::parse(text).ok_or_else(|| format!("--cluster-cidr: {text:?} is not a CIDR"))?;
        let mask = if network.bits == 32 { settings.node_cidr_mask_size_ipv4 } else { settings.node_cidr_mask_size_ipv6 };
        if mask < network.prefix || mask > network.bits {
            return Err(format!("--node-cidr-mask-size of {mask} does not divide the cluster CIDR {text}"));
        }
        // A bitmap of more shares than that upstream refuses too.
        if mask - network.prefix > 16 {
            return Err(format!("New CIDR set failed; the node CIDR size is too big: {text} in shares of /{mask}"));
        }
        if pools.iter().any(|known| known.network.bits == network.bits) {
            return Err("--cluster-cidr: at most one CIDR of each family".into());
        }
        pools.push(Pool { network, mask });
    }
    if pools.is_empty() { Err("--allocate-node-cidrs needs --cluster-cidr".into()) } else { Ok(pools) }
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    if !context.settings.allocate_node_cidrs {
        return Ok(Started::Skipped("--allocate-node-cidrs is false"));
    }
    let pools = pools(&context.settings).map_err(StartError::Settings)?;
    let reserved = context.settings.service_cluster_ip_range.iter().filter_map(|text| Cidr::parse(text)).collect();
    let mut sources = context.sources();
    let nodes = sources.of::<Node>();
    let queue = WorkQueue::new("cidrallocator_node");
    let for_nodes = queue.clone();
    let waiting = nodes.store();
    nodes.on_event(move |event| {
        if let Event::Deleted(_) = event {
            // Its share may be what another one waits for.
            for node in waiting.list().iter().filter(|node| node.spec.pod_cidrs.is_empty()) {
                for_nodes.add(ObjectKey::of_metadata(&node.metadata));
            }
        }
        for_nodes.add(event.key());
    });
    let client = context.client("node-controller")?;
    let reconciler = Allocator {
        pools,
        reserved,
        nodes: nodes.store(),
        api: Api::all(&client),
        recorder: context.recorder("cidrAllocator"),
        given: Mutex::default(),
    };
    context.spawn(tasks, sources, Arc::new(reconciler), queue, 30);
    Ok(Started::Running)
}

struct Allocator {
    pools: Vec<Pool>,
    /// Networks of services, which may lie inside of the cluster's.
    reserved: HashSet<Cidr>,
    nodes: Arc<Store<Node>>,
    api: Api<Node>,
    recorder: Recorder,
    /// What was given to nodes and may not be in the cache yet.
    given: Mutex<HashMap<String, Vec<Cidr>>>,
}

impl Allocator {
    /// Chooses one share of each pool and remembers them. `None` if a pool is exhausted.
    fn choose(&self, name: &str) -> Option<Vec<Cidr>> {
        let mut given = self.given.lock();
        if let Some(known) = given.get(name) {
            return Some(known.clone());
        }
        let mut used = self.reserved.clone();
        for node in self.nodes.list() {
            used.extend(node.spec.pod_cidrs.iter().filter_map(|text| Cidr::parse(text)));
        }
        used.extend(given.values().flatten().copied());
        let shares: Vec<Cidr> = self.pools.iter().map(|pool| pool.free(&used)).collect::<Option<_>>()?;
        given.insert(name.to_string(), shares.clone());
        Some(shares)
    }
}

impl Reconcile for Allocator {
    const NAME: &'static str = "node-ipam-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let name = key.name();
        let Some(node) = self.nodes.get(key) else {
            self.given.lock().remove(name);
            return Ok(Requeue::OnChange);
        };
        if !node.spec.pod_cidrs.is_empty() {
            self.given.lock().remove(name);
            return Ok(Requeue::OnChange);
        }
        let Some(shares) = self.choose(name) else {
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            self.recorder.about(node.as_ref(), "Normal", "CIDRNotAvailable", &message);
            return Err(WriteError::Invalid(format!(
                "CIDR allocation failed for node {name:?}; there are no remaining CIDRs left to allocate"
            )));
        };
        let texts: Vec<String> = shares.iter().map(ToString::to_string).collect();
        let mut patch = Value::object();
        patch.set_at(&["metadata", "uid"], node.metadata.uid.as_str());
        patch.set_at(&["spec", "podCIDR"], texts[0].as_str());
        patch.set_at(&["spec", "podCIDRs"], texts);
        match self.api.patch(name, &Patch::Strategic(patch), &PatchParams::default()).await {
            Ok(_) => Ok(Requeue::OnChange),
            Err(err) => {
                // Whether it arrived is unknown unless the server said no; what is not known stays taken.
                if err.api().is_some() && !err.is_timeout() {
                    self.given.lock().remove(name);
                }
                if err.is_not_found() { Ok(Requeue::OnChange) } else { Err(WriteError::new("patch", format!("node {name:?}"), err)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(cidrs: &[&str]) -> Settings {
        Settings { cluster_cidr: cidrs.iter().map(ToString::to_string).collect(), ..Settings::default() }
    }

    #[test]
    fn shares_are_given_in_order_and_around_what_is_used() {
        let pools = pools(&settings(&["10.244.0.0/16", "fd00:10:244::/56"])).unwrap();
        let used = |texts: &[&str]| texts.iter().filter_map(|text| Cidr::parse(text)).collect::<HashSet<_>>();
        let next = |pool: usize, texts: &[&str]| pools[pool].free(&used(texts)).map(|share| share.to_string()).unwrap_or_default();
        assert_eq!(next(0, &[]), "10.244.0.0/24");
        assert_eq!(next(0, &["10.244.0.0/24", "10.244.2.0/24"]), "10.244.1.0/24");
        assert_eq!(next(0, &["10.244.0.0/20"]), "10.244.16.0/24");
        assert_eq!(next(0, &["10.244.0.128/25"]), "10.244.1.0/24");
        assert_eq!(next(0, &["10.244.0.0/16"]), "");
        assert_eq!(next(1, &["fd00:10:244::/64"]), "fd00:10:244:1::/64");
    }

    #[test]
    fn flags_that_cannot_be_are_refused() {
        for cidrs in [vec![], vec!["10.0.0.0"], vec!["10.0.0.0/28"], vec!["10.0.0.0/16", "10.1.0.0/16"], vec!["10.0.0.0/4"]] {
            assert!(pools(&settings(&cidrs)).is_err(), "{cidrs:?}");
        }
    }
}
