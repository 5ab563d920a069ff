//! Times of validity.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::der;

/// A time as certificates write it: two-digit years up to 2049, four-digit years from then on.
pub(crate) fn encode(time: SystemTime) -> Vec<u8> {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let rest = format!("{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    match year {
        ..2050 => der::value(der::UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes()),
        _ => der::value(der::GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes()),
    }
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
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_form_changes_in_2050() {
        let encoded = |seconds| String::from_utf8(encode(UNIX_EPOCH + Duration::from_secs(seconds))[2..].to_vec()).unwrap();
        assert_eq!(encoded(951_782_400), "000229000000Z");
        assert_eq!(encoded(2_524_607_999), "491231235959Z");
        assert_eq!(encoded(2_524_608_000), "20500101000000Z");
    }
}
