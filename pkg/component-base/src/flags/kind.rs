//! The types of flags, and reading their values as pflag does.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::duration;

/// The type of a flag, by the name upstream's help shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    Int32,
    Float,
    Duration,
    Text,
    /// Comma-separated, may be repeated.
    Strings,
    /// One value each time, may be repeated.
    StringArray,
    Int32Slice,
    /// `k=v,k2=v2` (or `k<v`), may be repeated.
    Map,
    Ip,
    IpPort,
    /// `30000-32767`.
    PortRange,
    /// `--version`.
    Version,
}

impl Kind {
    /// The kind behind a type name of the fact tables.
    pub(super) fn of_fact(name: &str) -> Option<Kind> {
        Some(match name {
            "bool" => Kind::Bool,
            "int" => Kind::Int,
            "int32" | "Level" => Kind::Int32,
            "float" | "float32" => Kind::Float,
            "duration" => Kind::Duration,
            "string" | "quantity" | "moduleSpec" | "LocalMode" | "ProxyMode" => Kind::Text,
            "strings" | "taints" | "colonSeparatedMultimapStringString" => Kind::Strings,
            "stringArray" | "namedCertKey" | "reserved-memory" => Kind::StringArray,
            "int32Slice" => Kind::Int32Slice,
            "mapStringString" | "stringToString" | "mapStringBool" => Kind::Map,
            "ip" => Kind::Ip,
            "ipport" => Kind::IpPort,
            "portRange" => Kind::PortRange,
            "version" => Kind::Version,
            _ => return None,
        })
    }

    /// Whether a later value is added to the earlier ones instead of replacing them.
    pub(super) fn adds_up(self) -> bool {
        matches!(self, Kind::Strings | Kind::StringArray | Kind::Int32Slice | Kind::Map)
    }

    /// Whether the flag stands for something when it is given without a value.
    pub(super) fn needs_value(self) -> bool {
        !matches!(self, Kind::Bool | Kind::Version)
    }

    /// Checks one value; the error is Go's.
    pub(super) fn check(self, text: &str) -> Result<(), String> {
        match self {
            Kind::Bool => parse_bool(text).map(drop),
            Kind::Int => parse_int(text, i64::MIN, i64::MAX).map(drop),
            Kind::Int32 => parse_int(text, i64::from(i32::MIN), i64::from(i32::MAX)).map(drop),
            Kind::Float => parse_float(text).map(drop),
            Kind::Duration => duration::parse_nanos(text).map(drop),
            Kind::Text | Kind::Strings | Kind::StringArray | Kind::Version => Ok(()),
            Kind::Int32Slice => {
                split_list(text).iter().try_for_each(|part| parse_int(part, i64::from(i32::MIN), i64::from(i32::MAX)).map(drop))
            }
            Kind::Map => split_pairs(text).map(drop),
            Kind::Ip if text.is_empty() => Ok(()),
            Kind::Ip => text.parse::<IpAddr>().map(drop).map_err(|_| format!("failed to parse IP: {text:?}")),
            Kind::IpPort => check_ip_port(text),
            Kind::PortRange => parse_port_range(text).map(drop),
        }
    }

    /// A form in which equal values are equal texts, for telling a default from a change.
    pub(super) fn canonical(self, texts: &[String]) -> String {
        let last = texts.last().map_or("", String::as_str);
        match self {
            Kind::Bool => parse_bool(last).map(|value| value.to_string()).unwrap_or_default(),
            Kind::Int | Kind::Int32 => {
                parse_int(last, i64::MIN, i64::MAX).map(|value| value.to_string()).unwrap_or_else(|_| "0".to_owned())
            }
            Kind::Float => parse_float(last).unwrap_or(0.0).to_string(),
            Kind::Duration => duration::parse_nanos(last).unwrap_or(0).to_string(),
            Kind::Strings | Kind::Int32Slice => texts.iter().flat_map(|text| split_list(text)).collect::<Vec<_>>().join(","),
            Kind::StringArray => texts.join("\n"),
            Kind::Map => {
                let pairs: BTreeMap<String, String> = texts.iter().filter_map(|text| split_pairs(text).ok()).flatten().collect();
                pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
            }
            Kind::Ip => last.parse::<IpAddr>().map(|ip| ip.to_string()).unwrap_or_default(),
            _ => last.to_owned(),
        }
    }
}

/// As Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// As Go's `strconv.ParseInt` with base 0 (decimal, 0x, 0o, 0b, leading 0 for octal), within bounds.
pub(super) fn parse_int(text: &str, least: i64, most: i64) -> Result<i64, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
    }
    let value = i128::from_str_radix(digits, radix).unwrap_or(i128::MAX);
    let value = if negative { -value } else { value };
    if value < i128::from(least) || value > i128::from(most) {
        return Err(format!("strconv.ParseInt: parsing {text:?}: value out of range"));
    }
    Ok(value as i64)
}

pub(super) fn parse_float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
}

fn check_ip_port(text: &str) -> Result<(), String> {
    if text.is_empty() || text.parse::<SocketAddr>().is_ok() || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!("{text:?} is not a valid IP address or IP:port pair"))
}

/// First and last port. Empty stands for none at all, `a` for one, `a-b` for a range, `a+n` for n more.
pub(super) fn parse_port_range(text: &str) -> Result<Option<(u16, u16)>, String> {
    let text = text.trim();
    let number = |part: &str| part.trim().parse::<u32>().map_err(|_| format!("unable to parse port range: {text:?}"));
    let (first, last) = if text.is_empty() || text == "0-0" {
        return Ok(None);
    } else if let Some((first, last)) = text.split_once('-') {
        (number(first)?, number(last)?)
    } else if let Some((first, more)) = text.split_once('+') {
        let first = number(first)?;
        (first, first.saturating_add(number(more)?).min(65_535))
    } else {
        (number(text)?, number(text)?)
    };
    if first > 65_535 || last > 65_535 {
        return Err(format!("the port range cannot be greater than 65535: {text}"));
    }
    if first > last {
        return Err(format!("end port cannot be less than start port: {text}"));
    }
    Ok(Some((first as u16, last as u16)))
}

/// Splits at commas; a part in double quotes may hold commas, and `""` in it stands for a quote.
pub(super) fn split_list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    if !text.contains('"') {
        return text.split(',').map(str::to_owned).collect();
    }
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let part = parts.last_mut().expect("starts with one part");
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(String::new()),
            other => part.push(other),
        }
    }
    parts
}

/// Splits `k=v,k2=v2`; the eviction flags write `k<v`.
pub(super) fn split_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    split_list(text)
        .into_iter()
        .filter(|part| !part.trim().is_empty())
        .map(|part| match part.split_once(['=', '<']) {
            Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
            None => Err(format!("malformed pair, expect string=string: {part}")),
        })
        .collect()
}
