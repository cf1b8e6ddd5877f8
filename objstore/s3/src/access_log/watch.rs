//! Which requests get a record, and what goes into it.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};
use karri_objstore_gateway::{ApiRequest, ApiResponse, WhenDone};
use karri_objstore_service::BucketConfigKind;
use karri_objstore_wire::Operation;

use super::configure::compile;
use super::names::resource;
use super::record::{Draft, Facts, Size};
use super::{LogTarget, Source};
use crate::S3;
use crate::copy_source::parse_copy_source;
use crate::dispatch::parameter;

/// What a request asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Operation(Operation),
    /// It was refused before it was known.
    Unknown,
    Preflight,
    Website,
}

/// Where the records of a bucket go, and whose they are.
type Place = (Source, String, Arc<LogTarget>);

/// Sees to it that a record of the request is made when its answer was sent, where its bucket has a log.
pub(crate) async fn watch(s3: &S3, seen: Seen, request: &ApiRequest, response: &mut ApiResponse) {
    if matches!(seen, Seen::Operation(Operation::CreateBucket | Operation::DeleteBucket)) {
        return;
    }
    let mut records: Vec<(Draft, Source, Arc<LogTarget>)> = Vec::new();
    if let Some(bucket) = request.bucket.as_deref()
        && let Some((source, owner, target)) = place(s3, bucket, response.status()).await
    {
        records.push((draft(s3, seen, request, response.headers(), bucket, owner), source, target));
    }
    // A copy is a read of its source, too.
    if let Seen::Operation(operation @ (Operation::CopyObject | Operation::UploadPartCopy)) = seen
        && let Some(from) = request.headers.get("x-amz-copy-source")
        && let Ok(from) = parse_copy_source(from.as_bytes())
        && let Some((source, owner, target)) = place(s3, &from.bucket, response.status()).await
    {
        let what = if operation == Operation::CopyObject { "OBJECT" } else { "PART" };
        let draft = Draft {
            owner,
            bucket: from.bucket,
            operation: format!("REST.COPY.{what}_GET"),
            key: Some(from.key),
            version: from.version,
            size: Size::Unknown,
            facts: Facts::of(request),
            region: s3.region.clone(),
        };
        records.push((draft, source, target));
    }
    if records.is_empty() {
        return;
    }
    let (log, clock) = (s3.access_log.clone(), s3.clock.clone());
    response.extensions_mut().insert(WhenDone(Arc::new(move |done| {
        let took = u64::try_from(done.time.as_millis()).unwrap_or(0);
        let time = karri_ring_types::Timestamp(clock.now().as_millis().saturating_sub(took));
        for (draft, source, target) in &records {
            log.add(source, target, time, &draft.facts.request_id, &draft.line(time, done));
        }
    })));
}

async fn place(s3: &S3, bucket: &str, answered: StatusCode) -> Option<Place> {
    // Whatever is wrong with the bucket was told in the answer.
    let settings = s3.settings_after(bucket, answered).await?;
    let target = settings.compiled(BucketConfigKind::Logging, |document| compile(document, &*s3.identities))?;
    let target = (*target).clone()?;
    let owner = settings.info().owner.clone();
    Some((Source { bucket: bucket.to_owned(), account: owner.account_id }, owner.user_id, target))
}

fn draft(s3: &S3, seen: Seen, request: &ApiRequest, answered: &HeaderMap, bucket: &str, owner: String) -> Draft {
    let method = &request.method;
    let has_key = request.key.is_some();
    let operation = match seen {
        Seen::Operation(Operation::CopyObject) => "REST.COPY.OBJECT".to_owned(),
        Seen::Operation(Operation::UploadPartCopy) => "REST.COPY.PART".to_owned(),
        Seen::Operation(operation) => format!("REST.{method}.{}", resource(operation, has_key)),
        Seen::Preflight => format!("REST.{method}.PREFLIGHT"),
        Seen::Website => format!("WEBSITE.{method}.{}", if has_key { "OBJECT" } else { "BUCKET" }),
        Seen::Unknown => format!("REST.{method}.{}", if has_key { "OBJECT" } else { "BUCKET" }),
    };
    let told = answered.get("x-amz-version-id").and_then(|value| value.to_str().ok());
    Draft {
        owner,
        bucket: bucket.to_owned(),
        operation,
        key: request.key.clone(),
        version: told.or_else(|| parameter(request, "versionId")).map(str::to_owned),
        size: size(seen, request, answered),
        facts: Facts::of(request),
        region: s3.region.clone(),
    }
}

/// The size of the object that was read or written.
fn size(seen: Seen, request: &ApiRequest, answered: &HeaderMap) -> Size {
    let text = |name| answered.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    match seen {
        Seen::Operation(Operation::PutObject | Operation::UploadPart) => {
            request.body.decoded_length().map_or(Size::Unknown, Size::Bytes)
        }
        Seen::Operation(Operation::GetObject | Operation::HeadObject) | Seen::Website => {
            if !answered.contains_key(http::header::ETAG) {
                return Size::Unknown;
            }
            let whole = text(CONTENT_RANGE).and_then(|range| range.rsplit_once('/')).map(|(_, whole)| whole);
            let size = whole.or_else(|| text(CONTENT_LENGTH)).and_then(|size| size.parse().ok());
            size.map_or(Size::Sent, Size::Bytes)
        }
        _ => Size::Unknown,
    }
}
