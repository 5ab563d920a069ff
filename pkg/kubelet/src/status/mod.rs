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
    /// What the API server is known to have.
    known: Option<PodStatus>,
    /// Nothing of the pod is left on the node: its object may go.
    delete: bool,
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
    let mut written: Option<PodStatus> = None;
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
async fn step(server: &dyn ApiServer, now: &Wanted, written: &mut Option<PodStatus>) -> Result<bool, ApiError> {
    let Some(target) = &now.target else { return Ok(false) };
    if let Some(status) = &now.status {
        let same_as_known = now.known.as_ref().is_some_and(|known| patch(known, status, &target.uid).is_none());
        if written.as_ref() != Some(status) || !same_as_known && now.known.is_some() && !echo_pending(now, written) {
            let base = written.as_ref().or(now.known.as_ref()).cloned().unwrap_or_default();
            if let Some(patch) = patch(&base, status, &target.uid) {
                match server.patch_pod_status(&target.namespace, &target.name, patch).await {
                    // Another incarnation has its name: this one is gone.
                    Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => return Ok(true),
                    Err(err) => return Err(err),
                    Ok(_) => {}
                }
            }
            *written = Some(status.clone());
        }
    }
    if now.delete {
        return match server.delete_pod(&target.namespace, &target.name, &target.uid, 0).await {
            Ok(()) | Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => Ok(true),
            Err(err) => Err(err),
        };
    }
    Ok(false)
}

/// What the API server showed last is older than what was written: its echo is still on the way, and no reason to write.
fn echo_pending(now: &Wanted, written: &Option<PodStatus>) -> bool {
    written.is_some() && now.status == *written
}

/// The strategic merge patch from `old` to `new`, for the pod with this UID and no other; `None` without a difference.
///
/// Conditions merge by type, so those of others stay. Lists that merge by key are replaced in full.
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
            ("conditions", Value::Array(items)) => Value::Array(items.iter().map(complete_condition).collect()),
            _ => value.clone(),
        };
        fields.insert(key, value);
    }
    for (key, _) in old.iter().filter(|(key, _)| !new.contains_key(key)) {
        // Not the kubelet's to take away.
        if key != "resize" && key != "conditions" {
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

    #[test]
    fn a_condition_that_holds_again_gives_no_old_reason() {
        let ready = PodCondition { type_: "Ready".into(), status: "True".into(), ..Default::default() };
        let new = PodStatus { conditions: vec![ready].into(), ..Default::default() };
        let patch = text(&PodStatus::default(), &new).unwrap();
        assert!(patch.contains(r#""reason":null"#) && patch.contains(r#""message":null"#), "{patch}");
    }
}
