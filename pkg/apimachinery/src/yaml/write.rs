//! From a value tree to YAML, byte for byte as Go's library writes it for kubectl.

use std::cmp::Ordering;

use super::resolve;
use crate::value::{Object, Value};

/// Beyond this column a line is broken at the next space.
const WIDTH: usize = 80;

/// A longer key is written as `? key`.
const MAX_SIMPLE_KEY: usize = 128;

/// The document, keys sorted, with a newline at its end.
pub fn to_string(value: &Value) -> String {
    let mut writer = Writer { out: String::new(), column: 0 };
    writer.node(value, Place { indent: 0, in_sequence: false, at_root: true });
    writer.out.push('\n');
    writer.out
}

/// Several documents, with `---` between them.
pub fn to_string_documents<'a>(documents: impl IntoIterator<Item = &'a Value>) -> String {
    documents.into_iter().map(to_string).collect::<Vec<_>>().join("---\n")
}

struct Writer {
    out: String,
    /// Characters written to the current line.
    column: usize,
}

/// Where a node stands.
#[derive(Clone, Copy)]
struct Place {
    /// The column at which members of the enclosing collection start.
    indent: usize,
    in_sequence: bool,
    at_root: bool,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn put_char(&mut self, character: char) {
        self.out.push(character);
        self.column += 1;
    }

    fn new_line(&mut self, indent: usize) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    /// Starts a member: collections begin on the line of a `- ` before them, members otherwise on their own lines.
    fn start_line(&mut self, first: bool, indent: usize, place: Place) {
        if !(first && (place.in_sequence || place.at_root)) {
            self.new_line(indent);
        }
    }

    /// Writes a value behind `key:`, `-` or at the start of the document.
    fn node(&mut self, value: &Value, place: Place) {
        match value {
            Value::Object(object) if !object.is_empty() => self.mapping(object, place),
            Value::Array(items) if !items.is_empty() => self.sequence(items, place),
            _ => {
                if !place.at_root {
                    self.put_char(' ');
                }
                match value {
                    Value::Object(_) => self.put("{}"),
                    Value::Array(_) => self.put("[]"),
                    Value::String(text) => self.string(text, if place.at_root { place.indent } else { place.indent + 2 }, false),
                    Value::Null => self.put("null"),
                    Value::Bool(value) => self.put(if *value { "true" } else { "false" }),
                    Value::Int(value) => self.put(&value.to_string()),
                    Value::Float(value) => self.put(&float(*value)),
                }
            }
        }
    }

    fn mapping(&mut self, object: &Object, place: Place) {
        let indent = if place.at_root { 0 } else { place.indent + 2 };
        if place.in_sequence {
            self.put_char(' ');
        }
        let mut members: Vec<_> = object.iter().collect();
        members.sort_by(|a, b| key_order(a.0, b.0));
        for (index, (key, value)) in members.into_iter().enumerate() {
            self.start_line(index == 0, indent, place);
            if key.len() > MAX_SIMPLE_KEY || key.contains('\n') {
                self.put("? ");
                self.string(key, indent + 2, false);
                self.new_line(indent);
            } else {
                self.string(key, indent, true);
            }
            self.put_char(':');
            self.node(value, Place { indent, in_sequence: false, at_root: false });
        }
    }

    fn sequence(&mut self, items: &[Value], place: Place) {
        // Behind a key, a list stands in the key's column; within a list it is moved in.
        let indent = if place.in_sequence { place.indent + 2 } else { place.indent };
        if place.in_sequence {
            self.put_char(' ');
        }
        for (index, item) in items.iter().enumerate() {
            self.start_line(index == 0, indent, place);
            self.put_char('-');
            self.node(item, Place { indent, in_sequence: true, at_root: false });
        }
    }

    fn string(&mut self, text: &str, indent: usize, is_key: bool) {
        let traits = Traits::of(text);
        // As a key, `<<` would be read as a merge.
        let merges = is_key && text == "<<";
        let means_more = merges || resolve::plain(text).is_some() || resolve::is_base60(text) || resolve::is_timestamp(text);
        if text.contains('\n') && !is_key && traits.block_allowed {
            self.literal(text, indent);
        } else if means_more || text.contains('\n') {
            self.double_quoted(text, indent, is_key);
        } else if traits.plain_allowed {
            self.plain(text, indent, is_key);
        } else if traits.single_quoted_allowed {
            self.single_quoted(text, indent, is_key);
        } else {
            self.double_quoted(text, indent, is_key);
        }
    }

    fn plain(&mut self, text: &str, indent: usize, is_key: bool) {
        let mut characters = text.chars().peekable();
        let mut after_space = false;
        while let Some(character) = characters.next() {
            let breaks = character == ' ' && !is_key && !after_space && self.column > WIDTH && characters.peek() != Some(&' ');
            if breaks {
                self.new_line(indent)
            } else {
                self.put_char(character)
            }
            after_space = character == ' ';
        }
    }

    fn single_quoted(&mut self, text: &str, indent: usize, is_key: bool) {
        self.put_char('\'');
        let mut characters = text.chars().enumerate().peekable();
        let mut after_space = false;
        while let Some((index, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            let inside = index > 0 && next.is_some();
            let breaks = character == ' ' && !is_key && !after_space && self.column > WIDTH && inside && next != Some(' ');
            match character {
                _ if breaks => self.new_line(indent),
                '\'' => self.put("''"),
                _ => self.put_char(character),
            }
            after_space = character == ' ';
        }
        self.put_char('\'');
    }

    fn double_quoted(&mut self, text: &str, indent: usize, is_key: bool) {
        // Behind a byte order mark the library escapes every character.
        let escape_all = text.starts_with('\u{feff}');
        self.put_char('"');
        let mut characters = text.chars().enumerate().peekable();
        let mut after_space = false;
        while let Some((index, character)) = characters.next() {
            let next = characters.peek().map(|(_, next)| *next);
            if character == ' ' && !escape_all {
                if !is_key && !after_space && self.column > WIDTH && index > 0 && next.is_some() {
                    self.new_line(indent);
                    if next == Some(' ') {
                        self.put_char('\\');
                    }
                } else {
                    self.put_char(' ');
                }
            } else {
                match escape(character, escape_all) {
                    Some(escaped) => self.put(&escaped),
                    None => self.put_char(character),
                }
            }
            after_space = character == ' ';
        }
        self.put_char('"');
    }

    /// A block of lines behind `|`.
    fn literal(&mut self, text: &str, indent: usize) {
        self.put_char('|');
        if text.starts_with([' ', '\n']) {
            // The first line does not show how far the block is moved in.
            self.put_char('2');
        }
        if !text.ends_with('\n') {
            self.put_char('-');
        } else if text == "\n" || text.ends_with("\n\n") {
            self.put_char('+');
        }
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            if line.is_empty() {
                self.out.push('\n');
                self.column = 0;
            } else {
                self.new_line(indent);
                self.put(line);
            }
        }
    }
}

fn float(value: f64) -> String {
    if value.is_finite() {
        return crate::gotext::float(value);
    }
    if value.is_nan() { ".nan".into() } else { format!("{}.inf", if value < 0.0 { "-" } else { "+" }) }
}

/// What goes out unescaped. The library knows no character beyond the basic plane; the line breaks of Unicode would read back as such.
fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
        && !matches!(character, '\u{2028}' | '\u{2029}')
}

fn escape(character: char, always: bool) -> Option<String> {
    let short = match character {
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '"' => "\\\"",
        '\\' => "\\\\",
        '\u{85}' => "\\N",
        '\u{a0}' if always => "\\_",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        _ if is_printable(character) && !always => return None,
        _ => {
            let code = u32::from(character);
            return Some(match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            });
        }
    };
    Some(short.into())
}

/// Which styles a text allows outside of flow collections.
struct Traits {
    plain_allowed: bool,
    single_quoted_allowed: bool,
    block_allowed: bool,
}

impl Traits {
    fn of(text: &str) -> Self {
        if text.is_empty() {
            return Traits { plain_allowed: true, single_quoted_allowed: true, block_allowed: false };
        }
        let blank =
            |character: Option<&char>| matches!(character, None | Some(' ' | '\t' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'));
        let characters: Vec<char> = text.chars().collect();
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut break_space, mut space_break) = (false, false, false);
        for (index, character) in characters.iter().enumerate() {
            let before = index.checked_sub(1).map(|index| &characters[index]);
            let blank_after = blank(characters.get(index + 1));
            indicators |= match character {
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' if index == 0 => true,
                '?' | '-' if index == 0 => blank_after,
                ':' => blank_after,
                '#' => blank(before),
                _ => false,
            };
            special |= !is_printable(*character);
            break_space |= *character == ' ' && before == Some(&'\n');
            space_break |= *character == '\n' && before == Some(&' ');
        }
        let edge = |character: Option<&char>| matches!(character, Some(' ' | '\n'));
        let framed = edge(characters.first()) || edge(characters.last());
        let broken = space_break || special;
        Traits {
            plain_allowed: !indicators && !framed && !broken && !break_space && !text.contains('\n'),
            single_quoted_allowed: !broken && !break_space,
            block_allowed: !broken && characters.last() != Some(&' '),
        }
    }
}

/// The order of keys: numbers inside by their value, and letters after everything else.
fn key_order(a: &str, b: &str) -> Ordering {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let Some(index) = (0..a.len().min(b.len())).find(|index| a[*index] != b[*index]) else {
        return a.len().cmp(&b.len());
    };
    let (x, y) = (a[index], b[index]);
    match (x.is_alphabetic(), y.is_alphabetic()) {
        (true, true) => return x.cmp(&y),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let number = |text: &[char]| {
        // A zero that differs counts as a digit of the number before it, unless only zeros precede it.
        let continues = (x == '0' || y == '0')
            && text[..index].iter().rev().take_while(|character| character.is_ascii_digit()).any(|digit| *digit != '0');
        let digits = text[index..].iter().take_while(|character| character.is_ascii_digit());
        let (mut value, mut length) = (i64::from(continues), 0);
        for digit in digits {
            value = value.wrapping_mul(10).wrapping_add(i64::from(*digit as u32 - '0' as u32));
            length += 1;
        }
        (value, length)
    };
    number(&a).cmp(&number(&b)).then(x.cmp(&y))
}
