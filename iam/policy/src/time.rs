//! Dates as the Date operators read them: W3C's profile of ISO 8601, or seconds since 1970.

const DAY_SECONDS: i64 = 86_400;

/// Milliseconds since 1970; `None` if `text` is no date.
pub(crate) fn parse_ms(text: &str) -> Option<i64> {
    if !text.is_empty() && text.len() <= 15 && text.len() != 4 && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(1_000);
    }
    let (date, time) = match text.split_once(['T', 't']) {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4)?;
    let (month, day) = (optional(parts.next())?, optional(parts.next())?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=month_days(year, month)).contains(&day) {
        return None;
    }
    let days = days_since_epoch(year, month, day);
    let milliseconds = match time {
        Some(time) => time_ms(time)?,
        None => 0,
    };
    Some(days * DAY_SECONDS * 1_000 + milliseconds)
}

/// `2013-06-30T00:00:00Z`.
pub(crate) fn format(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn optional(part: Option<&str>) -> Option<i64> {
    part.map_or(Some(1), |part| number(part, 2))
}

/// `hh:mm[:ss[.f...]]` with a zone.
fn time_ms(text: &str) -> Option<i64> {
    let zone_at = text.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = text.split_at(zone_at);
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction)),
        None => (clock, None),
    };
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2)?;
    let minute = number(parts.next()?, 2)?;
    let second = parts.next().map_or(Some(0), |part| number(part, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let milliseconds = fraction.map_or(Some(0), fraction_ms)?;
    Some(((hour * 60 + minute - zone_minutes(zone)?) * 60 + second) * 1_000 + milliseconds)
}

fn fraction_ms(text: &str) -> Option<i64> {
    if text.is_empty() || text.len() > 9 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded = format!("{text}000");
    padded[..3].parse().ok()
}

fn zone_minutes(zone: &str) -> Option<i64> {
    if let "Z" | "z" = zone {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = match zone.get(1..)?.split_once(':') {
        Some(parts) => parts,
        None => zone.get(1..)?.split_at_checked(2)?,
    };
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours <= 14 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in March.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The reverse of [`days_since_epoch`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * march_month + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::{format, parse_ms};

    #[test]
    fn reads_the_forms_of_iso_8601_and_epoch_seconds() {
        let noon = Some(1_372_593_600_000);
        assert_eq!(parse_ms("2013-06-30T12:00:00Z"), noon);
        assert_eq!(parse_ms("2013-06-30T14:00+02:00"), noon);
        assert_eq!(parse_ms("2013-06-30T12:00:00.25Z"), noon.map(|ms| ms + 250));
        assert_eq!(parse_ms("1372593600"), noon);
        assert_eq!(parse_ms("2000-02-29"), Some(951_782_400_000));
        assert_eq!(parse_ms("1970"), Some(0));
        for bad in ["", "yesterday", "2013-13-01", "2013-02-29", "2013-06-30T12:00:00", "2013-06-30T25:00Z", "-1"] {
            assert_eq!(parse_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn formatting_is_the_reverse_of_reading() {
        for seconds in [0, 951_782_400, 1_372_593_600, 4_102_444_799, -1] {
            assert_eq!(parse_ms(&format(seconds)), Some(seconds * 1_000), "{seconds}");
        }
    }
}
