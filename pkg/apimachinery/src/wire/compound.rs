//! [`Field`] for pointers, lists and maps.

use super::Field;
use crate::json::{JsonError, JsonReader, JsonWriter};
use crate::proto::{ProtoError, ProtoReader, ProtoWriter, WireType};
use crate::{List, Map};

impl<F: Field> Field for Option<F> {
    fn json_write(&self, writer: &mut JsonWriter) {
        match self {
            Some(value) => value.json_write(writer),
            None => writer.null(),
        }
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        if reader.null()? {
            *self = None;
            return Ok(());
        }
        self.get_or_insert_default().json_read(reader)
    }
    fn is_empty(&self) -> bool {
        self.is_none()
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        if let Some(value) = self {
            value.proto_write(number, writer);
        }
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        self.get_or_insert_default().proto_read(wire, reader)
    }
}

impl<F: Field> Field for Box<F> {
    fn json_write(&self, writer: &mut JsonWriter) {
        (**self).json_write(writer);
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        (**self).json_read(reader)
    }
    fn is_empty(&self) -> bool {
        (**self).is_empty()
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        (**self).proto_write(number, writer);
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        (**self).proto_read(wire, reader)
    }
}

impl<F: Field> Field for List<F> {
    fn json_write(&self, writer: &mut JsonWriter) {
        if self.is_nil() {
            return writer.null();
        }
        writer.begin_array();
        for item in self.iter() {
            writer.element();
            item.json_write(writer);
        }
        writer.end_array();
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        if reader.null()? {
            *self = Self::nil();
            return Ok(());
        }
        let mut items = Vec::new();
        reader.array("slice", &mut |reader| {
            let mut item = F::default();
            item.json_read(reader)?;
            items.push(item);
            Ok(())
        })?;
        *self = items.into();
        Ok(())
    }
    fn is_empty(&self) -> bool {
        <[F]>::is_empty(self)
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        for item in self.iter().rev() {
            item.proto_write(number, writer);
        }
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        let mut item = F::default();
        item.proto_read(wire, reader)?;
        self.push(item);
        Ok(())
    }
}

impl<F: Field> Field for Map<F> {
    fn json_write(&self, writer: &mut JsonWriter) {
        if self.is_nil() {
            return writer.null();
        }
        writer.begin_object();
        for (key, value) in self.entries() {
            writer.map_key(key);
            value.json_write(writer);
        }
        writer.end_object();
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        if reader.null()? {
            *self = Self::nil();
            return Ok(());
        }
        if reader.peek()? != crate::json::Token::Object {
            return reader.mismatch("map");
        }
        if self.is_nil() {
            *self = Self::empty();
        }
        reader.entries(&mut |reader, key| {
            let mut value = F::default();
            value.json_read(reader)?;
            if self.insert(key, value).is_some() {
                reader.note_duplicate();
            }
            Ok(())
        })
    }
    fn is_empty(&self) -> bool {
        Map::is_empty(self)
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        for (key, value) in self.entries().iter().rev() {
            writer.message_field(number, |writer| {
                value.proto_write(2, writer);
                writer.bytes_field(1, key.as_bytes());
            });
        }
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Len)?;
        let mut entry = reader.nested()?;
        let (mut key, mut value) = ("", F::default());
        while let Some((number, wire)) = entry.tag()? {
            match number {
                1 if wire == WireType::Len => key = entry.str()?,
                2 => value.proto_read(wire, &mut entry)?,
                _ => entry.skip(wire)?,
            }
        }
        self.insert(key, value);
        Ok(())
    }
}
