//! The envelope around stored and sent protobuf objects: four magic bytes and a `runtime.Unknown`.

use super::{ProtoError, ProtoReader, ProtoWriter, WireType};

/// The first bytes of every enveloped object.
pub const MAGIC: &[u8; 4] = b"k8s\0";

/// What an envelope holds, borrowed from it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Envelope<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    /// The object's own encoding.
    pub raw: &'a [u8],
    /// Media type of `raw` if it is not protobuf.
    pub content_type: &'a str,
    pub content_encoding: &'a str,
}

/// Wraps an encoded object.
pub fn encode_envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut writer = ProtoWriter::with_capacity(raw.len() + 64);
    writer.bytes_field(4, b""); // contentType and contentEncoding are written even when empty.
    writer.bytes_field(3, b"");
    writer.bytes_field(2, raw);
    writer.message_field(1, |writer| {
        writer.bytes_field(2, kind.as_bytes());
        writer.bytes_field(1, api_version.as_bytes());
    });
    writer.raw(MAGIC);
    writer.into_vec()
}

/// Opens an envelope. Errors if the magic bytes are missing or the wrapper is malformed.
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope<'_>, ProtoError> {
    let body = bytes.strip_prefix(MAGIC).ok_or(ProtoError::NoMagic)?;
    let mut found = Envelope::default();
    let mut reader = ProtoReader::new(body);
    while let Some((number, wire)) = reader.tag()? {
        match (number, wire) {
            (1, WireType::Len) => {
                let mut inner = ProtoReader::new(reader.bytes()?);
                while let Some((number, wire)) = inner.tag()? {
                    match (number, wire) {
                        (1, WireType::Len) => found.api_version = inner.str()?,
                        (2, WireType::Len) => found.kind = inner.str()?,
                        _ => inner.skip(wire)?,
                    }
                }
            }
            (2, WireType::Len) => found.raw = reader.bytes()?,
            (3, WireType::Len) => found.content_encoding = reader.str()?,
            (4, WireType::Len) => found.content_type = reader.str()?,
            _ => reader.skip(wire)?,
        }
    }
    Ok(found)
}
