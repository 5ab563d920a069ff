//! Sets of fields, as trees of path elements.

use std::cmp::Ordering;

use super::path::PathElement;

/// A set of paths.
///
/// ```text
/// {spec.replicas, spec.template, spec.template.labels} =
///   spec ─┬─ replicas (member)
///         └─ template (member) ── labels (member)
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element; none is without member and children.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub element: PathElement,
    /// The path that ends here is in the set.
    pub member: bool,
    pub children: FieldSet,
}

impl Entry {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

impl FieldSet {
    pub const EMPTY: FieldSet = FieldSet { entries: Vec::new() };

    /// The set of some paths of member names: `[["spec", "replicas"]]`.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = FieldSet::default();
        for path in paths {
            set.insert(path.iter().map(|name| PathElement::field(name)));
        }
        set
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many paths are in the set.
    pub fn len(&self) -> usize {
        self.entries.iter().map(|entry| usize::from(entry.member) + entry.children.len()).sum()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// From entries in any order.
    pub(super) fn from_entries(mut entries: Vec<Entry>) -> Self {
        entries.retain(|entry| !entry.is_empty());
        if !entries.is_sorted_by(|a, b| a.element < b.element) {
            entries.sort_by(|a, b| a.element.cmp(&b.element));
            entries.dedup_by(|later, first| {
                let same = later.element == first.element;
                if same {
                    first.member |= later.member;
                    first.children = first.children.union(&later.children);
                }
                same
            });
        }
        FieldSet { entries }
    }

    fn find(&self, element: &PathElement) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| entry.element.cmp(element)).ok().map(|index| &self.entries[index])
    }

    pub fn insert(&mut self, path: impl IntoIterator<Item = PathElement>) {
        let mut path = path.into_iter().peekable();
        let mut here = self;
        while let Some(element) = path.next() {
            let index = match here.entries.binary_search_by(|entry| entry.element.cmp(&element)) {
                Ok(index) => index,
                Err(index) => {
                    here.entries.insert(index, Entry { element, member: false, children: FieldSet::default() });
                    index
                }
            };
            here.entries[index].member |= path.peek().is_none();
            here = &mut here.entries[index].children;
        }
    }

    pub fn contains(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.has(last),
            [first, rest @ ..] => self.find(first).is_some_and(|entry| entry.children.contains(rest)),
        }
    }

    /// Whether the path of this one element is in the set.
    pub(super) fn has(&self, element: &PathElement) -> bool {
        self.find(element).is_some_and(|entry| entry.member)
    }

    /// What is in the set behind this element.
    pub(super) fn behind(&self, element: &PathElement) -> &FieldSet {
        static EMPTY: FieldSet = FieldSet::EMPTY;
        self.find(element).map_or(&EMPTY, |entry| &entry.children)
    }

    pub fn union(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, &|a, b| match (a, b) {
            (Some(a), Some(b)) => {
                Some(Entry { element: a.element.clone(), member: a.member || b.member, children: a.children.union(&b.children) })
            }
            (a, b) => a.or(b).cloned(),
        })
    }

    /// The paths that are in both.
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, &|a, b| {
            let (a, b) = (a?, b?);
            Some(Entry { element: a.element.clone(), member: a.member && b.member, children: a.children.intersection(&b.children) })
        })
    }

    /// The paths that are not in `other`.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, &|a, b| match (a?, b) {
            (a, Some(b)) => {
                Some(Entry { element: a.element.clone(), member: a.member && !b.member, children: a.children.difference(&b.children) })
            }
            (a, None) => Some(a.clone()),
        })
    }

    /// The paths that are not in `other` nor behind a path of it.
    pub fn recursive_difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, &|a, b| match (a?, b) {
            (_, Some(b)) if b.member => None,
            (a, Some(b)) => {
                Some(Entry { element: a.element.clone(), member: a.member, children: a.children.recursive_difference(&b.children) })
            }
            (a, None) => Some(a.clone()),
        })
    }

    /// The set with every member name on the way to a path.
    pub(super) fn with_named_parents(&self) -> FieldSet {
        let entries = self.entries.iter().map(|entry| Entry {
            element: entry.element.clone(),
            member: entry.member || matches!(entry.element, PathElement::Field(_)),
            children: entry.children.with_named_parents(),
        });
        FieldSet { entries: entries.collect() }
    }

    fn combine(&self, other: &FieldSet, pick: &dyn Fn(Option<&Entry>, Option<&Entry>) -> Option<Entry>) -> FieldSet {
        let (mut left, mut right) = (self.entries.iter().peekable(), other.entries.iter().peekable());
        let mut entries = Vec::new();
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return FieldSet { entries },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let a = if order.is_le() { left.next() } else { None };
            let b = if order.is_ge() { right.next() } else { None };
            entries.extend(pick(a, b).filter(|entry| !entry.is_empty()));
        }
    }

    /// All paths in order, as messages show them: `.spec.containers[name="c"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths(&mut String::new(), &mut paths);
        paths
    }

    /// All paths, in the order of [`FieldSet::paths`].
    pub fn elements(&self) -> Vec<Vec<PathElement>> {
        let mut paths: Vec<_> = self.entries.iter().filter(|entry| entry.member).map(|entry| vec![entry.element.clone()]).collect();
        for entry in &self.entries {
            paths.extend(entry.children.elements().into_iter().map(|path| {
                let mut whole = vec![entry.element.clone()];
                whole.extend(path);
                whole
            }));
        }
        paths
    }

    fn collect_paths(&self, prefix: &mut String, paths: &mut Vec<String>) {
        // Upstream lists the members of a level before what is behind them.
        for entry in self.entries.iter().filter(|entry| entry.member) {
            paths.push(format!("{prefix}{}", entry.element));
        }
        for entry in &self.entries {
            let length = prefix.len();
            prefix.push_str(&entry.element.to_string());
            entry.children.collect_paths(prefix, paths);
            prefix.truncate(length);
        }
    }
}
