//! The worker: looks at one object afresh, asks after its owners, and carries out what is planned.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::Value;
use apimachinery::meta::v1::{ObjectMeta, OwnerReference, PartialObjectMetadata};
use client::{Api, Client, DeleteParams, Patch, PatchParams};
use informer::{ObjectKey, Reconcile, Requeue};

use super::graph::{Identity, Node};
use super::plan::{Action, Owners, plan};
use super::{FOREGROUND, ORPHAN, Shared, graph};
use crate::WriteError;

/// How soon to look again while the watches have not caught up.
const NOT_COMPLETE: Duration = Duration::from_millis(200);

pub struct Collector {
    client: Client,
    shared: Arc<Shared>,
}

/// What is to be found where an owner reference points.
enum Found {
    Absent,
    Present { waits_for_dependents: bool },
}

impl Reconcile for Collector {
    const NAME: &'static str = "garbage-collector-controller";
    type Error = WriteError;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Requeue, WriteError> {
        let Some(node) = self.shared.graph.lock().get(key.name()).cloned() else { return Ok(Requeue::OnChange) };
        let waits = node.state.foreground || node.state.orphaning;
        if waits && !*self.shared.complete.read() {
            return Ok(Requeue::After(NOT_COMPLETE));
        }
        if node.state.deleting && !waits {
            return Ok(Requeue::OnChange);
        }
        let Some(api) = self.api(&node.identity)? else { return Ok(Requeue::OnChange) };
        let name = &node.identity.name;
        let latest = api.get_opt(name).await.map_err(|err| refused("get", &node.identity, err))?;
        let Some(latest) = latest.filter(|latest| latest.metadata.uid == node.identity.uid) else {
            self.shared.vanished(&node.identity, node.is_virtual);
            return Ok(Requeue::OnChange);
        };
        if node.is_virtual {
            // It is there; its watch will show it.
            return Ok(Requeue::OnChange);
        }
        if node.state.orphaning {
            self.orphan(&api, &node, &latest.metadata).await?;
        } else if node.state.foreground {
            self.finish_foreground(&api, &node, &latest.metadata).await?;
        } else {
            self.collect(&api, &node, &latest.metadata).await?;
        }
        Ok(Requeue::OnChange)
    }
}

fn refused(verb: &'static str, identity: &Identity, err: client::Error) -> WriteError {
    WriteError::new(verb, format!("{} \"{}/{}\"", identity.kind, identity.namespace, identity.name), err)
}

impl Collector {
    pub fn new(client: Client, shared: Arc<Shared>) -> Collector {
        Collector { client, shared }
    }

    /// Where such an object lives. `None` if no such object can be: a namespaced one outside of any namespace.
    fn api(&self, identity: &Identity) -> Result<Option<Api<PartialObjectMetadata>>, WriteError> {
        let mapper = self.shared.mapper.read().clone();
        let found = mapper.as_ref().and_then(|mapper| mapper.kind(&identity.api_version, &identity.kind).ok());
        // Whether an object of an unknown kind is there nobody can tell: nothing may be deleted on a guess.
        let Some(kind) = found else {
            return Err(WriteError::Invalid(format!("no matches for kind {:?} in version {:?}", identity.kind, identity.api_version)));
        };
        if kind.namespaced && identity.namespace.is_empty() {
            return Ok(None);
        }
        let namespace = if kind.namespaced { identity.namespace.as_str() } else { "" };
        Ok(Some(Api::metadata(&self.client, kind.gvr(), namespace)))
    }

    async fn collect(&self, api: &Api<PartialObjectMetadata>, node: &Node, latest: &ObjectMeta) -> Result<(), WriteError> {
        if latest.owner_references.is_empty() {
            return Ok(());
        }
        let mut owners = Owners::default();
        for owner in &latest.owner_references {
            match self.find(owner, &latest.namespace).await? {
                Found::Absent => owners.dangling.push(owner.clone()),
                Found::Present { waits_for_dependents: true } => owners.waiting.push(owner.clone()),
                Found::Present { waits_for_dependents: false } => owners.solid.push(owner.clone()),
            }
        }
        let (has_dependents, dependent_waits) = {
            let graph = self.shared.graph.lock();
            let dependents = graph.dependents(&node.identity.uid);
            (!dependents.is_empty(), dependents.iter().any(|dependent| dependent.state.foreground))
        };
        match plan(latest, &owners, has_dependents, dependent_waits) {
            Action::Nothing => Ok(()),
            Action::KeepOwners(kept) => self.set_owners(api, &node.identity, latest, &kept).await,
            Action::Delete { propagation, unblock } => {
                if unblock {
                    let mut owners = latest.owner_references.to_vec();
                    for owner in &mut owners {
                        owner.block_owner_deletion = Some(false);
                    }
                    self.set_owners(api, &node.identity, latest, &owners).await?;
                }
                let resource_version = (!unblock).then(|| latest.resource_version.clone());
                let params = DeleteParams { propagation: Some(propagation), resource_version, ..DeleteParams::of_uid(latest.uid.clone()) };
                match api.delete(&latest.name, &params).await {
                    Err(err) if !err.is_not_found() => Err(refused("delete", &node.identity, err)),
                    _ => Ok(()),
                }
            }
        }
    }

    async fn find(&self, owner: &OwnerReference, namespace: &str) -> Result<Found, WriteError> {
        let identity = Identity::of_owner(owner, namespace);
        if self.shared.absent.lock().contains(&identity) {
            return Ok(Found::Absent);
        }
        let Some(api) = self.api(&identity)? else {
            return Err(WriteError::Invalid(format!(
                "cluster-scoped objects cannot refer to namespaced owners: {} {:?}",
                owner.kind, owner.name
            )));
        };
        let found = api.get_opt(&owner.name).await.map_err(|err| refused("get", &identity, err))?;
        match found.filter(|found| found.metadata.uid == owner.uid) {
            None => {
                self.shared.note_absent(identity);
                Ok(Found::Absent)
            }
            Some(found) => Ok(Found::Present { waits_for_dependents: graph::State::of(&found.metadata).foreground }),
        }
    }

    /// Lets a foreground deletion come to its end once nothing blocks it, or sees to those that do.
    async fn finish_foreground(&self, api: &Api<PartialObjectMetadata>, node: &Node, latest: &ObjectMeta) -> Result<(), WriteError> {
        let uid = &node.identity.uid;
        let blocking: Vec<String> = {
            let graph = self.shared.graph.lock();
            let blocks = |dependent: &&&Node| {
                dependent.state.owners.iter().any(|owner| owner.uid == *uid && owner.block_owner_deletion == Some(true))
            };
            let waiting = graph.dependents(uid);
            let blocking: Vec<_> = waiting.iter().filter(blocks).collect();
            if blocking.is_empty() { Vec::new() } else { blocking.iter().map(|dependent| dependent.identity.uid.clone()).collect() }
        };
        if blocking.is_empty() {
            return self.drop_finalizer(api, &node.identity, latest, FOREGROUND).await;
        }
        for uid in blocking {
            self.shared.queue.add(graph::key(&uid));
        }
        Ok(())
    }

    /// Makes the dependents forget this owner, then lets it go.
    async fn orphan(&self, api: &Api<PartialObjectMetadata>, node: &Node, latest: &ObjectMeta) -> Result<(), WriteError> {
        let dependents: Vec<Identity> =
            self.shared.graph.lock().dependents(&node.identity.uid).into_iter().map(|dependent| dependent.identity.clone()).collect();
        for dependent in dependents {
            let Some(api) = self.api(&dependent)? else { continue };
            let found = api.get_opt(&dependent.name).await.map_err(|err| refused("get", &dependent, err))?;
            let Some(found) = found.filter(|found| found.metadata.uid == dependent.uid) else { continue };
            let kept: Vec<OwnerReference> =
                found.metadata.owner_references.iter().filter(|owner| owner.uid != node.identity.uid).cloned().collect();
            if kept.len() < found.metadata.owner_references.len() {
                self.set_owners(&api, &dependent, &found.metadata, &kept).await?;
            }
        }
        self.drop_finalizer(api, &node.identity, latest, ORPHAN).await
    }

    async fn set_owners(
        &self,
        api: &Api<PartialObjectMetadata>,
        identity: &Identity,
        latest: &ObjectMeta,
        owners: &[OwnerReference],
    ) -> Result<(), WriteError> {
        let owners: Value = owners.iter().map(owner_value).collect();
        self.patch(api, identity, latest, "ownerReferences", owners).await
    }

    async fn drop_finalizer(
        &self,
        api: &Api<PartialObjectMetadata>,
        identity: &Identity,
        latest: &ObjectMeta,
        finalizer: &str,
    ) -> Result<(), WriteError> {
        if !latest.finalizers.iter().any(|name| name == finalizer) {
            return Ok(());
        }
        let kept: Value = latest.finalizers.iter().filter(|name| *name != finalizer).map(String::as_str).collect();
        self.patch(api, identity, latest, "finalizers", kept).await
    }

    /// Replaces one list of the metadata if the object is still as it was read. A conflict comes back with backoff.
    async fn patch(
        &self,
        api: &Api<PartialObjectMetadata>,
        identity: &Identity,
        latest: &ObjectMeta,
        field: &str,
        value: Value,
    ) -> Result<(), WriteError> {
        let mut patch = Value::object();
        patch.set_at(&["metadata", "uid"], latest.uid.as_str());
        patch.set_at(&["metadata", "resourceVersion"], latest.resource_version.as_str());
        patch.set_at(&["metadata", field], value);
        match api.patch(&latest.name, &Patch::Merge(patch), &PatchParams::default()).await {
            Err(err) if !err.is_not_found() => Err(refused("patch", identity, err)),
            _ => Ok(()),
        }
    }
}

fn owner_value(owner: &OwnerReference) -> Value {
    let mut value = Value::object();
    value.set_at(&["apiVersion"], owner.api_version.as_str());
    value.set_at(&["kind"], owner.kind.as_str());
    value.set_at(&["name"], owner.name.as_str());
    value.set_at(&["uid"], owner.uid.as_str());
    for (field, flag) in [("controller", owner.controller), ("blockOwnerDeletion", owner.block_owner_deletion)] {
        if let Some(flag) = flag {
            value.set_at(&[field], flag);
        }
    }
    value
}

#[cfg(test)]
mod tests;
