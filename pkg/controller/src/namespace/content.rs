//! Deleting what is inside a namespace, whatever kinds there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::core::v1::Pod;
use apimachinery::gvk::GroupVersionResource;
use apimachinery::meta::v1::PartialObjectMetadata;
use apimachinery::{Resource, Time};
use client::{Api, ApiResource, Client, DeleteParams, Discovery, Error, ListParams};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::FINALIZER_WAIT_SECONDS;

/// Kinds emptied at a time: enough to hide the round trips, few enough to leave the server its air.
const AT_ONCE: usize = 8;

/// What one pass over a namespace found and did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sweep {
    /// Groups of which nobody knows what they hold: the namespace cannot be called empty.
    pub discovery: Vec<String>,
    /// Deletions and lists that failed.
    pub failures: Vec<String>,
    /// What is still there, by `resource.group`.
    pub remaining: BTreeMap<String, Remaining>,
}

/// The objects of one kind that are still there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remaining {
    pub count: usize,
    /// How many objects each finalizer holds.
    pub finalizers: BTreeMap<String, usize>,
    /// In how long they may be gone.
    pub estimate_seconds: i64,
}

impl Sweep {
    /// In how long the namespace may be empty; zero if it is.
    pub fn estimate_seconds(&self) -> i64 {
        self.remaining.values().map(|kind| kind.estimate_seconds.max(1)).max().unwrap_or(0)
    }

    fn add(&mut self, resource: &GroupVersionResource, outcome: Result<Remaining, Error>) {
        let name = resource.group_resource().to_string();
        match outcome {
            Ok(remaining) if remaining.count == 0 => {}
            Ok(remaining) => {
                self.remaining.insert(name, remaining);
            }
            Err(err) => self.failures.push(format!("{name}: {err}")),
        }
    }
}

/// The resources to empty: every one that lives in namespaces and can be deleted, each in one version.
pub fn deletable(discovery: &Discovery) -> Vec<&ApiResource> {
    let kinds = discovery.preferred().into_iter().filter(|kind| kind.namespaced && kind.can("delete") && kind.can("list"));
    kinds.collect()
}

/// Deletes everything once and counts what stays. Pods go first and alone: they may still need what else is there.
pub async fn sweep(client: &Client, discovery: &Discovery, namespace: &str) -> Sweep {
    let mut sweep = Sweep::default();
    sweep.discovery.extend(discovery.stale().iter().map(|group| format!("{group}: the server could not be asked")));
    let is_pods = |kind: &ApiResource| kind.group.is_empty() && kind.resource == Pod::PLURAL;
    let (pods, others): (Vec<&ApiResource>, Vec<&ApiResource>) = deletable(discovery).into_iter().partition(|kind| is_pods(kind));
    for kind in pods {
        let outcome = empty(client, kind.gvr(), kind.can("deletecollection"), namespace).await;
        sweep.add(&kind.gvr(), outcome);
    }
    if !sweep.remaining.is_empty() || !sweep.failures.is_empty() {
        return sweep;
    }
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for kind in others {
        let (client, resource, collection) = (client.clone(), kind.gvr(), kind.can("deletecollection"));
        let (namespace, permits) = (namespace.to_string(), permits.clone());
        running.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let outcome = empty(&client, resource.clone(), collection, &namespace).await;
            (resource, outcome)
        });
    }
    while let Some(done) = running.join_next().await {
        match done {
            Ok((resource, outcome)) => sweep.add(&resource, outcome),
            Err(err) => sweep.failures.push(err.to_string()),
        }
    }
    sweep.failures.sort();
    sweep
}

async fn empty(client: &Client, resource: GroupVersionResource, collection: bool, namespace: &str) -> Result<Remaining, Error> {
    let api = Api::metadata(client, resource, namespace);
    let Some(objects) = list(&api).await? else { return Ok(Remaining::default()) };
    if objects.is_empty() {
        return Ok(Remaining::default());
    }
    let mut deleted = false;
    if collection {
        match api.delete_collection(&DeleteParams::background(), &ListParams::default()).await {
            Err(err) if err.is_method_not_allowed() || err.is_not_found() => {}
            other => {
                other?;
                deleted = true;
            }
        }
    }
    if !deleted {
        for object in &objects {
            match api.delete(&object.metadata.name, &DeleteParams::background()).await {
                Err(err) if err.is_method_not_allowed() => return Ok(Remaining::default()),
                Err(err) if !err.is_not_found() => return Err(err),
                _ => {}
            }
        }
    }
    Ok(list(&api).await?.map(|objects| remaining(&objects)).unwrap_or_default())
}

/// `None` if the kind cannot be listed, or is gone meanwhile.
async fn list(api: &Api<PartialObjectMetadata>) -> Result<Option<Vec<PartialObjectMetadata>>, Error> {
    match api.list_all(&ListParams { limit: 500, ..ListParams::default() }).await {
        Ok(objects) => Ok(Some(objects)),
        Err(err) if err.is_not_found() || err.is_method_not_allowed() => Ok(None),
        Err(err) => Err(err),
    }
}

/// Sums up what is left of a kind after a deletion.
pub fn remaining(objects: &[PartialObjectMetadata]) -> Remaining {
    let mut sum = Remaining { count: objects.len(), ..Remaining::default() };
    for object in objects {
        let metadata = &object.metadata;
        for finalizer in &metadata.finalizers {
            *sum.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
        let wait = if metadata.finalizers.is_empty() { 1 } else { FINALIZER_WAIT_SECONDS };
        let grace = metadata.deletion_timestamp.filter(|at| *at != Time::default()).and(metadata.deletion_grace_period_seconds);
        sum.estimate_seconds = sum.estimate_seconds.max(wait).max(grace.unwrap_or(0));
    }
    sum
}
