//! Durations in Go's syntax: `1h0m0s`, `300ms`, `-1.5h`.

use std::fmt::Write as _;
use std::time::Duration;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Parses a duration as Go's `time.ParseDuration` does. Nanoseconds, possibly negative.
pub fn parse_nanos(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let whole_end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (whole, after) = rest.split_at(whole_end);
        let (fraction, after) = match after.strip_prefix('.') {
            None => ("", after),
            Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let scale: i128 = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total = whole.checked_mul(scale).and_then(|nanos| total.checked_add(nanos)).ok_or_else(invalid)?;
        // Digits beyond the 18th are below a nanosecond in every unit.
        let digits = &fraction[..fraction.len().min(18)];
        if !digits.is_empty() {
            let value: i128 = digits.parse().map_err(|_| invalid())?;
            total += value * scale / 10_i128.pow(digits.len() as u32);
        }
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

/// Parses a duration that must not be negative.
pub fn parse(text: &str) -> Result<Duration, String> {
    let nanos = parse_nanos(text)?;
    u64::try_from(nanos).map(Duration::from_nanos).map_err(|_| format!("duration {text:?} must not be negative"))
}

/// Writes a duration as Go's `Duration.String` does.
pub fn format(duration: Duration) -> String {
    format_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// Writes nanoseconds as Go's `Duration.String` does.
pub fn format_nanos(nanos: i64) -> String {
    let mut out = String::new();
    if nanos < 0 {
        out.push('-');
    }
    let size = nanos.unsigned_abs();
    let second = NANOS_PER_SECOND as u64;
    match size {
        0 => out.push_str("0s"),
        1..1_000 => drop(write!(out, "{size}ns")),
        1_000..1_000_000 => push_decimal(&mut out, size, 1_000, "µs"),
        1_000_000..1_000_000_000 => push_decimal(&mut out, size, 1_000_000, "ms"),
        _ => {
            let (hours, minutes) = (size / second / 3600, size / second / 60 % 60);
            if hours > 0 {
                let _ = write!(out, "{hours}h");
            }
            if hours > 0 || minutes > 0 {
                let _ = write!(out, "{minutes}m");
            }
            push_decimal(&mut out, size % (60 * second), second, "s");
        }
    }
    out
}

fn push_decimal(out: &mut String, value: u64, scale: u64, unit: &str) {
    let _ = write!(out, "{}", value / scale);
    let rest = value % scale;
    if rest > 0 {
        let width = scale.ilog10() as usize;
        let digits = format!("{rest:0width$}");
        let _ = write!(out, ".{}", digits.trim_end_matches('0'));
    }
    out.push_str(unit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, nanos, canonical) in [
            ("0", 0, "0s"),
            ("1h0m0s", 3_600 * NANOS_PER_SECOND, "1h0m0s"),
            ("90s", 90 * NANOS_PER_SECOND, "1m30s"),
            ("1.5h", 5_400 * NANOS_PER_SECOND, "1h30m0s"),
            ("300ms", 300_000_000, "300ms"),
            ("1.5ms", 1_500_000, "1.5ms"),
            ("-2us", -2_000, "-2µs"),
            ("7ns", 7, "7ns"),
            (".5s", 500_000_000, "500ms"),
            ("+10m", 600 * NANOS_PER_SECOND, "10m0s"),
            ("1h1ns", 3_600 * NANOS_PER_SECOND + 1, "1h0m0.000000001s"),
        ] {
            assert_eq!(parse_nanos(text), Ok(nanos), "{text}");
            assert_eq!(format_nanos(nanos), canonical, "{text}");
        }
    }

    #[test]
    fn bad_durations_are_refused_in_gos_words() {
        for (text, error) in [
            ("", "time: invalid duration \"\""),
            ("5", "time: missing unit in duration \"5\""),
            ("5x", "time: unknown unit \"x\" in duration \"5x\""),
            ("s", "time: invalid duration \"s\""),
            ("9999999h", "time: invalid duration \"9999999h\""),
        ] {
            assert_eq!(parse_nanos(text), Err(error.to_owned()), "{text}");
        }
        assert!(parse("-1s").is_err());
    }
}
