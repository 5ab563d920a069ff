//! Removes images nobody uses once the disk they are on is fuller than a threshold, the longest unused first.
//!
//! Upstream: pkg/kubelet/images/image_gc_manager.go.

use cri_api::v1;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// `imageGCHighThresholdPercent` and friends.
#[derive(Clone, Debug)]
pub struct Policy {
    pub high_percent: u64,
    pub low_percent: u64,
    pub min_age: Duration,
    /// Unused for longer than this goes in any case; zero for never.
    pub max_age: Duration,
}

/// When an image was first seen and last used, in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    first_seen: i64,
    last_used: i64,
}

/// What is known of images over time.
#[derive(Debug, Default)]
pub struct Records(BTreeMap<String, Record>);

/// An image to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: String,
    pub size: u64,
}

impl Records {
    /// Takes note of what is there and what is used now.
    pub fn update(&mut self, images: &[v1::Image], used: &BTreeSet<String>, now: i64) {
        for image in images {
            let record = self.0.entry(image.id.clone()).or_insert(Record { first_seen: now, last_used: 0 });
            let is_used = used.contains(&image.id) || image.repo_tags.iter().chain(&image.repo_digests).any(|name| used.contains(name));
            if is_used {
                record.last_used = now;
            }
        }
        self.0.retain(|id, _| images.iter().any(|image| image.id == *id));
    }

    /// Images to remove to free `bytes`, and those unused for too long.
    pub fn plan(&self, images: &[v1::Image], bytes: u64, policy: &Policy, now: i64) -> Vec<Candidate> {
        let age = |then: i64| Duration::from_nanos((now - then).max(0) as u64);
        let mut unused: Vec<(&Record, &v1::Image)> = images
            .iter()
            .filter(|image| !image.pinned)
            .filter_map(|image| Some((self.0.get(&image.id)?, image)))
            .filter(|(record, _)| record.last_used < now)
            .collect();
        unused.sort_by_key(|(record, image)| (record.last_used, record.first_seen, image.id.clone()));
        let mut freed = 0;
        let mut plan = Vec::new();
        for (record, image) in unused {
            let too_old = !policy.max_age.is_zero() && record.last_used > 0 && age(record.last_used) > policy.max_age;
            let for_space = freed < bytes && age(record.first_seen) >= policy.min_age;
            if too_old || for_space {
                freed += image.size;
                plan.push(Candidate { id: image.id.clone(), size: image.size });
            }
        }
        plan
    }
}

/// How much to free on a disk of `capacity` of which `available` is left; `None` below the threshold. A threshold of 100
/// switches collection off.
pub fn excess(policy: &Policy, capacity: u64, available: u64) -> Option<u64> {
    if capacity == 0 || policy.high_percent >= 100 {
        return None;
    }
    let used_percent = 100 - available.min(capacity) * 100 / capacity;
    (used_percent >= policy.high_percent).then(|| (capacity * (100 - policy.low_percent) / 100).saturating_sub(available))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn image(id: &str, size: u64) -> v1::Image {
        v1::Image { id: id.into(), size, ..Default::default() }
    }

    #[test]
    fn the_longest_unused_go_first_and_the_young_stay() {
        let policy = Policy { high_percent: 85, low_percent: 80, min_age: Duration::from_secs(2), max_age: Duration::ZERO };
        let mut records = Records::default();
        let mut images = vec![image("a", 10), image("b", 10), image("c", 10)];
        records.update(&images, &["b".to_owned()].into(), SECOND);
        images.push(image("young", 10));
        records.update(&images, &["c".to_owned()].into(), 4 * SECOND);
        let ids = |bytes| records.plan(&images, bytes, &policy, 4 * SECOND).into_iter().map(|c| c.id).collect::<Vec<_>>().join(" ");
        assert_eq!(ids(0), "");
        assert_eq!(ids(5), "a");
        assert_eq!(ids(15), "a b");
        assert_eq!(ids(1000), "a b");
    }

    #[test]
    fn the_threshold_is_a_share_of_the_disk() {
        let policy = Policy { high_percent: 85, low_percent: 80, min_age: Duration::ZERO, max_age: Duration::ZERO };
        assert_eq!(excess(&policy, 1000, 200), None);
        assert_eq!(excess(&policy, 1000, 100), Some(100));
        assert_eq!(excess(&policy, 0, 0), None);
    }
}
