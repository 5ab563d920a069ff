//! Does an answer match a recorded one, in which tokens stand for what differs from run to run?

use std::collections::{BTreeSet, HashMap};

use apimachinery::Value;

/// What the numbered tokens of a scenario stand for so far: equal numbers, equal values.
#[derive(Debug, Default)]
pub struct Bindings {
    values: HashMap<String, String>,
}

/// Tokens and the characters their values are made of.
const TOKENS: &[(&str, fn(char) -> bool)] = &[
    ("uid", |c| c.is_ascii_hexdigit() || c == '-'),
    ("rv", |c| c.is_ascii_digit()),
    ("time", |c| c.is_ascii_digit() || "-:TZ".contains(c)),
    ("time.6", |c| c.is_ascii_digit() || "-:.TZ".contains(c)),
    ("ip", |c| c.is_ascii_digit() || c == '.'),
    ("port", |c| c.is_ascii_digit()),
    ("suffix", |c| c.is_ascii_alphanumeric()),
    ("jwt", |c| c.is_ascii_alphanumeric() || "-_.".contains(c)),
    ("continue", |c| c.is_ascii_alphanumeric() || "-_=".contains(c)),
    ("etag", |c| c != '"'),
    ("hash", |c| c.is_ascii_alphanumeric()),
    ("age", |c| c.is_ascii_alphanumeric()),
    ("text", |_| true),
    ("server", |c| !"/ \"".contains(c)),
    ("serverport", |c| c.is_ascii_digit()),
];

/// A token at the start of `text`: its name with number, its characters, and what follows.
fn token(text: &str) -> Option<(&str, fn(char) -> bool, &str)> {
    let (name, rest) = text.strip_prefix('<')?.split_once('>')?;
    let kind = name.split(':').next()?;
    let (_, allowed) = TOKENS.iter().find(|(known, _)| *known == kind)?;
    Some((name, *allowed, rest))
}

impl Bindings {
    /// Whether `found` is the text `wanted` describes.
    pub fn text(&mut self, wanted: &str, found: &str) -> bool {
        let mut wanted = wanted;
        let found = found.replace('\u{a0}', " ");
        let mut found = found.as_str();
        loop {
            if let Some((name, allowed, rest)) = token(wanted) {
                let most = if name == "suffix" { 5 } else { usize::MAX };
                let length = found.chars().take(most).take_while(|c| allowed(*c)).map(char::len_utf8).sum();
                let (value, after) = found.split_at(length);
                if value.is_empty() || !self.bind(name, value) {
                    return false;
                }
                (wanted, found) = (rest, after);
                continue;
            }
            match (wanted.chars().next(), found.chars().next()) {
                (None, None) => return true,
                (Some(one), Some(other)) if one == other => {
                    (wanted, found) = (&wanted[one.len_utf8()..], &found[other.len_utf8()..]);
                }
                _ => return false,
            }
        }
    }

    fn bind(&mut self, name: &str, value: &str) -> bool {
        if !name.contains(':') {
            return true;
        }
        self.values.entry(name.to_owned()).or_insert_with(|| value.to_owned()) == value
    }

    /// The first difference, as the path to it and both sides.
    pub fn json(&mut self, path: &str, wanted: &Value, found: &Value) -> Result<(), String> {
        let differs = || Err(format!("{path}: wanted {}, found {}", shortened(wanted), shortened(found)));
        match (wanted, found) {
            (Value::String(text), Value::String(other)) => {
                if self.text(text, other) {
                    Ok(())
                } else {
                    differs()
                }
            }
            (Value::String(text), Value::Int(number)) if token(text).is_some() => {
                if self.text(text, &number.to_string()) {
                    Ok(())
                } else {
                    differs()
                }
            }
            (Value::Array(items), Value::Array(others)) => {
                if items.len() != others.len() {
                    return differs();
                }
                let mut others = others.clone();
                if path.ends_with("managedFields") {
                    others.sort_by_key(|entry| {
                        ["manager", "operation", "apiVersion", "subresource"]
                            .map(|name| entry[name].as_str().unwrap_or_default().to_owned())
                    });
                }
                items.iter().zip(&others).enumerate().try_for_each(|(at, (one, other))| self.json(&format!("{path}[{at}]"), one, other))
            }
            (Value::Object(members), Value::Object(others)) => {
                if let Some((extra, value)) = others.iter().find(|(name, _)| !members.contains_key(name)) {
                    return Err(format!("{path}.{extra}: wanted nothing, found {}", shortened(value)));
                }
                members.iter().try_for_each(|(name, member)| match others.get(name) {
                    Some(other) => self.json(&format!("{path}.{name}"), member, other),
                    None => Err(format!("{path}.{name}: wanted {}, found nothing", shortened(member))),
                })
            }
            _ if wanted == found => Ok(()),
            _ => differs(),
        }
    }
}

/// Compares a Status whose message lists errors in no fixed order.
pub fn unordered(wanted: &Value, found: &Value) -> Result<(), String> {
    let words = |value: &Value| {
        let text = value["message"].as_str().unwrap_or_default();
        let mut words: Vec<String> =
            text.split(|c: char| c.is_whitespace() || ",[]".contains(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        words.sort();
        words
    };
    let causes = |value: &Value| -> BTreeSet<String> {
        value["details"]["causes"].as_array().unwrap_or_default().iter().map(ToString::to_string).collect()
    };
    if words(wanted) == words(found) && causes(wanted).len() == causes(found).len() {
        return Ok(());
    }
    Err(format!(".message: wanted {}, found {}", shortened(&wanted["message"]), shortened(&found["message"])))
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(400) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stand_for_values() {
        let mut bindings = Bindings::default();
        for (wanted, found, matches) in [
            ("plain", "plain", true),
            ("plain", "plainer", false),
            ("<nil>", "<nil>", true),
            ("rv <rv:1>!", "rv 12!", true),
            ("<rv:1>", "12", true),
            ("<rv:1>", "13", false),
            ("<rv>", "13", true),
            ("gen-<suffix>", "gen-x7k2p", true),
            ("gen-<suffix>", "gen-x7k2pq", false),
            ("<time>", "2026-01-01T00:00:00Z", true),
            ("<time>", "2026-01-01T00:00:00.000000Z", false),
            ("a b", "a\u{a0}b", true),
        ] {
            assert_eq!(bindings.text(wanted, found), matches, "{wanted} {found}");
        }
    }

    #[test]
    fn the_first_difference_is_named() {
        let (wanted, found) = (Value::parse(br#"{"a":[1,{"b":2}]}"#).unwrap(), Value::parse(br#"{"a":[1,{"b":3}]}"#).unwrap());
        assert_eq!(Bindings::default().json("", &wanted, &found), Err(".a[1].b: wanted 2, found 3".to_owned()));
        assert_eq!(Bindings::default().json("", &wanted, &wanted), Ok(()));
    }
}
