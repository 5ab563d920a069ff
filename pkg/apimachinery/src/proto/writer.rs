//! [`ProtoWriter`]: a buffer that grows towards its front.

/// Writes protobuf back to front, so that the length of a nested message is known when its header is written and nothing is encoded twice.
/// Callers therefore write fields in descending order and list elements last to first.
///
/// ```text
/// [ free ......... | field 3 | field 9 | field 12 ]
///                  ^ start                        ^ end of the buffer
/// ```
#[derive(Debug, Default)]
pub struct ProtoWriter {
    buf: Vec<u8>,
    start: usize,
}

impl ProtoWriter {
    /// An empty writer.
    pub fn new() -> Self {
        Self::with_capacity(512)
    }

    /// An empty writer with room for so many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buf: vec![0; bytes], start: bytes }
    }

    /// The bytes written.
    pub fn into_vec(mut self) -> Vec<u8> {
        self.buf.drain(..self.start);
        self.buf
    }

    /// Number of bytes written.
    pub fn len(&self) -> usize {
        self.buf.len() - self.start
    }

    /// True if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts bytes before what is there.
    pub fn raw(&mut self, bytes: &[u8]) {
        if bytes.len() > self.start {
            self.grow(bytes.len());
        }
        self.start -= bytes.len();
        self.buf[self.start..self.start + bytes.len()].copy_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        let used = self.len();
        let size = (self.buf.len() * 2).max(used + needed);
        let mut larger = vec![0; size];
        larger[size - used..].copy_from_slice(&self.buf[self.start..]);
        self.buf = larger;
        self.start = size - used;
    }

    /// Puts a varint.
    pub fn varint(&mut self, mut value: u64) {
        let mut bytes = [0u8; 10];
        let mut len = 0;
        loop {
            bytes[len] = (value & 0x7f) as u8 | if value > 0x7f { 0x80 } else { 0 };
            value >>= 7;
            len += 1;
            if value == 0 {
                break;
            }
        }
        self.raw(&bytes[..len]);
    }

    /// A varint field.
    pub fn varint_field(&mut self, number: u32, value: u64) {
        self.varint(value);
        self.varint(u64::from(number) << 3);
    }

    /// A 64-bit field.
    pub fn fixed64_field(&mut self, number: u32, value: u64) {
        self.raw(&value.to_le_bytes());
        self.varint(u64::from(number) << 3 | 1);
    }

    /// A field of bytes or a string.
    pub fn bytes_field(&mut self, number: u32, value: &[u8]) {
        self.raw(value);
        self.varint(value.len() as u64);
        self.varint(u64::from(number) << 3 | 2);
    }

    /// A field that holds a message, written by `body`.
    pub fn message_field(&mut self, number: u32, body: impl FnOnce(&mut Self)) {
        let before = self.len();
        body(self);
        self.varint((self.len() - before) as u64);
        self.varint(u64::from(number) << 3 | 2);
    }
}
