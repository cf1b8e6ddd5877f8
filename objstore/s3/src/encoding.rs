//! Small text codecs: HTTP dates, `encoding-type=url`, opaque tokens.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use karri_ring_types::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What `encoding-type=url` leaves as it is, besides letters and digits. A space becomes `%20`, which decoders of
/// paths and of forms read alike.
const LISTING_KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*');

/// A key, prefix or marker as listings print it under `encoding-type=url`.
pub(crate) fn url_encode(text: &str) -> String {
    utf8_percent_encode(text, LISTING_KEPT).to_string()
}

const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const SECONDS_PER_DAY: u64 = 86_400;

/// Year, month (1..=12) and day of a day since 1970-01-01 (Howard Hinnant's `civil_from_days`).
pub(crate) fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// `Jan` to `Dec`.
pub(crate) fn month_name(month: u64) -> &'static str {
    MONTHS[usize::try_from(month - 1).unwrap_or(0)]
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) fn http_date(time: Timestamp) -> String {
    let seconds = time.as_secs();
    let (days, rest) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (year, month, day) = civil(days);
    let weekday = WEEKDAYS[usize::try_from(days % 7).unwrap_or(0)];
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{weekday}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT", month_name(month))
}

/// A date of a conditional header in any of the forms that S3 takes: IMF-fixdate with any zone, RFC 850 and asctime
/// (RFC 9110, 5.6.7), ISO 8601. `None` when unreadable, which a condition ignores.
pub(crate) fn parse_http_date(text: &str) -> Option<Timestamp> {
    use time::format_description::well_known::{Rfc2822, Rfc3339};
    use time::macros::format_description;
    use time::{OffsetDateTime, PrimitiveDateTime};

    let text = text.trim();
    let normal = match text.strip_suffix("GMT").or_else(|| text.strip_suffix("UTC")) {
        Some(head) => format!("{head}+0000"),
        None => text.to_owned(),
    };
    let asctime = format_description!(
        "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
    );
    let rfc850 =
        format_description!("[weekday], [day]-[month repr:short]-[year repr:last_two] [hour]:[minute]:[second] GMT");
    let parsed = OffsetDateTime::parse(&normal, &Rfc2822)
        .or_else(|_| OffsetDateTime::parse(text, &Rfc3339))
        .or_else(|_| PrimitiveDateTime::parse(text, asctime).map(PrimitiveDateTime::assume_utc))
        .or_else(|_| PrimitiveDateTime::parse(text, rfc850).map(PrimitiveDateTime::assume_utc))
        .ok()?;
    let millis = parsed.unix_timestamp_nanos() / 1_000_000;
    Some(Timestamp(u64::try_from(millis).unwrap_or(0)))
}

/// Format version of continuation tokens, so that a later one can mean something else.
const TOKEN_FORMAT: u8 = 1;

/// An opaque continuation token for `position`.
pub(crate) fn encode_token(position: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(position.len() + 1);
    bytes.push(TOKEN_FORMAT);
    bytes.extend_from_slice(position);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What [`encode_token`] was given; `None` when the token is not one of ours.
pub(crate) fn decode_token(token: &str) -> Option<Vec<u8>> {
    let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    if bytes.first() != Some(&TOKEN_FORMAT) {
        return None;
    }
    bytes.remove(0);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_encode_what_is_not_plain() {
        assert_eq!(url_encode("foo+1/b r~*.-_"), "foo%2B1/b%20r%7E*.-_");
        assert_eq!(url_encode("ü\n"), "%C3%BC%0A");
        assert_eq!(url_encode(" a  b "), "%20a%20%20b%20");
    }

    #[test]
    fn dates_round_trip_in_every_form() {
        let time = Timestamp(784_111_777_000);
        assert_eq!(http_date(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "1994-11-06T08:49:37Z",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse_http_date(text), Some(time), "{text}");
        }
        assert_eq!(http_date(Timestamp(951_782_400_000)), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http_date(Timestamp(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(parse_http_date("yesterday"), None);
    }

    #[test]
    fn tokens_are_refused_when_forged() {
        let token = encode_token("käse/".as_bytes());
        assert_eq!(decode_token(&token).as_deref(), Some("käse/".as_bytes()));
        assert_eq!(decode_token("käse"), None);
        assert_eq!(decode_token("AAAA"), None);
        assert_eq!(decode_token(""), None);
    }
}
