//! From YAML text to a value tree.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::resolve;
use crate::value::{Object, Value};

/// Most values that aliases may copy into a document: a short text must not become a huge tree.
const MAX_ALIASED_VALUES: usize = 100_000;

/// Deeper documents are refused.
const MAX_DEPTH: usize = 500;

/// Why a text is not YAML: `yaml: line 1: did not find expected node content`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("yaml: {0}")]
pub struct YamlError(String);

/// What strict reading gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub value: Value,
    /// `line 3: key "kind" already set in map`, for each key that occurs twice.
    pub duplicates: Vec<String>,
}

impl Parsed {
    /// The value, unless a key occurs twice; then all of them in one error.
    pub fn into_unique(self) -> Result<Value, YamlError> {
        match self.duplicate_error() {
            Some(error) => Err(error),
            None => Ok(self.value),
        }
    }

    pub fn duplicate_error(&self) -> Option<YamlError> {
        (!self.duplicates.is_empty()).then(|| YamlError(format!("unmarshal errors:\n  {}", self.duplicates.join("\n  "))))
    }
}

/// Reads the first document; no document is null. Of keys that occur twice the last wins.
pub fn parse(text: &[u8]) -> Result<Value, YamlError> {
    parse_strict(text).map(|parsed| parsed.value)
}

/// Reads the first document and reports keys that occur twice.
pub fn parse_strict(text: &[u8]) -> Result<Parsed, YamlError> {
    let text = decode(text)?;
    let mut reader = Reader::new(&text);
    let value = reader.document()?.unwrap_or_default();
    Ok(Parsed { value, duplicates: reader.duplicates })
}

/// Reads all documents; empty ones are left out, and a key that occurs twice is an error.
pub fn parse_documents(text: &[u8]) -> Result<Vec<Value>, YamlError> {
    let text = decode(text)?;
    let mut reader = Reader::new(&text);
    let mut documents = Vec::new();
    while let Some(value) = reader.document()? {
        let parsed = Parsed { value, duplicates: std::mem::take(&mut reader.duplicates) };
        documents.push(parsed.into_unique()?);
    }
    documents.retain(|document| !document.is_null());
    Ok(documents)
}

fn decode(text: &[u8]) -> Result<std::borrow::Cow<'_, str>, YamlError> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if let Ok(text) = std::str::from_utf8(text) {
        return Ok(text.into());
    }
    let units = |from: fn([u8; 2]) -> u16| text[2..].chunks_exact(2).map(|pair| from([pair[0], pair[1]])).collect::<Vec<_>>();
    let units = match text {
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        _ => return Err(YamlError("invalid leading UTF-8 octet".into())),
    };
    String::from_utf16(&units).map(Into::into).map_err(|_| YamlError("invalid Unicode character".into()))
}

struct Reader<'a> {
    text: &'a str,
    events: Parser<'a, granit_parser::StrInput<'a>>,
    anchors: HashMap<usize, Value>,
    aliased: usize,
    duplicates: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Reader { text, events: Parser::new_from_str(text), anchors: HashMap::new(), aliased: 0, duplicates: Vec::new() }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(scan_error(&error, self.text)),
            None => Err(YamlError("unexpected end of stream".into())),
        }
    }

    /// The next document, or none at the end of the text.
    fn document(&mut self) -> Result<Option<Value>, YamlError> {
        loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentEnd, _) => {}
                (Event::DocumentStart(..), _) => break,
                (Event::StreamEnd, _) => return Ok(None),
                (_, span) => return Err(error_at(&span, "did not find expected <document start>")),
            }
        }
        self.anchors.clear();
        let event = self.next()?;
        let value = self.node(event, 0)?;
        match self.next()? {
            (Event::DocumentEnd, _) => Ok(Some(value)),
            (_, span) => Err(error_at(&span, "did not find expected <document start>")),
        }
    }

    fn node(&mut self, (event, span): (Event<'a>, Span), depth: usize) -> Result<Value, YamlError> {
        if depth > MAX_DEPTH {
            return Err(error_at(&span, "exceeded max depth"));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (anchor, scalar(&text, style, tag.as_deref()).map_err(|text| error_at(&span, &text))?)
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                let value = value.ok_or_else(|| error_at(&span, "anchor value contains itself"))?;
                self.aliased += count(&value);
                if self.aliased > MAX_ALIASED_VALUES {
                    return Err(YamlError("document contains excessive aliasing".into()));
                }
                return Ok(value);
            }
            Event::SequenceStart(_, anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        event => items.push(self.node(event, depth + 1)?),
                    }
                }
                (anchor, Value::Array(items))
            }
            Event::MappingStart(_, anchor, _) => (anchor, Value::Object(self.mapping(depth)?)),
            _ => return Err(error_at(&span, "did not find expected node content")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn mapping(&mut self, depth: usize) -> Result<Object, YamlError> {
        let mut object = Object::new();
        let mut merged: Vec<Value> = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => break,
                event => event,
            };
            let merges = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<");
            let key = self.node((event, span), depth + 1)?;
            let value = self.next()?;
            let value = self.node(value, depth + 1)?;
            if merges {
                merged.push(value);
                continue;
            }
            let shown = key_text(&key).ok_or_else(|| error_at(&span, "invalid map key"))?;
            if object.insert(shown.clone(), value).is_some() {
                let shown = match key {
                    Value::String(text) => crate::gotext::quote(&text),
                    _ => shown,
                };
                self.duplicates.push(format!("line {}: key {shown} already set in map", span.start.line()));
            }
        }
        for value in merged {
            merge(&mut object, value)?;
        }
        Ok(object)
    }
}

/// Adds what `<<` brings; the mapping's own keys and earlier sources win.
fn merge(object: &mut Object, value: Value) -> Result<(), YamlError> {
    match value {
        Value::Object(source) => {
            for (key, value) in source {
                if !object.contains_key(&key) {
                    object.insert(key, value);
                }
            }
            Ok(())
        }
        Value::Array(sources) if sources.iter().all(|source| source.as_object().is_some()) => {
            sources.into_iter().try_for_each(|source| merge(object, source))
        }
        _ => Err(YamlError("map merge requires map or sequence of maps as the value".into())),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let name = match tag {
        None if style == ScalarStyle::Plain => return finite(resolve::plain(text).unwrap_or_else(|| text.into())),
        None => return Ok(text.into()),
        Some(tag) => tag.suffix(),
    };
    let cannot = || format!("cannot decode !!str `{text}` as a !!{name}");
    match name {
        "binary" => {
            use base64::Engine;
            let compact: String = text.split_whitespace().collect();
            let bytes =
                base64::engine::general_purpose::STANDARD.decode(compact).map_err(|_| "!!binary value contains invalid base64 data")?;
            Ok(String::from_utf8_lossy(&bytes).into_owned().into())
        }
        "null" => Ok(Value::Null),
        "bool" => resolve::plain(text).filter(|value| value.as_bool().is_some()).ok_or_else(cannot),
        "int" => resolve::plain(text).filter(|value| matches!(value, Value::Int(_))).ok_or_else(cannot),
        "float" => match resolve::plain(text) {
            Some(Value::Int(value)) => Ok(Value::Float(value as f64)),
            Some(Value::Float(value)) => finite(Value::Float(value)),
            _ => Err(cannot()),
        },
        _ => Ok(text.into()),
    }
}

/// JSON has no infinity.
fn finite(value: Value) -> Result<Value, String> {
    match value {
        Value::Float(number) if !number.is_finite() => Err(format!("json: unsupported value: {}", crate::gotext::float(number))),
        value => Ok(value),
    }
}

/// Keys of JSON objects are text.
fn key_text(key: &Value) -> Option<String> {
    match key {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(crate::gotext::float(*value)),
        Value::Null => Some("null".into()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(object) => 1 + object.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn error_at(span: &Span, message: &str) -> YamlError {
    YamlError(format!("line {}: {message}", span.start.line()))
}

/// The parser's error in the words of Go's library, which names the problem and not what it was doing.
fn scan_error(error: &ScanError, text: &str) -> YamlError {
    let line = error.marker().line();
    let rest = error.marker().byte_offset().and_then(|offset| text.get(offset..)).unwrap_or_default();
    let message = error.kind().to_string();
    let problem = match error.kind() {
        ErrorKind::UnknownAnchor => {
            let name = rest.trim_start_matches('*').split(|c: char| c.is_whitespace() || ",[]{}".contains(c)).next().unwrap_or_default();
            return YamlError(format!("unknown anchor '{name}' referenced"));
        }
        ErrorKind::UnclosedFlowCollection { .. } | ErrorKind::UnexpectedEofFlowSequence | ErrorKind::UnexpectedEofFlowMapping => {
            let mapping = text.rfind('{') > text.rfind('[');
            match text.trim_end().chars().next_back() {
                Some('[' | '{' | ',' | ':') => "did not find expected node content",
                _ if mapping => "did not find expected ',' or '}'",
                _ => "did not find expected ',' or ']'",
            }
        }
        ErrorKind::ExpectedFlowSequenceSeparator => "did not find expected ',' or ']'",
        ErrorKind::UnclosedQuotedScalar => "found unexpected end of stream",
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInPlainScalar
        | ErrorKind::UnexpectedCharacter { .. } => "found character that cannot start any token",
        ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => "could not find expected ':'",
        ErrorKind::BlockSequenceEntryNotAllowed => "block sequence entries are not allowed in this context",
        ErrorKind::MappingKeyNotAllowed => "mapping keys are not allowed in this context",
        _ => match message.split_once(", ") {
            Some((doing, problem)) if doing.starts_with("while ") => problem,
            _ => &message,
        },
    };
    YamlError(format!("line {line}: {problem}"))
}
