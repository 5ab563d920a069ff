//! Texts of Table cells. Upstream: pkg/printers/internalversion, apimachinery `pkg/util/duration`.

use apimachinery::{Time, Value};

/// What stands where nothing is.
pub const NONE: &str = "<none>";
/// What stands where something is that is not known.
pub const UNKNOWN: &str = "<unknown>";

/// Time that has passed since, as people read it: `5s`, `2m10s`, `3d4h`; `<unknown>` for no time.
pub fn age(since: Time, now: Time) -> Value {
    Value::from(age_text(since, now))
}

/// As [`age`], as text.
pub fn age_text(since: Time, now: Time) -> String {
    if since.is_zero() { UNKNOWN.to_owned() } else { human_duration(now.seconds_since(since)) }
}

/// A duration with two or three significant figures.
pub fn human_duration(seconds: i64) -> String {
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{large}{large_unit}"),
        small => format!("{large}{large_unit}{small}{small_unit}"),
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, "m", seconds % 60, "s"),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, "h", minutes % 60, "m"),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, "d", hours % 24, "h"),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => two(years, "y", days % 365, "d"),
        () => format!("{years}y"),
    }
}

/// `a=b,c=d`, or `<none>`.
pub fn labels_text<'a>(labels: impl IntoIterator<Item = (&'a str, &'a String)>) -> String {
    let pairs: Vec<_> = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    or_none(pairs.join(","))
}

/// The text, or `<none>`.
pub fn or_none(text: impl Into<String>) -> String {
    let text = text.into();
    if text.is_empty() { NONE.to_owned() } else { text }
}

/// The text, or `<unknown>`.
pub fn or_unknown(text: &str) -> &str {
    if text.is_empty() { UNKNOWN } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_upstream() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (130, "2m10s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (180 * 60, "3h"),
            (190 * 60, "3h10m"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (50 * 3600, "2d2h"),
            (9 * 86_400, "9d"),
            (800 * 86_400, "2y70d"),
            (3000 * 86_400, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
