//! One metadata watch for each kind there is, following discovery.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use apimachinery::gvk::GroupVersionResource;
use apimachinery::meta::v1::{ObjectMeta, PartialObjectMetadata};
use client::{Api, ApiResource, Client, Discovery, RestMapper};
use component_base::clock::Clock;
use informer::{Event, Informer, InformerOptions};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::graph::{Identity, Observation, State};

/// How often to ask what kinds there are; upstream's number.
const PERIOD: Duration = Duration::from_secs(30);
/// How often to look whether the watches have caught up, until they have.
const SYNC_PERIOD: Duration = Duration::from_millis(100);
/// A kind whose objects cannot be listed must not stop the collection of all others: upstream's number.
const SYNC_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Monitors {
    client: Client,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    running: HashMap<GroupVersionResource, (Informer<PartialObjectMetadata>, CancellationToken)>,
    tasks: JoinSet<()>,
}

/// The kinds that can be collected: deletable, and watchable so that their owners are known. Events have no owners and come
/// in masses.
pub fn collectable(discovery: &Discovery) -> Vec<&ApiResource> {
    let is_event = |kind: &ApiResource| kind.resource == "events" && matches!(kind.group.as_str(), "" | "events.k8s.io");
    let mut kinds = discovery.preferred();
    kinds.retain(|kind| ["delete", "list", "watch"].iter().all(|verb| kind.can(verb)) && !is_event(kind));
    kinds
}

impl Monitors {
    pub fn new(client: Client, shared: Arc<Shared>, clock: Arc<dyn Clock>) -> Monitors {
        Monitors { client, shared, clock, running: HashMap::new(), tasks: JoinSet::new() }
    }

    /// Follows discovery until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            // Both arms are cancel-safe: what a dropped pass has started is in `running`.
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.pass(&stop) => {}
            }
            let clock = self.clock.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                () = clock.sleep(PERIOD) => {}
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }

    async fn pass(&mut self, stop: &CancellationToken) {
        match Discovery::fetch(&self.client).await {
            Ok(discovery) => self.follow(discovery, stop),
            Err(err) => {
                tracing::warn!(controller = "garbage-collector-controller", err = &err as &dyn std::error::Error, "discovery failed");
                return;
            }
        }
        let mut waited = Duration::ZERO;
        while waited < SYNC_TIMEOUT && !self.running.values().all(|(informer, _)| informer.has_synced()) {
            self.clock.sleep(SYNC_PERIOD).await;
            waited += SYNC_PERIOD;
        }
        let late = self.running.iter().filter(|(_, (informer, _))| !informer.has_synced());
        for (resource, _) in late {
            tracing::warn!(controller = "garbage-collector-controller", %resource, "objects of this kind cannot be watched; their owners wait no longer");
        }
        *self.shared.complete.write() = true;
    }

    fn follow(&mut self, discovery: Discovery, stop: &CancellationToken) {
        let kinds: HashMap<GroupVersionResource, ApiResource> =
            collectable(&discovery).into_iter().map(|kind| (kind.gvr(), kind.clone())).collect();
        // A group that could not be asked keeps its watches.
        let stale = discovery.stale();
        self.running.retain(|resource, (_, token)| {
            let keep = kinds.contains_key(resource) || stale.contains(&resource.group_version());
            if !keep {
                token.cancel();
            }
            keep
        });
        *self.shared.mapper.write() = Some(Arc::new(RestMapper::new(discovery)));
        for (resource, kind) in kinds {
            if self.running.contains_key(&resource) {
                continue;
            }
            *self.shared.complete.write() = false;
            let informer = self.watch(&kind);
            let token = stop.child_token();
            let (running, stopped) = (informer.clone(), token.clone());
            self.tasks.spawn(async move { running.run(stopped).await });
            self.running.insert(resource, (informer, token));
        }
    }

    fn watch(&self, kind: &ApiResource) -> Informer<PartialObjectMetadata> {
        let options = InformerOptions {
            transform: Some(Box::new(|object: &mut PartialObjectMetadata| trim(&mut object.metadata))),
            ..InformerOptions::default()
        };
        let informer = Informer::with(Api::metadata(&self.client, kind.gvr(), ""), options);
        let (shared, api_version, kind) = (self.shared.clone(), kind.gvk().api_version(), kind.kind.clone());
        informer.on_event(move |event| {
            let metadata = &event.object().metadata;
            let identity = Identity {
                api_version: api_version.clone(),
                kind: kind.clone(),
                namespace: metadata.namespace.clone(),
                name: metadata.name.clone(),
                uid: metadata.uid.clone(),
            };
            match event {
                Event::Deleted(_) => {
                    shared.vanished(&identity, false);
                }
                Event::Updated { old, .. } if old.metadata.uid != identity.uid => {
                    // Deleted and made anew between two looks.
                    shared.vanished(&Identity { uid: old.metadata.uid.clone(), ..identity.clone() }, false);
                    shared.observe(Observation::Exists { identity, state: State::of(metadata) });
                }
                _ => shared.observe(Observation::Exists { identity, state: State::of(metadata) }),
            }
        });
        informer
    }
}

/// Keeps of each object in the cluster only what the collector reads.
fn trim(metadata: &mut ObjectMeta) {
    let ObjectMeta { name, namespace, uid, resource_version, owner_references, finalizers, deletion_timestamp, .. } =
        std::mem::take(metadata);
    *metadata =
        ObjectMeta { name, namespace, uid, resource_version, owner_references, finalizers, deletion_timestamp, ..ObjectMeta::default() };
}
