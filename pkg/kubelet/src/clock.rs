//! Time as the runtime and its logs have it: nanoseconds since 1970, and RFC 3339 with nine digits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub fn now_nanos() -> i64 {
    nanos(SystemTime::now())
}

pub fn nanos(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64
}

/// The time passed since `then`, zero if that lies ahead.
pub fn since(then: i64) -> Duration {
    Duration::from_nanos(now_nanos().saturating_sub(then).max(0) as u64)
}

/// Days since 1970 as year, month and day of the proleptic Gregorian calendar.
pub fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

/// The inverse of [`civil`].
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

/// `2026-11-21T04:05:06.123456789Z`; times before 1970 are shown as 1970.
pub fn rfc3339_nanos(nanos: i64) -> String {
    let nanos = nanos.max(0) as u64;
    let seconds = nanos / 1_000_000_000;
    let (year, month, day) = civil(seconds / 86_400);
    let of_day = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z", of_day / 3600, of_day / 60 % 60, of_day % 60, nanos % 1_000_000_000)
}

/// Reads RFC 3339 with any number of fraction digits and any offset.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let bytes = text.as_bytes();
    if bytes.len() < 20
        || bytes[4] != b'-'
        || bytes[7] != b'-'
        || !matches!(bytes[10], b'T' | b't')
        || bytes[13] != b':'
        || bytes[16] != b':'
    {
        return None;
    }
    let mut seconds =
        days(number(0, 4)?, number(5, 7)?, number(8, 10)?) * 86_400 + number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let mut rest = &text[19..];
    let mut fraction = 0;
    if let Some(digits) = rest.strip_prefix('.') {
        let end = digits.find(|c: char| !c.is_ascii_digit())?;
        fraction = format!("{:0<9}", &digits[..end.min(9)]).parse::<i64>().ok()?;
        rest = &digits[end..];
    }
    match rest {
        "Z" | "z" => {}
        offset if offset.len() == 6 && offset.as_bytes()[3] == b':' => {
            let minutes = offset.get(1..3)?.parse::<i64>().ok()? * 60 + offset.get(4..6)?.parse::<i64>().ok()?;
            match offset.as_bytes()[0] {
                b'+' => seconds -= minutes * 60,
                b'-' => seconds += minutes * 60,
                _ => return None,
            }
        }
        _ => return None,
    }
    Some(seconds * 1_000_000_000 + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        for (day, date) in [(0, (1970, 1, 1)), (59, (1970, 3, 1)), (11_016, (2000, 2, 29)), (20_778, (2026, 11, 21))] {
            assert_eq!(civil(day), date);
            assert_eq!(days(date.0 as i64, date.1 as i64, date.2 as i64), day as i64);
        }
    }

    #[test]
    fn rfc3339_both_ways() {
        let text = "2026-11-21T04:05:06.123456789Z";
        let nanos = parse_rfc3339(text).unwrap();
        assert_eq!(rfc3339_nanos(nanos), text);
        for same in ["2026-11-21T04:05:06.123456789+00:00", "2026-11-21T06:05:06.123456789+02:00", "2026-11-20T23:05:06.123456789-05:00"] {
            assert_eq!(parse_rfc3339(same), Some(nanos), "{same}");
        }
        assert_eq!(parse_rfc3339("1970-01-01T00:00:01Z"), Some(1_000_000_000));
        for bad in ["", "2026-11-21", "2026-11-21T04:05:06", "2026-11-21 04:05:06Z", "2026-11-21T04:05:06.5"] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
