//! What a controller is given to start with, and how it is listed.

use std::pin::Pin;
use std::sync::Arc;

use apimachinery::{Resource, Time};
use client::{Client, ConfigError};
use component_base::clock::Clock;
use component_base::tasks::Tasks;
use informer::events::Broadcaster;
use informer::{Controller, Informer, Informers, Reconcile, Recorder, Selection, WorkQueue};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::identity::Identities;
use crate::settings::Settings;

/// One controller: its name, whether `--controllers=*` means it too, and how it is started.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// Upstream's name.
    pub name: &'static str,
    /// Upstream's older name, which `--controllers` still takes.
    pub alias: Option<&'static str>,
    pub default_on: bool,
    /// Asks for informers, adds handlers, spawns tasks. Must not block and need not wait for caches: the tasks do.
    pub start: fn(&ControllerContext, &mut Tasks) -> Result<Started, StartError>,
}

/// Whether a controller runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Started {
    Running,
    /// It has nothing to do under these settings, and why.
    Skipped(&'static str),
}

/// Why a controller could not be started. Takes the process down.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot make a client")]
    Client(#[from] ConfigError),
    #[error("{0}")]
    Settings(String),
}

/// Shared by all controllers of one term as leader.
#[derive(Clone, Debug)]
pub struct ControllerContext {
    identities: Identities,
    informers: Arc<SharedInformers>,
    broadcaster: Arc<Broadcaster>,
    pub clock: Arc<dyn Clock>,
    pub settings: Arc<Settings>,
}

struct SharedInformers(Informers);

impl std::fmt::Debug for SharedInformers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Informers")
    }
}

impl ControllerContext {
    /// `informers` watch as the program itself; writes go out under each controller's own identity.
    pub fn new(identities: Identities, informers: Informers, clock: Arc<dyn Clock>, settings: Settings) -> ControllerContext {
        let informers = Arc::new(SharedInformers(informers));
        ControllerContext { identities, informers, broadcaster: Arc::default(), clock, settings: Arc::new(settings) }
    }

    /// A client that is seen as `account` (the name that RBAC's bootstrap bindings have: `deployment-controller`,
    /// `daemon-set-controller`, ...), with a rate limit of its own.
    pub fn client(&self, account: &str) -> Result<Client, StartError> {
        Ok(self.identities.client(account)?)
    }

    /// As [`client`](Self::client), with the rate limit raised by these factors: for a controller that makes many requests
    /// about one object.
    pub fn client_with_rate(&self, account: &str, qps_factor: f32, burst_factor: u32) -> Result<Client, StartError> {
        Ok(self.identities.client_with_rate(account, qps_factor, burst_factor)?)
    }

    /// The informers of the process. Prefer [`sources`](Self::sources).
    pub fn informers(&self) -> &Informers {
        &self.informers.0
    }

    /// Collects the informers that a controller reads, so that it waits for those and for no others.
    pub fn sources(&self) -> Sources {
        Sources { informers: self.informers.0.clone(), waits: Vec::new() }
    }

    /// Takes events signed by `component`.
    pub fn recorder(&self, component: &str) -> Recorder {
        self.broadcaster.recorder(component, "")
    }

    pub fn now(&self) -> Time {
        Time::from(self.clock.now())
    }

    /// Spawns the workers of a reconciler, which begin once `sources` are in sync.
    pub fn spawn<R: Reconcile>(&self, tasks: &mut Tasks, sources: Sources, reconciler: Arc<R>, queue: WorkQueue, workers: usize) {
        tasks.spawn(R::NAME, move |stop| async move {
            if sources.ready(&stop).await {
                Controller::new(reconciler, queue).run(workers, stop).await;
            }
        });
    }

    /// Runs what controllers share, informers and the sending of events, until stopped. Called once, after all were started.
    pub fn run_shared(&self, tasks: &mut Tasks) {
        let informers = self.informers.0.clone();
        tasks.spawn("informers", move |stop| async move { informers.run(stop).await });
        let (broadcaster, client) = (self.broadcaster.clone(), self.informers.0.client().clone());
        tasks.spawn("events", move |stop| async move { broadcaster.run(client, stop).await });
    }
}

/// The caches that one controller reads.
pub struct Sources {
    informers: Informers,
    waits: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sources({})", self.waits.len())
    }
}

impl Sources {
    /// The shared informer of this kind.
    pub fn of<K: Resource>(&mut self) -> Informer<K> {
        self.select(Selection::default())
    }

    /// The shared informer of some objects of this kind.
    pub fn select<K: Resource>(&mut self, selection: Selection) -> Informer<K> {
        let informer = self.informers.select::<K>(selection);
        let waiting = informer.clone();
        self.waits.push(Box::pin(async move { waiting.wait_for_sync().await }));
        informer
    }

    /// Waits until every cache asked for is in sync. False if `stop` came first.
    pub async fn ready(self, stop: &CancellationToken) -> bool {
        for wait in self.waits {
            // Both arms are cancel-safe.
            tokio::select! {
                () = stop.cancelled() => return false,
                () = wait => {}
            }
        }
        true
    }
}
