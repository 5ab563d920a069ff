//! What a terminating namespace's conditions say about its end. The words are upstream's: people search for them.

use std::collections::BTreeMap;

use api::core::v1::NamespaceCondition;
use apimachinery::{List, Time};

use super::content::Sweep;

/// The conditions after a sweep. Times change only where something else does.
pub fn next_conditions(old: &List<NamespaceCondition>, sweep: &Sweep, now: Time) -> List<NamespaceCondition> {
    let mut conditions = old.clone();
    for new in of_sweep(sweep) {
        match conditions.iter_mut().find(|known| known.type_ == new.type_) {
            None => conditions.push(NamespaceCondition { last_transition_time: now, ..new }),
            Some(known) => {
                let moved = known.status != new.status;
                let same = !moved && known.reason == new.reason && known.message == new.message;
                if !same {
                    let since = if moved { now } else { known.last_transition_time };
                    *known = NamespaceCondition { last_transition_time: since, ..new };
                }
            }
        }
    }
    conditions
}

fn of_sweep(sweep: &Sweep) -> [NamespaceCondition; 5] {
    let counts: Vec<String> = sweep.remaining.iter().map(|(kind, left)| format!("{kind} has {} resource instances", left.count)).collect();
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for (finalizer, count) in sweep.remaining.values().flat_map(|left| &left.finalizers) {
        *holders.entry(finalizer).or_default() += count;
    }
    let holders: Vec<String> = holders.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    [
        condition(
            "NamespaceDeletionDiscoveryFailure",
            ("DiscoveryFailed", failed("Discovery failed for some groups", &sweep.discovery)),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        condition(
            "NamespaceDeletionGroupVersionParsingFailure",
            // Discovery answers in parts already; nothing is left to parse.
            ("GroupVersionParsingFailed", None),
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        condition(
            "NamespaceDeletionContentFailure",
            ("ContentDeletionFailed", failed("Failed to delete all resource types", &sweep.failures)),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        condition(
            "NamespaceContentRemaining",
            ("SomeResourcesRemain", (!counts.is_empty()).then(|| format!("Some resources are remaining: {}", counts.join(", ")))),
            ("ContentRemoved", "All content successfully removed"),
        ),
        condition(
            "NamespaceFinalizersRemaining",
            (
                "SomeFinalizersRemain",
                (!holders.is_empty()).then(|| format!("Some content in the namespace has finalizers remaining: {}", holders.join(", "))),
            ),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]
}

fn failed(what: &str, problems: &[String]) -> Option<String> {
    (!problems.is_empty()).then(|| format!("{what}, {} remaining: {}", problems.len(), problems.join(", ")))
}

fn condition(type_: &str, bad: (&str, Option<String>), good: (&str, &str)) -> NamespaceCondition {
    let (status, reason, message) = match bad {
        (reason, Some(message)) => ("True", reason, message),
        (_, None) => ("False", good.0, good.1.to_string()),
    };
    NamespaceCondition { type_: type_.into(), status: status.into(), reason: reason.into(), message, ..NamespaceCondition::default() }
}
