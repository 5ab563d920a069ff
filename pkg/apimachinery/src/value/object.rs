//! The members of a JSON object.

use super::Value;

/// Up to so many members an object keeps its order and is searched from the front; a larger one is sorted, so that lookups and
/// merges stay cheap whatever a client sends.
const SORTED_ABOVE: usize = 64;

/// A map from text to value that keeps the order of insertion while it is small, and sorts its keys once it is not.
///
/// Equality does not look at the order.
#[derive(Clone, Default)]
pub struct Object {
    members: Vec<(String, Value)>,
}

impl Object {
    pub const fn new() -> Self {
        Object { members: Vec::new() }
    }

    pub fn with_capacity(capacity: usize) -> Self {
        Object { members: Vec::with_capacity(capacity) }
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Where the key is; if it is missing, where it should go.
    fn find(&self, key: &str) -> Result<usize, usize> {
        if self.members.len() > SORTED_ABOVE {
            return self.members.binary_search_by(|(known, _)| known.as_str().cmp(key));
        }
        self.members.iter().position(|(known, _)| known == key).ok_or(self.members.len())
    }

    pub fn get(&self, key: &str) -> Option<&Value> {
        self.find(key).ok().map(|index| &self.members[index].1)
    }

    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.find(key).ok().map(|index| &mut self.members[index].1)
    }

    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Sets a member and returns the previous value. A new one goes to the end.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        let key = key.into();
        match self.find(&key) {
            Ok(index) => Some(std::mem::replace(&mut self.members[index].1, value.into())),
            Err(index) => {
                self.members.insert(index, (key, value.into()));
                if self.members.len() == SORTED_ABOVE + 1 {
                    self.sort_keys();
                }
                None
            }
        }
    }

    /// Removes a member; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.find(key).ok().map(|index| self.members.remove(index).1)
    }

    /// The member, made by `default` first if it is missing.
    pub fn entry(&mut self, key: &str, default: impl FnOnce() -> Value) -> &mut Value {
        if !self.contains_key(key) {
            self.insert(key, default());
        }
        self.get_mut(key).expect("the member was just made")
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &mut Value) -> bool) {
        self.members.retain_mut(|(key, value)| keep(key, value));
    }

    pub fn clear(&mut self) {
        self.members.clear();
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + DoubleEndedIterator + Clone {
        self.members.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&str, &mut Value)> {
        self.members.iter_mut().map(|(key, value)| (key.as_str(), value))
    }

    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.members.iter().map(|(key, _)| key.as_str())
    }

    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.members.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Value> {
        self.members.iter_mut().map(|(_, value)| value)
    }

    /// The members in the order of their keys, which is how Go walks a map it prints.
    pub fn sorted(&self) -> Vec<(&str, &Value)> {
        let mut members: Vec<_> = self.iter().collect();
        members.sort_unstable_by(|a, b| a.0.cmp(b.0));
        members
    }

    pub fn sort_keys(&mut self) {
        self.members.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// Takes members as they were read; of equal keys the last value wins, at the place of the first. Calls `repeated` for each
    /// further occurrence of a key.
    pub(super) fn from_members(mut members: Vec<(String, Value)>, mut repeated: impl FnMut(&str)) -> Self {
        if members.len() <= SORTED_ABOVE {
            let mut index = 1;
            while index < members.len() {
                match members[..index].iter().position(|(key, _)| *key == members[index].0) {
                    Some(first) => {
                        let (key, value) = members.remove(index);
                        repeated(&key);
                        members[first].1 = value;
                    }
                    None => index += 1,
                }
            }
            return Object { members };
        }
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                repeated(&later.0);
                first.1 = later.1.take();
            }
            same
        });
        Object { members }
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.members.iter().zip(&other.members).all(|(a, b)| {
                // Equal objects mostly have equal order: look at the same place first.
                if a.0 == b.0 { a.1 == b.1 } else { other.get(&a.0) == Some(&a.1) && self.contains_key(&b.0) }
            })
    }
}

impl std::fmt::Debug for Object {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        Object::from_members(members.into_iter().map(|(key, value)| (key.into(), value.into())).collect(), |_| {})
    }
}

impl Extend<(String, Value)> for Object {
    fn extend<I: IntoIterator<Item = (String, Value)>>(&mut self, members: I) {
        for (key, value) in members {
            self.insert(key, value);
        }
    }
}

impl IntoIterator for Object {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.into_iter()
    }
}

impl<'a> IntoIterator for &'a Object {
    type Item = &'a (String, Value);
    type IntoIter = std::slice::Iter<'a, (String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.members.iter()
    }
}
