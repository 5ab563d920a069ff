//! Our own writes that the cache does not show yet.
//!
//! A pod that turns ready right after a slice was created must not lead to a second slice. Rather than wait for the watch,
//! plans are made on what was written:
//! ```text
//!   cache:    a@5  b@7          overlay:  b@9  c@10  a gone
//!   merged:   b@9  c@10
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use api::discovery::v1::EndpointSlice;
use informer::ObjectKey;
use parking_lot::Mutex;
use tokio::time::Instant;

/// How long an own write is believed without the watch having shown it.
pub const LIFE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Overlay(Mutex<HashMap<ObjectKey, HashMap<String, Entry>>>);

#[derive(Debug)]
struct Entry {
    slice: Arc<EndpointSlice>,
    deleted: bool,
    since: Instant,
}

fn revision(slice: &EndpointSlice) -> u64 {
    slice.metadata.resource_version.parse().unwrap_or(0)
}

impl Overlay {
    pub fn wrote(&self, service: &ObjectKey, slice: EndpointSlice) {
        self.put(service, Arc::new(slice), false);
    }

    pub fn deleted(&self, service: &ObjectKey, slice: &EndpointSlice) {
        self.put(service, Arc::new(slice.clone()), true);
    }

    fn put(&self, service: &ObjectKey, slice: Arc<EndpointSlice>, deleted: bool) {
        let entry = Entry { deleted, since: Instant::now(), slice: slice.clone() };
        self.0.lock().entry(service.clone()).or_default().insert(slice.metadata.name.clone(), entry);
    }

    pub fn drop_entry(&self, service: &ObjectKey, name: &str) {
        if let Some(entries) = self.0.lock().get_mut(service) {
            entries.remove(name);
        }
    }

    pub fn forget(&self, service: &ObjectKey) {
        self.0.lock().remove(service);
    }

    /// Takes note of what the watch shows. True if that is only what we wrote, or older.
    pub fn observe(&self, service: &ObjectKey, slice: &EndpointSlice, deleted: bool) -> bool {
        let mut all = self.0.lock();
        let Some(entries) = all.get_mut(service) else { return false };
        let Some(entry) = entries.get(&slice.metadata.name) else { return false };
        if entry.slice.metadata.uid != slice.metadata.uid {
            return false;
        }
        let (ours, seen) = (revision(&entry.slice), revision(slice));
        let ours_is_newer = !deleted && (entry.deleted || ours > seen);
        if ours_is_newer {
            return true;
        }
        let expected = if deleted { entry.deleted } else { ours == seen };
        entries.remove(&slice.metadata.name);
        if entries.is_empty() {
            all.remove(service);
        }
        expected
    }

    /// The slices as they are on the server, as far as anyone here can know.
    pub fn merge(&self, service: &ObjectKey, cached: Vec<Arc<EndpointSlice>>) -> Vec<Arc<EndpointSlice>> {
        let mut all = self.0.lock();
        let mut slices: HashMap<String, Arc<EndpointSlice>> =
            cached.into_iter().map(|slice| (slice.metadata.name.clone(), slice)).collect();
        if let Some(entries) = all.get_mut(service) {
            entries.retain(|_, entry| entry.since.elapsed() < LIFE);
            for (name, entry) in entries.iter() {
                let known = slices.get(name);
                if entry.deleted {
                    if known.is_some_and(|known| known.metadata.uid == entry.slice.metadata.uid) {
                        slices.remove(name);
                    }
                } else if known.is_none_or(|known| revision(known) < revision(&entry.slice)) {
                    slices.insert(name.clone(), entry.slice.clone());
                }
            }
        }
        let mut slices: Vec<_> = slices.into_values().collect();
        slices.sort_by(|left, right| left.metadata.name.cmp(&right.metadata.name));
        slices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, revision: u64) -> EndpointSlice {
        let mut slice = EndpointSlice::default();
        slice.metadata.name = name.into();
        slice.metadata.uid = format!("{name}-uid");
        slice.metadata.resource_version = revision.to_string();
        slice
    }

    #[tokio::test(start_paused = true)]
    async fn own_writes_count_until_the_watch_shows_them() {
        let (overlay, key) = (Overlay::default(), ObjectKey::new("ns", "web"));
        let cached = || vec![Arc::new(slice("a", 5)), Arc::new(slice("b", 7))];
        let names = |overlay: &Overlay| -> Vec<String> {
            let merged = overlay.merge(&key, cached());
            merged.iter().map(|slice| format!("{}@{}", slice.metadata.name, slice.metadata.resource_version)).collect()
        };
        overlay.wrote(&key, slice("b", 9));
        overlay.wrote(&key, slice("c", 10));
        overlay.deleted(&key, &slice("a", 5));
        assert_eq!(names(&overlay), ["b@9", "c@10"]);
        assert!(overlay.observe(&key, &slice("b", 8), false), "older than our write");
        assert!(overlay.observe(&key, &slice("b", 9), false), "our write itself");
        assert!(!overlay.observe(&key, &slice("b", 11), false), "somebody else's");
        assert!(overlay.observe(&key, &slice("a", 12), true));
        assert!(!overlay.observe(&key, &slice("c", 13), true), "deleted by somebody else");
        assert_eq!(names(&overlay), ["a@5", "b@7"]);

        overlay.wrote(&key, slice("c", 20));
        tokio::time::advance(LIFE).await;
        assert_eq!(names(&overlay), ["a@5", "b@7"]);
    }
}
