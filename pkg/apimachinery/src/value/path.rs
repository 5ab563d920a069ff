//! Ways into a tree: JSON pointers and plain paths of member names.

use super::Value;

impl Value {
    /// The value a JSON pointer (RFC 6901) leads to; the empty pointer is the value itself.
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        segments(pointer)?.try_fold(self, |value, segment| match value {
            Value::Object(object) => object.get(&segment),
            Value::Array(items) => items.get(array_index(&segment)?),
            _ => None,
        })
    }

    pub fn pointer_mut(&mut self, pointer: &str) -> Option<&mut Value> {
        segments(pointer)?.try_fold(self, |value, segment| match value {
            Value::Object(object) => object.get_mut(&segment),
            Value::Array(items) => items.get_mut(array_index(&segment)?),
            _ => None,
        })
    }

    /// The value behind a chain of member names.
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |value, key| value.get(key))
    }

    pub fn at_mut(&mut self, path: &[&str]) -> Option<&mut Value> {
        path.iter().try_fold(self, |value, key| value.get_mut(key))
    }

    /// The text behind a chain of member names.
    pub fn str_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path)?.as_str()
    }

    /// Sets the value behind a chain of member names, making the objects on the way; what is in the way and no object is replaced.
    pub fn set_at(&mut self, path: &[&str], value: impl Into<Value>) {
        let mut here = self;
        for key in path {
            if here.as_object().is_none() {
                *here = Value::object();
            }
            here = here.as_object_mut().expect("it was just made an object").entry(key, || Value::Null);
        }
        *here = value.into();
    }

    /// Removes the value behind a chain of member names.
    pub fn remove_at(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        self.at_mut(parents)?.as_object_mut()?.remove(last)
    }
}

fn segments(pointer: &str) -> Option<impl Iterator<Item = std::borrow::Cow<'_, str>>> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    Some(pointer.split('/').skip(1).map(|segment| match segment.contains('~') {
        true => segment.replace("~1", "/").replace("~0", "~").into(),
        false => segment.into(),
    }))
}

fn array_index(segment: &str) -> Option<usize> {
    if segment.len() > 1 && segment.starts_with('0') || !segment.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    segment.parse().ok()
}
