//! Times as signatures carry them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// `20130524T000000Z` as seconds since 1970.
pub(crate) fn parse_basic(text: &str) -> Option<u64> {
    let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
    if bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to]
            .iter()
            .try_fold(0i64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(seconds).ok()
}

/// The `Date` header (`Fri, 24 May 2013 00:00:00 GMT`) as seconds since 1970.
pub(crate) fn parse_http(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}

/// Seconds since 1970 as `20130524T000000Z`.
pub(crate) fn format_basic(seconds: u64) -> String {
    let (date, time) = civil(seconds);
    format!("{:04}{:02}{:02}T{:02}{:02}{:02}Z", date[0], date[1], date[2], time[0], time[1], time[2])
}

/// Seconds since 1970 as `2013-05-24T00:00:00Z`.
pub(crate) fn format_extended(seconds: u64) -> String {
    let (date, time) = civil(seconds);
    format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", date[0], date[1], date[2], time[0], time[1], time[2])
}

fn civil(seconds: u64) -> ([i64; 3], [u8; 3]) {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let date = [i64::from(time.year()), i64::from(u8::from(time.month())), i64::from(time.day())];
    (date, [time.hour(), time.minute(), time.second()])
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_their_text() {
        assert_eq!(parse_basic("20130524T000000Z"), Some(1_369_353_600));
        assert_eq!(parse_http("Fri, 24 May 2013 00:00:00 GMT"), Some(1_369_353_600));
        for seconds in (0..4_000_000_000u64).step_by(86_400 * 13 + 3_607) {
            assert_eq!(parse_basic(&format_basic(seconds)), Some(seconds));
        }
        assert_eq!(format_extended(1_369_353_600), "2013-05-24T00:00:00Z");
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "20130524T000000", "20131324T000000Z", "2013-05-24T00:00:00Z", "20130524T0000-1Z"] {
            assert_eq!(parse_basic(text), None, "{text}");
        }
    }
}
