//! Which objects belong to a controlling object: adopting orphans that match, releasing what no longer does.
//!
//! Upstream: pkg/controller/controller_ref_manager.go.

use std::sync::Arc;

use apimachinery::labels::Selector;
use apimachinery::meta::v1::{ObjectMeta, OwnerReference};
use apimachinery::{Resource, Value};
use client::{Api, Client, Patch, PatchParams};
use component_helpers::owners::controller_of;
use informer::Store;

use crate::shell::WriteError;

/// The index that [`index`] adds.
const INDEX: &str = "controller";

/// Indexes the store by the controller's UID, and orphans by namespace.
pub fn index<K: Resource>(store: &Store<K>) {
    store.add_index(INDEX, |object| {
        let metadata = object.metadata();
        vec![controller_of(metadata).map_or_else(|| orphans_of(&metadata.namespace), |owner| owner.uid.clone())]
    });
}

fn orphans_of(namespace: &str) -> String {
    format!("orphans/{namespace}")
}

/// What the controller with this UID has in a store that [`index`] saw to.
pub fn owned_by<K: Resource>(store: &Store<K>, uid: &str) -> Vec<Arc<K>> {
    store.by_index(INDEX, uid)
}

/// What nobody controls in this namespace.
pub fn orphans<K: Resource>(store: &Store<K>, namespace: &str) -> Vec<Arc<K>> {
    store.by_index(INDEX, &orphans_of(namespace))
}

/// What to do with each candidate. Decided from caches; [`settle`] carries it out.
#[derive(Debug)]
pub struct Claims<K> {
    pub mine: Vec<Arc<K>>,
    /// Orphans that match.
    pub adopt: Vec<Arc<K>>,
    /// Ours that no longer match.
    pub release: Vec<Arc<K>>,
}

/// Sorts candidates for `owner`. `also` says of an object with fitting labels whether it is wanted at all.
pub fn claims<K: Resource>(owner: &ObjectMeta, selector: &Selector, candidates: Vec<Arc<K>>, also: impl Fn(&K) -> bool) -> Claims<K> {
    let mut claims = Claims { mine: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    let leaving = owner.deletion_timestamp.is_some();
    for object in candidates {
        let metadata = object.metadata();
        let matches = selector.matches(&metadata.labels) && also(&object);
        match controller_of(metadata) {
            Some(reference) if reference.uid != owner.uid => {}
            Some(_) if matches => claims.mine.push(object),
            // An owner on its way out leaves its objects to the garbage collector.
            Some(_) if !leaving => claims.release.push(object),
            Some(_) => {}
            None if matches && !leaving && metadata.deletion_timestamp.is_none() && metadata.namespace == owner.namespace => {
                claims.adopt.push(object);
            }
            None => {}
        }
    }
    claims
}

/// Writes the adoptions and releases and returns what is ours after that.
///
/// Before the first adoption the owner is read live: one that was deleted, or replaced by a namesake, adopts nothing.
pub async fn settle<O: Resource, K: Resource>(client: &Client, owner: &O, claims: Claims<K>) -> Result<Vec<Arc<K>>, WriteError> {
    let Claims { mut mine, adopt, release } = claims;
    let metadata = owner.metadata();
    let objects = Api::<K>::namespaced(client, &metadata.namespace);
    if !adopt.is_empty() {
        let live = Api::<O>::namespaced(client, &metadata.namespace).get_opt(&metadata.name).await;
        let live = live.map_err(|err| WriteError::new("read", describe(owner), err))?;
        match live.as_ref().map(|live| live.metadata()) {
            Some(live) if live.uid == metadata.uid && live.deletion_timestamp.is_none() => {}
            _ => return Err(WriteError::Invalid(format!("can't adopt {}: {} was deleted or replaced", K::KIND, describe(owner)))),
        }
    }
    for object in adopt {
        let patch = Patch::Strategic(adoption(&component_helpers::owners::controller_reference(owner), &object.metadata().uid));
        match objects.patch(&object.metadata().name, &patch, &PatchParams::default()).await {
            Ok(adopted) => mine.push(Arc::new(adopted)),
            Err(err) if err.is_not_found() => {}
            Err(err) => return Err(WriteError::new("adopt", describe(&*object), err)),
        }
    }
    for object in release {
        let patch = Patch::Strategic(release_patch(&metadata.uid, &object.metadata().uid));
        match objects.patch(&object.metadata().name, &patch, &PatchParams::default()).await {
            // Gone, or no longer ours, or a namesake: nothing to release.
            Err(err) if !err.is_not_found() && !err.is_invalid() && !err.is_conflict() => {
                return Err(WriteError::new("release", describe(&*object), err));
            }
            _ => {}
        }
    }
    Ok(mine)
}

/// `Kind "name"`, for messages.
pub fn describe<K: Resource>(object: &K) -> String {
    format!("{} {:?}", K::KIND, object.metadata().name)
}

fn adoption(reference: &OwnerReference, uid: &str) -> Value {
    let mut owner = Value::object();
    owner.set_at(&["apiVersion"], reference.api_version.as_str());
    owner.set_at(&["kind"], reference.kind.as_str());
    owner.set_at(&["name"], reference.name.as_str());
    owner.set_at(&["uid"], reference.uid.as_str());
    owner.set_at(&["controller"], true);
    owner.set_at(&["blockOwnerDeletion"], true);
    owner_patch(owner, uid)
}

fn release_patch(owner_uid: &str, uid: &str) -> Value {
    let mut owner = Value::object();
    owner.set_at(&["$patch"], "delete");
    owner.set_at(&["uid"], owner_uid);
    owner_patch(owner, uid)
}

/// The object's own UID goes along: a namesake made since is refused.
fn owner_patch(owner: Value, uid: &str) -> Value {
    let mut patch = Value::object();
    patch.set_at(&["metadata", "uid"], uid);
    patch.set_at(&["metadata", "ownerReferences"], Value::Array(vec![owner]));
    patch
}

#[cfg(test)]
mod tests {
    use api::core::v1::Pod;

    use super::*;

    /// `labels owner` as in `a=1 me`: sorted into m(ine), a(dopt), r(elease) or - (let be).
    #[track_caller]
    fn check(label: &str, owner: &str, leaving: bool, expected: &str) {
        let mut set = ObjectMeta { uid: "me".into(), namespace: "ns".into(), ..ObjectMeta::default() };
        set.deletion_timestamp = leaving.then(apimachinery::Time::now);
        let mut pod = Pod::default();
        pod.metadata.namespace = "ns".into();
        pod.metadata.labels.insert("app", label.to_string());
        if !owner.is_empty() {
            pod.metadata.owner_references.push(OwnerReference { uid: owner.into(), controller: Some(true), ..Default::default() });
        }
        let claims = claims(&set, &Selector::parse("app=a").unwrap(), vec![Arc::new(pod)], |_| true);
        let found = match (claims.mine.len(), claims.adopt.len(), claims.release.len()) {
            (1, 0, 0) => "m",
            (0, 1, 0) => "a",
            (0, 0, 1) => "r",
            _ => "-",
        };
        assert_eq!(found, expected, "{label} {owner} {leaving}");
    }

    #[test]
    fn candidates_are_kept_adopted_released_or_let_be() {
        for (label, owner, leaving, expected) in [
            ("a", "me", false, "m"),
            ("b", "me", false, "r"),
            ("b", "me", true, "-"),
            ("a", "", false, "a"),
            ("a", "", true, "-"),
            ("b", "", false, "-"),
            ("a", "other", false, "-"),
        ] {
            check(label, owner, leaving, expected);
        }
    }

    #[test]
    fn patches_name_the_incarnation() {
        let text = String::from_utf8(release_patch("o", "p").to_vec()).unwrap();
        assert_eq!(text, r#"{"metadata":{"uid":"p","ownerReferences":[{"$patch":"delete","uid":"o"}]}}"#);
    }
}
