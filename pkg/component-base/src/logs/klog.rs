//! The two line formats of klog.

use std::fmt::Write as _;
use std::time::SystemTime;

use tracing::Level;

/// One line to be.
pub(super) struct Entry<'a> {
    pub level: Level,
    pub time: SystemTime,
    pub pid: u32,
    pub file: &'a str,
    pub line: u32,
    pub message: &'a str,
    /// Rendered already: ` key=value` in text, `,"key":value` in JSON.
    pub fields: &'a str,
}

impl Entry<'_> {
    /// `I1121 03:42:50.123456    4711 file.rs:12] "message" key="value"`. Times are UTC.
    pub fn text(&self, out: &mut String) {
        let letter = match self.level {
            Level::ERROR => 'E',
            Level::WARN => 'W',
            _ => 'I',
        };
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (seconds, micros) = (since.as_secs(), since.subsec_micros());
        let (_, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let _ = write!(
            out,
            "{letter}{month:02}{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06} {:>7} {}:{}] ",
            self.pid, self.file, self.line
        );
        text_string(self.message, out);
        out.push_str(self.fields);
        out.push('\n');
    }

    /// `{"ts":1700000000123.4,"caller":"file.rs:12","msg":"message","v":0,"key":"value"}`; errors have no `v`.
    pub fn json(&self, out: &mut String) {
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let _ = write!(out, "{{\"ts\":{}.{:03}", since.as_millis(), since.subsec_micros() % 1000);
        let _ = write!(out, ",\"caller\":\"{}:{}\",\"msg\":", self.file, self.line);
        json_string(self.message, out);
        let verbosity = match self.level {
            Level::ERROR => None,
            Level::WARN | Level::INFO => Some(0),
            Level::DEBUG => Some(4),
            Level::TRACE => Some(6),
        };
        if let Some(verbosity) = verbosity {
            let _ = write!(out, ",\"v\":{verbosity}");
        }
        out.push_str(self.fields);
        out.push_str("}\n");
    }
}

/// `Thu Jan  1 00:00:00 UTC 1970`, for seconds since then.
pub(super) fn date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (weekday, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
    format!("{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} UTC {year}")
}

/// Year, month (1..) and day (1..) of a day counted from 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March put the leap day last, so that month lengths follow one formula.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    // January and February belong to the year that began the March before.
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A string as Go quotes it.
pub(super) fn text_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            control if control.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

/// A JSON string.
pub(super) fn json_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            control if u32::from(control) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn line(seconds: u64, micros: u32, level: Level) -> String {
        let mut out = String::new();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(u64::from(micros));
        Entry { level, time, pid: 4711, file: "run.rs", line: 7, message: "Hello", fields: "" }.text(&mut out);
        out
    }

    #[test]
    fn headers_are_klogs() {
        // `date -u -d @1795232570` is Nov 21 03:42:50 2026.
        assert_eq!(line(1_795_232_570, 123_456, Level::INFO), "I1121 03:42:50.123456    4711 run.rs:7] \"Hello\"\n");
        assert_eq!(line(951_782_400, 0, Level::ERROR), "E0229 00:00:00.000000    4711 run.rs:7] \"Hello\"\n");
        assert_eq!(line(0, 1, Level::WARN), "W0101 00:00:00.000001    4711 run.rs:7] \"Hello\"\n");
    }

    #[test]
    fn dates_are_written_as_date_does() {
        assert_eq!(date(0), "Thu Jan  1 00:00:00 UTC 1970");
        assert_eq!(date(951_782_400), "Tue Feb 29 00:00:00 UTC 2000");
        assert_eq!(date(1_795_232_570), "Sat Nov 21 03:42:50 UTC 2026");
    }

    #[test]
    fn json_has_milliseconds() {
        let mut out = String::new();
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_250);
        Entry { level: Level::INFO, time, pid: 1, file: "a.rs", line: 2, message: "x", fields: ",\"k\":1" }.json(&mut out);
        assert_eq!(out, "{\"ts\":1500.250,\"caller\":\"a.rs:2\",\"msg\":\"x\",\"v\":0,\"k\":1}\n");
    }
}
