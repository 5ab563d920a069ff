//! [`JsonReader`]: a pull reader over a byte slice that knows where it is.

use std::borrow::Cow;

/// Deepest nesting that is read, as in upstream's decoder.
const MAX_DEPTH: usize = 10_000;

/// Why JSON could not be read.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JsonError {
    /// The text is no JSON. Wording as Go's decoder.
    #[error("{message}")]
    Syntax { message: String, offset: usize },
    /// A value of one type stands where another is wanted.
    #[error("json: cannot unmarshal {found} into Go {target} of type {wanted}")]
    Type { found: String, target: String, wanted: String },
    /// A scalar's text does not parse (time, quantity, base64).
    #[error("{0}")]
    Value(String),
    /// Objects or arrays nest deeper than 10,000.
    #[error("exceeded max depth")]
    TooDeep,
}

/// A step of the path to the value being read.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A key: its raw bytes in the input.
    Key {
        start: usize,
        end: usize,
    },
    Index(u32),
}

/// Reads JSON values in order. Strict readers collect unknown and duplicate fields; the rest of the decoding goes on.
#[derive(Debug)]
pub struct JsonReader<'a> {
    input: &'a [u8],
    at: usize,
    depth: usize,
    path: Vec<Step>,
    /// Go name of the innermost struct, for type errors.
    owner: &'static str,
    strict: Option<Vec<String>>,
}

/// What kind of value comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

type Result<T> = std::result::Result<T, JsonError>;

impl<'a> JsonReader<'a> {
    /// A lenient reader.
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0, depth: 0, path: Vec::with_capacity(16), owner: "", strict: None }
    }

    /// A reader that notes unknown and duplicate fields.
    pub fn strict(input: &'a [u8]) -> Self {
        Self { strict: Some(Vec::new()), ..Self::new(input) }
    }

    /// What a strict reader noted, one text per field.
    pub fn into_strict_errors(self) -> Vec<String> {
        self.strict.unwrap_or_default()
    }

    fn syntax<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(JsonError::Syntax { message: message.into(), offset: self.at })
    }

    /// Go's complaint about the byte at the cursor.
    fn unexpected<T>(&self, context: &str) -> Result<T> {
        match self.input.get(self.at) {
            None => self.syntax("unexpected end of JSON input"),
            Some(b'\'') => self.syntax(format!("invalid character '\\'' {context}")),
            Some(b'"') => self.syntax(format!("invalid character '\"' {context}")),
            Some(_) => {
                let rest = &self.input[self.at..];
                let shown = match std::str::from_utf8(&rest[..rest.len().min(4)]) {
                    Ok(text) => text.chars().next(),
                    Err(err) => std::str::from_utf8(&rest[..err.valid_up_to()]).ok().and_then(|t| t.chars().next()),
                };
                let shown = match shown {
                    Some('\n') => "\\n".to_owned(),
                    Some('\t') => "\\t".to_owned(),
                    Some('\r') => "\\r".to_owned(),
                    Some(c) if (c as u32) < 0x20 => format!("\\x{:02x}", c as u32),
                    Some(c) => c.to_string(),
                    None => char::from(rest[0]).to_string(),
                };
                self.syntax(format!("invalid character '{shown}' {context}"))
            }
        }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.input.get(self.at) {
            self.at += 1;
        }
    }

    /// Looks at the next value without reading it.
    pub fn peek(&mut self) -> Result<Token> {
        self.skip_space();
        match self.input.get(self.at) {
            Some(b'n') => Ok(Token::Null),
            Some(b't' | b'f') => Ok(Token::Bool),
            Some(b'"') => Ok(Token::String),
            Some(b'{') => Ok(Token::Object),
            Some(b'[') => Ok(Token::Array),
            Some(b'-' | b'0'..=b'9') => Ok(Token::Number),
            _ => self.unexpected("looking for beginning of value"),
        }
    }

    /// Only white space may be left.
    pub fn end(&mut self) -> Result<()> {
        self.skip_space();
        if self.at == self.input.len() { Ok(()) } else { self.unexpected("after top-level value") }
    }

    fn literal(&mut self, word: &str) -> Result<()> {
        for expected in word.bytes() {
            if self.input.get(self.at) != Some(&expected) {
                return self.unexpected(&format!("in literal {word} (expecting '{}')", char::from(expected)));
            }
            self.at += 1;
        }
        Ok(())
    }

    /// Reads `null` if it comes next.
    pub fn null(&mut self) -> Result<bool> {
        if self.peek()? == Token::Null {
            self.literal("null")?;
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads a bool.
    pub fn bool(&mut self) -> Result<bool> {
        if self.peek()? != Token::Bool {
            return self.mismatch("bool");
        }
        let value = self.input[self.at] == b't';
        self.literal(if value { "true" } else { "false" })?;
        Ok(value)
    }

    /// Reads the text of a number.
    pub fn number(&mut self, wanted: &str) -> Result<&'a str> {
        if self.peek()? != Token::Number {
            return self.mismatch(wanted);
        }
        let start = self.at;
        if self.input[self.at] == b'-' {
            self.at += 1;
        }
        match self.input.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.unexpected("in numeric literal"),
        }
        if self.input.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.need_digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.input.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.input.get(self.at) {
                self.at += 1;
            }
            self.need_digits("in exponent of numeric literal")?;
        }
        Ok(std::str::from_utf8(&self.input[start..self.at]).expect("digits, signs and dots are ASCII"))
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.input.get(self.at) {
            self.at += 1;
        }
    }

    fn need_digits(&mut self, context: &str) -> Result<()> {
        if !self.input.get(self.at).is_some_and(u8::is_ascii_digit) {
            return self.unexpected(context);
        }
        self.digits();
        Ok(())
    }

    /// Reads an integer that fits `T`.
    pub fn int<T: std::str::FromStr>(&mut self, wanted: &'static str) -> Result<T> {
        let text = self.number(wanted)?;
        text.parse().or_else(|_| self.mismatch_found(format!("number {text}"), wanted))
    }

    /// Reads a float.
    pub fn float(&mut self) -> Result<f64> {
        let text = self.number("float64")?;
        text.parse().or_else(|_| self.mismatch_found(format!("number {text}"), "float64"))
    }

    /// Reads a string; borrows where nothing was escaped.
    pub fn string(&mut self) -> Result<Cow<'a, str>> {
        self.string_for("string")
    }

    /// Reads a string that stands for a Go type named `wanted`.
    pub fn string_for(&mut self, wanted: &str) -> Result<Cow<'a, str>> {
        if self.peek()? != Token::String {
            return self.mismatch(wanted);
        }
        self.at += 1;
        let start = self.at;
        loop {
            match self.input.get(self.at) {
                Some(b'"') => {
                    let raw = &self.input[start..self.at];
                    self.at += 1;
                    return Ok(match std::str::from_utf8(raw) {
                        Ok(text) => Cow::Borrowed(text),
                        // As Go: what is no UTF-8 becomes the replacement character.
                        Err(_) => Cow::Owned(String::from_utf8_lossy(raw).into_owned()),
                    });
                }
                Some(b'\\') => return self.escaped_string(start).map(Cow::Owned),
                Some(0..=0x1f) | None => return self.unexpected("in string literal"),
                Some(_) => self.at += 1,
            }
        }
    }

    fn escaped_string(&mut self, start: usize) -> Result<String> {
        let mut out: Vec<u8> = self.input[start..self.at].to_vec();
        loop {
            match self.input.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(String::from_utf8(out).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()));
                }
                Some(b'\\') => {
                    self.at += 1;
                    let plain = match self.input.get(self.at) {
                        Some(b @ (b'"' | b'\\' | b'/')) => *b,
                        Some(b'b') => 0x08,
                        Some(b'f') => 0x0c,
                        Some(b'n') => b'\n',
                        Some(b'r') => b'\r',
                        Some(b't') => b'\t',
                        Some(b'u') => {
                            self.at += 1;
                            let c = self.unicode_escape()?;
                            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                            continue;
                        }
                        _ => return self.unexpected("in string escape code"),
                    };
                    out.push(plain);
                    self.at += 1;
                }
                Some(0..=0x1f) | None => return self.unexpected("in string literal"),
                Some(byte) => {
                    out.push(*byte);
                    self.at += 1;
                }
            }
        }
    }

    fn hex4(&mut self) -> Result<u32> {
        let mut value = 0;
        for _ in 0..4 {
            let Some(digit) = self.input.get(self.at).and_then(|b| char::from(*b).to_digit(16)) else {
                return self.unexpected("in \\u hexadecimal character escape");
            };
            value = value * 16 + digit;
            self.at += 1;
        }
        Ok(value)
    }

    /// After `\u`. A lone surrogate reads as the replacement character, as in Go.
    fn unicode_escape(&mut self) -> Result<char> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.input[self.at..].starts_with(b"\\u") {
            let back = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = back;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(JsonError::TooDeep) } else { Ok(()) }
    }

    /// Reads an object into the struct `owner`: `read` gets each key with the cursor on its value, and answers whether it knows the key.
    /// A `null` reads as an object without keys.
    pub fn object(&mut self, owner: &'static str, read: &mut dyn FnMut(&mut Self, &str) -> Result<bool>) -> Result<()> {
        if self.null()? {
            return Ok(());
        }
        if self.peek()? != Token::Object {
            return self.mismatch(owner);
        }
        let outer = std::mem::replace(&mut self.owner, owner);
        let mut seen: Vec<Box<str>> = Vec::new();
        self.entries(&mut |reader, key| {
            if reader.strict.is_some() {
                if seen.iter().any(|k| **k == *key) {
                    reader.note("duplicate field");
                } else {
                    seen.push(key.into());
                }
            }
            if !read(reader, key)? {
                reader.note("unknown field");
                reader.skip()?;
            }
            Ok(())
        })?;
        self.owner = outer;
        Ok(())
    }

    /// Reads an object's entries, whatever the keys. The cursor must stand on `{`.
    pub fn entries(&mut self, read: &mut dyn FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.enter()?;
        self.at += 1;
        self.skip_space();
        if self.input.get(self.at) == Some(&b'}') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        loop {
            self.skip_space();
            if self.input.get(self.at) != Some(&b'"') {
                return self.unexpected("looking for beginning of object key string");
            }
            let start = self.at + 1;
            let key = self.string()?;
            self.path.push(Step::Key { start, end: self.at - 1 });
            self.skip_space();
            if self.input.get(self.at) != Some(&b':') {
                return self.unexpected("after object key");
            }
            self.at += 1;
            read(self, &key)?;
            self.path.pop();
            self.skip_space();
            match self.input.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return self.unexpected("after object key:value pair"),
            }
        }
    }

    /// Reads an array: `read` is called with the cursor on each element.
    pub fn array(&mut self, wanted: &str, read: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        if self.peek()? != Token::Array {
            return self.mismatch(wanted);
        }
        self.enter()?;
        self.at += 1;
        self.skip_space();
        if self.input.get(self.at) == Some(&b']') {
            self.at += 1;
            self.depth -= 1;
            return Ok(());
        }
        let mut index = 0;
        loop {
            self.path.push(Step::Index(index));
            read(self)?;
            self.path.pop();
            index += 1;
            self.skip_space();
            match self.input.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return self.unexpected("after array element"),
            }
        }
    }

    /// Reads any value and gives its text.
    pub fn raw(&mut self) -> Result<&'a [u8]> {
        self.skip_space();
        let start = self.at;
        self.skip()?;
        Ok(&self.input[start..self.at])
    }

    /// Passes over a value, checking its syntax.
    pub fn skip(&mut self) -> Result<()> {
        match self.peek()? {
            Token::Null => self.literal("null"),
            Token::Bool => self.bool().map(drop),
            Token::Number => self.number("number").map(drop),
            Token::String => self.string().map(drop),
            Token::Object => self.entries(&mut |reader, _| reader.skip()),
            Token::Array => self.array("slice", &mut |reader| reader.skip()),
        }
    }

    /// The key being read was there before.
    pub fn note_duplicate(&mut self) {
        self.note("duplicate field");
    }

    fn note(&mut self, what: &str) {
        if self.strict.is_some() {
            let text = format!("{what} {:?}", self.path_text(true));
            if let Some(notes) = &mut self.strict
                && !notes.contains(&text)
            {
                notes.push(text);
            }
        }
    }

    /// The path of the value being read: `spec.containers[0].name`, or without indices as type errors have it.
    pub fn path_text(&self, indices: bool) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Key { start, end } => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(&String::from_utf8_lossy(&self.input[*start..*end]));
                }
                Step::Index(index) if indices => text.push_str(&format!("[{index}]")),
                Step::Index(_) => {}
            }
        }
        text
    }

    /// The value at the cursor is of a wrong type.
    pub fn mismatch<T>(&mut self, wanted: &str) -> Result<T> {
        let found = match self.peek()? {
            Token::Null => "null".to_owned(),
            Token::Bool => "bool".to_owned(),
            Token::String => "string".to_owned(),
            Token::Array => "array".to_owned(),
            Token::Object => "object".to_owned(),
            Token::Number => match self.number("number")? {
                text if matches!(wanted, "int32" | "int64" | "float64") => format!("number {text}"),
                _ => "number".to_owned(),
            },
        };
        self.mismatch_found(found, wanted)
    }

    fn mismatch_found<T>(&self, found: String, wanted: &str) -> Result<T> {
        let path = self.path_text(false);
        let target = if path.is_empty() { "value".to_owned() } else { format!("struct field {}.{path}", self.owner) };
        Err(JsonError::Type { found, target, wanted: wanted.to_owned() })
    }
}
