//! [`Map`]: string keys in order, with nil and empty told apart.

use std::fmt;

/// A map from string to `V`, kept sorted by key (the order in which both encodings write it) in one allocation.
///
/// Lookups are binary searches. Nil and empty differ as in [`crate::List`].
#[derive(Clone, PartialEq)]
pub struct Map<V>(Option<Vec<(String, V)>>);

impl<V> Map<V> {
    /// The nil map.
    pub const fn nil() -> Self {
        Self(None)
    }

    /// An empty map that is not nil.
    pub const fn empty() -> Self {
        Self(Some(Vec::new()))
    }

    /// True if the map was never set.
    pub fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// True if there is no entry, nil or not.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// The entries in key order.
    pub fn entries(&self) -> &[(String, V)] {
        self.0.as_deref().unwrap_or(&[])
    }

    fn position(&self, key: &str) -> Result<usize, usize> {
        self.entries().binary_search_by(|(k, _)| k.as_str().cmp(key))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.position(key).ok().map(|at| &self.entries()[at].1)
    }

    /// The value of `key`, to change in place.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        let at = self.position(key).ok()?;
        self.0.as_mut().map(|entries| &mut entries[at].1)
    }

    /// True if `key` has an entry.
    pub fn contains_key(&self, key: &str) -> bool {
        self.position(key).is_ok()
    }

    /// Sets `key`, and gives back the value it had.
    pub fn insert(&mut self, key: impl Into<String>, value: V) -> Option<V> {
        let key = key.into();
        let at = self.position(&key);
        let entries = self.0.get_or_insert_with(Vec::new);
        match at {
            Ok(at) => Some(std::mem::replace(&mut entries[at].1, value)),
            Err(at) => {
                entries.insert(at, (key, value));
                None
            }
        }
    }

    /// Removes `key`, and gives back its value.
    pub fn remove(&mut self, key: &str) -> Option<V> {
        let at = self.position(key).ok()?;
        self.0.as_mut().map(|entries| entries.remove(at).1)
    }

    /// Keeps the entries for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &V) -> bool) {
        if let Some(entries) = &mut self.0 {
            entries.retain(|(k, v)| keep(k, v));
        }
    }

    /// Removes all entries and makes the map nil.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Turns an empty map into nil, as storage and protobuf do.
    pub fn normalize_empty(&mut self) {
        if self.is_empty() {
            self.0 = None;
        }
    }

    /// The entries in key order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &V)> + DoubleEndedIterator {
        self.entries().iter().map(|(k, v)| (k.as_str(), v))
    }

    /// The entries in key order, values to change in place.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut V)> {
        self.0.iter_mut().flatten().map(|(k, v)| (k.as_str(), v))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> + DoubleEndedIterator {
        self.entries().iter().map(|(k, _)| k.as_str())
    }

    /// The values in key order.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> + DoubleEndedIterator {
        self.entries().iter().map(|(_, v)| v)
    }
}

impl<V: Default> Map<V> {
    /// The value of `key`, set to its default first if there is none.
    pub fn entry_or_default(&mut self, key: &str) -> &mut V {
        let at = self.position(key);
        let entries = self.0.get_or_insert_with(Vec::new);
        let at = match at {
            Ok(at) => at,
            Err(at) => {
                entries.insert(at, (key.to_owned(), V::default()));
                at
            }
        };
        &mut entries[at].1
    }
}

impl Map<String> {
    /// The value of `key`, or the empty string.
    pub fn get_str(&self, key: &str) -> &str {
        self.get(key).map_or("", String::as_str)
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self(None)
    }
}

impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("nil"),
            Some(entries) => f.debug_map().entries(entries.iter().map(|(k, v)| (k, v))).finish(),
        }
    }
}

impl<K: Into<String>, V> FromIterator<(K, V)> for Map<V> {
    /// Later entries of the same key replace earlier ones.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(items: I) -> Self {
        let mut map = Self::empty();
        map.extend(items);
        map
    }
}

impl<K: Into<String>, V> Extend<(K, V)> for Map<V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, items: I) {
        for (key, value) in items {
            self.insert(key, value);
        }
    }
}

impl<K: Into<String>, V, const N: usize> From<[(K, V); N]> for Map<V> {
    fn from(items: [(K, V); N]) -> Self {
        items.into_iter().collect()
    }
}

impl<V> IntoIterator for Map<V> {
    type Item = (String, V);
    type IntoIter = std::vec::IntoIter<(String, V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.unwrap_or_default().into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Map<V> {
    type Item = (&'a str, &'a V);
    type IntoIter = Box<dyn Iterator<Item = (&'a str, &'a V)> + 'a>;
    fn into_iter(self) -> Self::IntoIter {
        Box::new(self.iter())
    }
}
