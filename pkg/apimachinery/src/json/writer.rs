//! [`JsonWriter`]: JSON into one growing buffer.

use crate::wire::Field;

/// Writes JSON text. Commas are placed by looking at the last byte, so callers only say what comes next.
#[derive(Debug, Default)]
pub struct JsonWriter {
    buf: Vec<u8>,
    /// Kind and apiVersion to write at the top if the object does not name its own.
    top: Option<(String, String)>,
}

impl JsonWriter {
    /// An empty writer.
    pub fn new() -> Self {
        Self { buf: Vec::with_capacity(1024), top: None }
    }

    /// The top-level object gets this kind and apiVersion unless it carries its own.
    pub fn set_type(&mut self, kind: &str, api_version: &str) {
        self.top = Some((kind.to_owned(), api_version.to_owned()));
    }

    /// The text written so far.
    pub fn into_vec(self) -> Vec<u8> {
        self.buf
    }

    /// The text written so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Opens an object.
    pub fn begin_object(&mut self) {
        self.buf.push(b'{');
    }

    /// Closes an object.
    pub fn end_object(&mut self) {
        self.buf.push(b'}');
    }

    /// Opens an array.
    pub fn begin_array(&mut self) {
        self.buf.push(b'[');
    }

    /// Before each element of an array.
    pub fn element(&mut self) {
        if self.buf.last() != Some(&b'[') {
            self.buf.push(b',');
        }
    }

    /// Closes an array.
    pub fn end_array(&mut self) {
        self.buf.push(b']');
    }

    /// A key that needs no escaping: field names of the API.
    pub fn key(&mut self, name: &str) {
        if self.buf.last() != Some(&b'{') {
            self.buf.push(b',');
        }
        self.buf.push(b'"');
        self.buf.extend_from_slice(name.as_bytes());
        self.buf.extend_from_slice(b"\":");
    }

    /// A key that may hold any character.
    pub fn map_key(&mut self, name: &str) {
        if self.buf.last() != Some(&b'{') {
            self.buf.push(b',');
        }
        self.string(name);
        self.buf.push(b':');
    }

    /// `"name":value`, whatever the value.
    pub fn field<F: Field>(&mut self, name: &str, value: &F) {
        self.key(name);
        value.json_write(self);
    }

    /// `"name":value` unless the value is empty in Go's sense of `omitempty`.
    pub fn field_omit_empty<F: Field>(&mut self, name: &str, value: &F) {
        if !value.is_empty() {
            self.key(name);
            value.json_write(self);
        }
    }

    /// Kind and apiVersion of an object that is being opened, its own or those of [`JsonWriter::set_type`].
    pub fn type_meta(&mut self, kind: &str, api_version: &str) {
        let top = self.top.take();
        let (top_kind, top_version) = top.as_ref().map_or(("", ""), |(k, v)| (k.as_str(), v.as_str()));
        for (key, own, top) in [("kind", kind, top_kind), ("apiVersion", api_version, top_version)] {
            let value = if own.is_empty() { top } else { own };
            if !value.is_empty() {
                self.key(key);
                self.string(value);
            }
        }
    }

    /// `null`.
    pub fn null(&mut self) {
        self.buf.extend_from_slice(b"null");
    }

    /// `true` or `false`.
    pub fn bool(&mut self, value: bool) {
        self.buf.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// An integer.
    pub fn int(&mut self, value: i64) {
        use std::io::Write;
        if (0..10).contains(&value) {
            self.buf.push(b'0' + value as u8);
        } else {
            let _ = write!(self.buf, "{value}"); // Writing to a Vec cannot fail.
        }
    }

    /// A float as Go prints it.
    pub fn float(&mut self, value: f64) {
        self.buf.extend_from_slice(super::format_float(value).as_bytes());
    }

    /// A string, quoted and escaped as Go's encoder does (with HTML characters escaped).
    pub fn string(&mut self, text: &str) {
        self.buf.push(b'"');
        self.escaped(text.as_bytes());
        self.buf.push(b'"');
    }

    /// Text that is JSON already and compact.
    pub fn verbatim(&mut self, json: &[u8]) {
        self.buf.extend_from_slice(json);
    }

    /// JSON from elsewhere: white space between tokens is dropped and HTML characters inside strings are escaped.
    pub fn compacted(&mut self, json: &[u8]) {
        let mut in_string = false;
        let mut at = 0;
        let mut copied = 0;
        while at < json.len() {
            let byte = json[at];
            if in_string && byte == b'\\' {
                at += 2;
                continue;
            }
            let separator = byte == 0xe2 && json.get(at + 1) == Some(&0x80) && matches!(json.get(at + 2), Some(0xa8 | 0xa9));
            if byte == b'"' {
                in_string = !in_string;
            } else if in_string && (matches!(byte, b'<' | b'>' | b'&') || separator) {
                self.buf.extend_from_slice(&json[copied..at]);
                let escape: &[u8] = match (byte, json.get(at + 2)) {
                    (b'<', _) => b"\\u003c",
                    (b'>', _) => b"\\u003e",
                    (b'&', _) => b"\\u0026",
                    (_, Some(0xa8)) => b"\\u2028",
                    _ => b"\\u2029",
                };
                self.buf.extend_from_slice(escape);
                at += if separator { 3 } else { 1 };
                copied = at;
                continue;
            } else if !in_string && matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                self.buf.extend_from_slice(&json[copied..at]);
                copied = at + 1;
            }
            at += 1;
        }
        self.buf.extend_from_slice(&json[copied.min(json.len())..]);
    }

    fn escaped(&mut self, text: &[u8]) {
        let mut copied = 0;
        for (at, &byte) in text.iter().enumerate() {
            if byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | 0xe2) {
                continue;
            }
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0x08 => b"\\b",
                0x0c => b"\\f",
                0xe2 => match text.get(at + 1..at + 3) {
                    Some([0x80, 0xa8]) => b"\\u2028",
                    Some([0x80, 0xa9]) => b"\\u2029",
                    _ => continue,
                },
                _ => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    self.buf.extend_from_slice(&text[copied..at]);
                    self.buf.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                    copied = at + 1;
                    continue;
                }
            };
            self.buf.extend_from_slice(&text[copied..at]);
            self.buf.extend_from_slice(escape);
            copied = if byte == 0xe2 { at + 3 } else { at + 1 };
        }
        self.buf.extend_from_slice(&text[copied..]);
    }
}
