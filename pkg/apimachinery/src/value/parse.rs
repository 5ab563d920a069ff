//! Reads JSON with Go's rules and error texts.

use super::{Object, Value};

/// Deeper documents are refused, in the words of Go's decoder but much earlier: patches and apply walk trees by recursion, and no
/// document may use up a thread's stack.
const MAX_DEPTH: usize = 500;

/// Why a text is not JSON, in the words of Go's decoder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    pub message: String,
    /// Where in the text.
    pub offset: usize,
}

/// What strict reading gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub value: Value,
    /// Paths of members that occur twice, such as `spec.containers[0].name`.
    pub duplicates: Vec<String>,
}

impl Value {
    /// Reads one document. Of members with the same name the last wins; bytes that are no UTF-8 become U+FFFD.
    pub fn parse(text: &[u8]) -> Result<Value, ParseError> {
        Ok(Parser { text, at: 0, duplicates: None }.document()?.value)
    }

    /// Reads one document and reports members that occur twice.
    pub fn parse_strict(text: &[u8]) -> Result<Parsed, ParseError> {
        Parser { text, at: 0, duplicates: Some(Vec::new()) }.document()
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    duplicates: Option<Vec<String>>,
}

/// A container that is not closed yet.
enum Open {
    Array(Vec<Value>),
    Object { members: Vec<(String, Value)>, key: String },
}

impl Parser<'_> {
    fn document(mut self) -> Result<Parsed, ParseError> {
        let value = self.value()?;
        match self.next_visible() {
            None => Ok(Parsed { value, duplicates: self.duplicates.unwrap_or_default() }),
            Some(_) => Err(self.unexpected("after top-level value")),
        }
    }

    /// Reads a value with a stack of its own: a document must not be able to use up the thread's.
    fn value(&mut self) -> Result<Value, ParseError> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            let mut value = match self.next_visible() {
                Some(b'{') => {
                    self.at += 1;
                    if self.next_visible() == Some(b'}') {
                        self.at += 1;
                        Value::Object(Object::new())
                    } else {
                        let key = self.key()?;
                        open.push(Open::Object { members: Vec::new(), key });
                        self.check_depth(&open)?;
                        continue;
                    }
                }
                Some(b'[') => {
                    self.at += 1;
                    if self.next_visible() == Some(b']') {
                        self.at += 1;
                        Value::Array(Vec::new())
                    } else {
                        open.push(Open::Array(Vec::new()));
                        self.check_depth(&open)?;
                        continue;
                    }
                }
                Some(b'"') => {
                    self.at += 1;
                    Value::String(self.string()?)
                }
                Some(b't') => self.literal("true", Value::Bool(true))?,
                Some(b'f') => self.literal("false", Value::Bool(false))?,
                Some(b'n') => self.literal("null", Value::Null)?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                _ => return Err(self.unexpected("looking for beginning of value")),
            };
            // The value is complete; so may be the containers it is the last member of.
            loop {
                match open.last_mut() {
                    None => return Ok(value),
                    Some(Open::Array(items)) => {
                        items.push(value);
                        match self.next_visible() {
                            Some(b',') => {
                                self.at += 1;
                                break;
                            }
                            Some(b']') => self.at += 1,
                            _ => return Err(self.unexpected("after array element")),
                        }
                    }
                    Some(Open::Object { members, key }) => {
                        members.push((std::mem::take(key), value));
                        match self.next_visible() {
                            Some(b',') => {
                                self.at += 1;
                                *key = self.key()?;
                                break;
                            }
                            Some(b'}') => self.at += 1,
                            _ => return Err(self.unexpected("after object key:value pair")),
                        }
                    }
                }
                value = self.close(&mut open);
            }
        }
    }

    fn check_depth(&self, open: &[Open]) -> Result<(), ParseError> {
        if open.len() > MAX_DEPTH {
            return Err(ParseError { message: "exceeded max depth".into(), offset: self.at });
        }
        Ok(())
    }

    fn close(&mut self, open: &mut Vec<Open>) -> Value {
        match open.pop().expect("only an open container is closed") {
            Open::Array(items) => Value::Array(items),
            Open::Object { members, .. } => {
                let duplicates = &mut self.duplicates;
                Value::Object(Object::from_members(members, |key| {
                    if let Some(duplicates) = duplicates {
                        duplicates.push(path_of(open, key));
                    }
                }))
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next_visible(&mut self) -> Option<u8> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.peek()
    }

    fn unexpected(&self, context: &str) -> ParseError {
        let message = match self.peek() {
            None => "unexpected end of JSON input".into(),
            Some(byte) => format!("invalid character {} {context}", quoted(byte)),
        };
        ParseError { message, offset: self.at }
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, ParseError> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(self.unexpected(&format!("in literal {word} (expecting {})", quoted(expected))));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ if self.digits() => {}
            _ => return Err(self.unexpected("in numeric literal")),
        }
        let mut whole = true;
        if self.peek() == Some(b'.') {
            whole = false;
            self.at += 1;
            if !self.digits() {
                return Err(self.unexpected("after decimal point in numeric literal"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            whole = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !self.digits() {
                return Err(self.unexpected("in exponent of numeric literal"));
            }
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).expect("a number is ASCII");
        if whole && let Ok(value) = text.parse() {
            return Ok(Value::Int(value));
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Value::Float(value)),
            _ => Err(ParseError { message: format!("json: cannot unmarshal number {text} into Go value of type float64"), offset: start }),
        }
    }

    fn key(&mut self) -> Result<String, ParseError> {
        if self.next_visible() != Some(b'"') {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        self.at += 1;
        let key = self.string()?;
        if self.next_visible() != Some(b':') {
            return Err(self.unexpected("after object key"));
        }
        self.at += 1;
        Ok(key)
    }

    /// Reads on after the opening quote.
    fn string(&mut self) -> Result<String, ParseError> {
        let mut decoded = Vec::new();
        let mut start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    decoded.extend_from_slice(&self.text[start..self.at]);
                    self.at += 1;
                    return Ok(String::from_utf8(decoded).unwrap_or_else(|error| replace_invalid(error.as_bytes())));
                }
                Some(b'\\') => {
                    decoded.extend_from_slice(&self.text[start..self.at]);
                    self.at += 1;
                    let character = self.escape()?;
                    decoded.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    start = self.at;
                }
                None | Some(0..=0x1f) => return Err(self.unexpected("in string literal")),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, ParseError> {
        let character = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let first = self.hex4()?;
                if !(0xd800..0xdc00).contains(&first) {
                    return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                // A pair of surrogates is one character; half a pair is none.
                if self.text[self.at..].starts_with(b"\\u") {
                    let behind_first = self.at;
                    self.at += 2;
                    let second = self.hex4()?;
                    if (0xdc00..0xe000).contains(&second) {
                        let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                        return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = behind_first;
                }
                return Ok(char::REPLACEMENT_CHARACTER);
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(character)
    }

    fn hex4(&mut self) -> Result<u32, ParseError> {
        let mut code = 0;
        for _ in 0..4 {
            match self.peek().and_then(|byte| char::from(byte).to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return Err(self.unexpected("in \\u hexadecimal character escape")),
            }
            self.at += 1;
        }
        Ok(code)
    }
}

/// Each byte that is no UTF-8 becomes U+FFFD; unlike `from_utf8_lossy`, which replaces a broken sequence as a whole.
fn replace_invalid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

fn path_of(open: &[Open], key: &str) -> String {
    let mut path = String::new();
    for container in open {
        match container {
            Open::Array(items) => path.push_str(&format!("[{}]", items.len())),
            Open::Object { key, .. } => push_key(&mut path, key),
        }
    }
    push_key(&mut path, key);
    path
}

fn push_key(path: &mut String, key: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// A byte as Go's decoder quotes it.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".into(),
        b'"' => "'\"'".into(),
        b'\\' => r"'\\'".into(),
        b'\n' => r"'\n'".into(),
        b'\r' => r"'\r'".into(),
        b'\t' => r"'\t'".into(),
        0x07 => r"'\a'".into(),
        0x08 => r"'\b'".into(),
        0x0b => r"'\v'".into(),
        0x0c => r"'\f'".into(),
        0..=0x1f | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}
