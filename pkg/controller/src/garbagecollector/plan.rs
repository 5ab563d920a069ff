//! What to do about one object, given what became of its owners.

use apimachinery::meta::v1::{ObjectMeta, OwnerReference};
use client::Propagation;

use super::{FOREGROUND, ORPHAN};

/// An object's owners, sorted by what was found where they should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owners {
    pub solid: Vec<OwnerReference>,
    /// Not there, or another object by now.
    pub dangling: Vec<OwnerReference>,
    /// Being deleted in the foreground: they wait for this object.
    pub waiting: Vec<OwnerReference>,
}

/// A write to make.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Nothing,
    /// Some owners are left: the others need not be named any more.
    KeepOwners(Vec<OwnerReference>),
    Delete {
        propagation: Propagation,
        /// A cycle of owners that all wait for each other: this object first stops blocking its own.
        unblock: bool,
    },
}

/// Decides by the object as it was just read. `dependent_waits` says whether one of its dependents waits for dependents of
/// its own, `has_dependents` whether it has any.
pub fn plan(metadata: &ObjectMeta, owners: &Owners, has_dependents: bool, dependent_waits: bool) -> Action {
    if owners.solid.is_empty() && owners.dangling.is_empty() && owners.waiting.is_empty() {
        return Action::Nothing;
    }
    if !owners.solid.is_empty() {
        return match owners.dangling.is_empty() && owners.waiting.is_empty() {
            true => Action::Nothing,
            false => Action::KeepOwners(owners.solid.clone()),
        };
    }
    if !owners.waiting.is_empty() && has_dependents {
        return Action::Delete { propagation: Propagation::Foreground, unblock: dependent_waits };
    }
    let has = |finalizer: &str| metadata.finalizers.iter().any(|name| name == finalizer);
    let propagation = match (has(ORPHAN), has(FOREGROUND)) {
        // Whoever deleted it meanwhile chose already.
        (true, _) => Propagation::Orphan,
        (false, true) => Propagation::Foreground,
        (false, false) => Propagation::Background,
    };
    Action::Delete { propagation, unblock: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `owners` reads like "a:solid b:dangling".
    #[track_caller]
    fn check(owners: &str, finalizers: &[&str], dependents: (bool, bool), expected: Action) {
        let mut sorted = Owners::default();
        for (name, state) in owners.split_whitespace().filter_map(|owner| owner.split_once(':')) {
            let reference = OwnerReference { name: name.into(), ..OwnerReference::default() };
            match state {
                "solid" => sorted.solid.push(reference),
                "dangling" => sorted.dangling.push(reference),
                _ => sorted.waiting.push(reference),
            }
        }
        let metadata = ObjectMeta { finalizers: finalizers.iter().map(ToString::to_string).collect(), ..ObjectMeta::default() };
        assert_eq!(plan(&metadata, &sorted, dependents.0, dependents.1), expected);
    }

    #[test]
    fn one_living_owner_is_enough() {
        let kept = Action::KeepOwners(vec![OwnerReference { name: "a".into(), ..OwnerReference::default() }]);
        check("", &[], (false, false), Action::Nothing);
        check("a:solid", &[], (false, false), Action::Nothing);
        check("a:solid b:dangling", &[], (false, false), kept.clone());
        check("a:solid b:waiting", &[], (false, false), kept);
    }

    #[test]
    fn without_owners_it_goes_as_it_was_told_to() {
        let delete = |propagation, unblock| Action::Delete { propagation, unblock };
        check("a:dangling", &[], (false, false), delete(Propagation::Background, false));
        check("a:dangling", &["orphan"], (true, false), delete(Propagation::Orphan, false));
        check("a:dangling", &["foregroundDeletion"], (true, false), delete(Propagation::Foreground, false));
        check("a:waiting", &[], (false, false), delete(Propagation::Background, false));
        check("a:waiting", &[], (true, false), delete(Propagation::Foreground, false));
        check("a:waiting b:dangling", &[], (true, true), delete(Propagation::Foreground, true));
    }
}
