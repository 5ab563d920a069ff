//! Deployment controller: moves Pods from old templates to the new one, by scaling one ReplicaSet per template.
//!
//! Reads Deployments, ReplicaSets and (for the Recreate strategy) Pods; writes ReplicaSets, and the Deployments' status and
//! revision. Upstream: pkg/controller/deployment. Start reading at [`plan`].

mod conditions;
mod revisions;
mod scaling;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;

use api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use apimachinery::Time;

use crate::context::Registration;
use conditions::{Progress, set_condition};
use scaling::Limits;

pub const DEPLOYMENT: Registration =
    Registration { name: "deployment-controller", alias: Some("deployment"), default_on: true, start: shell::start };

/// One look at the world, taken from caches.
pub struct Observed<'a> {
    pub deployment: &'a Deployment,
    /// Owned and matching.
    pub sets: Vec<Arc<ReplicaSet>>,
    /// UIDs of those sets that have Pods which have not ended. Only looked at for the Recreate strategy.
    pub with_pods: HashSet<String>,
    pub now: Time,
}

/// What to write, in this order: sets, the Deployment itself, its status.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub writes: Vec<Write>,
    /// The Deployment with another revision or template.
    pub deployment: Option<Box<Deployment>>,
    pub status: Option<Box<DeploymentStatus>>,
    pub events: Vec<Event>,
    /// When a deadline is to be looked at again, in seconds.
    pub look_again: Option<i64>,
}

/// A write to one ReplicaSet.
#[derive(Debug, PartialEq)]
pub enum Write {
    Create(Box<ReplicaSet>),
    /// With the number of replicas it had, if that changes.
    Update {
        set: Box<ReplicaSet>,
        from: Option<i32>,
    },
    Delete {
        name: String,
        uid: String,
    },
}

/// Something to tell the user.
#[derive(Debug, PartialEq)]
pub struct Event {
    pub kind: &'static str,
    pub reason: &'static str,
    pub message: String,
}

/// The Deployment and its sets as they will be once the plan so far is carried out.
struct Rollout<'a> {
    seen: &'a Observed<'a>,
    deployment: Deployment,
    limits: Limits,
    /// All sets, oldest first. The new one is `new`.
    sets: Vec<Draft>,
    new: Option<usize>,
    events: Vec<Event>,
    progress: Option<Progress>,
}

/// A set and what it was read as.
struct Draft {
    set: ReplicaSet,
    /// `None` for one that is yet to be made.
    read: Option<Arc<ReplicaSet>>,
    deleted: bool,
}

impl Draft {
    fn replicas(&self) -> i32 {
        self.set.spec.replicas.unwrap_or(1)
    }

    fn is_active(&self) -> bool {
        self.replicas() > 0
    }
}

/// Decides what to write. No client, clock, lock, log or `async` in here.
pub fn plan(seen: &Observed<'_>) -> Plan {
    let mut rollout = Rollout::new(seen);
    let spec = &seen.deployment.spec;
    if seen.deployment.metadata.deletion_timestamp.is_some() {
        return rollout.finish();
    }
    conditions::note_pause(&mut rollout.deployment, seen.now);
    if spec.paused {
        rollout.find_new(false);
        rollout.scale_evenly();
        rollout.clean_up();
        return rollout.finish();
    }
    if rollout.roll_back() {
        return rollout.finish_without_status();
    }
    if rollout.is_scaling() {
        rollout.find_new(false);
        rollout.scale_evenly();
        return rollout.finish();
    }
    match spec.strategy.type_.as_str() {
        "Recreate" => rollout.recreate(),
        _ => rollout.roll(),
    }
    rollout.finish_with_progress()
}

impl<'a> Rollout<'a> {
    fn new(seen: &'a Observed<'a>) -> Rollout<'a> {
        let mut sets: Vec<Draft> =
            seen.sets.iter().map(|set| Draft { set: (**set).clone(), read: Some(set.clone()), deleted: false }).collect();
        sets.sort_by(|left, right| age_order(&left.set, &right.set));
        let new = sets.iter().position(|draft| crate::template::same(&draft.set.spec.template, &seen.deployment.spec.template));
        Rollout {
            seen,
            deployment: seen.deployment.clone(),
            limits: Limits::of(seen.deployment),
            sets,
            new,
            events: Vec::new(),
            progress: None,
        }
    }

    fn wanted(&self) -> i32 {
        self.seen.deployment.spec.replicas.unwrap_or(1)
    }

    /// Indexes of all sets but the new one, oldest first.
    fn old(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|index| Some(*index) != self.new).collect()
    }

    fn total(&self, indexes: &[usize]) -> i32 {
        indexes.iter().map(|index| self.sets[*index].replicas()).sum()
    }

    fn total_of_all(&self) -> i32 {
        self.sets.iter().map(Draft::replicas).sum()
    }

    /// One step of a rolling update: first the new set grows, else old ones shrink.
    fn roll(&mut self) {
        self.find_new(true);
        if self.scale_new() || self.scale_down_old() {
            return;
        }
        if conditions::is_complete(self.seen.deployment, &self.seen.deployment.status) {
            self.clean_up();
        }
    }

    /// One step of replacing everything: all old Pods end before the first new one begins.
    fn recreate(&mut self) {
        self.find_new(false);
        let mut scaled = false;
        for index in self.old() {
            scaled |= self.scale(index, 0);
        }
        let old_pods = self.old().into_iter().any(|index| {
            let set = &self.sets[index].set;
            set.status.replicas > 0 || self.seen.with_pods.contains(&set.metadata.uid)
        });
        if scaled || old_pods {
            return;
        }
        self.find_new(true);
        if let Some(new) = self.new {
            self.scale(new, self.wanted());
        }
        if conditions::is_complete(self.seen.deployment, &self.seen.deployment.status) {
            self.clean_up();
        }
    }

    /// Deletes the oldest sets beyond the history limit, of those that have nothing running.
    fn clean_up(&mut self) {
        let Some(limit) = self.seen.deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX) else { return };
        let mut old: Vec<usize> = self.old();
        old.retain(|index| self.sets[*index].set.metadata.deletion_timestamp.is_none());
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
        old.sort_by_key(|index| revisions::revision(&self.sets[*index].set.metadata));
        for index in old.into_iter().take(surplus) {
            let draft = &mut self.sets[index];
            let settled = draft.set.metadata.generation <= draft.set.status.observed_generation;
            draft.deleted = !draft.is_active() && draft.set.status.replicas == 0 && settled;
        }
    }

    fn finish_without_status(self) -> Plan {
        self.into_plan(None)
    }

    /// The status with availability told, progress left as it is.
    fn finish(self) -> Plan {
        let status = conditions::status(&self);
        self.into_plan(Some(status))
    }

    /// The status with progress told as well.
    fn finish_with_progress(self) -> Plan {
        let mut status = conditions::status(&self);
        conditions::tell_progress(&self, &mut status);
        let look_again = conditions::seconds_to_deadline(&self, &status);
        let mut plan = self.into_plan(Some(status));
        plan.look_again = look_again;
        plan
    }

    fn into_plan(self, status: Option<DeploymentStatus>) -> Plan {
        let mut writes = Vec::new();
        for draft in self.sets {
            match draft.read {
                None => writes.push(Write::Create(Box::new(draft.set))),
                Some(read) if draft.deleted => {
                    writes.push(Write::Delete { name: read.metadata.name.clone(), uid: read.metadata.uid.clone() });
                }
                Some(read) if *read != draft.set => {
                    let from = read.spec.replicas.unwrap_or(1);
                    let from = (draft.set.spec.replicas != Some(from)).then_some(from);
                    writes.push(Write::Update { set: Box::new(draft.set), from });
                }
                Some(_) => {}
            }
        }
        let before = self.seen.deployment;
        let changed = self.deployment.metadata != before.metadata || self.deployment.spec != before.spec;
        let deployment = changed.then(|| Box::new(Deployment { status: before.status.clone(), ..self.deployment }));
        let status = status.filter(|status| *status != before.status).map(Box::new);
        Plan { writes, deployment, status, events: self.events, look_again: None }
    }

    fn tell(&mut self, kind: &'static str, reason: &'static str, message: String) {
        self.events.push(Event { kind, reason, message });
    }

    fn progress_condition(&mut self, progress: Progress) {
        if conditions::has_deadline(self.seen.deployment) {
            set_condition(&mut self.deployment.status, progress.condition(self.seen.now));
            self.progress = Some(progress);
        }
    }
}

fn age_order(left: &ReplicaSet, right: &ReplicaSet) -> std::cmp::Ordering {
    let key = |set: &ReplicaSet| (set.metadata.creation_timestamp, set.metadata.name.clone());
    key(left).cmp(&key(right))
}
