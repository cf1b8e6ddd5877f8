//! ListObjects and ListObjectsV2.

use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::{ListEntry, ListPage, ListRequest};
use karri_objstore_wire::{types, write_list_objects, write_list_objects_v2};

use crate::S3;
use crate::convert::{integer, long, timestamp, wire_algorithm, wire_owner, wire_type};
use crate::dispatch::{bucket_of, filled, number, parameter};
use crate::encoding::{decode_token, encode_token, url_encode};
use crate::error::{S3Result, invalid_argument};
use crate::fault::{Subject, from_service};
use crate::response::{quoted, wire};

/// Most entries on a page, and how many without `max-keys`.
pub(crate) const KEYS_PER_PAGE_MAX: u32 = 1000;

/// How names are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Plain,
    Url,
}

impl Encoding {
    /// From `encoding-type`.
    pub(crate) fn asked(request: &ApiRequest) -> S3Result<Self> {
        match filled(request, "encoding-type") {
            None => Ok(Self::Plain),
            Some(name) if name.eq_ignore_ascii_case("url") => Ok(Self::Url),
            Some(other) => {
                Err(invalid_argument("encoding-type", other, "Invalid Encoding Method specified in Request"))
            }
        }
    }

    /// `text` as this listing prints it.
    pub(crate) fn print(self, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Url => url_encode(text),
        }
    }

    /// As [`Encoding::print`].
    fn print_own(self, text: String) -> String {
        match self {
            Self::Plain => text,
            Self::Url => url_encode(&text),
        }
    }

    /// What the listing says of itself.
    pub(crate) fn wire(self) -> Option<types::EncodingType> {
        (self == Self::Url).then_some(types::EncodingType::Url)
    }

    pub(crate) fn prefixes(self, prefixes: &[String]) -> Vec<types::CommonPrefix> {
        prefixes.iter().map(|prefix| types::CommonPrefix { prefix: Some(self.print(prefix)) }).collect()
    }
}

/// What all listings are asked with.
pub(crate) struct Query<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) prefix: &'a str,
    pub(crate) delimiter: Option<&'a str>,
    pub(crate) limit: u32,
    pub(crate) encoding: Encoding,
}

impl<'a> Query<'a> {
    pub(crate) fn read(request: &'a ApiRequest) -> S3Result<Self> {
        Ok(Self {
            bucket: bucket_of(request)?,
            prefix: parameter(request, "prefix").unwrap_or_default(),
            delimiter: filled(request, "delimiter"),
            limit: number(request, "max-keys")?.unwrap_or(KEYS_PER_PAGE_MAX).min(KEYS_PER_PAGE_MAX),
            encoding: Encoding::asked(request)?,
        })
    }

    /// The page after a key.
    pub(crate) fn list(&self, after: Option<String>) -> ListRequest {
        ListRequest {
            bucket: self.bucket.to_owned(),
            prefix: self.prefix.to_owned(),
            delimiter: self.delimiter.map(str::to_owned),
            after,
            limit: self.limit,
        }
    }

    async fn page(&self, s3: &S3, after: Option<String>) -> S3Result<ListPage> {
        let page = s3.service.list_objects(self.list(after)).await;
        page.map_err(|failure| from_service(failure, Subject::bucket(self.bucket)))
    }

    pub(crate) fn print(&self, text: Option<&str>) -> Option<String> {
        text.map(|text| self.encoding.print(text))
    }
}

/// ListObjects.
pub(crate) async fn list_objects(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let query = Query::read(request)?;
    let marker = parameter(request, "marker").unwrap_or_default();
    let page = query.page(s3, (!marker.is_empty()).then(|| marker.to_owned())).await?;
    let owner = wire_owner(&s3.bucket_info(query.bucket).await?.owner);
    // Without a delimiter the last key is the marker, and AWS does not repeat it.
    let next = query.delimiter.and(page.next.as_deref());
    Ok(wire(write_list_objects(&types::ListObjectsOutput {
        is_truncated: Some(page.next.is_some()),
        marker: query.print(Some(marker)),
        next_marker: query.print(next),
        contents: contents(page.entries, query.encoding, Some(&owner)),
        name: Some(query.bucket.to_owned()),
        // Alone of all fields of this version as it is: clients decode the others.
        prefix: Some(query.prefix.to_owned()),
        delimiter: query.print(query.delimiter),
        max_keys: Some(integer(query.limit)),
        common_prefixes: query.encoding.prefixes(&page.common_prefixes),
        encoding_type: query.encoding.wire(),
        ..Default::default()
    })))
}

/// ListObjectsV2.
pub(crate) async fn list_objects_v2(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let query = Query::read(request)?;
    let token = parameter(request, "continuation-token");
    let start_after = filled(request, "start-after");
    let after = match token.filter(|token| !token.is_empty()) {
        Some(token) => Some(position(token)?),
        None => start_after.map(str::to_owned),
    };
    let owner = match parameter(request, "fetch-owner") {
        Some("true") => Some(wire_owner(&s3.bucket_info(query.bucket).await?.owner)),
        _ => None,
    };
    let page = query.page(s3, after).await?;
    let key_count = page.entries.len() + page.common_prefixes.len();
    Ok(wire(write_list_objects_v2(&types::ListObjectsV2Output {
        is_truncated: Some(page.next.is_some()),
        key_count: Some(integer(key_count)),
        contents: contents(page.entries, query.encoding, owner.as_ref()),
        name: Some(query.bucket.to_owned()),
        prefix: query.print(Some(query.prefix)),
        delimiter: query.print(query.delimiter),
        max_keys: Some(integer(query.limit)),
        common_prefixes: query.encoding.prefixes(&page.common_prefixes),
        encoding_type: query.encoding.wire(),
        continuation_token: token.map(str::to_owned),
        next_continuation_token: page.next.as_ref().map(|next| encode_token(next.as_bytes())),
        start_after: query.print(start_after),
        ..Default::default()
    })))
}

/// Where a continuation token goes on.
fn position(token: &str) -> S3Result<String> {
    let wrong = || invalid_argument("continuation-token", token, "The continuation token provided is incorrect");
    decode_token(token).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)
}

fn contents(entries: Vec<ListEntry>, encoding: Encoding, owner: Option<&types::Owner>) -> Vec<types::Object> {
    let object = |entry: ListEntry| types::Object {
        key: Some(encoding.print_own(entry.key)),
        last_modified: Some(timestamp(entry.last_modified)),
        etag: Some(quoted(&entry.etag)),
        checksum_algorithm: entry.checksum_algorithm.map(wire_algorithm).into_iter().collect(),
        checksum_type: entry.checksum_type.map(wire_type),
        size: Some(long(entry.size)),
        storage_class: Some(entry.storage_class),
        owner: owner.map(|owner| entry.owner.as_ref().map_or_else(|| owner.clone(), wire_owner)),
        ..Default::default()
    };
    entries.into_iter().map(object).collect()
}
