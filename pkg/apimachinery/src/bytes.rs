//! [`ByteString`] and [`RawJson`]: fields that hold bytes.

use std::fmt;
use std::ops::Deref;

/// Bytes that JSON carries as base64, with nil and empty told apart as in [`crate::List`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ByteString(Option<Vec<u8>>);

impl ByteString {
    /// True if never set.
    pub fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes; nil gives none.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.unwrap_or_default()
    }
}

impl Deref for ByteString {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl From<Vec<u8>> for ByteString {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Some(bytes))
    }
}

impl From<&[u8]> for ByteString {
    fn from(bytes: &[u8]) -> Self {
        Self(Some(bytes.to_vec()))
    }
}

impl From<&str> for ByteString {
    fn from(text: &str) -> Self {
        Self(Some(text.as_bytes().to_vec()))
    }
}

impl fmt::Debug for ByteString {
    /// Tells the length only: the bytes are often a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("nil"),
            Some(bytes) => write!(f, "<{} bytes>", bytes.len()),
        }
    }
}

/// A piece of JSON kept as its text: `RawExtension`, `FieldsV1`, `apiextensions.JSON` and untyped cells.
///
/// Decoders keep only well-formed JSON here; writing it out drops white space between tokens, as Go's encoder does.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RawJson(Option<Box<[u8]>>);

impl RawJson {
    /// From bytes that are JSON. In a protobuf body this may also be another encoding of the object.
    pub fn new(json: impl Into<Box<[u8]>>) -> Self {
        Self(Some(json.into()))
    }

    /// True if never set (JSON `null`).
    pub fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// The text; nil gives none.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

impl From<&str> for RawJson {
    fn from(json: &str) -> Self {
        Self(Some(json.as_bytes().into()))
    }
}

impl From<Vec<u8>> for RawJson {
    fn from(json: Vec<u8>) -> Self {
        Self(Some(json.into()))
    }
}

impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.0.as_deref().unwrap_or(b"null")))
    }
}
