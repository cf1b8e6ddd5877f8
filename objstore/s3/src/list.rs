//! ListObjects and ListObjectsV2.

use std::borrow::Cow;

use karri_objstore_gateway::{ApiError, ApiRequest, ApiResponse};
use karri_objstore_service::{ListRequest, ListedObject, ListedObjects, Owner, ServiceError};
use karri_objstore_wire::{
    ObjectLine, ObjectLines, WireResponse, types, write_list_objects_lines, write_list_objects_v2_lines,
};

use crate::S3;
use crate::convert::{integer, timestamp, wire_algorithm, wire_type};
use crate::dispatch::{bucket_of, filled, number, parameter};
use crate::encoding::{decode_token, encode_token, url_encode};
use crate::error::{S3Result, invalid_argument};
use crate::fault::{Subject, from_service};
use crate::response::wire;
use crate::restore::{archived, statuses};

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
        self.shown(text).into_owned()
    }

    /// As [`Encoding::print`].
    fn shown(self, text: &str) -> Cow<'_, str> {
        match self {
            Self::Plain => Cow::Borrowed(text),
            Self::Url => Cow::Owned(url_encode(text)),
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

    async fn page(&self, s3: &S3, after: Option<String>) -> S3Result<ListedObjects> {
        let page = s3.service.listed_objects(self.list(after)).await;
        page.map_err(|failure| self.failure(failure))
    }

    fn failure(&self, failure: ServiceError) -> ApiError {
        from_service(failure, Subject::bucket(self.bucket))
    }

    fn common_prefixes(&self, page: &ListedObjects) -> S3Result<Vec<types::CommonPrefix>> {
        let print = |prefix: &str| types::CommonPrefix { prefix: Some(self.encoding.print(prefix)) };
        let printed: Result<_, _> = page.common_prefixes().map(|prefix| prefix.map(print)).collect();
        printed.map_err(|failure| self.failure(failure))
    }

    /// Until when each object of the page is restored; empty for a request that does not ask.
    async fn restored(
        &self,
        s3: &S3,
        request: &ApiRequest,
        page: &ListedObjects,
    ) -> S3Result<Vec<Option<types::RestoreStatus>>> {
        let mut failure = None;
        let named = page.objects().filter_map(|object| object.map_err(|broken| failure = Some(broken)).ok());
        let archived = archived(request, self.bucket, named.map(|object| (object.key, object.storage_class, None)))?;
        match failure {
            None => Ok(statuses(s3, archived).await),
            Some(failure) => Err(self.failure(failure)),
        }
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
    let owner = s3.bucket_info(query.bucket).await?.owner;
    let restored = query.restored(s3, request, &page).await?;
    // Without a delimiter the last key is the marker, and AWS does not repeat it.
    let next = query.delimiter.and(page.next.as_deref());
    let output = types::ListObjectsOutput {
        is_truncated: Some(page.next.is_some()),
        marker: query.print(Some(marker)),
        next_marker: query.print(next),
        name: Some(query.bucket.to_owned()),
        // Alone of all fields of this version as it is: clients decode the others.
        prefix: Some(query.prefix.to_owned()),
        delimiter: query.print(query.delimiter),
        max_keys: Some(integer(query.limit)),
        common_prefixes: query.common_prefixes(&page)?,
        encoding_type: query.encoding.wire(),
        ..Default::default()
    };
    let contents = Contents::new(&page, query.encoding, Some(&owner), restored);
    contents.printed(&query, |contents, bytes| write_list_objects_lines(&output, bytes, |lines| contents.print(lines)))
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
        Some("true") => Some(s3.bucket_info(query.bucket).await?.owner),
        _ => None,
    };
    let page = query.page(s3, after).await?;
    let restored = query.restored(s3, request, &page).await?;
    let output = types::ListObjectsV2Output {
        is_truncated: Some(page.next.is_some()),
        key_count: Some(integer(page.objects().len() + page.common_prefixes().len())),
        name: Some(query.bucket.to_owned()),
        prefix: query.print(Some(query.prefix)),
        delimiter: query.print(query.delimiter),
        max_keys: Some(integer(query.limit)),
        common_prefixes: query.common_prefixes(&page)?,
        encoding_type: query.encoding.wire(),
        continuation_token: token.map(str::to_owned),
        next_continuation_token: page.next.as_ref().map(|next| encode_token(next.as_bytes())),
        start_after: query.print(start_after),
        ..Default::default()
    };
    let contents = Contents::new(&page, query.encoding, owner.as_ref(), restored);
    contents
        .printed(&query, |contents, bytes| write_list_objects_v2_lines(&output, bytes, |lines| contents.print(lines)))
}

/// Where a continuation token goes on.
fn position(token: &str) -> S3Result<String> {
    let wrong = || invalid_argument("continuation-token", token, "The continuation token provided is incorrect");
    decode_token(token).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)
}

/// The objects of a page on their way from the ranges' answers into the document.
struct Contents<'a> {
    page: &'a ListedObjects,
    encoding: Encoding,
    /// The bucket's, when owners are printed.
    owner: Option<&'a Owner>,
    /// Empty when nobody asked.
    restored: Vec<Option<types::RestoreStatus>>,
    failure: Option<ServiceError>,
}

impl<'a> Contents<'a> {
    /// Bytes that a document has beside its lines.
    const DOCUMENT_BYTES: usize = 1024;
    /// Bytes by which a line is longer in the document than in the answer, without and with its owner.
    const LINE_BYTES: (usize, usize) = (240, 400);

    fn new(
        page: &'a ListedObjects,
        encoding: Encoding,
        owner: Option<&'a Owner>,
        restored: Vec<Option<types::RestoreStatus>>,
    ) -> Self {
        Self { page, encoding, owner, restored, failure: None }
    }

    /// The answer that `write` makes, who is told about how many bytes it will have.
    fn printed(
        mut self,
        query: &Query<'_>,
        write: impl FnOnce(&mut Self, usize) -> WireResponse,
    ) -> S3Result<ApiResponse> {
        let line_bytes = if self.owner.is_some() { Self::LINE_BYTES.1 } else { Self::LINE_BYTES.0 };
        let bytes = Self::DOCUMENT_BYTES + self.page.bytes() + self.page.objects().len() * line_bytes;
        let written = write(&mut self, bytes);
        match self.failure {
            None => Ok(wire(written)),
            Some(failure) => Err(query.failure(failure)),
        }
    }

    fn print(&mut self, lines: &mut ObjectLines<'_>) {
        for (place, object) in self.page.objects().enumerate() {
            match object {
                Ok(object) => self.line(lines, &object, self.restored.get(place).and_then(Option::as_ref)),
                Err(failure) => self.failure = Some(failure),
            }
        }
    }

    fn line(&self, lines: &mut ObjectLines<'_>, object: &ListedObject<'_>, restored: Option<&types::RestoreStatus>) {
        let owner = self.owner.map(|bucket| match object.owner {
            Some(own) => (own.display_name, own.user_id),
            None => (&*bucket.display_name, &*bucket.user_id),
        });
        lines.push(&ObjectLine {
            key: &self.encoding.shown(object.key),
            last_modified: timestamp(object.last_modified),
            etag: object.etag.as_str(),
            checksum_algorithm: object.checksum.map(|(algorithm, _)| wire_algorithm(algorithm).as_str()),
            checksum_type: object.checksum.map(|(_, kind)| wire_type(kind).as_str()),
            size: object.size,
            storage_class: object.storage_class,
            owner,
            restored_until: restored.and_then(|status| status.restore_expiry_date),
        });
    }
}
