//! Node ports: a map of bits in the store, one per port of the range, changed by compare and swap. Upstream: portallocator.

use std::ops::RangeInclusive;
use std::sync::Arc;

use api::core::v1::RangeAllocation;
use apimachinery::ByteString;
use apimachinery::status::StatusError;
use storage::{Expect, PutOutcome, Store};

/// Why a port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("provided port is already allocated")]
    Allocated,
    #[error("provided port is not in the valid range. The range of valid ports is {0}")]
    NotInRange(String),
    #[error("range is full")]
    Full,
    #[error("{0}")]
    Store(StatusError),
}

/// Gives out node ports.
#[derive(Clone)]
pub struct PortAllocator {
    store: Option<Arc<dyn Store>>,
    key: String,
    range: RangeInclusive<u16>,
}

/// Bits, numbered from the least significant one of a big-endian number: upstream keeps a big integer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Bits(Vec<u8>);

impl Bits {
    fn get(&self, bit: usize) -> bool {
        let (byte, mask) = (bit / 8, 1 << (bit % 8));
        self.0.iter().rev().nth(byte).is_some_and(|found| found & mask != 0)
    }

    fn set(&mut self, bit: usize, value: bool) {
        let (byte, mask) = (bit / 8, 1u8 << (bit % 8));
        while self.0.len() <= byte {
            self.0.insert(0, 0);
        }
        let at = self.0.len() - 1 - byte;
        if value { self.0[at] |= mask } else { self.0[at] &= !mask }
    }

    /// Without leading zeros, as a big integer is written.
    fn bytes(&self) -> Vec<u8> {
        self.0.iter().copied().skip_while(|byte| *byte == 0).collect()
    }
}

impl PortAllocator {
    pub fn new(store: Option<Arc<dyn Store>>, prefix: &str, range: RangeInclusive<u16>) -> Self {
        Self { store, key: format!("{prefix}/ranges/servicenodeports"), range }
    }

    fn text(&self) -> String {
        format!("{}-{}", self.range.start(), self.range.end())
    }

    fn size(&self) -> usize {
        usize::from(self.range.end() - self.range.start()) + 1
    }

    fn port(&self, bit: usize) -> u16 {
        self.range.start() + bit as u16
    }

    /// Takes the port that is asked for.
    pub async fn allocate(&self, port: i32, dry_run: bool) -> Result<(), PortError> {
        let bit = self.bit(port).ok_or_else(|| PortError::NotInRange(self.text()))?;
        let outcome = self.change(dry_run, |bits| match bits.get(bit) {
            true => Err(PortError::Allocated),
            false => {
                bits.set(bit, true);
                Ok(())
            }
        });
        outcome.await
    }

    /// Takes any free port.
    pub async fn allocate_next(&self, dry_run: bool) -> Result<u16, PortError> {
        let size = self.size();
        // The lowest ports are left to Services that ask for one.
        let band = if size < 16 { 0 } else { (size / 32).clamp(16, 128).min(size) };
        let start = apimachinery::names::random_u64() as usize % (size - band).max(1);
        let change = |bits: &mut Bits| {
            let upper = (0..size - band).map(|step| band + (start + step) % (size - band));
            let free = upper.chain(0..band).find(|bit| !bits.get(*bit)).ok_or(PortError::Full)?;
            bits.set(free, true);
            Ok(self.port(free))
        };
        self.change(dry_run, change).await
    }

    /// Gives a port back. One outside of the range was never taken.
    pub async fn release(&self, port: i32) {
        let Some(bit) = self.bit(port) else { return };
        let freed = self.change(false, |bits| {
            bits.set(bit, false);
            Ok(())
        });
        if let Err(error) = freed.await {
            tracing::warn!(err = %error, port, "cannot release a node port");
        }
    }

    fn bit(&self, port: i32) -> Option<usize> {
        let port = u16::try_from(port).ok().filter(|port| self.range.contains(port))?;
        Some(usize::from(port - self.range.start()))
    }

    /// Changes the map and stores it, again after each conflict, until nobody came in between.
    async fn change<R>(&self, dry_run: bool, mut change: impl FnMut(&mut Bits) -> Result<R, PortError>) -> Result<R, PortError> {
        let Some(store) = &self.store else { return change(&mut Bits::default()) };
        let failed = |error: storage::Error| PortError::Store(StatusError::internal(error));
        let mut current = store.get(self.key.clone().into()).await.map_err(failed)?;
        loop {
            let mut map = match &current {
                Some(item) => decode(&item.value).map_err(PortError::Store)?,
                None => RangeAllocation::default(),
            };
            // Of another range only the ports that are in ours as well stay taken.
            let mut bits = if map.range == self.text() || map.range.is_empty() { Bits(map.data.to_vec()) } else { self.moved(&map) };
            let outcome = change(&mut bits)?;
            if dry_run {
                return Ok(outcome);
            }
            map.range = self.text();
            map.data = ByteString::from(bits.bytes());
            let expect = current.as_ref().map_or(Expect::Absent, |item| Expect::ModRevision(item.mod_revision));
            let value = apimachinery::proto::encode_envelope("v1", "RangeAllocation", &apimachinery::proto::to_vec(&map));
            match store.put(self.key.clone().into(), expect, value.into(), None).await.map_err(failed)? {
                PutOutcome::Written { .. } => return Ok(outcome),
                PutOutcome::Conflict { current: now, .. } => current = now,
            }
        }
    }

    fn moved(&self, map: &RangeAllocation) -> Bits {
        let old = Bits(map.data.to_vec());
        let mut new = Bits::default();
        let start: i32 = map.range.split('-').next().and_then(|start| start.parse().ok()).unwrap_or(0);
        for bit in (0..map.data.len() * 8).filter(|bit| old.get(*bit)) {
            if let Some(bit) = self.bit(start + bit as i32) {
                new.set(bit, true);
            }
        }
        new
    }
}

fn decode(value: &[u8]) -> Result<RangeAllocation, StatusError> {
    let broken = || StatusError::internal("the map of node ports in the store is damaged");
    let envelope = apimachinery::proto::decode_envelope(value).map_err(|_| broken())?;
    apimachinery::proto::from_slice(envelope.raw).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_a_big_integer() {
        let mut bits = Bits::default();
        bits.set(0, true);
        bits.set(9, true);
        assert_eq!(bits.bytes(), [2, 1]);
        assert!(bits.get(9) && bits.get(0) && !bits.get(8) && !bits.get(100));
        bits.set(9, false);
        assert_eq!(bits.bytes(), [1]);
    }

    #[test]
    fn a_map_of_another_range_is_moved() {
        let allocator = PortAllocator::new(None, "/registry", 30_010..=30_020);
        let mut old = Bits::default();
        [0, 10, 15].into_iter().for_each(|bit| old.set(bit, true));
        let map = RangeAllocation { range: "30000-32767".into(), data: ByteString::from(old.bytes()), ..RangeAllocation::default() };
        let moved = allocator.moved(&map);
        let taken: Vec<_> = (0..allocator.size()).filter(|bit| moved.get(*bit)).map(|bit| allocator.port(bit)).collect();
        assert_eq!(taken, [30_010, 30_015]);
    }
}
