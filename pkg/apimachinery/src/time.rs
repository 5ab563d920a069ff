//! [`Time`], [`MicroTime`] and [`Duration`]: points and spans of time as the API writes them.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds from Unix' epoch to Go's zero time, 0001-01-01T00:00:00Z.
const GO_ZERO: i64 = -62_135_596_800;

/// A point in time to the second, as RFC 3339 in UTC. The default is Go's zero time, which is written as `null`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// From seconds since Unix' epoch.
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// The wall clock, cut to the second.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Seconds since Unix' epoch.
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// True for Go's zero time.
    pub const fn is_zero(&self) -> bool {
        self.0 == GO_ZERO
    }

    /// Seconds from `earlier` to this time; negative if this is before it.
    pub const fn seconds_since(self, earlier: Time) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time moved by so many seconds.
    pub const fn add_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

impl Default for Time {
    fn default() -> Self {
        Self(GO_ZERO)
    }
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        Self(MicroTime::from(time).unix_micros().div_euclid(1_000_000))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_civil(f, self.0)?;
        f.write_str("Z")
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Time {
    type Err = ParseTimeError;
    /// Reads RFC 3339 with any offset; a fraction is cut off.
    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        parse_rfc3339(text).map(|(seconds, _)| Self(seconds))
    }
}

/// A point in time to the microsecond. The default is Go's zero time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MicroTime(i64);

impl MicroTime {
    /// From microseconds since Unix' epoch.
    pub const fn from_unix_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The wall clock, cut to the microsecond.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Microseconds since Unix' epoch.
    pub const fn unix_micros(self) -> i64 {
        self.0
    }

    /// True for Go's zero time.
    pub const fn is_zero(&self) -> bool {
        self.0 == GO_ZERO * 1_000_000
    }
}

impl Default for MicroTime {
    fn default() -> Self {
        Self(GO_ZERO * 1_000_000)
    }
}

impl From<SystemTime> for MicroTime {
    fn from(time: SystemTime) -> Self {
        let micros = match time.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        };
        Self(micros)
    }
}

impl fmt::Display for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_civil(f, self.0.div_euclid(1_000_000))?;
        write!(f, ".{:06}Z", self.0.rem_euclid(1_000_000))
    }
}

impl fmt::Debug for MicroTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MicroTime {
    type Err = ParseTimeError;
    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        parse_rfc3339(text).map(|(seconds, nanos)| Self(seconds * 1_000_000 + i64::from(nanos) / 1000))
    }
}

/// A text that is no RFC 3339 time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("parsing time {0:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse")]
pub struct ParseTimeError(String);

/// Writes `YYYY-MM-DDTHH:MM:SS`. Civil-from-days after the usual proleptic Gregorian arithmetic on 400-year eras.
fn write_civil(f: &mut fmt::Formatter<'_>, unix: i64) -> fmt::Result {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let shifted = days + 719_468; // Days since 0000-03-01: leap days then end each year.
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Seconds since Unix' epoch and nanoseconds within the second.
fn parse_rfc3339(text: &str) -> Result<(i64, u32), ParseTimeError> {
    parse_parts(text.as_bytes()).ok_or_else(|| ParseTimeError(text.to_owned()))
}

fn parse_parts(text: &[u8]) -> Option<(i64, u32)> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, |sum, d| sum * 10 + i64::from(d - b'0')))
    };
    let separator = |at: usize, wanted: u8| text.get(at).is_some_and(|b| b.eq_ignore_ascii_case(&wanted)).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    separator(4, b'-')?;
    separator(7, b'-')?;
    separator(10, b'T')?;
    separator(13, b':')?;
    separator(16, b':')?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if day < 1 || day > days_in_month || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0u32;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let start = at;
        let mut scale = 100_000_000;
        while let Some(digit) = text.get(at).filter(|b| b.is_ascii_digit()) {
            nanos += u32::from(digit - b'0') * scale;
            scale /= 10;
            at += 1;
        }
        if at == start {
            return None;
        }
    }
    let offset = match text.get(at)? {
        b'Z' | b'z' if at + 1 == text.len() => 0,
        sign @ (b'+' | b'-') if at + 6 == text.len() && text[at + 3] == b':' => {
            let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some((days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset, nanos))
}

/// A span of time in nanoseconds, written as Go writes it: `1h0m0s`, `1.5s`, `300ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub i64);

impl Duration {
    /// From whole seconds.
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// As the standard library's type; a negative span is zero.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_nanos(u64::try_from(self.0).unwrap_or(0))
    }
}

impl From<std::time::Duration> for Duration {
    fn from(span: std::time::Duration) -> Self {
        Self(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        let fraction = |f: &mut fmt::Formatter<'_>, whole: u64, rest: u64, digits: usize, unit: &str| {
            let rest = format!("{rest:0digits$}");
            let rest = rest.trim_end_matches('0');
            let dot = if rest.is_empty() { "" } else { "." };
            write!(f, "{whole}{dot}{rest}{unit}")
        };
        f.write_str(sign)?;
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => fraction(f, nanos / 1_000, nanos % 1_000, 3, "µs"),
            1_000_000..1_000_000_000 => fraction(f, nanos / 1_000_000, nanos % 1_000_000, 6, "ms"),
            _ => {
                let seconds = nanos / 1_000_000_000;
                if seconds >= 3600 {
                    write!(f, "{}h", seconds / 3600)?;
                }
                if seconds >= 60 {
                    write!(f, "{}m", seconds / 60 % 60)?;
                }
                fraction(f, seconds % 60, nanos % 1_000_000_000, 9, "s")
            }
        }
    }
}

/// A text that is no Go duration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("time: invalid duration {0:?}")]
pub struct ParseDurationError(String);

impl FromStr for Duration {
    type Err = ParseDurationError;
    /// Reads what Go's `time.ParseDuration` reads.
    fn from_str(text: &str) -> Result<Self, ParseDurationError> {
        let fail = || ParseDurationError(text.to_owned());
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self(0));
        }
        let mut total = 0f64;
        let mut exact = 0i128;
        if rest.is_empty() {
            return Err(fail());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(fail)?;
            let number = &rest[..digits];
            rest = &rest[digits..];
            let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
            let unit: i128 = match &rest[..unit_end] {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                _ => return Err(fail()),
            };
            rest = &rest[unit_end..];
            match number.split_once('.') {
                None => exact += number.parse::<i64>().map_err(|_| fail())? as i128 * unit,
                Some((whole, fraction)) if !(whole.is_empty() && fraction.is_empty()) && !fraction.contains('.') => {
                    exact += if whole.is_empty() { 0 } else { whole.parse::<i64>().map_err(|_| fail())? as i128 * unit };
                    total += format!("0.{fraction}0").parse::<f64>().map_err(|_| fail())? * unit as f64;
                }
                Some(_) => return Err(fail()),
            }
        }
        let nanos = i64::try_from(exact + total.round() as i128).map_err(|_| fail())?;
        Ok(Self(if negative { -nanos } else { nanos }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_and_write_rfc3339() {
        for (text, unix) in [("1970-01-01T00:00:00Z", 0), ("2026-11-21T03:42:50Z", 1_795_232_570), ("2000-02-29T23:59:59Z", 951_868_799)] {
            assert_eq!(text.parse(), Ok(Time::from_unix(unix)));
            assert_eq!(Time::from_unix(unix).to_string(), text);
        }
        assert_eq!("2026-11-21T05:42:50.75+02:00".parse::<Time>().unwrap().to_string(), "2026-11-21T03:42:50Z");
        assert_eq!(Time::default().to_string(), "0001-01-01T00:00:00Z");
        for bad in ["", "2026-02-30T00:00:00Z", "2026-11-21", "2026-11-21T24:00:00Z", "2026-11-21T03:42:50", "2026-11-21T03:42:50.Z"] {
            assert!(bad.parse::<Time>().is_err(), "{bad}");
        }
    }

    #[test]
    fn micro_times_keep_six_digits() {
        let time: MicroTime = "2026-11-21T03:42:50.000123Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-21T03:42:50.000123Z");
    }

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (text, canonical) in [
            ("1h", "1h0m0s"),
            ("90s", "1m30s"),
            ("1.5s", "1.5s"),
            ("300ms", "300ms"),
            ("0", "0s"),
            ("-2m", "-2m0s"),
            ("1h15m30.918s", "1h15m30.918s"),
            ("2us", "2µs"),
        ] {
            assert_eq!(text.parse::<Duration>().unwrap().to_string(), canonical, "{text}");
        }
        for bad in ["", "5", "s", "1x", "1.2.3s", "--1s"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }
}
