//! Protobuf as Kubernetes writes it: fields in ascending order, scalars that are no pointers always written, maps sorted by key.

mod envelope;
mod reader;
mod writer;

pub use envelope::{Envelope, MAGIC, decode_envelope, encode_envelope};
pub use reader::{ProtoError, ProtoReader, WireType};
pub use writer::ProtoWriter;

use crate::wire::Message;

/// Encodes the bare message.
pub fn to_vec<M: Message>(message: &M) -> Vec<u8> {
    let mut writer = ProtoWriter::new();
    message.proto_write_fields(&mut writer);
    writer.into_vec()
}

/// Decodes a bare message. Unknown fields are passed over.
pub fn from_slice<M: Message>(bytes: &[u8]) -> Result<M, ProtoError> {
    let mut message = M::default();
    message.proto_read_message(&mut ProtoReader::new(bytes))?;
    Ok(message)
}
