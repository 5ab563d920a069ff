//! Field selectors: `metadata.name=x,status.phase!=Running`. Upstream: apimachinery `pkg/fields`.

use std::fmt;

/// One condition: the field has, or has not, the value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub field: String,
    pub value: String,
    /// The field must not have the value.
    pub negated: bool,
}

/// Why a selector is none; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.0))]
    Unescaped(char),
}

/// Conditions of which all must hold. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

impl Selector {
    pub fn everything() -> Self {
        Selector::default()
    }

    pub fn new(requirements: Vec<Requirement>) -> Self {
        Selector { requirements }
    }

    /// The field has exactly this value.
    pub fn equal(field: impl Into<String>, value: impl Into<String>) -> Self {
        Selector::new(vec![Requirement { field: field.into(), value: value.into(), negated: false }])
    }

    pub fn parse(selector: &str) -> Result<Self, SelectorError> {
        let mut terms = split_terms(selector);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let Some((field, negated, value)) = split_term(term) else {
                return Err(SelectorError::Term { selector: selector.into(), term: term.into() });
            };
            requirements.push(Requirement { field: field.into(), value: unescape(value)?, negated });
        }
        Ok(Selector { requirements })
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether an object matches whose fields `lookup` knows; a field it lacks counts as empty.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| (lookup(&requirement.field).unwrap_or_default() == requirement.value) != requirement.negated)
    }

    /// The value that the field must have, if the selector says so.
    pub fn requires_exact_match(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|requirement| requirement.field == field && !requirement.negated).map(|found| found.value.as_str())
    }

    /// The selector with fields and values converted; an empty field name drops the condition.
    pub fn transform<E>(&self, convert: impl Fn(&str, &str) -> Result<(String, String), E>) -> Result<Self, E> {
        let mut requirements = Vec::with_capacity(self.requirements.len());
        for requirement in &self.requirements {
            let (field, value) = convert(&requirement.field, &requirement.value)?;
            if !field.is_empty() {
                requirements.push(Requirement { field, value, negated: requirement.negated });
            }
        }
        Ok(Selector { requirements })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let operator = if requirement.negated { "!=" } else { "=" };
            write!(f, "{comma}{}{operator}{}", requirement.field, escape(&requirement.value))?;
        }
        Ok(())
    }
}

/// Splits at commas that no backslash precedes.
fn split_terms(selector: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, character) in selector.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&selector[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let index = term.char_indices().find(|(index, _)| term[*index..].starts_with('=') || term[*index..].starts_with("!="))?.0;
    let (field, rest) = term.split_at(index);
    Some(match rest.strip_prefix("!=") {
        Some(value) => (field, true, value),
        None => (field, false, rest.strip_prefix("==").unwrap_or(&rest[1..])),
    })
}

/// Escapes what has a meaning in a selector.
pub fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let mut out = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                Some(other) => return Err(SelectorError::Escape(format!("\\{other}"))),
                None => return Err(SelectorError::Escape("\\".into())),
            },
            ',' | '=' => return Err(SelectorError::Unescaped(character)),
            _ => out.push(character),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, printed) in [
            ("", ""),
            ("b=1,a!=2,,c==3", "a!=2,b=1,c=3"),
            ("metadata.name=", "metadata.name="),
            ("=x", "=x"),
            (r"a=x\,y\=z\\", r"a=x\,y\=z\\"),
        ] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn refuses_in_upstreams_words() {
        for (text, message) in [
            ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
            (r"metadata.name=a\b", r"invalid field selector: invalid escape sequence: \b"),
            ("metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
            ("!metadata.name", "invalid selector: '!metadata.name'; can't understand '!metadata.name'"),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn matches() {
        let lookup = |field: &str| (field == "metadata.name").then_some("a");
        for (text, matching) in [("", true), ("metadata.name=a", true), ("metadata.name!=a", false), ("x=", true), ("x=1", false)] {
            assert_eq!(Selector::parse(text).unwrap().matches(lookup), matching, "{text}");
        }
    }
}
