//! How many replicas each set gets: the steps of a rolling update, and spreading a change of scale.
//!
//! Upstream: pkg/controller/deployment/{rolling,sync}.go, util/deployment_util.go.

use api::apps::v1::Deployment;

use super::revisions::{DESIRED, MAX_REPLICAS, set_scale_annotations};
use super::{Draft, Rollout};

/// How far from the wanted number a rolling update may stray.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    pub surge: i32,
    pub unavailable: i32,
}

impl Limits {
    pub fn of(deployment: &Deployment) -> Limits {
        let wanted = deployment.spec.replicas.unwrap_or(1);
        if deployment.spec.strategy.type_ != "RollingUpdate" {
            return Limits { surge: 0, unavailable: 0 };
        }
        let rolling = deployment.spec.strategy.rolling_update.as_deref();
        let scaled = |value: Option<&apimachinery::IntOrString>, up| value.and_then(|value| value.scaled(wanted, up)).unwrap_or(0);
        let surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), true);
        let mut unavailable = scaled(rolling.and_then(|rolling| rolling.max_unavailable.as_ref()), false);
        if surge == 0 && unavailable == 0 {
            // Percentages may both round to nothing; then no step would ever be possible.
            unavailable = 1;
        }
        Limits { surge, unavailable: unavailable.min(wanted) }
    }
}

impl Rollout<'_> {
    /// Sets the scale of a set and notes for which scale of the Deployment that was. True if the number changes.
    pub(super) fn scale(&mut self, index: usize, replicas: i32) -> bool {
        let (wanted, most) = (self.wanted(), self.wanted() + self.limits.surge);
        let draft = &mut self.sets[index];
        let changes = draft.replicas() != replicas;
        if changes {
            draft.set.spec.replicas = Some(replicas);
            set_scale_annotations(&mut draft.set, wanted, most);
        }
        changes
    }

    /// The number the new set may grow to now.
    pub(super) fn new_size(&self, current: i32) -> i32 {
        if self.seen.deployment.spec.strategy.type_ == "Recreate" {
            return self.wanted();
        }
        let room = self.wanted() + self.limits.surge - self.total_of_all();
        if room <= 0 { current } else { current + room.min(self.wanted() - current) }
    }

    pub(super) fn scale_new(&mut self) -> bool {
        let Some(new) = self.new else { return false };
        let (current, wanted) = (self.sets[new].replicas(), self.wanted());
        match current.cmp(&wanted) {
            std::cmp::Ordering::Equal => false,
            std::cmp::Ordering::Greater => self.scale(new, wanted),
            std::cmp::Ordering::Less => self.scale(new, self.new_size(current)),
        }
    }

    /// Takes Pods from old sets: those that are no use first, then as many as availability allows.
    pub(super) fn scale_down_old(&mut self) -> bool {
        let old = self.old();
        if self.total(&old) == 0 {
            return false;
        }
        let fewest = self.wanted() - self.limits.unavailable;
        let new_unavailable = self.new.map_or(0, |new| self.sets[new].replicas() - self.sets[new].set.status.available_replicas);
        let most = self.total_of_all() - fewest - new_unavailable;
        if most <= 0 {
            return false;
        }
        let mut taken = 0;
        for index in &old {
            let draft = &self.sets[*index];
            let useless = draft.replicas() - draft.set.status.available_replicas;
            let count = useless.min(most - taken);
            if count > 0 {
                self.scale(*index, draft.replicas() - count);
                taken += count;
            }
        }
        let available: i32 = self.sets.iter().map(|draft| draft.set.status.available_replicas).sum();
        let mut spare = available - fewest;
        for index in &old {
            let replicas = self.sets[*index].replicas();
            let count = replicas.min(spare);
            if count > 0 {
                self.scale(*index, replicas - count);
                taken += count;
                spare -= count;
            }
        }
        taken > 0
    }

    /// Whether someone changed the Deployment's scale since its active sets were last scaled.
    pub(super) fn is_scaling(&self) -> bool {
        self.sets.iter().filter(|draft| draft.is_active()).any(|draft| annotation(draft, DESIRED).is_some_and(|for_| for_ != self.wanted()))
    }

    /// Spreads the Deployment's scale over its sets: all on the one set there is; or, in the middle of a rolling update, on each
    /// in proportion to its size, so that a scale-up does not put everything on a version that may not work.
    pub(super) fn scale_evenly(&mut self) {
        let wanted = self.wanted();
        if let Some(only) = self.active_or_latest() {
            self.scale(only, wanted);
            return;
        }
        if self.is_saturated() {
            for index in self.old() {
                self.scale(index, 0);
            }
            return;
        }
        if self.seen.deployment.spec.strategy.type_ == "RollingUpdate" {
            self.scale_in_proportion();
        }
    }

    fn active_or_latest(&self) -> Option<usize> {
        let active: Vec<usize> = (0..self.sets.len()).filter(|index| self.sets[*index].is_active()).collect();
        match active.as_slice() {
            [] => self.new.or(self.sets.len().checked_sub(1)),
            [one] => Some(*one),
            _ => None,
        }
    }

    /// Whether the new set does everything alone.
    fn is_saturated(&self) -> bool {
        self.new.is_some_and(|new| {
            let draft = &self.sets[new];
            annotation(draft, DESIRED) == Some(self.wanted())
                && draft.replicas() == self.wanted()
                && draft.set.status.available_replicas == self.wanted()
        })
    }

    fn scale_in_proportion(&mut self) {
        let wanted = self.wanted();
        let allowed = if wanted > 0 { wanted + self.limits.surge } else { 0 };
        let mut active: Vec<usize> = (0..self.sets.len()).filter(|index| self.sets[*index].is_active()).collect();
        let to_add = allowed - self.total(&active);
        // The largest first; of equal ones the newer when growing, the older when shrinking.
        if to_add > 0 {
            active.reverse();
        }
        active.sort_by_key(|index| std::cmp::Reverse(self.sets[*index].replicas()));
        let mut added = 0;
        let mut sizes: Vec<i32> = Vec::new();
        for index in &active {
            let draft = &self.sets[*index];
            let share = if to_add == added { 0 } else { self.share(draft) };
            let share = if to_add > 0 { share.min(to_add - added) } else { share.max(to_add - added) };
            sizes.push(draft.replicas() + share);
            added += share;
        }
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (index, size) in active.into_iter().zip(sizes) {
            let (before, most) = (self.sets[index].set.clone(), wanted + self.limits.surge);
            self.scale(index, size);
            if self.sets[index].set == before {
                set_scale_annotations(&mut self.sets[index].set, wanted, most);
            }
        }
    }

    /// What of the change falls to this set, by its size against the whole at the time it was last scaled.
    fn share(&self, draft: &Draft) -> i32 {
        let wanted = self.wanted();
        if wanted == 0 {
            return -draft.replicas();
        }
        let before = annotation(draft, MAX_REPLICAS).filter(|most| *most != 0).unwrap_or(self.seen.deployment.status.replicas);
        if before == 0 {
            return 0;
        }
        let size = f64::from(draft.replicas()) * f64::from(wanted + self.limits.surge) / f64::from(before);
        size.round() as i32 - draft.replicas()
    }
}

fn annotation(draft: &Draft, key: &str) -> Option<i32> {
    draft.set.metadata.annotations.get(key)?.parse().ok()
}
