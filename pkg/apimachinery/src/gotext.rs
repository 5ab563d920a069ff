//! Texts as Go's `fmt` makes them: error messages hold values in that form, and clients match on them.

use crate::value::Value;

/// `%q`: quotes and escapes as a Go string literal.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(character),
            '\0'..='\u{1f}' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", character as u32)),
            _ if is_printable(character) => out.push(character),
            _ if (character as u32) < 0x10000 => out.push_str(&format!("\\u{:04x}", character as u32)),
            _ => out.push_str(&format!("\\U{:08x}", character as u32)),
        }
    }
    out.push('"');
    out
}

/// What Go prints as it is; the standard library's debug form escapes the same characters beyond ASCII, and combining marks besides.
fn is_printable(character: char) -> bool {
    if character == '\u{fffd}' {
        return true;
    }
    let mut escaped = character.escape_debug();
    let plain = escaped.next() == Some(character);
    plain || ('\u{300}'..='\u{36f}').contains(&character)
}

/// `%v` of a decoded JSON value: `map[a:1 b:[x y]]`, keys sorted, nothing quoted.
pub fn display(value: &Value) -> String {
    let mut out = String::new();
    write_display(value, &mut out);
    out
}

fn write_display(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&float(*value)),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                write_display(item, out);
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push_str("map[");
            for (index, (key, value)) in object.sorted().into_iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_display(value, out);
            }
            out.push(']');
        }
    }
}

/// `%v` of a float64: shortest digits, an exponent below 1e-4 and from 1e21 on.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return value.to_string();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').expect("exponent form has an exponent");
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        for (text, quoted) in [
            ("a\"b\\", r#""a\"b\\""#),
            ("a\n\u{1}\u{7f}", r#""a\n\x01\x7f""#),
            ("ü 😀 e\u{301}", "\"ü 😀 e\u{301}\""),
            ("\u{a0}\u{200b}", r#""\u00a0\u200b""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }

    #[test]
    fn displays_as_go_does() {
        let value = Value::parse(br#"{"b":[1,"x",null],"a":{"k":true},"f":1.5,"g":1e-7,"h":1e21}"#).unwrap();
        assert_eq!(display(&value), "map[a:map[k:true] b:[1 x <nil>] f:1.5 g:1e-07 h:1e+21]");
    }
}
