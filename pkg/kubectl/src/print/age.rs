//! Durations for people, as upstream's `duration.HumanDuration`, and timestamps.

use apimachinery::Time;

/// `3m12s`, `5h`, `2d3h`: two units at most, and only where they matter.
pub fn human(seconds: i64) -> String {
    // A clock a little behind is no reason to show nonsense.
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    let two = |first: i64, unit: &str, second: i64, small: &str| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{small}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match () {
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 192 => two(hours / 24, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        () if hours < 24 * 365 * 8 => two(hours / 24 / 365, "y", (hours / 24) % 365, "d"),
        () => format!("{}y", hours / 24 / 365),
    }
}

/// Seconds since the epoch, now.
pub fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// Seconds since the epoch of an RFC 3339 text, with or without fraction.
pub fn unix(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Time>() {
        return Some(time.unix());
    }
    text.parse::<apimachinery::MicroTime>().ok().map(|time| time.unix_micros().div_euclid(1_000_000))
}

/// The age of a timestamp; `<unknown>` without one.
pub fn since(text: Option<&str>) -> String {
    match text.and_then(unix) {
        Some(at) => human(now() - at),
        None => "<unknown>".into(),
    }
}

/// `Mon, 02 Jan 2006 15:04:05 +0000`.
pub fn rfc1123(text: &str) -> String {
    let Some(at) = unix(text) else { return text.to_string() };
    let days = at.div_euclid(86_400);
    let (year, month, day) = civil(days);
    let clock = at.rem_euclid(86_400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][days.rem_euclid(7) as usize];
    let month = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][month as usize - 1];
    format!("{weekday}, {day:02} {month} {year:04} {:02}:{:02}:{:02} +0000", clock / 3600, clock / 60 % 60, clock % 60)
}

/// Year, month and day of a day since the epoch (Howard Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        for (seconds, expected) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (130, "2m10s"),
            (600, "10m"),
            (3600 * 3, "3h"),
            (3600 * 5 + 60 * 7, "5h7m"),
            (3600 * 30, "30h"),
            (86400 * 3 + 3600 * 2, "3d2h"),
            (86400 * 30, "30d"),
            (86400 * 365 * 3 + 86400 * 4, "3y4d"),
            (86400 * 365 * 9, "9y"),
        ] {
            assert_eq!(human(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(rfc1123("2024-02-29T12:34:56Z"), "Thu, 29 Feb 2024 12:34:56 +0000");
        assert_eq!(rfc1123("1970-01-01T00:00:00Z"), "Thu, 01 Jan 1970 00:00:00 +0000");
    }
}
