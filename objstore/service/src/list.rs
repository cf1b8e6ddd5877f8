//! Listings, put together from the ranges of a bucket.

use bytes::Bytes;

use crate::api::STORAGE_CLASS_DEFAULT;
use crate::buckets::in_bucket;
use crate::evaluator::first_row;
use crate::keys::{self, BucketId};
use crate::listed::ListedObjects;
use crate::messages::{Answer, Line, ListQuery, Listed, ListedPage, Query, VersionLine};
use crate::records::{CurrentRecord, UploadRecord, decode};
use crate::{
    ListEntry, ListPage, ListRequest, ListUploadsRequest, ListVersionsRequest, ObjectService, ServiceError, UploadInfo,
    UploadsPage, VersionEntry, VersionRef, VersionsPage,
};

/// Most lines of a page, whatever is asked.
const LINES_PER_PAGE_MAX: u32 = 1000;

/// What one listing wants.
struct Listing<'a> {
    listed: Listed,
    request: &'a ListRequest,
    /// First row to look at.
    from: Vec<u8>,
    after_version: Option<VersionRef>,
}

impl ObjectService {
    /// Lists objects in the byte order of their keys.
    ///
    /// # Errors
    /// `NoSuchBucket`, `Unavailable`.
    pub async fn list_objects(&self, request: ListRequest) -> Result<ListPage, ServiceError> {
        self.listed_objects(request).await?.into_page()
    }

    /// As [`ObjectService::list_objects`], and what is listed stays where the ranges' answers lie.
    ///
    /// # Errors
    /// As [`ObjectService::list_objects`].
    pub async fn listed_objects(&self, request: ListRequest) -> Result<ListedObjects, ServiceError> {
        in_bucket!(self, &request.bucket, |bucket| {
            let from = first_row(bucket.id, &request.prefix, request.delimiter.as_deref(), request.after.as_deref());
            let listing = Listing { listed: Listed::Objects, request: &request, from, after_version: None };
            let page = self.lines::<ListedObjects>(bucket.id, listing).await;
            page.map(|(mut page, more)| {
                page.next = page.last().filter(|_| more);
                page
            })
        })
    }

    /// Lists uploads that are going on.
    ///
    /// # Errors
    /// `NoSuchBucket`, `Unavailable`.
    pub async fn list_uploads(&self, request: ListUploadsRequest) -> Result<UploadsPage, ServiceError> {
        let ListUploadsRequest { list, after_upload } = request;
        in_bucket!(self, &list.bucket, |bucket| {
            let mut from = first_row(bucket.id, &list.prefix, list.delimiter.as_deref(), list.after.as_deref());
            if let (Some(key), Some(upload)) = (&list.after, &after_upload) {
                // An id that is none stands before all others.
                let id = upload.parse::<karri_ring_types::DataId>().map_or(0, |id| id.0);
                let next = keys::successor(&keys::with_id(&bucket.id.route(key), id));
                from = next.max(bucket.id.prefix(&list.prefix));
            }
            let listing = Listing { listed: Listed::Uploads, request: &list, from, after_version: None };
            self.lines::<Vec<Line>>(bucket.id, listing).await.map(|(lines, more)| uploads_page(lines, more))
        })
    }

    /// Lists versions and delete markers in the byte order of their keys, the newest first.
    ///
    /// # Errors
    /// `NoSuchBucket`, `Unavailable`.
    pub async fn list_versions(&self, request: ListVersionsRequest) -> Result<VersionsPage, ServiceError> {
        let ListVersionsRequest { list, after_version } = request;
        in_bucket!(self, &list.bucket, |bucket| {
            let mut from = first_row(bucket.id, &list.prefix, list.delimiter.as_deref(), list.after.as_deref());
            let mut after = None;
            if let (Some(key), Some(version)) = (&list.after, after_version) {
                let route = bucket.id.route(key);
                // A key before the prefix has nothing to go on after.
                if route >= bucket.id.prefix(&list.prefix) {
                    (from, after) = (route, Some(version));
                }
            }
            let listing = Listing { listed: Listed::Versions, request: &list, from, after_version: after };
            self.lines::<Vec<Line>>(bucket.id, listing).await.map(|(lines, more)| versions_page(lines, more))
        })
    }

    /// Up to as many lines as are asked for, and whether there are more.
    async fn lines<L: Lines>(&self, bucket: BucketId, listing: Listing<'_>) -> Result<(L, bool), ServiceError> {
        let Listing { listed, request, mut from, mut after_version } = listing;
        let limit = usize::try_from(request.limit.min(LINES_PER_PAGE_MAX)).unwrap_or(usize::MAX);
        let mut lines = L::default();
        loop {
            let query = ListQuery {
                bucket,
                listed,
                prefix: request.prefix.clone(),
                delimiter: request.delimiter.clone(),
                from: from.clone(),
                told: lines.told(),
                after_version: after_version.take(),
                // One more tells whether there are more.
                limit: u32::try_from(limit + 1 - lines.count()).unwrap_or(u32::MAX),
            };
            // The bucket's own range tells whether the bucket is there.
            let route = if from.len() < bucket.0.len() { bucket.0.to_vec() } else { from };
            let resume = lines.take(self.query_raw(&route, &Query::List(Box::new(query))).await?)?;
            if lines.count() > limit || limit == 0 {
                lines.cut(limit);
                return Ok((lines, limit > 0));
            }
            match resume {
                Some(resume) => from = resume,
                None => return Ok((lines, false)),
            }
        }
    }
}

/// The lines of a page, as they come from one range after the other.
trait Lines: Default {
    /// Takes in what a range answered, and returns where the listing goes on.
    fn take(&mut self, answer: Bytes) -> Result<Option<Vec<u8>>, ServiceError>;
    fn count(&self) -> usize;
    /// The last line, if it is a common prefix.
    fn told(&self) -> Option<String>;
    fn cut(&mut self, limit: usize);
}

impl Lines for Vec<Line> {
    fn take(&mut self, answer: Bytes) -> Result<Option<Vec<u8>>, ServiceError> {
        let page: Answer<ListedPage> = decode(&answer)?;
        let page = page?;
        self.extend(page.lines);
        Ok(page.resume)
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn told(&self) -> Option<String> {
        match self.last() {
            Some(Line::Prefix(prefix)) => Some(prefix.clone()),
            _ => None,
        }
    }

    fn cut(&mut self, limit: usize) {
        self.truncate(limit);
    }
}

impl Lines for ListedObjects {
    fn take(&mut self, answer: Bytes) -> Result<Option<Vec<u8>>, ServiceError> {
        self.add(answer)
    }

    fn count(&self) -> usize {
        self.len()
    }

    fn told(&self) -> Option<String> {
        ListedObjects::told(self)
    }

    fn cut(&mut self, limit: usize) {
        self.truncate(limit);
    }
}

fn entry(key: String, record: CurrentRecord) -> ListEntry {
    ListEntry {
        key,
        size: record.size,
        etag: record.etag.text(),
        last_modified: record.modified,
        storage_class: record.storage_class.unwrap_or_else(|| STORAGE_CLASS_DEFAULT.to_owned()),
        checksum_algorithm: record.checksum.map(|(algorithm, _)| algorithm),
        checksum_type: record.checksum.map(|(_, kind)| kind),
        owner: record.owner,
    }
}

fn uploads_page(lines: Vec<Line>, more: bool) -> UploadsPage {
    let mut page = UploadsPage::default();
    let mut last = None;
    for line in lines {
        match line {
            Line::Prefix(prefix) => {
                last = Some((prefix.clone(), None));
                page.common_prefixes.push(prefix);
            }
            Line::Upload(key, id, record) => {
                last = Some((key.clone(), Some(id.to_string())));
                page.uploads.push(upload_info(key, id.to_string(), *record));
            }
            Line::Object(..) | Line::Version(..) => {}
        }
    }
    page.next = last.filter(|_| more);
    page
}

fn versions_page(lines: Vec<Line>, more: bool) -> VersionsPage {
    let mut page = VersionsPage::default();
    let mut last = None;
    for line in lines {
        match line {
            Line::Prefix(prefix) => {
                last = Some((prefix.clone(), None));
                page.common_prefixes.push(prefix);
            }
            Line::Version(key, line) => {
                let VersionLine { record, delete_marker, latest } = *line;
                let version = match record.null {
                    true => VersionRef::Null,
                    false => VersionRef::Id(record.version),
                };
                last = Some((key.clone(), Some(version)));
                page.versions.push(VersionEntry { entry: entry(key, record), version, latest, delete_marker });
            }
            Line::Object(..) | Line::Upload(..) => {}
        }
    }
    page.next = last.filter(|_| more);
    page
}

/// What is told of an upload.
pub(crate) fn upload_info(key: String, upload_id: String, record: UploadRecord) -> UploadInfo {
    UploadInfo {
        key,
        upload_id,
        initiated: record.initiated,
        storage_class: record.description.storage_class.unwrap_or_else(|| STORAGE_CLASS_DEFAULT.to_owned()),
        checksum_algorithm: record.chosen.then_some(record.algorithm),
        checksum_type: record.chosen.then_some(record.checksum_type),
        owner: record.access.owner,
    }
}
