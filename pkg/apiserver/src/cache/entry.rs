//! [`Entry`]: one object as the cache keeps it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use apimachinery::json::JsonWriter;
use apimachinery::status::StatusError;
use apimachinery::{Map, Object};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::kinds::{Kind, VersionId};

/// Bytes of encodings kept per kind; beyond that they are made for each request.
const KEPT_BYTES: usize = 32 << 20;

/// How an object is put into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    Json,
    Protobuf,
}

/// An encoding of an object: in which version, in which media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub version: VersionId,
    pub media: Media,
}

/// One object at one revision: the stored bytes, what selectors read, and the bodies that were asked for.
pub struct Entry {
    kind: Arc<Kind>,
    /// `namespace/name` or `name`.
    pub key: Bytes,
    /// The revision of the last write; of a removed object the revision of its removal.
    pub revision: u64,
    /// As stored.
    pub value: Bytes,
    pub labels: Map<String>,
    /// Values of field labels, beyond name and namespace.
    pub fields: Vec<(&'static str, String)>,
    bodies: Mutex<Vec<(View, Bytes)>>,
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("key", &self.key).field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Entry {
    /// Decodes a stored value once, for its selectors, and gives the object back for whoever wants it now.
    pub fn decode(kind: &Arc<Kind>, key: Bytes, value: Bytes, revision: u64) -> Result<(Entry, Box<dyn Object>), StatusError> {
        let object = kind.decode_stored(&value, revision)?;
        let entry = Entry {
            kind: kind.clone(),
            key,
            revision,
            value,
            labels: object.metadata().labels.clone(),
            fields: kind.strategy().selectable_fields(object.as_ref()),
            bodies: Mutex::new(Vec::new()),
        };
        Ok((entry, object))
    }

    /// The same object as its removal shows it: the last state with the revision of the removal.
    pub fn removed_at(&self, revision: u64) -> Entry {
        Entry {
            kind: self.kind.clone(),
            key: self.key.clone(),
            revision,
            value: self.value.clone(),
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            bodies: Mutex::new(Vec::new()),
        }
    }

    /// Empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.split().0
    }

    pub fn name(&self) -> &str {
        self.split().1
    }

    fn split(&self) -> (&str, &str) {
        let key = std::str::from_utf8(&self.key).unwrap_or_default();
        if self.kind.namespaced() { key.split_once('/').unwrap_or(("", key)) } else { ("", key) }
    }

    /// The value of a field label.
    pub fn field(&self, label: &str) -> Option<&str> {
        match label {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            label => self.fields.iter().find(|(found, _)| *found == label).map(|(_, value)| value.as_str()),
        }
    }

    /// The object in the hub version.
    pub fn object(&self) -> Result<Box<dyn Object>, StatusError> {
        self.kind.decode_stored(&self.value, self.revision)
    }

    /// The object's encoding without kind and apiVersion: a JSON object, or a bare message. Made once and kept, while the kind's budget lasts.
    pub fn body(&self, view: View) -> Result<Bytes, StatusError> {
        if let Some((_, body)) = self.bodies.lock().iter().find(|(found, _)| *found == view) {
            return Ok(body.clone());
        }
        let body = encode_body(&self.kind, self.object()?, view);
        let mut bodies = self.bodies.lock();
        let kept = &self.kind.kept_bytes;
        if !bodies.iter().any(|(found, _)| *found == view) && kept.load(Ordering::Relaxed) + body.len() <= KEPT_BYTES {
            kept.fetch_add(body.len(), Ordering::Relaxed);
            bodies.push((view, body.clone()));
        }
        Ok(body)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let bytes: usize = self.bodies.get_mut().iter().map(|(_, body)| body.len()).sum();
        self.kind.kept_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Encodes an object of the hub version without kind and apiVersion.
pub fn encode_body(kind: &Kind, object: Box<dyn Object>, view: View) -> Bytes {
    let mut object = kind.from_hub(object, view.version);
    *object.type_meta_mut() = Default::default();
    match view.media {
        Media::Json => {
            let mut writer = JsonWriter::new();
            object.write_json(&mut writer);
            Bytes::from(writer.into_vec())
        }
        Media::Protobuf => Bytes::from(object.to_proto()),
    }
}
