//! Label selectors: parsing, printing and matching. Upstream: apimachinery `pkg/labels`.

use std::collections::BTreeMap;
use std::fmt;

use crate::validation::field::{BadValue, Error, Path, aggregate};
use crate::validation::names::{is_label_value, is_qualified_name};
use crate::value::Object;
use crate::{Map, meta::v1::LabelSelector};

mod parse;

/// Anything that labels can be looked up in.
pub trait Labels {
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for Map<String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Labels for Object {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }
}

impl Labels for [(&str, &str)] {
    fn label(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }
}

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted, each once.
    values: Vec<String>,
}

/// Why a selector is none; the text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl Requirement {
    /// Makes a condition if operator and values go together and key and values are valid.
    pub fn new(key: impl Into<String>, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        Self::checked(key.into(), operator, values, &Path::ROOT)
    }

    fn checked(key: String, operator: Operator, mut values: Vec<String>, path: &Path<'_>) -> Result<Self, SelectorError> {
        values.sort_unstable();
        values.dedup();
        let mut errors: Vec<Error> = key_error(&key, &path.child("key")).into_iter().collect();
        let values_path = path.child("values");
        let listed = || {
            let quoted: Vec<_> = values.iter().map(|value| crate::gotext::quote(value)).collect();
            BadValue::json(format!("[{}]", quoted.join(",")))
        };
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                errors.push(Error::invalid(&values_path, listed(), "for 'in', 'notin' operators, values set can't be empty"));
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                errors.push(Error::invalid(&values_path, listed(), "exact-match compatibility requires one single value"));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                errors.push(Error::invalid(&values_path, listed(), "values set must be empty for exists and does not exist"));
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    errors.push(Error::invalid(&values_path, listed(), "for 'Gt', 'Lt' operators, exactly one value is required"));
                }
                for (index, value) in values.iter().enumerate() {
                    if value.parse::<i64>().is_err() {
                        let message = "for 'Gt', 'Lt' operators, the value must be an integer";
                        errors.push(Error::invalid(&values_path.index(index), value, message));
                    }
                }
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            let messages = is_label_value(value);
            if !messages.is_empty() {
                errors.push(Error::invalid(&values_path.index(index).key(&key), value, messages.join("; ")));
            }
        }
        if errors.is_empty() { Ok(Requirement { key, operator, values }) } else { Err(SelectorError(aggregate(&errors))) }
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    pub fn values(&self) -> &[String] {
        &self.values
    }

    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        self.matches_value(labels.label(&self.key))
    }

    /// Whether an object whose label has this value, or that lacks the label, meets the condition.
    pub fn matches_value(&self, value: Option<&str>) -> bool {
        let listed = |value: &str| self.values.iter().any(|known| known == value);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let bound = self.values.first().and_then(|bound| bound.parse::<i64>().ok());
                match (value.and_then(|value| value.parse::<i64>().ok()), bound) {
                    (Some(value), Some(bound)) if self.operator == Operator::GreaterThan => value > bound,
                    (Some(value), Some(bound)) => value < bound,
                    _ => false,
                }
            }
        }
    }
}

fn key_error(key: &str, path: &Path<'_>) -> Option<Error> {
    let messages = is_qualified_name(key);
    (!messages.is_empty()).then(|| Error::invalid(path, key, messages.join("; ")))
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.join(",");
        match self.operator {
            Operator::Exists => f.write_str(&self.key),
            Operator::DoesNotExist => write!(f, "!{}", self.key),
            Operator::Equals => write!(f, "{}={values}", self.key),
            Operator::DoubleEquals => write!(f, "{}=={values}", self.key),
            Operator::NotEquals => write!(f, "{}!={values}", self.key),
            Operator::In => write!(f, "{} in ({values})", self.key),
            Operator::NotIn => write!(f, "{} notin ({values})", self.key),
            Operator::GreaterThan => write!(f, "{}>{values}", self.key),
            Operator::LessThan => write!(f, "{}<{values}", self.key),
        }
    }
}

/// A set of labels to look for: all conditions must hold, or nothing matches at all. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    pub fn everything() -> Self {
        Selector::default()
    }

    pub fn nothing() -> Self {
        Selector { requirements: Vec::new(), nothing: true }
    }

    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector { requirements, nothing: false }
    }

    /// Reads `a=b,c in (d,e),!f`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::requirements(text).map(Selector::new)
    }

    /// The selector for exactly these labels, without checking them: they are those of an existing object.
    pub fn from_set<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let requirement =
            |(key, value): (&str, &str)| Requirement { key: key.into(), operator: Operator::Equals, values: vec![value.into()] };
        Selector::new(labels.into_iter().map(requirement).collect())
    }

    /// The selector of a `metav1.LabelSelector`; an empty one selects everything. For an absent one that selects nothing, see
    /// [`Selector::of_option`].
    pub fn of(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let expressions = selector
            .match_expressions
            .iter()
            .map(|expression| (expression.key.as_str(), expression.operator.as_str(), expression.values.to_vec()));
        Self::from_label_selector(selector.match_labels.iter().map(|(key, value)| (key, value.as_str())), expressions)
    }

    /// As [`Selector::of`]; no selector selects nothing.
    pub fn of_option(selector: Option<&LabelSelector>) -> Result<Self, SelectorError> {
        selector.map_or_else(|| Ok(Selector::nothing()), Self::of)
    }

    /// As [`Selector::of`], from parts: its `matchLabels` and its `matchExpressions` (key, operator, values).
    pub fn from_label_selector<'a>(
        match_labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        match_expressions: impl IntoIterator<Item = (&'a str, &'a str, Vec<String>)>,
    ) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in match_labels {
            requirements.push(Requirement::new(key, Operator::Equals, vec![value.into()])?);
        }
        for (key, operator, values) in match_expressions {
            let operator = match operator {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                unknown => return Err(SelectorError(format!("{} is not a valid label selector operator", crate::gotext::quote(unknown)))),
            };
            requirements.push(Requirement::new(key, operator, values)?);
        }
        Ok(Selector::new(requirements))
    }

    /// True if every object matches.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// The one value that the label must have, if the selector says so.
    pub fn requires_exact_match(&self, key: &str) -> Option<&str> {
        self.requirements.iter().filter(|requirement| requirement.key == key).find_map(|requirement| {
            let exact = matches!(requirement.operator, Operator::Equals | Operator::DoubleEquals | Operator::In);
            requirement.values.first().filter(|_| exact && requirement.values.len() == 1).map(String::as_str)
        })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Selector::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_prints() {
        for (text, printed) in [
            ("", ""),
            (" a ", "a"),
            ("!a", "!a"),
            ("b=1,a==2,c!=3", "a==2,b=1,c!=3"),
            ("a in (y, x,x),b notin (z)", "a in (x,y),b notin (z)"),
            ("a=", "a="),
            ("a=,b", "a=,b"),
            ("a>1,b<-2", "a>1,b<-2"),
            ("in in (notin)", "in in (notin)"),
            ("a in (,)", "a in ()"),
            ("a in (,b,)", "a in (,b)"),
            ("x.y/z=v", "x.y/z=v"),
        ] {
            match Selector::parse(text) {
                Ok(selector) => assert_eq!(selector.to_string(), printed, "{text}"),
                // A bound has to be a valid label value too.
                Err(error) => assert!(text.contains("-2") && error.to_string().contains("a valid label"), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn refuses_in_upstreams_words() {
        for (text, message) in [
            ("a in (1", "unable to parse requirement: found '', expected: ',' or ')'"),
            ("a in 1", "unable to parse requirement: found '1' expected: '('"),
            ("a in ()", "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"),
            ("a>x", "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer"),
            ("a,,b", "found ',', expected: identifier after ','"),
            (",a", "found ',', expected: !, identifier, or 'end of string'"),
            ("a=b=c", "found '=', expected: ',' or 'end of string'"),
            ("=", "found '=', expected: !, identifier, or 'end of string'"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a exists", "unable to parse requirement: found 'exists', expected: in, notin, =, ==, !=, gt, lt"),
            ("a!in(1)", "unable to parse requirement: found '!', expected: in, notin, =, ==, !=, gt, lt"),
            ("()", "found '(', expected: !, identifier, or 'end of string'"),
            (
                "a<1.5",
                "unable to parse requirement: values[0]: Invalid value: \"1.5\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(Selector::parse(text).unwrap_err().to_string(), message, "{text}");
        }
        let long = "x".repeat(64);
        assert_eq!(
            Selector::parse(&format!("a={long}")).unwrap_err().to_string(),
            format!("unable to parse requirement: values[0][a]: Invalid value: \"{long}\": must be no more than 63 bytes")
        );
        let error = Selector::parse("A/B=c").unwrap_err().to_string();
        assert!(
            error.starts_with("unable to parse requirement: <nil>: Invalid value: \"A/B\": prefix part a lowercase RFC 1123"),
            "{error}"
        );
    }

    #[test]
    fn matches() {
        let objects: [&[(&str, &str)]; 4] = [&[("a", "1"), ("b", "x")], &[("a", "2")], &[("c", "")], &[]];
        for (text, found) in [
            ("", "0123"),
            ("a", "01"),
            ("!a", "23"),
            ("a=1", "0"),
            ("a==1", "0"),
            ("a!=1", "123"),
            ("a in (1,2)", "01"),
            ("a notin (1)", "123"),
            ("a>1", "1"),
            ("a<2,b=x", "0"),
            ("c=", "2"),
        ] {
            let selector = Selector::parse(text).unwrap();
            let matching: String = (0..4).filter(|index| selector.matches(objects[*index])).map(|index| index.to_string()).collect();
            assert_eq!(matching, found, "{text}");
        }
        assert!(!Selector::nothing().matches(objects[0]));
        assert_eq!(Selector::parse("a in (1),b").unwrap().requires_exact_match("a"), Some("1"));
    }
}
