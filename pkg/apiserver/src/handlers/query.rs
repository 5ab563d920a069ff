//! [`Query`]: the parameters of a request, and the options every verb reads from them.

use apimachinery::gotext;
use apimachinery::gvk::GroupKind;
use apimachinery::status::StatusError;
use apimachinery::validation::field::{self, BadValue, Path};

/// The decoded query string, in order.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub fn parse(query: Option<&str>) -> Query {
        let pairs = query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(key), unescape(value))
        });
        Query { pairs: pairs.collect() }
    }

    /// The first value of a parameter; empty if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.opt(name).unwrap_or("")
    }

    /// The first value of a parameter.
    pub fn opt(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A number, with Go's complaint if it is none.
    pub fn int(&self, name: &str) -> Result<Option<i64>, StatusError> {
        self.opt(name).map(|text| parse_int(text).map_err(StatusError::bad_request)).transpose()
    }

    /// A boolean as upstream's conversion of parameters reads it: anything but `false`, `0` and nothing is true.
    pub fn bool(&self, name: &str) -> Option<bool> {
        self.opt(name).map(|text| !matches!(text.to_lowercase().as_str(), "false" | "0"))
    }

    /// `dryRun=All`.
    pub fn dry_run(&self, options: &str) -> Result<bool, StatusError> {
        let (mut dry_run, mut bad) = (false, false);
        let mut errors = field::ErrorList::new();
        for value in self.all("dryRun") {
            match value {
                "All" => dry_run = true,
                // A bare `dryRun=` asks for nothing.
                "" => {}
                _ => bad = true,
            }
        }
        if bad {
            errors.push(not_dry_run(self.all("dryRun")));
        }
        match errors.is_empty() {
            true => Ok(dry_run),
            false => Err(StatusError::invalid(&GroupKind::new("meta.k8s.io", options), "", &errors)),
        }
    }

    /// How unknown and duplicate fields are taken.
    pub fn field_validation(&self, options: &str) -> Result<FieldValidation, StatusError> {
        match self.get("fieldValidation") {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Ignore" => Ok(FieldValidation::Ignore),
            "Strict" => Ok(FieldValidation::Strict),
            other => {
                let error = field::Error::not_supported(&Path::new("fieldValidation"), other, &["", "Ignore", "Strict", "Warn"]);
                Err(StatusError::invalid(&GroupKind::new("meta.k8s.io", options), "", &[error]))
            }
        }
    }
}

/// The complaint about values of `dryRun`, all of which it shows.
pub fn not_dry_run<'a>(values: impl Iterator<Item = &'a str>) -> field::Error {
    let shown: Vec<String> = values.map(gotext::quote).collect();
    field::Error::not_supported(&Path::new("dryRun"), BadValue::json(format!("[{}]", shown.join(","))), &["All"])
}

/// What becomes of a field the type does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Go's `strconv.ParseInt` with its errors.
pub fn parse_int(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| {
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let why =
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) { "value out of range" } else { "invalid syntax" };
        format!("strconv.ParseInt: parsing {}: {why}", apimachinery::gotext::quote(text))
    })
}

/// A resource version as a revision, with upstream's complaint if it is none.
pub fn parse_revision(text: &str) -> Result<u64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| {
        let why = if digits { "value out of range" } else { "invalid syntax" };
        let quoted = apimachinery::gotext::quote(text);
        format!("resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: {why}")
    })
}

/// Undoes percent and plus escapes; what is no valid escape stays as it is.
pub fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 2;
            }
            (b'+', _, _) => plain.push(b' '),
            (byte, _, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fail_as_gos_do() {
        assert_eq!(parse_int("-12"), Ok(-12));
        for (text, why) in
            [("abc", "invalid syntax"), ("", "invalid syntax"), ("1.5", "invalid syntax"), ("99999999999999999999", "value out of range")]
        {
            assert_eq!(parse_int(text).unwrap_err(), format!("strconv.ParseInt: parsing \"{text}\": {why}"));
        }
        assert_eq!(parse_revision(""), Ok(0));
        assert!(parse_revision("-1").is_err());
    }
}
