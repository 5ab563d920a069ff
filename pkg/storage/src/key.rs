//! Keys, ranges of keys, revisions, and a key with its value.

use std::fmt;

use bytes::Bytes;

/// A point in the history of a store. An empty store is at 1 or above, and each change of the key space makes the next one.
///
/// The API's `resourceVersion` is its decimal text, but only the API server may know that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// Before the first change. No key has it.
    pub const ZERO: Revision = Revision(0);

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The revision after this one.
    pub const fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a key's time to live hangs on, in the engine's own terms; [`crate::Store::time_to_live`] reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseId(pub u64);

/// A key as one revision has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Bytes,
    /// Empty in an answer to a keys-only range.
    pub value: Bytes,
    /// The revision that made the key, the last time it did not exist before.
    pub create_revision: Revision,
    /// The revision of the last put.
    pub mod_revision: Revision,
    /// The number of puts since the key was made; 1 for a new key.
    pub version: u64,
    /// Set if the key goes away by itself.
    pub lease: Option<LeaseId>,
}

/// Keys from `start` on and before `end`, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    pub start: Bytes,
    /// The first key that is not in the range; `None` for no upper end.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Every key there is.
    pub const fn all() -> KeyRange {
        KeyRange { start: Bytes::new(), end: None }
    }

    /// From `start` on and before `end`.
    pub fn new(start: impl Into<Bytes>, end: impl Into<Bytes>) -> KeyRange {
        KeyRange { start: start.into(), end: Some(end.into()) }
    }

    /// This key and no other.
    pub fn single(key: impl Into<Bytes>) -> KeyRange {
        let start = key.into();
        let mut end = Vec::with_capacity(start.len() + 1);
        end.extend_from_slice(&start);
        end.push(0);
        KeyRange { start, end: Some(end.into()) }
    }

    /// Keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> KeyRange {
        let start = prefix.into();
        let mut end = start.to_vec();
        // The end is the shortest key above all keys with the prefix: its last byte that can grow, grown.
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return KeyRange { start, end: Some(end.into()) };
            }
        }
        KeyRange { start, end: None }
    }

    /// The rest of this range behind `key`: where the next page of a list begins.
    pub fn after(&self, key: &[u8]) -> KeyRange {
        let mut start = Vec::with_capacity(key.len() + 1);
        start.extend_from_slice(key);
        start.push(0);
        KeyRange { start: start.into(), end: self.end.clone() }
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        key >= &self.start[..] && self.end.as_ref().is_none_or(|end| key < &end[..])
    }

    /// Whether no key can be in this range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_prefix() {
        for (prefix, end) in
            [(&b"/registry/pods/"[..], Some(&b"/registry/pods0"[..])), (b"a\xff", Some(b"b")), (b"\xff\xff", None), (b"", None)]
        {
            let range = KeyRange::prefix(prefix.to_vec());
            assert_eq!(range.end.as_deref(), end, "prefix {prefix:?}");
            assert!(range.contains(prefix));
            assert!(range.contains(&[prefix, b"\xff\xff\xff"].concat()));
        }
        assert!(!KeyRange::prefix(&b"/registry/pods/"[..]).contains(b"/registry/podtemplates/x"));
    }

    #[test]
    fn a_single_key_is_alone_in_its_range() {
        let range = KeyRange::single(&b"a"[..]);
        assert!(range.contains(b"a"));
        assert!(!range.contains(b"a\0"));
        assert!(!range.contains(b"b"));
    }

    #[test]
    fn the_rest_of_a_range_begins_right_behind_the_key() {
        let rest = KeyRange::prefix(&b"a/"[..]).after(b"a/1");
        assert!(!rest.contains(b"a/1"));
        assert!(rest.contains(b"a/1\0"));
        assert!(!rest.contains(b"b"));
        assert!(KeyRange::new(&b"b"[..], &b"a"[..]).is_empty());
    }
}
