//! `Range` and `x-amz-copy-source-range`.

/// A byte range as a client wrote it, before the size of the object is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// `bytes=first-last`, both inclusive.
    Between { first: u64, last: u64 },
    /// `bytes=first-`.
    From { first: u64 },
    /// `bytes=-length`: the last `length` bytes.
    Suffix { length: u64 },
}

/// The range of a `Range` header. `None` for what S3 ignores: other units, several ranges, nonsense.
pub(crate) fn parse_range(header: &str) -> Option<ByteRange> {
    let spec = header.trim().strip_prefix("bytes=")?.trim();
    let (first, last) = spec.split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(ByteRange::Suffix { length: digits(last)? }),
        (false, true) => Some(ByteRange::From { first: digits(first)? }),
        (false, false) => {
            let (first, last) = (digits(first)?, digits(last)?);
            (first <= last).then_some(ByteRange::Between { first, last })
        }
    }
}

/// First and last byte of an `x-amz-copy-source-range`, which knows only `bytes=first-last`.
pub(crate) fn parse_copy_range(header: &str) -> Option<(u64, u64)> {
    match parse_range(header)? {
        ByteRange::Between { first, last } => Some((first, last)),
        ByteRange::From { .. } | ByteRange::Suffix { .. } => None,
    }
}

/// A number of decimal digits alone; one too large for 64 bits counts as the largest.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        assert_eq!(parse_range("bytes=0-4"), Some(ByteRange::Between { first: 0, last: 4 }));
        assert_eq!(parse_range("bytes=7-"), Some(ByteRange::From { first: 7 }));
        assert_eq!(parse_range("bytes=-3"), Some(ByteRange::Suffix { length: 3 }));
        assert_eq!(parse_range("bytes=0-99999999999999999999"), Some(ByteRange::Between { first: 0, last: u64::MAX }));
    }

    #[test]
    fn what_is_malformed_is_ignored() {
        for text in
            ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=+1-2"]
        {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }

    #[test]
    fn a_copy_range_names_both_ends() {
        assert_eq!(parse_copy_range("bytes=1-2"), Some((1, 2)));
        assert_eq!(parse_copy_range("bytes=1-"), None);
        assert_eq!(parse_copy_range("bytes=-1"), None);
        assert_eq!(parse_copy_range("1-2"), None);
    }
}
