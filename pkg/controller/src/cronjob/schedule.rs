//! Cron schedules: five fields, names, ranges, steps, and the `@` forms, in a time zone.
//!
//! Upstream: github.com/robfig/cron/v3 (`ParseStandard`).

use apimachinery::Time;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};
use thiserror::Error;

/// A schedule that never comes again within so many years has no next time (`0 0 30 2 *`); upstream's number.
const YEARS: i16 = 5;

/// When a job is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    kind: Kind,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Fields(Fields),
    /// `@every`: seconds.
    Every(i64),
}

/// One bit per value.
#[derive(Clone, Debug, PartialEq)]
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A day field that was `*`: then only the other one restricts.
    any_day: bool,
    any_weekday: bool,
}

#[derive(Debug, Error, PartialEq)]
pub enum ScheduleError {
    #[error("expected exactly 5 fields, found {0}: {1}")]
    Fields(usize, String),
    #[error("failed to parse int from {0:?}")]
    Number(String),
    #[error("value out of range: {0:?}")]
    Range(String),
    #[error("step of range should be a positive number: {0:?}")]
    Step(String),
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("failed to parse duration {0:?}")]
    Duration(String),
    #[error("unknown time zone {0}")]
    Zone(String),
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Schedule {
    /// Reads a schedule. Without a zone, UTC: where the controller runs must not matter.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Schedule, ScheduleError> {
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| ScheduleError::Zone(name.into()))?,
        };
        let text = text.trim();
        let kind = match text {
            "@yearly" | "@annually" => Kind::Fields(Fields::parse("0 0 1 1 *")?),
            "@monthly" => Kind::Fields(Fields::parse("0 0 1 * *")?),
            "@weekly" => Kind::Fields(Fields::parse("0 0 * * 0")?),
            "@daily" | "@midnight" => Kind::Fields(Fields::parse("0 0 * * *")?),
            "@hourly" => Kind::Fields(Fields::parse("0 * * * *")?),
            _ => match text.strip_prefix("@every ") {
                Some(every) => {
                    let seconds =
                        every.parse::<apimachinery::Duration>().map_err(|_| ScheduleError::Duration(every.into()))?.0 / 1_000_000_000;
                    Kind::Every(seconds.max(1))
                }
                None if text.starts_with('@') => return Err(ScheduleError::Descriptor(text.into())),
                None => Kind::Fields(Fields::parse(text)?),
            },
        };
        Ok(Schedule { kind, zone })
    }

    /// The first time after `after`; `None` if there is none within [`YEARS`].
    pub fn next(&self, after: Time) -> Option<Time> {
        let fields = match &self.kind {
            Kind::Every(seconds) => return Some(after.add_seconds(*seconds)),
            Kind::Fields(fields) => fields,
        };
        let after = Timestamp::from_second(after.unix()).ok()?;
        let local = after.to_zoned(self.zone.clone()).datetime();
        let last = local.date().checked_add(Span::new().years(YEARS)).ok()?;
        let mut date = local.date();
        while date <= last {
            if fields.has_day(date) {
                for hour in (0..24).filter(|hour| fields.hours & (1 << hour) != 0) {
                    for minute in (0..60).filter(|minute| fields.minutes & (1 << minute) != 0) {
                        // A time that the clock skips is taken as the one it becomes.
                        let wall: DateTime = date.at(hour, minute, 0, 0);
                        let at = wall.to_zoned(self.zone.clone()).ok()?.timestamp();
                        if at > after {
                            return Some(Time::from_unix(at.as_second()));
                        }
                    }
                }
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }
}

impl Fields {
    fn parse(text: &str) -> Result<Fields, ScheduleError> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts.as_slice() else {
            return Err(ScheduleError::Fields(parts.len(), format!("[{}]", parts.join(" "))));
        };
        let weekday_bits = field(weekdays, 0, 7, &WEEKDAYS, 0)?;
        Ok(Fields {
            minutes: field(minutes, 0, 59, &[], 0)?,
            hours: field(hours, 0, 23, &[], 0)?,
            days: field(days, 1, 31, &[], 0)?,
            months: field(months, 1, 12, &MONTHS, 1)?,
            // Sunday is 0, and 7 as well.
            weekdays: (weekday_bits | (weekday_bits >> 7)) & 0x7f,
            any_day: is_any(days),
            any_weekday: is_any(weekdays),
        })
    }

    fn has_day(&self, date: Date) -> bool {
        let month = self.months & (1 << date.month()) != 0;
        let day = self.days & (1 << date.day()) != 0;
        let weekday = self.weekdays & (1 << date.weekday().to_sunday_zero_offset()) != 0;
        // Both restricted: either is enough, as cron has always had it.
        month && if self.any_day || self.any_weekday { day && weekday } else { day || weekday }
    }
}

fn is_any(text: &str) -> bool {
    text.split(',').any(|part| part == "*" || part == "?" || part.starts_with("*/") || part.starts_with("?/"))
}

/// Bits of one field: a list of `*`, `n`, `n-m`, each perhaps with `/step`.
fn field(text: &str, least: u32, most: u32, names: &[&str], first_name: u32) -> Result<u64, ScheduleError> {
    let number = |word: &str| {
        let name = names.iter().position(|name| word.eq_ignore_ascii_case(name));
        match name {
            Some(position) => Ok(position as u32 + first_name),
            None => word.parse::<u32>().map_err(|_| ScheduleError::Number(word.into())),
        }
    };
    let mut bits = 0u64;
    for part in text.split(',') {
        let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
        let (first, mut last) = match range {
            // A week has seven days, though Sunday has two numbers.
            "*" | "?" => (least, if most == 7 { 6 } else { most }),
            _ => match range.split_once('-') {
                Some((first, last)) => (number(first)?, number(last)?),
                None => (number(range)?, number(range)?),
            },
        };
        let step = match step {
            None => 1,
            Some(step) => {
                if !range.contains('-') {
                    last = if most == 7 { 6.max(first) } else { most };
                }
                step.parse::<u32>().ok().filter(|step| *step > 0).ok_or_else(|| ScheduleError::Step(part.into()))?
            }
        };
        if first < least || last > most || first > last {
            return Err(ScheduleError::Range(part.into()));
        }
        (first..=last).step_by(step as usize).for_each(|value| bits |= 1 << value);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(schedule: &str, zone: Option<&str>, after: &str, expected: &str) {
        let next = Schedule::parse(schedule, zone).unwrap().next(after.parse().unwrap());
        assert_eq!(next.map(|time| time.to_string()).unwrap_or_default(), expected, "{schedule}");
    }

    #[test]
    fn the_next_time_is_found() {
        let after = "2024-02-28T10:17:30Z"; // A Wednesday.
        for (schedule, expected) in [
            ("* * * * *", "2024-02-28T10:18:00Z"),
            ("*/15 * * * *", "2024-02-28T10:30:00Z"),
            ("5-10/5 * * * *", "2024-02-28T11:05:00Z"),
            ("0 0 29 2 *", "2024-02-29T00:00:00Z"),
            ("0 0 30 2 *", ""),
            ("0 12 * * MON-FRI", "2024-02-28T12:00:00Z"),
            ("0 9 * * 7", "2024-03-03T09:00:00Z"),
            ("0 0 1 * sun", "2024-03-01T00:00:00Z"),
            ("0 0 */2 * 1", "2024-03-11T00:00:00Z"),
            ("@hourly", "2024-02-28T11:00:00Z"),
            ("@yearly", "2025-01-01T00:00:00Z"),
            ("@every 90s", "2024-02-28T10:19:00Z"),
        ] {
            check(schedule, None, after, expected);
        }
    }

    #[test]
    fn a_zone_moves_with_its_clock() {
        check("30 2 * * *", Some("Europe/Berlin"), "2024-03-29T12:00:00Z", "2024-03-30T01:30:00Z");
        // On 31 March 2024, 2:30 does not exist there.
        check("30 2 * * *", Some("Europe/Berlin"), "2024-03-30T12:00:00Z", "2024-03-31T01:30:00Z");
        check("0 0 * * *", Some("Asia/Kolkata"), "2024-01-01T00:00:00Z", "2024-01-01T18:30:00Z");
    }

    #[test]
    fn bad_schedules_are_refused() {
        for (text, expected) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "value out of range: \"60\""),
            ("x * * * *", "failed to parse int from \"x\""),
            ("*/0 * * * *", "step of range should be a positive number: \"*/0\""),
            ("@never", "unrecognized descriptor: @never"),
        ] {
            assert_eq!(Schedule::parse(text, None).unwrap_err().to_string(), expected);
        }
        assert!(Schedule::parse("* * * * *", Some("Mars/Base")).is_err());
    }
}
