//! What the informers see, for the cache and the queue. Upstream: pkg/scheduler/eventhandlers.go.

use std::sync::Arc;

use api::apps::v1::{ReplicaSet, StatefulSet};
use api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service};
use api::policy::v1::PodDisruptionBudget;
use apimachinery::Resource;
use client::{Api, ListParams};
use component_base::backoff::Backoff;
use component_helpers::pod::is_terminal;
use informer::{Event, Informers};
use tokio_util::sync::CancellationToken;

use crate::events::ClusterEvent;
use crate::pod_info::PodInfo;
use crate::scheduler::{Inner, Scheduler};
use crate::snapshot::{Objects, Table};

impl Scheduler {
    /// Follows pods, nodes and what else every API server has. Call before the informers run.
    pub fn follow(&self, informers: &Informers) {
        let inner = self.inner.clone();
        informers.of::<Pod>().on_event(move |event| inner.on_pod(event));
        let inner = self.inner.clone();
        informers.of::<Node>().on_event(move |event| inner.on_node(event));

        self.keep::<Namespace>(
            informers,
            |objects| &mut objects.namespaces,
            |object| ClusterEvent::NamespaceChanged(object.metadata.name.clone()),
        );
        // These bear on scores and on who is spared; no pod waits for them.
        self.keep_quietly::<PodDisruptionBudget>(informers, |objects| &mut objects.budgets);
        self.keep_quietly::<Service>(informers, |objects| &mut objects.services);
        self.keep_quietly::<ReplicaSet>(informers, |objects| &mut objects.replica_sets);
        self.keep_quietly::<StatefulSet>(informers, |objects| &mut objects.stateful_sets);
    }

    /// Follows what an API server may not serve: an informer of such a kind would never be in sync. Asks once; returns when there is
    /// an answer for each kind, or at `stop`.
    pub async fn follow_if_served(&self, informers: &Informers, stop: &CancellationToken) {
        if self.is_served::<PersistentVolumeClaim>(informers, stop).await {
            self.keep::<PersistentVolumeClaim>(
                informers,
                |objects| &mut objects.claims,
                |object| ClusterEvent::ClaimChanged(object.metadata.namespace.clone(), object.metadata.name.clone()),
            );
        }
        if self.is_served::<PersistentVolume>(informers, stop).await {
            self.keep::<PersistentVolume>(informers, |objects| &mut objects.volumes, |_| ClusterEvent::VolumeChanged);
        }
        if self.is_served::<ReplicationController>(informers, stop).await {
            self.keep_quietly::<ReplicationController>(informers, |objects| &mut objects.replication_controllers);
        }
    }

    async fn is_served<K: Resource>(&self, informers: &Informers, stop: &CancellationToken) -> bool {
        let api = Api::<K>::all(informers.client());
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            let error = match api.list(&ListParams { limit: 1, ..ListParams::default() }).await {
                Ok(_) => return true,
                Err(error) if error.is_not_found() || error.is_method_not_allowed() => {
                    tracing::warn!(kind = K::KIND, "The API server does not serve this kind: nothing is known of its objects");
                    return false;
                }
                Err(error) => error,
            };
            tracing::warn!(kind = K::KIND, err = %component_base::logs::chain(&error), "Cannot list; trying again");
            // Both arms are cancel-safe.
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
        false
    }

    fn keep<K: Resource>(&self, informers: &Informers, table: fn(&mut Objects) -> &mut Table<K>, tell: fn(&K) -> ClusterEvent) {
        let inner = self.inner.clone();
        informers.of::<K>().on_event(move |event| {
            inner.store(event, table);
            inner.tell(&tell(event.object()));
        });
    }

    fn keep_quietly<K: Resource>(&self, informers: &Informers, table: fn(&mut Objects) -> &mut Table<K>) {
        let inner = self.inner.clone();
        informers.of::<K>().on_event(move |event| inner.store(event, table));
    }
}

/// A pod that has a node and takes room there.
fn is_placed(pod: &Pod) -> bool {
    !pod.spec.node_name.is_empty() && !is_terminal(pod)
}

/// True if both take the same room and look the same to other pods.
fn is_like(old: &PodInfo, new: &PodInfo) -> bool {
    old.requests == new.requests && old.labels() == new.labels() && old.is_being_deleted() == new.is_being_deleted()
}

impl Inner {
    fn store<K: Resource>(&self, event: &Event<K>, table: fn(&mut Objects) -> &mut Table<K>) {
        let mut state = self.state.lock();
        let table = table(&mut state.cache.objects);
        match event {
            Event::Added(object) | Event::Updated { new: object, .. } => table.put(object.clone()),
            Event::Deleted(object) => table.remove(&object.metadata().namespace, &object.metadata().name),
        }
    }

    fn on_node(&self, event: &Event<Node>) {
        let told = {
            let mut state = self.state.lock();
            match event {
                Event::Added(node) => {
                    state.cache.put_node(node.clone());
                    Some(ClusterEvent::NodeAdded(node.clone()))
                }
                Event::Updated { old, new } => {
                    state.cache.put_node(new.clone());
                    // A heartbeat changes nothing that a pod could wait for.
                    let same = old.spec == new.spec
                        && old.metadata.labels == new.metadata.labels
                        && old.metadata.annotations == new.metadata.annotations
                        && old.status.allocatable == new.status.allocatable;
                    (!same).then(|| ClusterEvent::NodeUpdated { old: old.clone(), new: new.clone() })
                }
                Event::Deleted(node) => {
                    state.cache.remove_node(&node.metadata.name);
                    Some(ClusterEvent::NodeDeleted(node.clone()))
                }
            }
        };
        if let Some(event) = told {
            self.tell(&event);
        }
    }

    fn on_pod(&self, event: &Event<Pod>) {
        match event {
            Event::Deleted(pod) => self.pod_left(pod, true),
            Event::Updated { old, new } if old.metadata.uid != new.metadata.uid => {
                // Deleted and made anew between two looks.
                self.pod_left(old, true);
                self.pod_is(new);
            }
            Event::Added(pod) | Event::Updated { new: pod, .. } => self.pod_is(pod),
        }
    }

    fn pod_is(&self, pod: &Arc<Pod>) {
        if is_placed(pod) {
            let info = PodInfo::new(pod.clone());
            let mut state = self.state.lock();
            let before = state.cache.put_pod(info.clone());
            if before.is_none() {
                state.queue.delete(info.uid());
            }
            drop(state);
            match before {
                None => self.tell(&ClusterEvent::AssignedPodAdded(info)),
                // Most updates are the kubelet's, of the status: nothing that a waiting pod could wait for.
                Some(old) if is_like(&old, &info) => {}
                Some(old) => self.tell(&ClusterEvent::AssignedPodUpdated { old, new: info }),
            }
        } else if is_terminal(pod) {
            self.pod_left(pod, false);
        } else if pod.metadata.deletion_timestamp.is_some() {
            // Nobody will run it any more.
            self.pod_left(pod, false);
        } else if self.is_responsible(pod) {
            let mut state = self.state.lock();
            // A copy from before the binding that has just gone through: not a pod that wants a node.
            if state.cache.is_assumed(&pod.metadata.uid) && !state.queue.is_in_flight(&pod.metadata.uid) {
                return;
            }
            state.queue.update(PodInfo::new(pod.clone()), self.now());
            drop(state);
            self.wake.notify_one();
        }
    }

    /// `gone`: the object itself is no more, and with it what was assumed.
    fn pod_left(&self, pod: &Arc<Pod>, gone: bool) {
        let uid = &pod.metadata.uid;
        let mut state = self.state.lock();
        state.queue.delete(uid);
        let placed = match gone || !state.cache.is_assumed(uid) {
            true => state.cache.remove_pod(uid),
            false => None,
        };
        drop(state);
        if let Some(placed) = placed {
            self.tell(&ClusterEvent::AssignedPodDeleted(placed));
        }
    }
}
