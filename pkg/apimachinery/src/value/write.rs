//! Writes JSON the way Go's `encoding/json` does: characters that mean something in HTML are escaped, and numbers look the same.

use std::fmt;

use super::Value;

impl Value {
    /// Compact JSON, members in their order.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out);
        out
    }

    /// Appends compact JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend_from_slice(b"null"),
            Value::Bool(true) => out.extend_from_slice(b"true"),
            Value::Bool(false) => out.extend_from_slice(b"false"),
            Value::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Value::Float(value) => out.extend_from_slice(float_text(*value).as_bytes()),
            Value::String(text) => write_string(text, out),
            Value::Array(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Value::Object(object) => {
                out.push(b'{');
                for (index, (key, value)) in object.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_string(key, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }

    /// JSON over several lines, as `json.MarshalIndent` with an empty prefix writes it.
    pub fn to_vec_indented(&self, indent: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        self.write_indented(indent, 0, &mut out);
        out
    }

    fn write_indented(&self, indent: &str, depth: usize, out: &mut Vec<u8>) {
        let new_line = |depth: usize, out: &mut Vec<u8>| {
            out.push(b'\n');
            (0..depth).for_each(|_| out.extend_from_slice(indent.as_bytes()));
        };
        match self {
            Value::Array(items) if !items.is_empty() => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    new_line(depth + 1, out);
                    item.write_indented(indent, depth + 1, out);
                }
                new_line(depth, out);
                out.push(b']');
            }
            Value::Object(object) if !object.is_empty() => {
                out.push(b'{');
                for (index, (key, value)) in object.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    new_line(depth + 1, out);
                    write_string(key, out);
                    out.extend_from_slice(b": ");
                    value.write_indented(indent, depth + 1, out);
                }
                new_line(depth, out);
                out.push(b'}');
            }
            _ => self.write(out),
        }
    }
}

impl fmt::Display for Value {
    /// Compact JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_vec()))
    }
}

/// Appends a quoted and escaped text.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => *byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..=0x1f | b'<' | b'>' | b'&' => 0,
            // U+2028 and U+2029 end a line in JavaScript; in UTF-8 they are e2 80 a8 and e2 80 a9.
            0xe2 if matches!(bytes.get(index + 1..index + 3), Some([0x80, 0xa8 | 0xa9])) => {
                out.extend_from_slice(&bytes[copied..index]);
                out.extend_from_slice(b"\\u202");
                out.push(HEX[usize::from(bytes[index + 2] & 0xf)]);
                copied = index + 3;
                continue;
            }
            _ => continue,
        };
        out.extend_from_slice(&bytes[copied..index]);
        copied = index + 1;
        if short == 0 {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 0xf)]);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

/// A double as Go writes it into JSON: shortest digits, an exponent only below 1e-6 and from 1e21 on. What JSON cannot express becomes
/// `null`.
pub fn float_text(value: f64) -> String {
    if !value.is_finite() {
        return "null".into();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        if magnitude < 1.0 { text } else { text.replace('e', "e+") }
    } else {
        value.to_string()
    }
}
