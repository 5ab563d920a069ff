//! [`StringList`]: list types that protobuf wraps in a message of their own.

use super::Field;
use crate::List;
use crate::json::{JsonError, JsonReader, JsonWriter};
use crate::proto::{ProtoError, ProtoReader, ProtoWriter, WireType};

/// Go's `ExtraValue` and `Verbs`: a list of strings in JSON, a message with `items` in protobuf.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StringList(pub List<String>);

impl std::ops::Deref for StringList {
    type Target = List<String>;
    fn deref(&self) -> &List<String> {
        &self.0
    }
}

impl std::ops::DerefMut for StringList {
    fn deref_mut(&mut self) -> &mut List<String> {
        &mut self.0
    }
}

impl From<Vec<String>> for StringList {
    fn from(items: Vec<String>) -> Self {
        Self(items.into())
    }
}

impl Field for StringList {
    fn json_write(&self, writer: &mut JsonWriter) {
        self.0.json_write(writer);
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        self.0.json_read(reader)
    }
    fn is_empty(&self) -> bool {
        Field::is_empty(&self.0)
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        writer.message_field(number, |writer| self.0.proto_write(1, writer));
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Len)?;
        let mut inner = reader.nested()?;
        while let Some((number, wire)) = inner.tag()? {
            match number {
                1 => self.0.proto_read(wire, &mut inner)?,
                _ => inner.skip(wire)?,
            }
        }
        Ok(())
    }
}
