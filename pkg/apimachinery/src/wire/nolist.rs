//! [`NoList`]: the list type of kinds that are never listed.

use super::{Field, Kind, ListResource, Message, Resource};
use crate::List;
use crate::json::{JsonError, JsonReader, JsonWriter};
use crate::meta::v1::ListMeta;
use crate::proto::{ProtoError, ProtoReader, ProtoWriter, WireType};
use crate::schema::Schema;

/// Stands where a list type is wanted for a kind that has none (reviews, Binding, Eviction, Scale). It reads and writes nothing but items in JSON.
#[derive(Clone, PartialEq)]
pub struct NoList<T> {
    metadata: ListMeta,
    items: List<T>,
}

impl<T> Default for NoList<T> {
    fn default() -> Self {
        Self { metadata: ListMeta::default(), items: List::nil() }
    }
}

static SCHEMA: Schema = Schema { name: "List", full_name: "", atomic: false, fields: &[] };

impl<T: Resource> Message for NoList<T> {
    const SCHEMA: &'static Schema = &SCHEMA;

    fn json_write_fields(&self, writer: &mut JsonWriter) {
        writer.field("metadata", &self.metadata);
        writer.field("items", &self.items);
    }
    fn json_read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<bool, JsonError> {
        match key {
            "metadata" => self.metadata.json_read(reader)?,
            "items" => self.items.json_read(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
    fn proto_write_fields(&self, writer: &mut ProtoWriter) {
        self.items.proto_write(2, writer);
        self.metadata.proto_write(1, writer);
    }
    fn proto_read_field(&mut self, number: u32, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<bool, ProtoError> {
        match number {
            1 => self.metadata.proto_read(wire, reader)?,
            2 => self.items.proto_read(wire, reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

impl<T: Resource> Field for NoList<T> {
    fn json_write(&self, writer: &mut JsonWriter) {
        writer.begin_object();
        self.json_write_fields(writer);
        writer.end_object();
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        reader.object("List", &mut |reader, key| self.json_read_field(key, reader))
    }
    fn is_empty(&self) -> bool {
        false
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        writer.message_field(number, |writer| self.proto_write_fields(writer));
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Len)?;
        self.proto_read_message(&mut reader.nested()?)
    }
}

impl<T: Resource> Kind for NoList<T> {
    const GROUP: &'static str = T::GROUP;
    const VERSION: &'static str = T::VERSION;
    const KIND: &'static str = "List";
}

impl<T: Resource> ListResource for NoList<T> {
    type Item = T;
    fn list_meta(&self) -> &ListMeta {
        &self.metadata
    }
    fn list_meta_mut(&mut self) -> &mut ListMeta {
        &mut self.metadata
    }
    fn items(&self) -> &[T] {
        &self.items
    }
    fn items_mut(&mut self) -> &mut List<T> {
        &mut self.items
    }
    fn into_items(self) -> Vec<T> {
        self.items.into_vec()
    }
}
