//! How an object is named in stores and queues.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use apimachinery::Object;
use apimachinery::meta::v1::ObjectMeta;
use thiserror::Error;

/// `namespace/name`, or `name` alone for a cluster-scoped object. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(Arc<str>);

/// A text with more than one slash.
#[derive(Debug, Error, PartialEq)]
#[error("unexpected key format: {0:?}")]
pub struct InvalidKey(String);

impl ObjectKey {
    pub fn new(namespace: &str, name: &str) -> ObjectKey {
        if namespace.is_empty() { ObjectKey(name.into()) } else { ObjectKey(format!("{namespace}/{name}").into()) }
    }

    pub fn of(object: &dyn Object) -> ObjectKey {
        ObjectKey::of_metadata(object.metadata())
    }

    pub fn of_metadata(metadata: &ObjectMeta) -> ObjectKey {
        ObjectKey::new(&metadata.namespace, &metadata.name)
    }

    /// Empty for a cluster-scoped object.
    pub fn namespace(&self) -> &str {
        self.0.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<ObjectKey, InvalidKey> {
        if text.matches('/').count() > 1 { Err(InvalidKey(text.to_string())) } else { Ok(ObjectKey(text.into())) }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
