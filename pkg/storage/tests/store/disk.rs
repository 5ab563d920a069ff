//! A disk for tests: it remembers what has been synced, and when the power fails it loses, reorders or tears the rest.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use redb::StorageBackend;
use storage::embedded::Medium;

/// What a disk writes at once, whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Pending {
    Write { offset: usize, data: Vec<u8> },
    SetLen(usize),
}

#[derive(Debug, Default)]
struct State {
    /// What is certain to survive.
    durable: Vec<u8>,
    /// What a reader sees.
    current: Vec<u8>,
    /// What leads from the one to the other, in order.
    pending: Vec<Pending>,
    /// Operations until the power fails.
    left: Option<u64>,
    /// Counts the power failures; handles from before one are dead.
    generation: u64,
    powered_off: bool,
    ignores_sync: bool,
    fail_next_sync: bool,
    capacity: Option<usize>,
    /// How often it was opened.
    opened: u64,
    /// Whether the length of a file takes no space, but only what is written.
    sparse: bool,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    gate: Mutex<bool>,
    gate_changed: Condvar,
    waiting_at_gate: AtomicU64,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Inner>);

#[derive(Debug)]
struct Handle {
    disk: Disk,
    generation: u64,
}

impl Disk {
    /// A disk that says "synced" and does nothing.
    pub fn that_ignores_sync() -> Disk {
        let disk = Disk::default();
        disk.0.state.lock().unwrap().ignores_sync = true;
        disk
    }

    /// The power fails at the operation after the next `operations`.
    pub fn fail_power_after(&self, operations: u64) {
        self.0.state.lock().unwrap().left = Some(operations);
    }

    /// A disk whose files have holes, as on most file systems: growing succeeds, and only writing finds it full.
    pub fn with_sparse_files() -> Disk {
        let disk = Disk::default();
        disk.0.state.lock().unwrap().sparse = true;
        disk
    }

    pub fn is_powered_off(&self) -> bool {
        self.0.state.lock().unwrap().powered_off
    }

    /// After a power failure: decides what is left, and turns it on again.
    pub fn power_on(&self, random: &mut StdRng) {
        let mut state = self.0.state.lock().unwrap();
        let mut image = state.durable.clone();
        let mut pending = std::mem::take(&mut state.pending);
        if random.random_bool(0.5) {
            pending.shuffle(random);
        }
        let survival = [0.0, 0.1, 0.5, 0.9, 1.0][random.random_range(0..5)];
        for operation in pending {
            match operation {
                Pending::SetLen(len) if random.random_bool(survival) => image.resize(len, 0),
                Pending::Write { offset, data } => {
                    let torn = random.random_bool(0.2);
                    let whole = random.random_bool(survival);
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        let survives = if torn { random.random_bool(0.5) } else { whole };
                        let at = offset + index * SECTOR;
                        if survives {
                            if image.len() < at + sector.len() {
                                image.resize(at + sector.len(), 0);
                            }
                            image[at..at + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
                Pending::SetLen(_) => {}
            }
        }
        state.current = image.clone();
        state.durable = image;
        state.left = None;
        state.powered_off = false;
        state.generation += 1;
    }

    pub fn fail_next_sync(&self) {
        self.0.state.lock().unwrap().fail_next_sync = true;
    }

    /// How many bytes there is room for; `None` for any number.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.0.state.lock().unwrap().capacity = bytes;
    }

    pub fn opened(&self) -> u64 {
        self.0.state.lock().unwrap().opened
    }

    pub fn len(&self) -> usize {
        self.0.state.lock().unwrap().current.len()
    }

    /// Lets syncs wait until [`open_gate`](Disk::open_gate).
    pub fn close_gate(&self) {
        *self.0.gate.lock().unwrap() = true;
    }

    pub fn open_gate(&self) {
        *self.0.gate.lock().unwrap() = false;
        self.0.gate_changed.notify_all();
    }

    pub fn somebody_waits_at_gate(&self) -> bool {
        self.0.waiting_at_gate.load(Ordering::SeqCst) > 0
    }
}

impl Medium for Disk {
    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let mut state = self.0.state.lock().unwrap();
        state.opened += 1;
        if state.powered_off {
            return Err(io::Error::other("the power is off"));
        }
        Ok(Box::new(Handle { disk: self.clone(), generation: state.generation }))
    }

    fn place(&self) -> String {
        "a test's disk".to_owned()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl Handle {
    fn read_state<T>(&self, work: impl FnOnce(&State) -> io::Result<T>) -> io::Result<T> {
        let state = self.disk.0.state.lock().unwrap();
        if state.powered_off || state.generation != self.generation {
            return Err(io::Error::other("the power is off"));
        }
        work(&state)
    }

    /// Does something that changes the disk, unless the power fails right now.
    fn change<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.0.state.lock().unwrap();
        match &mut state.left {
            Some(0) => state.powered_off = true,
            Some(left) => *left -= 1,
            None => {}
        }
        if state.powered_off || state.generation != self.generation {
            return Err(io::Error::other("the power is off"));
        }
        work(&mut state)
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.read_state(|state| Ok(state.current.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = offset as usize;
        self.read_state(|state| match state.current.get(offset..offset + out.len()) {
            None => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(found) => {
                out.copy_from_slice(found);
                Ok(())
            }
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|state| {
            if !state.sparse && state.capacity.is_some_and(|capacity| len as usize > capacity) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.current.resize(len as usize, 0);
            state.pending.push(Pending::SetLen(len as usize));
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut closed = self.disk.0.gate.lock().unwrap();
        while *closed {
            self.disk.0.waiting_at_gate.fetch_add(1, Ordering::SeqCst);
            closed = self.disk.0.gate_changed.wait(closed).unwrap();
            self.disk.0.waiting_at_gate.fetch_sub(1, Ordering::SeqCst);
        }
        drop(closed);
        self.change(|state| {
            if std::mem::take(&mut state.fail_next_sync) {
                return Err(io::Error::other("the disk reports an error"));
            }
            if !state.ignores_sync {
                state.durable = state.current.clone();
                state.pending.clear();
            }
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        self.change(|state| {
            if state.capacity.is_some_and(|capacity| offset + data.len() > capacity) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let Some(place) = state.current.get_mut(offset..offset + data.len()) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            place.copy_from_slice(data);
            state.pending.push(Pending::Write { offset, data: data.to_vec() });
            Ok(())
        })
    }
}
