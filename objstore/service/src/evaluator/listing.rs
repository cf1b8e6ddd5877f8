//! Listings: a scan that seeks past common prefixes.

use bytes::Bytes;
use karri_ring_meta::EvaluateError;
use karri_ring_types::DataId;

use super::bucket_exists;
use super::{state, versions};
use crate::keys::{self, BucketId, CURRENT, SplitKey, UPLOADS, VERSIONS};
use crate::listed::{LINES_MAX, PageWriter};
use crate::messages::{Answer, Line, ListQuery, Listed, ListedPage, Refusal};
use crate::records::{Unreadable, VersionRecord, decode, decode_with_tail, encode};
use crate::rows::{Rows, Step};

/// Bytes of keys and records in one answer.
const ANSWER_BYTES_MAX: usize = 512 << 10;

/// The common prefix that stands for `key`.
pub(crate) fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: Option<&str>) -> Option<&'a str> {
    let delimiter = delimiter?;
    let rest = key.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// Where a listing begins that goes on after `after`, and the common prefix that `after` is.
pub(crate) fn first_row(bucket: BucketId, prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> Vec<u8> {
    let start = bucket.prefix(prefix);
    let Some(after) = after else { return start };
    let told = common_prefix(after, prefix, delimiter) == Some(after);
    let passed = if told { bucket.prefix(after) } else { bucket.route(after) };
    start.max(keys::successor(&passed))
}

pub(super) fn list(rows: &mut dyn Rows, query: &ListQuery) -> Result<Vec<u8>, EvaluateError> {
    if !bucket_exists(rows, &query.bucket.0)? {
        return Ok(encode(&Answer::<ListedPage>::Err(Refusal::NoSuchBucket)));
    }
    let table = match query.listed {
        Listed::Objects => CURRENT,
        Listed::Uploads => UPLOADS,
        Listed::Versions => VERSIONS,
    };
    let mut ages = Ages::before(rows, query)?;
    let end = keys::successor(&query.bucket.prefix(&query.prefix));
    let limit = usize::try_from(query.limit).map_or(LINES_MAX, |limit| limit.min(LINES_MAX));
    let mut page = PageWriter::new(limit);
    let mut resume = None;
    let mut bytes = 0;
    rows.scan(table, &ages.from.clone(), &end, &mut |key, row| {
        if page.lines() >= limit || bytes >= ANSWER_BYTES_MAX {
            resume = Some(key.to_vec());
            return Ok(Step::Stop);
        }
        let Some(parsed) = keys::split(key) else { return Ok(Step::Next) };
        bytes += key.len() + row.len();
        if query.delimiter.is_some()
            && let Ok(key) = str::from_utf8(&parsed.key)
            && let Some(prefix) = common_prefix(key, &query.prefix, query.delimiter.as_deref())
        {
            if query.told.as_deref() != Some(prefix) {
                page.prefix(prefix);
            }
            return Ok(Step::Seek(keys::successor(&query.bucket.prefix(prefix))));
        }
        match query.listed {
            Listed::Objects => page.object(&parsed.key, row),
            Listed::Uploads | Listed::Versions => page.line(&line(query.listed, &parsed, row, &mut ages)?),
        }
        Ok(Step::Next)
    })?;
    if resume.is_none()
        && let Some(range_end) = rows.end()
        && (range_end < end || end.is_empty())
    {
        resume = Some(range_end);
    }
    Ok(page.finish(resume.as_ref()))
}

/// What is told of an upload or a version.
fn line(listed: Listed, parsed: &SplitKey<'_>, row: &[u8], ages: &mut Ages) -> Result<Line, EvaluateError> {
    let key = str::from_utf8(&parsed.key).map_err(|_| Unreadable("a key"))?.to_owned();
    Ok(match listed {
        Listed::Objects => Line::Object(key, Bytes::copy_from_slice(row)),
        Listed::Uploads => {
            let id = keys::parse_id(parsed.rest).unwrap_or_default();
            Line::Upload(key, DataId(id), Box::new(decode(row)?))
        }
        Listed::Versions => {
            let (record, _) = decode_with_tail::<VersionRecord>(row)?;
            let latest = ages.is_first(parsed.route);
            Line::Version(key, Box::new(state::line(&record, latest)))
        }
    })
}

/// Tells the newest versions of objects apart from older ones.
struct Ages {
    /// First row to look at.
    from: Vec<u8>,
    /// The object whose newest version has been seen.
    seen: Option<Vec<u8>>,
}

impl Ages {
    fn before(rows: &mut dyn Rows, query: &ListQuery) -> Result<Self, EvaluateError> {
        let mut ages = Self { from: query.from.clone(), seen: None };
        let Some(route) = keys::parse(&query.from).map(|parsed| parsed.route.to_vec()) else { return Ok(ages) };
        if query.listed != Listed::Versions {
            return Ok(ages);
        }
        if let Some(after) = query.after_version
            && let Some(id) = versions::resolve(rows, &route, after)?
        {
            ages.from = keys::version(&route, id);
            ages.from.push(0);
        }
        // In the midst of an object: what is left are older versions, unless the newer ones are gone by now.
        if ages.from.len() > route.len() {
            let newest = versions::newest(rows, &route, None)?;
            let passed = newest.is_some_and(|(newest, _)| keys::version(&route, newest.version) < ages.from);
            ages.seen = passed.then_some(route);
        }
        Ok(ages)
    }

    fn is_first(&mut self, route: &[u8]) -> bool {
        let first = self.seen.as_deref() != Some(route);
        if first {
            self.seen = Some(route.to_vec());
        }
        first
    }
}
