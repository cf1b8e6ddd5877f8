//! Instants in the two forms of the S3 API.

use time::format_description::well_known::{Rfc2822, Rfc3339};
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// An instant in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// How an instant is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// `2009-10-12T17:50:30.000Z`, in bodies.
    Iso8601,
    /// `Mon, 12 Oct 2009 17:50:30 GMT`, in headers.
    HttpDate,
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// `2009-10-12T17:50:30.000Z`. The fraction is always zero, as S3's is: listings and headers must agree.
    pub fn iso8601(self) -> String {
        let at = self.date_time();
        let (year, month) = (at.year().clamp(0, 9999), u8::from(at.month()));
        let (century, year) = ((year / 100) as u8, (year % 100) as u8);
        // Listings print a thousand of these; the formatter of the standard library would be felt.
        let mut text = String::with_capacity("2009-10-12T17:50:30.000Z".len());
        let parts = [century, year, month, at.day(), at.hour(), at.minute(), at.second()];
        for (part, before) in parts.into_iter().zip(["", "", "-", "-", "T", ":", ":"]) {
            text.push_str(before);
            text.push(char::from(b'0' + part / 10));
            text.push(char::from(b'0' + part % 10));
        }
        text.push_str(".000Z");
        text
    }

    /// `Mon, 12 Oct 2009 17:50:30 GMT`.
    pub fn http_date(self) -> String {
        let at = self.date_time();
        let day_name = DAYS[usize::from(at.weekday().number_days_from_monday())];
        let month = MONTHS[usize::from(u8::from(at.month())) - 1];
        let (hour, minute, second) = (at.hour(), at.minute(), at.second());
        format!("{day_name}, {:02} {month} {:04} {hour:02}:{minute:02}:{second:02} GMT", at.day(), at.year())
    }

    /// Reads an ISO 8601 instant with its offset.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text.trim_ascii(), &Rfc3339).ok().map(Self::from_date_time)
    }

    /// Reads an HTTP date (RFC 9110, section 5.6.7) in its preferred or its asctime form; no client sends RFC 850's.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        let text = text.trim_ascii();
        if let Ok(at) = OffsetDateTime::parse(text, &Rfc2822) {
            return Some(Self::from_date_time(at));
        }
        let asctime = format_description!(
            "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
        );
        PrimitiveDateTime::parse(text, asctime).ok().map(|at| Self::from_date_time(at.assume_utc()))
    }

    pub(crate) fn format(self, format: TimeFormat) -> String {
        match format {
            TimeFormat::Iso8601 => self.iso8601(),
            TimeFormat::HttpDate => self.http_date(),
        }
    }

    pub(crate) fn parse(text: &str, format: TimeFormat) -> Option<Self> {
        match format {
            TimeFormat::Iso8601 => Self::parse_iso8601(text),
            TimeFormat::HttpDate => Self::parse_http_date(text),
        }
    }

    fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    fn from_date_time(at: OffsetDateTime) -> Self {
        Self(at.unix_timestamp() * 1000 + i64::from(at.millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLIS: i64 = 1_255_369_830_123;

    #[test]
    fn writes_both_forms() {
        let at = Timestamp::from_millis(MILLIS);
        assert_eq!(at.iso8601(), "2009-10-12T17:50:30.000Z");
        assert_eq!(at.http_date(), "Mon, 12 Oct 2009 17:50:30 GMT");
        assert_eq!(Timestamp::from_millis(-1).iso8601(), "1969-12-31T23:59:59.000Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).iso8601(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn reads_every_form() {
        let second = Some(Timestamp::from_millis(1_255_369_830_000));
        for text in ["Mon, 12 Oct 2009 17:50:30 GMT", "Mon Oct 12 17:50:30 2009"] {
            assert_eq!(Timestamp::parse_http_date(text), second, "{text}");
        }
        assert_eq!(Timestamp::parse_iso8601("2009-10-12T17:50:30Z"), second);
        assert_eq!(Timestamp::parse_iso8601("2009-10-12T17:50:30.123Z"), Some(Timestamp::from_millis(MILLIS)));
        for text in ["", "yesterday", "Mon, 32 Oct 2009 17:50:30 GMT", "2009-10-12"] {
            assert_eq!(Timestamp::parse_http_date(text), None, "{text}");
            assert_eq!(Timestamp::parse_iso8601(text), None, "{text}");
        }
    }
}
