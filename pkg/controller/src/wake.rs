//! From a change of a Pod to the keys of the objects it concerns.

use std::sync::Arc;

use api::core::v1::Pod;
use apimachinery::Resource;
use apimachinery::labels::Selector;
use component_helpers::owners::controller_of;
use informer::{Event, Expectations, Informer, ObjectKey, Store, WorkQueue};

/// The key of the `K` that controls this pod, if that very incarnation is known.
fn owner<K: Resource>(owners: &Store<K>, pod: &Pod) -> Option<ObjectKey> {
    let reference = controller_of(&pod.metadata).filter(|reference| reference.kind == K::KIND)?;
    let key = ObjectKey::new(&pod.metadata.namespace, &reference.name);
    owners.get(&key).filter(|owner| owner.metadata().uid == reference.uid).map(|_| key)
}

/// A change to a Pod wakes its controlling object and lowers that one's expectations; a change to an orphan wakes every object
/// that might adopt it.
pub fn by_pods<K: Resource>(
    pods: &Informer<Pod>,
    owners: Arc<Store<K>>,
    selector: fn(&K) -> Option<Selector>,
    queue: &WorkQueue,
    expectations: &Arc<Expectations>,
) {
    let (queue, expectations) = (queue.clone(), expectations.clone());
    let wake_adopters = {
        let (queue, owners) = (queue.clone(), owners.clone());
        move |pod: &Pod| {
            for one in owners.in_namespace(&pod.metadata.namespace) {
                if selector(&one).is_some_and(|selector| selector.matches(&pod.metadata.labels)) {
                    queue.add(ObjectKey::of(&*one));
                }
            }
        }
    };
    let is_orphan = |pod: &Pod| controller_of(&pod.metadata).is_none() && pod.metadata.deletion_timestamp.is_none();
    pods.on_event(move |event| match event {
        Event::Deleted(pod) => {
            if let Some(key) = owner(&owners, pod) {
                expectations.deletion_observed(&key, &pod.metadata.uid);
                queue.add(key);
            }
        }
        Event::Added(pod) => match owner(&owners, pod) {
            Some(key) => {
                match pod.metadata.deletion_timestamp {
                    None => expectations.creation_observed(&key),
                    // Begun to be deleted before we heard of it: it will not come as an update.
                    Some(_) => expectations.deletion_observed(&key, &pod.metadata.uid),
                }
                queue.add(key);
            }
            None if is_orphan(pod) => wake_adopters(pod),
            None => {}
        },
        Event::Updated { old, new } => {
            let (was, is) = (owner(&owners, old), owner(&owners, new));
            if let Some(key) = &was
                && was != is
            {
                queue.add(key.clone());
            }
            if let Some(key) = is {
                if new.metadata.deletion_timestamp.is_some() {
                    expectations.deletion_observed(&key, &new.metadata.uid);
                }
                queue.add(key);
            } else if is_orphan(new) && (old.metadata.labels != new.metadata.labels || controller_of(&old.metadata).is_some()) {
                wake_adopters(new);
            }
        }
    });
}
