//! garbage-collector-controller: deletes objects whose owners are gone, and waits or lets go where a deletion asks for that.
//!
//! Watches the metadata of every kind that can be listed, watched and deleted, as discovery tells; deletes dependents, takes
//! owner references and the finalizers `foregroundDeletion` and `orphan` away. Upstream: pkg/controller/garbagecollector.
//! [`graph`] knows who owns whom, [`plan`] decides about one object.

mod collect;
mod graph;
mod monitors;
mod plan;

use std::collections::HashSet;
use std::sync::Arc;

use client::RestMapper;
use component_base::tasks::Tasks;
use informer::{Controller, WorkQueue};
use parking_lot::{Mutex, RwLock};

use crate::{ControllerContext, Registration, StartError, Started};
pub use graph::{Graph, Identity, Observation};
pub use plan::{Action, Owners, plan};

pub const REGISTRATION: Registration =
    Registration { name: "garbage-collector-controller", alias: Some("garbagecollector"), default_on: true, start };

/// What a foreground deletion leaves on an object until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// What an orphaning deletion leaves on an object until its dependents forget it.
pub const ORPHAN: &str = "orphan";

/// What the watches fill and the workers read.
pub(crate) struct Shared {
    pub graph: Mutex<Graph>,
    /// Keys are UIDs.
    pub queue: WorkQueue,
    pub mapper: RwLock<Option<Arc<RestMapper>>>,
    /// Whether every watch has shown what was there when it began: only then are an object's dependents known to be all.
    pub complete: RwLock<bool>,
    /// Owners that were looked for and are not there. An UID never comes back.
    pub absent: Mutex<HashSet<Identity>>,
}

/// Identities of absent owners kept; beyond that all are forgotten and asked for again.
const MAX_ABSENT: usize = 10_000;

impl Shared {
    pub fn note_absent(&self, identity: Identity) {
        let mut absent = self.absent.lock();
        if absent.len() >= MAX_ABSENT {
            absent.clear();
        }
        absent.insert(identity);
    }

    /// Takes a change into the graph and queues what it concerns.
    pub fn observe(&self, observation: Observation) {
        self.enqueue(self.graph.lock().observe(observation));
    }

    /// The object is not there any more.
    pub fn vanished(&self, identity: &Identity, only_virtual: bool) {
        let affected = self.graph.lock().remove(identity, only_virtual);
        self.note_absent(identity.clone());
        self.enqueue(affected);
    }

    fn enqueue(&self, uids: Vec<String>) {
        for uid in uids {
            self.queue.add(graph::key(&uid));
        }
    }
}

fn start(context: &ControllerContext, tasks: &mut Tasks) -> Result<Started, StartError> {
    if !context.settings.enable_garbage_collector {
        return Ok(Started::Skipped("--enable-garbage-collector is false"));
    }
    // Every object that goes costs two requests or more; with upstream's limit a large deletion takes minutes.
    let client = context.client_with_rate("generic-garbage-collector", 10.0, 10)?;
    let shared = Arc::new(Shared {
        graph: Mutex::default(),
        queue: WorkQueue::new("garbage_collector_attempt_to_delete"),
        mapper: RwLock::new(None),
        complete: RwLock::new(false),
        absent: Mutex::default(),
    });
    let monitors = monitors::Monitors::new(context.informers().client().clone(), shared.clone(), context.clock.clone());
    tasks.spawn("garbage-collector-monitors", move |stop| monitors.run(stop));
    let (collector, queue) = (Arc::new(collect::Collector::new(client, shared.clone())), shared.queue.clone());
    let workers = context.settings.workers.gc;
    tasks.spawn("garbage-collector-controller", move |stop| Controller::new(collector, queue).run(workers, stop));
    Ok(Started::Running)
}
