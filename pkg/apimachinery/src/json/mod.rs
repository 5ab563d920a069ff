//! JSON as Kubernetes writes and reads it: key order of the Go structs, HTML characters escaped, unknown and duplicate fields reported.

mod number;
mod reader;
mod writer;

pub use number::format_float;
pub use reader::{JsonError, JsonReader, Token};
pub use writer::JsonWriter;

use crate::wire::{Kind, Message};

/// Encodes a part of an object (no `kind` and `apiVersion` are added).
pub fn part_to_vec<M: Message>(message: &M) -> Vec<u8> {
    let mut writer = JsonWriter::new();
    message.json_write(&mut writer);
    writer.into_vec()
}

/// Encodes an object with its `kind` and `apiVersion`, without the final newline that the server adds.
pub fn to_vec<K: Kind>(object: &K) -> Vec<u8> {
    let mut writer = JsonWriter::new();
    writer.set_type(K::KIND, &crate::wire::api_version::<K>());
    object.json_write(&mut writer);
    writer.into_vec()
}

/// Decodes leniently: unknown fields are passed over, of duplicates the last one counts.
pub fn from_slice<M: Message>(json: &[u8]) -> Result<M, JsonError> {
    let mut reader = JsonReader::new(json);
    let mut message = M::default();
    message.json_read(&mut reader)?;
    reader.end()?;
    Ok(message)
}

/// Decodes and gives back what strict validation has to say as well: one text per unknown or duplicate field.
pub fn from_slice_strict<M: Message>(json: &[u8]) -> Result<(M, Vec<String>), JsonError> {
    let mut reader = JsonReader::strict(json);
    let mut message = M::default();
    message.json_read(&mut reader)?;
    reader.end()?;
    Ok((message, reader.into_strict_errors()))
}
