//! [`Field`] for scalars.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Field;
use crate::json::{JsonError, JsonReader, JsonWriter};
use crate::proto::{ProtoError, ProtoReader, ProtoWriter, WireType};
use crate::{ByteString, Duration, IntOrString, MicroTime, Quantity, RawJson, Time};

impl Field for String {
    fn json_write(&self, writer: &mut JsonWriter) {
        writer.string(self);
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        if !reader.null()? {
            *self = reader.string()?.into_owned();
        }
        Ok(())
    }
    fn is_empty(&self) -> bool {
        str::is_empty(self)
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        writer.bytes_field(number, self.as_bytes());
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Len)?;
        *self = reader.str()?.to_owned();
        Ok(())
    }
}

macro_rules! integer {
    ($type:ty, $go:literal) => {
        impl Field for $type {
            fn json_write(&self, writer: &mut JsonWriter) {
                writer.int(i64::from(*self));
            }
            fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
                if !reader.null()? {
                    *self = reader.int($go)?;
                }
                Ok(())
            }
            fn is_empty(&self) -> bool {
                *self == 0
            }
            fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
                // Negative numbers take ten bytes: they are sign-extended to 64 bits.
                writer.varint_field(number, i64::from(*self) as u64);
            }
            fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
                reader.expect(wire, WireType::Varint)?;
                *self = reader.varint()? as $type;
                Ok(())
            }
        }
    };
}
integer!(i32, "int32");
integer!(i64, "int64");

impl Field for bool {
    fn json_write(&self, writer: &mut JsonWriter) {
        writer.bool(*self);
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        if !reader.null()? {
            *self = reader.bool()?;
        }
        Ok(())
    }
    fn is_empty(&self) -> bool {
        !self
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        writer.varint_field(number, u64::from(*self));
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Varint)?;
        *self = reader.varint()? != 0;
        Ok(())
    }
}

impl Field for f64 {
    fn json_write(&self, writer: &mut JsonWriter) {
        writer.float(*self);
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        if !reader.null()? {
            *self = reader.float()?;
        }
        Ok(())
    }
    fn is_empty(&self) -> bool {
        *self == 0.0
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        writer.fixed64_field(number, self.to_bits());
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Fixed64)?;
        *self = f64::from_bits(reader.fixed64()?);
        Ok(())
    }
}

impl Field for ByteString {
    fn json_write(&self, writer: &mut JsonWriter) {
        if self.is_nil() { writer.null() } else { writer.string(&STANDARD.encode(&**self)) }
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        if reader.null()? {
            *self = Self::default();
            return Ok(());
        }
        let text = reader.string_for("[]uint8")?;
        // Go's decoder passes over line breaks inside base64.
        let text: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        let bytes = STANDARD.decode(text.as_bytes()).map_err(|err| {
            let at = match err {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => text.len() / 4 * 4,
            };
            JsonError::Value(format!("illegal base64 data at input byte {at}"))
        })?;
        *self = bytes.into();
        Ok(())
    }
    fn is_empty(&self) -> bool {
        <[u8]>::is_empty(self)
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        if !self.is_nil() {
            writer.bytes_field(number, self);
        }
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Len)?;
        *self = reader.bytes()?.into();
        Ok(())
    }
}

impl Field for RawJson {
    fn json_write(&self, writer: &mut JsonWriter) {
        if self.as_bytes().is_empty() { writer.null() } else { writer.compacted(self.as_bytes()) }
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        let raw = reader.raw()?;
        *self = if raw == b"null" { Self::default() } else { Self::new(raw) };
        Ok(())
    }
    fn is_empty(&self) -> bool {
        false
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        writer.message_field(number, |writer| {
            if !self.is_nil() {
                writer.bytes_field(1, self.as_bytes());
            }
        });
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Len)?;
        let mut inner = reader.nested()?;
        while let Some((number, wire)) = inner.tag()? {
            match (number, wire) {
                (1, WireType::Len) => *self = Self::new(inner.bytes()?),
                _ => inner.skip(wire)?,
            }
        }
        Ok(())
    }
}

/// Seconds and nanoseconds as `Time` and `MicroTime` carry them; zero time is an empty message.
fn write_timestamp(number: u32, value: Option<(i64, i64)>, writer: &mut ProtoWriter) {
    writer.message_field(number, |writer| {
        if let Some((seconds, nanos)) = value {
            writer.varint_field(2, nanos as u64);
            writer.varint_field(1, seconds as u64);
        }
    });
}

fn read_timestamp(wire: WireType, reader: &mut ProtoReader<'_>) -> Result<Option<(i64, i64)>, ProtoError> {
    reader.expect(wire, WireType::Len)?;
    let mut inner = reader.nested()?;
    if inner.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((number, wire)) = inner.tag()? {
        match (number, wire) {
            (1, WireType::Varint) => seconds = inner.varint()? as i64,
            (2, WireType::Varint) => nanos = inner.varint()? as i64,
            _ => inner.skip(wire)?,
        }
    }
    Ok(Some((seconds, nanos)))
}

impl Field for Time {
    fn json_write(&self, writer: &mut JsonWriter) {
        if self.is_zero() { writer.null() } else { writer.string(&self.to_string()) }
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        *self = Self::default();
        if !reader.null()? {
            *self = reader.string_for("v1.Time")?.parse().map_err(|err: crate::time::ParseTimeError| JsonError::Value(err.to_string()))?;
        }
        Ok(())
    }
    fn is_empty(&self) -> bool {
        false
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        write_timestamp(number, (!self.is_zero()).then(|| (self.unix(), 0)), writer);
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        *self = read_timestamp(wire, reader)?.map_or_else(Self::default, |(seconds, _)| Self::from_unix(seconds));
        Ok(())
    }
}

impl Field for MicroTime {
    fn json_write(&self, writer: &mut JsonWriter) {
        if self.is_zero() { writer.null() } else { writer.string(&self.to_string()) }
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        *self = Self::default();
        if !reader.null()? {
            *self =
                reader.string_for("v1.MicroTime")?.parse().map_err(|err: crate::time::ParseTimeError| JsonError::Value(err.to_string()))?;
        }
        Ok(())
    }
    fn is_empty(&self) -> bool {
        false
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        let micros = self.unix_micros();
        let parts = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) * 1000);
        write_timestamp(number, (!self.is_zero()).then_some(parts), writer);
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        *self = read_timestamp(wire, reader)?.map_or_else(Self::default, |(seconds, nanos)| {
            Self::from_unix_micros(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1000))
        });
        Ok(())
    }
}

impl Field for Duration {
    fn json_write(&self, writer: &mut JsonWriter) {
        writer.string(&self.to_string());
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        if !reader.null()? {
            *self =
                reader.string_for("string")?.parse().map_err(|err: crate::time::ParseDurationError| JsonError::Value(err.to_string()))?;
        }
        Ok(())
    }
    fn is_empty(&self) -> bool {
        false
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        writer.message_field(number, |writer| writer.varint_field(1, self.0 as u64));
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Len)?;
        let mut inner = reader.nested()?;
        while let Some((number, wire)) = inner.tag()? {
            match (number, wire) {
                (1, WireType::Varint) => self.0 = inner.varint()? as i64,
                _ => inner.skip(wire)?,
            }
        }
        Ok(())
    }
}

impl Field for Quantity {
    fn json_write(&self, writer: &mut JsonWriter) {
        writer.string(&self.to_string());
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        use crate::json::Token;
        let text = match reader.peek()? {
            Token::Null => {
                reader.null()?;
                *self = Self::default();
                return Ok(());
            }
            Token::String => reader.string()?.trim().to_owned(),
            // A bare number, or something no quantity can be: the parser words the complaint.
            _ => String::from_utf8_lossy(reader.raw()?).into_owned(),
        };
        *self = text.parse().map_err(|err: <Quantity as std::str::FromStr>::Err| JsonError::Value(err.to_string()))?;
        Ok(())
    }
    fn is_empty(&self) -> bool {
        false
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        writer.message_field(number, |writer| writer.bytes_field(1, self.to_string().as_bytes()));
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Len)?;
        let mut inner = reader.nested()?;
        while let Some((number, wire)) = inner.tag()? {
            match (number, wire) {
                (1, WireType::Len) => {
                    let text = inner.str()?;
                    *self = if text.is_empty() { Self::default() } else { text.parse().map_err(|_| reader.bad_scalar())? };
                }
                _ => inner.skip(wire)?,
            }
        }
        Ok(())
    }
}

impl Field for IntOrString {
    fn json_write(&self, writer: &mut JsonWriter) {
        match self {
            Self::Int(value) => writer.int(i64::from(*value)),
            Self::String(text) => writer.string(text),
        }
    }
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError> {
        use crate::json::Token;
        match reader.peek()? {
            Token::String => *self = Self::String(reader.string()?.into_owned()),
            Token::Null => {
                reader.null()?;
            }
            _ => *self = Self::Int(reader.int("int32")?),
        }
        Ok(())
    }
    fn is_empty(&self) -> bool {
        false
    }
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter) {
        let (kind, int, text) = match self {
            Self::Int(value) => (0, *value, ""),
            Self::String(text) => (1, 0, text.as_str()),
        };
        writer.message_field(number, |writer| {
            writer.bytes_field(3, text.as_bytes());
            writer.varint_field(2, i64::from(int) as u64);
            writer.varint_field(1, kind);
        });
    }
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        reader.expect(wire, WireType::Len)?;
        let mut inner = reader.nested()?;
        let (mut kind, mut int, mut text) = (0, 0, "");
        while let Some((number, wire)) = inner.tag()? {
            match (number, wire) {
                (1, WireType::Varint) => kind = inner.varint()?,
                (2, WireType::Varint) => int = inner.varint()? as i32,
                (3, WireType::Len) => text = inner.str()?,
                _ => inner.skip(wire)?,
            }
        }
        *self = if kind == 1 { Self::String(text.to_owned()) } else { Self::Int(int) };
        Ok(())
    }
}
