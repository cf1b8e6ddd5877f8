//! Conditional headers.

use http::header::{HeaderMap, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use karri_objstore_service::{Conditions, EtagCondition};
use karri_ring_types::Timestamp;

use crate::encoding::parse_http_date;
use crate::error::{S3Result, error, invalid_argument};
use crate::headers::text;
use crate::response::unquoted;

/// Conditions of a read.
pub(crate) fn read_conditions(headers: &HeaderMap) -> S3Result<Conditions> {
    from_names(
        headers,
        [IF_MATCH.as_str(), IF_NONE_MATCH.as_str(), IF_MODIFIED_SINCE.as_str(), IF_UNMODIFIED_SINCE.as_str()],
    )
}

/// Conditions on the source of a copy.
pub(crate) fn copy_conditions(headers: &HeaderMap) -> S3Result<Conditions> {
    from_names(
        headers,
        [
            "x-amz-copy-source-if-match",
            "x-amz-copy-source-if-none-match",
            "x-amz-copy-source-if-modified-since",
            "x-amz-copy-source-if-unmodified-since",
        ],
    )
}

/// Conditions on the object that is renamed.
pub(crate) fn rename_conditions(headers: &HeaderMap) -> S3Result<Conditions> {
    from_names(
        headers,
        [
            "x-amz-rename-source-if-match",
            "x-amz-rename-source-if-none-match",
            "x-amz-rename-source-if-modified-since",
            "x-amz-rename-source-if-unmodified-since",
        ],
    )
}

/// Conditions of a write on what is there before it. AWS knows only `*` in `If-None-Match`; entity tags there mean
/// what they mean in every other request.
pub(crate) fn write_conditions(headers: &HeaderMap) -> S3Result<Conditions> {
    let if_match = etags(headers, IF_MATCH.as_str())?;
    let if_none_match = etags(headers, IF_NONE_MATCH.as_str())?;
    if if_match.is_some() && if_none_match.is_some() {
        let message = "Both If-Match and If-None-Match were specified";
        return Err(error("InvalidRequest", 400, message));
    }
    Ok(Conditions { if_match, if_none_match, if_modified_since: None, if_unmodified_since: None })
}

fn from_names(headers: &HeaderMap, names: [&str; 4]) -> S3Result<Conditions> {
    let [matches, none_match, modified, unmodified] = names;
    Ok(Conditions {
        if_match: etags(headers, matches)?,
        if_none_match: etags(headers, none_match)?,
        if_modified_since: text(headers, modified)?.and_then(parse_http_date),
        if_unmodified_since: text(headers, unmodified)?.and_then(parse_http_date),
    })
}

fn etags(headers: &HeaderMap, name: &str) -> S3Result<Option<EtagCondition>> {
    Ok(text(headers, name)?.map(str::trim).filter(|value| !value.is_empty()).map(|value| match value {
        "*" => EtagCondition::Any,
        list => EtagCondition::OneOf(list.split(',').map(|etag| strip(etag).to_owned()).collect()),
    }))
}

/// A weak tag compares as the strong one: S3 has only strong ones.
fn strip(etag: &str) -> &str {
    let etag = etag.trim();
    unquoted(etag.strip_prefix("W/").unwrap_or(etag))
}

/// Conditions of a delete: `If-Match`, and the size and time that the object must have.
pub(crate) fn delete_conditions(headers: &HeaderMap) -> S3Result<(Conditions, Option<u64>, Option<Timestamp>)> {
    const SIZE: &str = "x-amz-if-match-size";
    const TIME: &str = "x-amz-if-match-last-modified-time";
    let invalid = |name: &str, value: &str| invalid_argument(name, value, format!("Invalid value for {name}"));
    let size = match text(headers, SIZE)? {
        None => None,
        Some(value) => Some(value.parse().map_err(|_| invalid(SIZE, value))?),
    };
    let time = match text(headers, TIME)? {
        None => None,
        Some(value) => Some(parse_http_date(value).ok_or_else(|| invalid(TIME, value))?),
    };
    let conditions = Conditions { if_match: etags(headers, IF_MATCH.as_str())?, ..Conditions::default() };
    Ok((conditions, size, time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn tags_lose_their_quotes_and_bad_dates_are_ignored() {
        let headers = map(&[
            ("if-match", "\"a\", W/\"b\",c"),
            ("if-none-match", "*"),
            ("if-modified-since", "soon"),
            ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ]);
        let read = read_conditions(&headers).expect("readable");
        assert_eq!(read.if_match, Some(EtagCondition::OneOf(vec!["a".into(), "b".into(), "c".into()])));
        assert_eq!(read.if_none_match, Some(EtagCondition::Any));
        assert_eq!(read.if_modified_since, None);
        assert_eq!(read.if_unmodified_since, Some(Timestamp(784_111_777_000)));
    }

    #[test]
    fn a_write_has_one_kind_of_condition() {
        assert_eq!(write_conditions(&map(&[("if-none-match", "*")])).unwrap().if_none_match, Some(EtagCondition::Any));
        let tag = write_conditions(&map(&[("if-none-match", "\"a\"")])).expect("readable").if_none_match;
        assert_eq!(tag, Some(EtagCondition::OneOf(vec!["a".into()])));
        assert!(write_conditions(&map(&[("if-none-match", "*"), ("if-match", "a")])).is_err());
    }
}
