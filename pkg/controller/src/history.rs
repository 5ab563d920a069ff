//! ControllerRevisions: the templates a StatefulSet or DaemonSet has had, so that it can go back.
//!
//! Upstream: pkg/controller/history, pkg/controller/daemon/update.go.

use std::sync::Arc;

use api::apps::v1::ControllerRevision;
use api::core::v1::PodTemplateSpec;
use apimachinery::{RawJson, Resource, Value, json};
use client::{Api, Client, DeleteParams};
use component_helpers::owners::controller_reference;

use crate::shell::WriteError;
use crate::{owned, template};

/// The label with the hash of a revision.
pub const HASH_LABEL: &str = "controller-revision-hash";

/// The revision that holds the set's present template.
#[derive(Debug, PartialEq)]
pub enum Present {
    /// Already the newest.
    Known(Arc<ControllerRevision>),
    /// An old one, used again under the next number.
    Renumber(Box<ControllerRevision>),
    Create(Box<ControllerRevision>),
}

/// What `kubectl rollout undo` applies: the template, replaced as a whole.
fn data_of(template: &PodTemplateSpec) -> RawJson {
    let mut template = Value::parse(&json::part_to_vec(template)).unwrap_or_default();
    template.set_at(&["$patch"], "replace");
    let mut data = Value::object();
    data.set_at(&["spec", "template"], template);
    RawJson::from(data.to_vec())
}

/// The template in a revision; `None` if it holds none that can be read.
pub fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut data = Value::parse(revision.data.as_bytes()).ok()?;
    let template = data.get_mut("spec")?.get_mut("template")?;
    template.remove_at(&["$patch"]);
    json::from_slice(&template.to_vec()).ok()
}

/// Sorts by number, oldest first.
pub fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by_key(|one| (one.revision, one.metadata.creation_timestamp, one.metadata.name.clone()));
}

/// Finds or makes the revision of `template` among those of `owner`, which are sorted.
pub fn present<O: Resource>(owner: &O, template: &PodTemplateSpec, collisions: Option<i32>, all: &[Arc<ControllerRevision>]) -> Present {
    let next = all.last().map_or(1, |newest| newest.revision + 1);
    let equal = |one: &&Arc<ControllerRevision>| template_of(one).is_some_and(|held| template::same(&held, template));
    if let Some(found) = all.iter().rev().find(equal) {
        if found.revision + 1 == next {
            return Present::Known(found.clone());
        }
        let mut found = (**found).clone();
        found.revision = next;
        return Present::Renumber(Box::new(found));
    }
    let data = data_of(template);
    let hash = template::hash_bytes(data.as_bytes(), collisions);
    let mut revision = ControllerRevision::default();
    revision.metadata.name = format!("{}-{hash}", owner.metadata().name);
    revision.metadata.namespace = owner.metadata().namespace.clone();
    revision.metadata.labels = template.metadata.labels.clone();
    revision.metadata.labels.insert(HASH_LABEL, hash);
    revision.metadata.annotations = owner.metadata().annotations.clone();
    revision.metadata.owner_references.push(controller_reference(owner));
    revision.data = data;
    revision.revision = next;
    Present::Create(Box::new(revision))
}

/// The hash of a revision: its label, or what follows the owner's name.
pub fn hash_of(revision: &ControllerRevision) -> &str {
    match revision.metadata.labels.get(HASH_LABEL) {
        Some(hash) => hash,
        None => revision.metadata.name.rsplit('-').next().unwrap_or_default(),
    }
}

/// The revision as stored, and whether its name was found taken by another template.
pub enum Stored {
    At(Arc<ControllerRevision>),
    Collision,
}

/// Writes what [`present`] decided.
pub async fn store(client: &Client, present: Present) -> Result<Stored, WriteError> {
    let failed = |verb, revision: &ControllerRevision, err| WriteError::new(verb, owned::describe(revision), err);
    match present {
        Present::Known(revision) => Ok(Stored::At(revision)),
        Present::Renumber(revision) => {
            let api = Api::<ControllerRevision>::namespaced(client, &revision.metadata.namespace);
            let stored = api.update(&revision).await.map_err(|err| failed("update", &revision, err))?;
            Ok(Stored::At(Arc::new(stored)))
        }
        Present::Create(revision) => {
            let api = Api::<ControllerRevision>::namespaced(client, &revision.metadata.namespace);
            match api.create(&revision).await {
                Ok(stored) => Ok(Stored::At(Arc::new(stored))),
                Err(err) if err.is_already_exists() => {
                    let found = api.get(&revision.metadata.name).await.map_err(|err| failed("read", &revision, err))?;
                    let ours = found.metadata.owner_references.iter().any(|owner| revision.metadata.owner_references.contains(owner));
                    // Our cache may just be behind.
                    if ours && template_of(&found) == template_of(&revision) {
                        Ok(Stored::At(Arc::new(found)))
                    } else {
                        Ok(Stored::Collision)
                    }
                }
                Err(err) => Err(failed("create", &revision, err)),
            }
        }
    }
}

/// Deletes the oldest revisions beyond the limit, of those that `in_use` says no to.
pub async fn truncate(
    client: &Client,
    all: &[Arc<ControllerRevision>],
    limit: i32,
    in_use: impl Fn(&ControllerRevision) -> bool,
) -> Result<(), WriteError> {
    let idle: Vec<_> = all.iter().filter(|one| !in_use(one)).collect();
    let surplus = idle.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    for revision in idle.into_iter().take(surplus) {
        let api = Api::<ControllerRevision>::namespaced(client, &revision.metadata.namespace);
        match api.delete(&revision.metadata.name, &DeleteParams::of_uid(revision.metadata.uid.clone())).await {
            Err(err) if !err.is_not_found() => return Err(WriteError::new("delete", owned::describe(&**revision), err)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use api::apps::v1::DaemonSet;

    use super::*;

    #[test]
    fn a_template_is_found_again_or_gets_the_next_number() {
        let mut set = DaemonSet::default();
        set.metadata.name = "web".into();
        set.spec.template.spec.restart_policy = "Always".into();
        let Present::Create(first) = present(&set, &set.spec.template, None, &[]) else { panic!() };
        assert_eq!(template_of(&first).as_ref(), Some(&set.spec.template));
        assert_eq!((first.revision, first.metadata.name.as_str()), (1, format!("web-{}", hash_of(&first)).as_str()));
        let first = Arc::new(*first);
        assert_eq!(present(&set, &set.spec.template, None, std::slice::from_ref(&first)), Present::Known(first.clone()));
        let old = set.spec.template.clone();
        set.spec.template.spec.host_network = true;
        let Present::Create(second) = present(&set, &set.spec.template, None, std::slice::from_ref(&first)) else { panic!() };
        assert_eq!(second.revision, 2);
        let Present::Renumber(back) = present(&set, &old, None, &[first, Arc::new(*second)]) else { panic!() };
        assert_eq!(back.revision, 3);
    }
}
