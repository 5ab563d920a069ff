//! What a plain scalar means in YAML 1.1.

use crate::value::Value;

/// The value of an unquoted text; none if it is just text.
pub(super) fn plain(text: &str) -> Option<Value> {
    let value = match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Value::Float(f64::NEG_INFINITY),
        _ => return number(text),
    };
    Some(value)
}

fn number(text: &str) -> Option<Value> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '.' | '+' | '-')) {
        return None;
    }
    let text = text.replace('_', "");
    if let Some(value) = integer(&text) {
        return Some(i64::try_from(value).map_or(Value::Float(value as f64), Value::Int));
    }
    if is_decimal_float(&text) {
        return text.parse().ok().map(Value::Float);
    }
    None
}

/// Digits with an optional sign and one of the prefixes `0x`, `0o`, `0b` and `0` (octal).
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    let value = if negative { -magnitude } else { magnitude };
    (value >= i128::from(i64::MIN)).then_some(value)
}

fn is_decimal_float(text: &str) -> bool {
    let digits = |text: &str| -> usize { text.bytes().take_while(u8::is_ascii_digit).count() };
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits(unsigned);
    let mut rest = &unsigned[whole..];
    let mut fraction = 0;
    if let Some(behind) = rest.strip_prefix('.') {
        fraction = digits(behind);
        rest = &behind[fraction..];
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let count = digits(exponent);
        rest = if count > 0 { &exponent[count..] } else { exponent };
        if count == 0 {
            return false;
        }
    }
    rest.is_empty() && whole + fraction > 0
}

/// Numbers in base 60, such as `1:30`, are text nowadays, but older readers take them for numbers.
pub(super) fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let mut parts = whole.split(':');
    let first = parts.next().unwrap_or_default();
    let sixty = |part: &str| match part.as_bytes() {
        [digit] => digit.is_ascii_digit(),
        [tens, digit] => (b'0'..=b'5').contains(tens) && digit.is_ascii_digit(),
        _ => false,
    };
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let mut parts = parts.peekable();
    first.starts_with(|first: char| first.is_ascii_digit())
        && number(first)
        && parts.peek().is_some()
        && parts.all(sixty)
        && number(fraction)
}

/// Dates, with or without a time: text to us, but not to every reader.
pub(super) fn is_timestamp(text: &str) -> bool {
    let Some((_, rest)) = text.split_at_checked(4).filter(|(year, _)| in_range(year, 4, 4, 0..=9999)) else {
        return false;
    };
    let date_end = rest.find(['T', 't', ' ']).unwrap_or(rest.len());
    let (date, time) = rest.split_at(date_end);
    let mut parts = date.split('-');
    let dated = parts.next() == Some("")
        && parts.next().is_some_and(|month| in_range(month, 1, 2, 1..=12))
        && parts.next().is_some_and(|day| in_range(day, 1, 2, 1..=31))
        && parts.next().is_none();
    if !dated || time.is_empty() {
        return dated;
    }
    let zoned = !time.starts_with(' ');
    let time = &time[1..];
    let (time, zone) = time.split_at(time.find(['Z', '+', '-']).unwrap_or(time.len()));
    let zone_fits = match (zoned, zone) {
        (false, zone) => zone.is_empty(),
        (true, "Z") => true,
        (true, zone) => {
            let offset = zone.get(1..).and_then(|offset| offset.split_once(':'));
            offset.is_some_and(|(hours, minutes)| in_range(hours, 2, 2, 0..=24) && in_range(minutes, 2, 2, 0..=59))
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    zone_fits
        && !fraction.is_empty()
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
        && parts.next().is_some_and(|hours| in_range(hours, 1, 2, 0..=23))
        && parts.next().is_some_and(|minutes| in_range(minutes, 1, 2, 0..=59))
        && parts.next().is_some_and(|seconds| in_range(seconds, 1, 2, 0..=59))
        && parts.next().is_none()
}

fn in_range(text: &str, shortest: usize, longest: usize, range: std::ops::RangeInclusive<u32>) -> bool {
    (shortest..=longest).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse().is_ok_and(|number| range.contains(&number))
}
