//! Instants as the query protocol writes them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// `2009-10-12T17:50:30Z`.
    pub fn iso8601(self) -> String {
        let at = OffsetDateTime::from_unix_timestamp(self.0.div_euclid(1000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
        format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", at.hour(), at.minute(), at.second())
    }

    /// Reads an ISO 8601 instant with its offset.
    pub fn parse_iso8601(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text.trim_ascii(), &Rfc3339).ok()?;
        Some(Self(at.unix_timestamp() * 1000 + i64::from(at.millisecond())))
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn writes_seconds_and_reads_fractions() {
        let at = Timestamp::from_millis(1_255_369_830_123);
        assert_eq!(at.iso8601(), "2009-10-12T17:50:30Z");
        assert_eq!(Timestamp::parse_iso8601("2009-10-12T17:50:30.123Z"), Some(at));
        assert_eq!(Timestamp::parse_iso8601("2009-10-12"), None);
        assert_eq!(Timestamp::from_millis(i64::MAX).iso8601(), "1970-01-01T00:00:00Z");
    }
}
