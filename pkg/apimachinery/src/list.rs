//! [`List`]: what Go calls a slice, with nil and empty told apart.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// An ordered list that remembers whether it was ever set.
///
/// A nil list encodes as JSON `null` where Go's struct tag has no `omitempty`, an empty one as `[]`; defaulting rules ask for the
/// difference as well. Everything else treats both alike, and so does dereferencing to a slice. Two lists are equal only if both
/// elements and nilness agree; compare the slices where nilness does not matter.
#[derive(Clone, PartialEq)]
pub struct List<T>(Option<Vec<T>>);

impl<T> List<T> {
    /// The nil list.
    pub const fn nil() -> Self {
        Self(None)
    }

    /// An empty list that is not nil.
    pub const fn empty() -> Self {
        Self(Some(Vec::new()))
    }

    /// True if the list was never set.
    pub fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// Appends an element; a nil list becomes a set one.
    pub fn push(&mut self, item: T) {
        self.as_vec_mut().push(item);
    }

    /// The elements as a growable vector; a nil list becomes an empty one.
    pub fn as_vec_mut(&mut self) -> &mut Vec<T> {
        self.0.get_or_insert_with(Vec::new)
    }

    /// The elements; nil gives none.
    pub fn into_vec(self) -> Vec<T> {
        self.0.unwrap_or_default()
    }

    /// Keeps the elements for which `keep` holds. A nil list stays nil.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        if let Some(items) = &mut self.0 {
            items.retain(keep);
        }
    }

    /// Removes all elements and makes the list nil.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Turns an empty list into nil, as storage and protobuf do.
    pub fn normalize_empty(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl<T> DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.0.as_deref_mut().unwrap_or(&mut [])
    }
}

impl<T: fmt::Debug> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("nil"),
            Some(items) => items.fmt(f),
        }
    }
}

impl<T> From<Vec<T>> for List<T> {
    fn from(items: Vec<T>) -> Self {
        Self(Some(items))
    }
}

impl<T, const N: usize> From<[T; N]> for List<T> {
    fn from(items: [T; N]) -> Self {
        Self(Some(items.into()))
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(Some(items.into_iter().collect()))
    }
}

impl<T> Extend<T> for List<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        self.as_vec_mut().extend(items);
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.into_vec().into_iter()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut List<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
