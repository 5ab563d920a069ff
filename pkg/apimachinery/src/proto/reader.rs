//! [`ProtoReader`]: a cursor over one message's bytes.

/// Why protobuf could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    #[error("unexpected EOF")]
    Truncated,
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: illegal tag 0 (wire type {0})")]
    IllegalTag(u8),
    #[error("proto: illegal wireType {0}")]
    IllegalWireType(u8),
    #[error("proto: wrong wireType = {0:?} for field {1}")]
    WrongWireType(WireType, u32),
    #[error("proto: string field contains invalid UTF-8")]
    InvalidUtf8,
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    NoMagic,
    #[error("proto: message nests too deeply")]
    TooDeep,
    #[error("proto: malformed scalar in field {0}")]
    BadScalar(u32),
}

/// How a field's value is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireType {
    Varint,
    Fixed64,
    Len,
    Fixed32,
}

/// Messages nested deeper than this are refused.
const MAX_DEPTH: u32 = 1000;

/// Reads tags and values in order. Cheap to copy; nested messages get a reader of their own.
#[derive(Clone, Debug)]
pub struct ProtoReader<'a> {
    rest: &'a [u8],
    depth: u32,
    field: u32,
}

type Result<T> = std::result::Result<T, ProtoError>;

impl<'a> ProtoReader<'a> {
    /// A reader over one message.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, depth: 0, field: 0 }
    }

    /// True at the end of the message.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field's number and wire type, `None` at the end.
    pub fn tag(&mut self) -> Result<Option<(u32, WireType)>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Len,
            5 => WireType::Fixed32,
            other => return Err(ProtoError::IllegalWireType(other as u8)),
        };
        let number = u32::try_from(tag >> 3).map_err(|_| ProtoError::Overflow)?;
        if number == 0 {
            return Err(ProtoError::IllegalTag((tag & 7) as u8));
        }
        self.field = number;
        Ok(Some((number, wire)))
    }

    /// A varint.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(ProtoError::Truncated)?;
            self.rest = rest;
            if shift == 63 && byte > 1 {
                return Err(ProtoError::Overflow);
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ProtoError::Overflow)
    }

    /// Eight bytes.
    pub fn fixed64(&mut self) -> Result<u64> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>().ok_or(ProtoError::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    /// Length-delimited bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.varint()?).map_err(|_| ProtoError::Overflow)?;
        if len > self.rest.len() {
            return Err(ProtoError::Truncated);
        }
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(bytes)
    }

    /// A string.
    pub fn str(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| ProtoError::InvalidUtf8)
    }

    /// A reader over the nested message that comes next.
    pub fn nested(&mut self) -> Result<ProtoReader<'a>> {
        if self.depth >= MAX_DEPTH {
            return Err(ProtoError::TooDeep);
        }
        Ok(ProtoReader { rest: self.bytes()?, depth: self.depth + 1, field: 0 })
    }

    /// Passes over a value.
    pub fn skip(&mut self, wire: WireType) -> Result<()> {
        match wire {
            WireType::Varint => self.varint().map(drop),
            WireType::Fixed64 => self.fixed64().map(drop),
            WireType::Len => self.bytes().map(drop),
            WireType::Fixed32 => {
                self.rest = self.rest.get(4..).ok_or(ProtoError::Truncated)?;
                Ok(())
            }
        }
    }

    /// Errors unless the current field has the wanted wire type.
    pub fn expect(&self, wire: WireType, wanted: WireType) -> Result<()> {
        if wire == wanted { Ok(()) } else { Err(ProtoError::WrongWireType(wire, self.field)) }
    }

    /// The current field's scalar text does not parse.
    pub fn bad_scalar(&self) -> ProtoError {
        ProtoError::BadScalar(self.field)
    }
}
