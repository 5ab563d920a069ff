//! The new set: found or made; revisions, history and rolling back.
//!
//! Upstream: pkg/controller/deployment/{sync,rollback}.go, util/deployment_util.go.

use api::apps::v1::ReplicaSet;
use apimachinery::meta::v1::ObjectMeta;
use component_helpers::owners::controller_reference;

use super::conditions::{Progress, has_progress_condition};
use super::{Draft, Rollout};
use crate::template::{self, HASH_LABEL};

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
/// Annotations that are about the Deployment itself and are not copied to its sets.
const OWN: &[&str] = &["kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAX_REPLICAS, ROLLBACK_TO];
/// Most characters of history kept.
const HISTORY_LENGTH: usize = 2000;

/// The number in the revision annotation; 0 if there is none.
pub(super) fn revision(metadata: &ObjectMeta) -> i64 {
    metadata.annotations.get(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub(super) fn set_scale_annotations(set: &mut ReplicaSet, desired: i32, most: i32) {
    set.metadata.annotations.insert(DESIRED, desired.to_string());
    set.metadata.annotations.insert(MAX_REPLICAS, most.to_string());
}

/// The name of the set for the template of this Deployment, and the hash in it.
fn name_of(rollout: &Rollout<'_>) -> (String, String) {
    let deployment = rollout.seen.deployment;
    let hash = template::hash(&deployment.spec.template, deployment.status.collision_count);
    (format!("{}-{hash}", deployment.metadata.name), hash)
}

impl Rollout<'_> {
    /// Brings the new set's annotations and revision up to date; makes it if it is missing and `create` says so.
    pub(super) fn find_new(&mut self, create: bool) {
        let newest_old = self.old().into_iter().map(|index| revision(&self.sets[index].set.metadata)).max().unwrap_or(0);
        let next = newest_old + 1;
        match self.new {
            Some(new) => {
                self.annotate(new, next, true);
                self.sets[new].set.spec.min_ready_seconds = self.seen.deployment.spec.min_ready_seconds;
                let revision = self.sets[new].set.metadata.annotations.get(REVISION).cloned();
                if let Some(revision) = revision {
                    self.deployment.metadata.annotations.insert(REVISION, revision);
                }
                if !has_progress_condition(&self.deployment.status) {
                    self.progress_condition(Progress::Found { set: self.sets[new].set.metadata.name.clone() });
                }
            }
            None if create => {
                let set = self.make_new();
                let name = set.metadata.name.clone();
                self.sets.push(Draft { set, read: None, deleted: false });
                let new = self.sets.len() - 1;
                self.new = Some(new);
                let size = self.new_size(0);
                self.sets[new].set.spec.replicas = Some(size);
                self.annotate(new, next, false);
                self.deployment.metadata.annotations.insert(REVISION, next.to_string());
                self.progress_condition(Progress::Created { set: name });
            }
            None => {}
        }
    }

    fn make_new(&self) -> ReplicaSet {
        let deployment = self.seen.deployment;
        let (name, hash) = name_of(self);
        let mut set = ReplicaSet::default();
        set.metadata.name = name;
        set.metadata.namespace = deployment.metadata.namespace.clone();
        set.metadata.owner_references.push(controller_reference(deployment));
        set.spec.replicas = Some(0);
        set.spec.min_ready_seconds = deployment.spec.min_ready_seconds;
        set.spec.selector = deployment.spec.selector.clone();
        if let Some(selector) = &mut set.spec.selector {
            selector.match_labels.insert(HASH_LABEL, hash.clone());
        }
        set.spec.template = deployment.spec.template.clone();
        set.spec.template.metadata.labels.insert(HASH_LABEL, hash);
        set.metadata.labels = set.spec.template.metadata.labels.clone();
        set
    }

    fn annotate(&mut self, index: usize, next: i64, exists: bool) {
        let (wanted, most) = (self.wanted(), self.wanted() + self.limits.surge);
        let annotations = &mut self.sets[index].set.metadata.annotations;
        for (key, value) in self.seen.deployment.metadata.annotations.iter().filter(|(key, _)| !OWN.contains(key)) {
            annotations.insert(key, value.clone());
        }
        let old = annotations.get(REVISION).cloned();
        let old_number: i64 = old.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0);
        if old_number < next {
            annotations.insert(REVISION, next.to_string());
            if let Some(old) = old.filter(|_| exists) {
                let history = annotations.get(HISTORY).cloned().unwrap_or_default();
                annotations.insert(HISTORY, appended(&history, &old));
            }
        }
        if !exists {
            set_scale_annotations(&mut self.sets[index].set, wanted, most);
        }
    }

    /// Carries out `deprecated.deployment.rollback.to`. True if there was such a wish: then this is all for now.
    pub(super) fn roll_back(&mut self) -> bool {
        let Some(wish) = self.seen.deployment.metadata.annotations.get(ROLLBACK_TO).cloned() else { return false };
        self.deployment.metadata.annotations.remove(ROLLBACK_TO);
        let Ok(mut wanted) = wish.parse::<i64>() else {
            self.tell("Warning", "RollbackRevisionNotFound", "Unable to find the revision to rollback to.".into());
            return true;
        };
        if wanted == 0 {
            let mut known: Vec<i64> = self.sets.iter().map(|draft| revision(&draft.set.metadata)).collect();
            known.sort_unstable();
            // The one before the newest.
            wanted = known.len().checked_sub(2).map_or(0, |index| known[index]);
            if wanted == 0 {
                self.tell("Warning", "RollbackRevisionNotFound", "Unable to find last revision.".into());
                return true;
            }
        }
        let Some(found) = self.sets.iter().position(|draft| revision(&draft.set.metadata) == wanted) else {
            self.tell("Warning", "RollbackRevisionNotFound", "Unable to find the revision to rollback to.".into());
            return true;
        };
        let name = self.deployment.metadata.name.clone();
        if template::same(&self.sets[found].set.spec.template, &self.deployment.spec.template) {
            let message = format!("The rollback revision contains the same template as current deployment {name:?}");
            self.tell("Warning", "RollbackTemplateUnchanged", message);
            return true;
        }
        self.deployment.spec.template = template::without_hash(&self.sets[found].set.spec.template);
        let annotations = &mut self.deployment.metadata.annotations;
        annotations.retain(|key, _| OWN.contains(&key));
        for (key, value) in self.sets[found].set.metadata.annotations.iter().filter(|(key, _)| !OWN.contains(key)) {
            annotations.insert(key, value.clone());
        }
        self.tell("Normal", "RollbackDone", format!("Rolled back deployment {name:?} to revision {wanted}"));
        true
    }
}

/// `history` with one more revision, the oldest dropped where it becomes too long.
fn appended(history: &str, revision: &str) -> String {
    let mut all: Vec<&str> = history.split(',').filter(|one| !one.is_empty()).collect();
    while !all.is_empty() && all.iter().map(|one| one.len() + 1).sum::<usize>() + revision.len() > HISTORY_LENGTH {
        all.remove(0);
    }
    all.push(revision);
    all.join(",")
}
