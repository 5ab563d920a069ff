//! Pod statuses on their way to the API server: the newest wins, one writer per pod, nothing is sent twice.
//!
//! Upstream: pkg/kubelet/status.

pub mod generate;

use crate::api_server::{ApiError, ApiServer};
use api::core::v1::{Pod, PodStatus};
use apimachinery::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// First and longest wait after a write that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Which object of the API server a pod is: a static pod has a UID of its own, and its mirror another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Target {
    namespace: String,
    name: String,
    uid: String,
}

#[derive(Clone, Debug, Default)]
struct Wanted {
    target: Option<Target>,
    status: Option<PodStatus>,
    /// What the API server is known to have, and as of which revision.
    known: Option<PodStatus>,
    revision: u64,
    /// Nothing of the pod is left on the node: its object may go.
    delete: bool,
}

/// What was written last, and to what.
#[derive(Clone, Debug)]
struct Written {
    target: Target,
    status: PodStatus,
    /// Of the object once it was written: what is observed of an earlier one is on its way still.
    revision: u64,
}

/// Only ever compared with that of the same object.
fn revision(pod: &Pod) -> u64 {
    pod.metadata.resource_version.parse().unwrap_or(0)
}

struct Entry {
    wanted: watch::Sender<Wanted>,
    gone: Arc<Notify>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct StatusManager {
    server: Arc<dyn ApiServer>,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

impl StatusManager {
    pub fn new(server: Arc<dyn ApiServer>) -> Self {
        StatusManager { server, entries: Arc::default() }
    }

    fn update(&self, uid: &str, change: impl FnOnce(&mut Wanted)) {
        let mut entries = self.entries.lock().expect("no holder panics");
        let entry = entries.entry(uid.to_owned()).or_insert_with(|| {
            let (wanted, receiver) = watch::channel(Wanted::default());
            let gone = Arc::new(Notify::new());
            tokio::spawn(write(self.server.clone(), receiver, gone.clone()));
            Entry { wanted, gone }
        });
        entry.wanted.send_modify(change);
    }

    /// Tells which object the pod is and what status it has there. For a static pod this is its mirror.
    pub fn observe(&self, uid: &str, object: &Pod) {
        let meta = &object.metadata;
        let target = Target { namespace: meta.namespace.clone(), name: meta.name.clone(), uid: meta.uid.clone() };
        self.update(uid, |wanted| {
            wanted.target = Some(target);
            wanted.known = Some(object.status.clone());
            wanted.revision = revision(object);
        });
    }

    pub fn set(&self, uid: &str, status: PodStatus) {
        self.update(uid, |wanted| wanted.status = Some(status));
    }

    /// The status last set, which is newer than any the API server has.
    pub fn get(&self, uid: &str) -> Option<PodStatus> {
        self.entries.lock().expect("no holder panics").get(uid)?.wanted.borrow().status.clone()
    }

    /// Lets the API server forget the pod, and returns once it has.
    pub async fn delete(&self, uid: &str) {
        self.update(uid, |wanted| wanted.delete = true);
        let gone = self.entries.lock().expect("no holder panics").get(uid).map(|entry| entry.gone.clone());
        if let Some(gone) = gone {
            gone.notified().await;
        }
    }

    pub fn forget(&self, uid: &str) {
        self.entries.lock().expect("no holder panics").remove(uid);
    }
}

/// Writes what is wanted until the entry is dropped or its object is gone.
async fn write(server: Arc<dyn ApiServer>, mut wanted: watch::Receiver<Wanted>, gone: Arc<Notify>) {
    let mut retry = RETRY.0;
    let mut written: Option<Written> = None;
    loop {
        let now = wanted.borrow_and_update().clone();
        let result = step(&*server, &now, &mut written).await;
        match result {
            Ok(true) => {
                gone.notify_one();
                return;
            }
            Ok(false) => {
                retry = RETRY.0;
                if wanted.changed().await.is_err() {
                    return;
                }
            }
            Err(err) => {
                tracing::debug!(err = %err, "pod status not written");
                // Either arm leaves the value in the channel, where the next round finds it.
                tokio::select! {
                    () = tokio::time::sleep(retry) => retry = (retry * 2).min(RETRY.1),
                    changed = wanted.changed() => if changed.is_err() { return },
                }
            }
        }
    }
}

/// One write, if there is anything to write; `true` once the object is gone.
///
/// Writes on top of what was written last, or of what the API server has if somebody has changed that since: a node that
/// was cut off finds its pods marked as not ready, and has to say that they are.
async fn step(server: &dyn ApiServer, now: &Wanted, written: &mut Option<Written>) -> Result<bool, ApiError> {
    let Some(target) = &now.target else { return Ok(false) };
    let last = written.as_ref().filter(|written| written.target == *target);
    let base = match last {
        Some(last) if last.revision >= now.revision => Some(&last.status),
        _ => now.known.as_ref(),
    };
    if let Some(status) = &now.status
        && let Some(patch) = patch(base.unwrap_or(&PodStatus::default()), status, &target.uid)
    {
        let revision = match server.patch_pod_status(&target.namespace, &target.name, patch).await {
            Ok(pod) => revision(&pod),
            // Another incarnation has its name, or none: there is nothing to write to until one is observed.
            Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => now.revision,
            Err(err) => return Err(err),
        };
        *written = Some(Written { target: target.clone(), status: status.clone(), revision });
    }
    if now.delete {
        return match server.delete_pod(&target.namespace, &target.name, &target.uid, 0).await {
            Ok(()) | Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => Ok(true),
            Err(err) => Err(err),
        };
    }
    Ok(false)
}

/// The strategic merge patch from `old` to `new`, for the pod with this UID and no other; `None` without a difference.
///
/// Only the kubelet's own conditions are sent, those that differ: they merge by type. Lists that merge by key are replaced in
/// full.
pub fn patch(old: &PodStatus, new: &PodStatus, uid: &str) -> Option<Vec<u8>> {
    let value = |status: &PodStatus| Value::parse(&apimachinery::json::part_to_vec(status)).expect("the JSON writer writes JSON");
    let (old, new) = (value(old), value(new));
    let (old, new) = (old.as_object()?, new.as_object()?);
    let mut changes = Value::object();
    let fields = changes.as_object_mut()?;
    for (key, value) in new.iter() {
        if old.get(key) == Some(value) {
            continue;
        }
        let value = match (key, value) {
            ("podIPs" | "hostIPs", Value::Array(items)) if old.contains_key(key) => replaced(items),
            ("conditions", Value::Array(items)) => {
                let there = old.get(key).and_then(Value::as_array).unwrap_or_default();
                let changed: Vec<Value> =
                    items.iter().filter(|item| is_own(item) && !there.contains(item)).map(complete_condition).collect();
                if changed.is_empty() {
                    continue;
                }
                Value::Array(changed)
            }
            _ => value.clone(),
        };
        fields.insert(key, value);
    }
    for (key, _) in old.iter().filter(|(key, _)| !new.contains_key(key)) {
        if !OF_OTHERS.contains(&key) {
            fields.insert(key, Value::Null);
        }
    }
    if fields.is_empty() {
        return None;
    }
    let mut patch = Value::object();
    patch.set_at(&["metadata", "uid"], uid);
    patch.as_object_mut()?.insert("status", changes);
    Some(patch.to_vec())
}

/// Fields that others write: not the kubelet's to take away.
const OF_OTHERS: [&str; 6] = [
    "conditions",
    "extendedResourceClaimStatus",
    "nodeAllocatableResourceClaimStatuses",
    "nominatedNodeName",
    "resize",
    "resourceClaimStatuses",
];

fn is_own(condition: &Value) -> bool {
    condition.str_at(&["type"]).is_some_and(|kind| generate::OWN_CONDITIONS.contains(&kind))
}

/// A list that merges by key, with the word that nothing of the old one stays.
fn replaced(items: &[Value]) -> Value {
    let mut replace = Value::object();
    replace.set_at(&["$patch"], "replace");
    Value::Array(std::iter::once(replace).chain(items.iter().cloned()).collect())
}

/// Conditions merge field by field: what one no longer says has to be taken away.
fn complete_condition(condition: &Value) -> Value {
    let mut condition = condition.clone();
    for name in ["reason", "message"] {
        if condition.get(name).is_none() {
            condition.set_at(&[name], Value::Null);
        }
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::core::v1::{PodCondition, PodIP};

    fn text(old: &PodStatus, new: &PodStatus) -> Option<String> {
        patch(old, new, "u").map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn only_differences_are_sent() {
        let old = PodStatus { phase: "Pending".into(), reason: "X".into(), ..Default::default() };
        assert_eq!(text(&old, &old), None);
        let ips = |ip: &str| vec![PodIP { ip: ip.into() }].into();
        let new = PodStatus { phase: "Running".into(), pod_ips: ips("10.0.0.1"), ..Default::default() };
        assert_eq!(
            text(&old, &new).unwrap(),
            r#"{"metadata":{"uid":"u"},"status":{"phase":"Running","podIPs":[{"ip":"10.0.0.1"}],"reason":null}}"#
        );
        let moved = PodStatus { pod_ips: ips("10.0.0.2"), ..new.clone() };
        assert_eq!(text(&new, &moved).unwrap(), r#"{"metadata":{"uid":"u"},"status":{"podIPs":[{"$patch":"replace"},{"ip":"10.0.0.2"}]}}"#);
    }

    fn with_ready(status: &str) -> PodStatus {
        let condition = |kind: &str, status: &str| PodCondition { type_: kind.into(), status: status.into(), ..Default::default() };
        PodStatus { conditions: vec![condition("Ready", status), condition("example.org/gate", "True")].into(), ..Default::default() }
    }

    #[test]
    fn conditions_of_others_are_not_written() {
        assert_eq!(
            text(&PodStatus { conditions: with_ready("True").conditions[..1].to_vec().into(), ..Default::default() }, &with_ready("True")),
            None
        );
        assert!(!text(&PodStatus::default(), &with_ready("True")).unwrap().contains("example.org"));
    }

    /// Keeps what was patched; revisions count patches.
    #[derive(Default)]
    struct Server(Mutex<Vec<String>>);

    impl Server {
        async fn step(&self, now: &Wanted, written: &mut Option<Written>) -> usize {
            step(self, now, written).await.unwrap();
            self.0.lock().unwrap().len()
        }
    }

    #[tokio::test]
    async fn what_others_undo_is_written_again() {
        let server = Server::default();
        let mut written = None;
        let target = Some(Target { namespace: "n".into(), name: "p".into(), uid: "u".into() });
        let mut wanted = Wanted { target, status: Some(with_ready("True")), ..Default::default() };
        assert_eq!(server.step(&wanted, &mut written).await, 1);
        assert_eq!(server.step(&wanted, &mut written).await, 1, "written once");
        (wanted.known, wanted.revision) = (Some(PodStatus::default()), 0);
        assert_eq!(server.step(&wanted, &mut written).await, 1, "older than the write");
        (wanted.known, wanted.revision) = (Some(with_ready("True")), 1);
        assert_eq!(server.step(&wanted, &mut written).await, 1, "its echo");
        (wanted.known, wanted.revision) = (Some(with_ready("False")), 5);
        assert_eq!(server.step(&wanted, &mut written).await, 2, "somebody else's");
        wanted.target = Some(Target { uid: "another mirror".into(), ..wanted.target.unwrap() });
        (wanted.known, wanted.revision) = (Some(PodStatus::default()), 6);
        assert_eq!(server.step(&wanted, &mut written).await, 3, "another object");
    }

    #[test]
    fn a_condition_that_holds_again_gives_no_old_reason() {
        let ready = PodCondition { type_: "Ready".into(), status: "True".into(), ..Default::default() };
        let new = PodStatus { conditions: vec![ready].into(), ..Default::default() };
        let patch = text(&PodStatus::default(), &new).unwrap();
        assert!(patch.contains(r#""reason":null"#) && patch.contains(r#""message":null"#), "{patch}");
    }

    #[async_trait::async_trait]
    impl ApiServer for Server {
        async fn patch_pod_status(&self, _: &str, _: &str, patch: Vec<u8>) -> crate::api_server::ApiResult<Pod> {
            let mut patches = self.0.lock().unwrap();
            patches.push(String::from_utf8(patch).unwrap());
            let mut pod = Pod::default();
            pod.metadata.resource_version = patches.len().to_string();
            Ok(pod)
        }
    }
}
