//! Where in the maps of endpoints each spreading chain has its own.
//!
//! The maps `endpoints-tcp`, `endpoints-udp` and `endpoints-sctp` go from a number to an address and a port. A chain
//! with three endpoints has a block of numbers to itself and picks one: `numgen random mod 3 offset 4096`.
//!
//! ```text
//!  4096       4097       4098       4099        4100
//!   10.0.0.1   10.0.0.2   10.0.0.3   (spare)  |  the next chain's
//! ```
//!
//! An endpoint keeps its number while it lives, and the last one fills the hole that another leaves. So one changed
//! endpoint is one or two changed elements, in a service of any size. And, unlike with a map inside of each rule, the
//! kernel holds three maps in all: nft lists every one of them before each change.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::service::ServiceName;

/// A chain's numbers.
#[derive(Debug)]
struct Block {
    offset: u32,
    /// A power of two.
    capacity: u32,
    /// Who has which number, from `offset` on.
    order: Vec<SocketAddr>,
}

/// Hands out blocks of numbers, for one family.
#[derive(Debug, Default)]
pub struct Slots {
    next: u32,
    /// Blocks given back, by capacity.
    free: BTreeMap<u32, Vec<u32>>,
    blocks: HashMap<ServiceName, HashMap<Arc<str>, Block>>,
}

impl Slots {
    /// Gives `wanted` numbers and returns the first, and the endpoints in the order of their numbers.
    pub fn assign(&mut self, service: &ServiceName, chain: &Arc<str>, wanted: &[SocketAddr]) -> (u32, &[SocketAddr]) {
        let mut order = match self.blocks.get_mut(service).and_then(|chains| chains.get_mut(chain)) {
            Some(block) => std::mem::take(&mut block.order),
            None => Vec::new(),
        };
        keep_places(&mut order, wanted);
        let needed = u32::try_from(order.len()).unwrap_or(u32::MAX).next_power_of_two();
        let held = self.blocks.get(service).and_then(|chains| chains.get(chain));
        let held = held.map(|block| (block.offset, block.capacity)).filter(|(_, capacity)| *capacity >= needed);
        let (offset, capacity) = match held {
            Some(held) => held,
            None => {
                self.release(service, chain);
                (self.take(needed), needed)
            }
        };
        let chains = self.blocks.entry(service.clone()).or_default();
        chains.insert(chain.clone(), Block { offset, capacity, order });
        (offset, &chains[chain].order)
    }

    /// Takes back the blocks of all chains of `service` but these.
    pub fn keep_only(&mut self, service: &ServiceName, chains: &[&Arc<str>]) {
        let Some(held) = self.blocks.get(service) else {
            return;
        };
        let gone: Vec<Arc<str>> = held.keys().filter(|chain| !chains.contains(chain)).cloned().collect();
        for chain in gone {
            self.release(service, &chain);
        }
    }

    fn take(&mut self, capacity: u32) -> u32 {
        if let Some(offset) = self.free.get_mut(&capacity).and_then(Vec::pop) {
            return offset;
        }
        let offset = self.next;
        self.next += capacity;
        offset
    }

    fn release(&mut self, service: &ServiceName, chain: &Arc<str>) {
        let Some(chains) = self.blocks.get_mut(service) else {
            return;
        };
        if let Some(block) = chains.remove(chain) {
            self.free.entry(block.capacity).or_default().push(block.offset);
        }
        if chains.is_empty() {
            self.blocks.remove(service);
        }
    }
}

/// Makes `order` hold exactly `wanted`, moving as few as possible.
fn keep_places(order: &mut Vec<SocketAddr>, wanted: &[SocketAddr]) {
    let is_wanted: std::collections::HashSet<&SocketAddr> = wanted.iter().collect();
    let known: std::collections::HashSet<SocketAddr> = order.iter().copied().collect();
    let mut new = wanted.iter().copied().filter(|endpoint| !known.contains(endpoint));
    let mut place = 0;
    while place < order.len() {
        if is_wanted.contains(&order[place]) {
            place += 1;
        } else if let Some(endpoint) = new.next() {
            order[place] = endpoint;
            place += 1;
        } else {
            // The one that comes from the end is looked at next.
            order.swap_remove(place);
        }
    }
    order.extend(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(numbers: &str) -> Vec<SocketAddr> {
        numbers.split_whitespace().map(|number| format!("10.0.0.{number}:80").parse().unwrap()).collect()
    }

    #[test]
    fn endpoints_keep_their_places() {
        for (order, wanted, expected) in [
            ("", "1 2 3", "1 2 3"),
            ("1 2 3", "1 3 4", "1 4 3"),
            ("1 2 3 4", "2 3 4", "4 2 3"),
            ("1 2 3 4", "3", "3"),
            ("1 2", "", ""),
            ("1", "1 2 3", "1 2 3"),
            ("1 2 3", "4 5 6 7", "4 5 6 7"),
        ] {
            let mut order = endpoints(order);
            keep_places(&mut order, &endpoints(wanted));
            assert_eq!(order, endpoints(expected));
        }
    }

    #[test]
    fn blocks_never_overlap_and_are_used_again() {
        let mut slots = Slots::default();
        let service = |name: &str| ServiceName::new("ns", name);
        let chain: Arc<str> = "service".into();
        let mut first = |name: &str, count: usize| {
            let wanted: Vec<SocketAddr> = (0..count).map(|port| SocketAddr::from(([10, 0, 0, 1], port as u16 + 1))).collect();
            slots.assign(&service(name), &chain, &wanted).0
        };
        assert_eq!((first("a", 3), first("b", 5), first("c", 2)), (0, 4, 12));
        assert_eq!(first("a", 4), 0, "it fits");
        assert_eq!(first("a", 5), 14, "it has to move");
        assert_eq!(first("d", 3), 0, "to where a was");
        assert_eq!(first("a", 1), 14, "it stays where it is");
        slots.keep_only(&service("b"), &[]);
        assert_eq!(slots.assign(&service("e"), &chain, &endpoints("1 2 3 4 5 6 7")).0, 4);
    }
}
