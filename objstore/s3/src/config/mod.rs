//! Configuration documents of buckets. A document is checked when it is put, and kept as a read of it answers, so
//! that reading it takes nothing and what decides by it parses only what this module wrote.

pub(crate) mod cors;
mod encryption;
mod policy;
mod simple;
pub(crate) mod tags;
pub(crate) mod website;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::BucketConfigKind;
use karri_objstore_wire::{Operation, WireResponse};

use crate::S3;
use crate::access_log;
use crate::body::{document, verify_claims};
use crate::dispatch::bucket_of;
use crate::error::{S3Result, error_with, internal};
use crate::fault::{Subject, from_service};
use crate::response::{empty, xml};

/// What an operation does to a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Put,
    Delete,
}

/// The document that `operation` is about.
fn subject_of(operation: Operation) -> Option<(Verb, BucketConfigKind)> {
    use BucketConfigKind as Kind;
    Some(match operation {
        Operation::GetBucketPolicy => (Verb::Get, Kind::Policy),
        Operation::PutBucketPolicy => (Verb::Put, Kind::Policy),
        Operation::DeleteBucketPolicy => (Verb::Delete, Kind::Policy),
        Operation::GetBucketOwnershipControls => (Verb::Get, Kind::OwnershipControls),
        Operation::PutBucketOwnershipControls => (Verb::Put, Kind::OwnershipControls),
        Operation::DeleteBucketOwnershipControls => (Verb::Delete, Kind::OwnershipControls),
        Operation::GetPublicAccessBlock => (Verb::Get, Kind::PublicAccessBlock),
        Operation::PutPublicAccessBlock => (Verb::Put, Kind::PublicAccessBlock),
        Operation::DeletePublicAccessBlock => (Verb::Delete, Kind::PublicAccessBlock),
        Operation::GetBucketCors => (Verb::Get, Kind::Cors),
        Operation::PutBucketCors => (Verb::Put, Kind::Cors),
        Operation::DeleteBucketCors => (Verb::Delete, Kind::Cors),
        Operation::GetBucketTagging => (Verb::Get, Kind::Tagging),
        Operation::PutBucketTagging => (Verb::Put, Kind::Tagging),
        Operation::DeleteBucketTagging => (Verb::Delete, Kind::Tagging),
        Operation::GetBucketWebsite => (Verb::Get, Kind::Website),
        Operation::PutBucketWebsite => (Verb::Put, Kind::Website),
        Operation::DeleteBucketWebsite => (Verb::Delete, Kind::Website),
        Operation::GetBucketEncryption => (Verb::Get, Kind::Encryption),
        Operation::PutBucketEncryption => (Verb::Put, Kind::Encryption),
        Operation::DeleteBucketEncryption => (Verb::Delete, Kind::Encryption),
        Operation::GetBucketRequestPayment => (Verb::Get, Kind::RequestPayment),
        Operation::PutBucketRequestPayment => (Verb::Put, Kind::RequestPayment),
        Operation::GetBucketAccelerateConfiguration => (Verb::Get, Kind::Accelerate),
        Operation::PutBucketAccelerateConfiguration => (Verb::Put, Kind::Accelerate),
        Operation::GetBucketNotificationConfiguration => (Verb::Get, Kind::Notification),
        Operation::PutBucketNotificationConfiguration => (Verb::Put, Kind::Notification),
        Operation::GetBucketLogging => (Verb::Get, Kind::Logging),
        Operation::PutBucketLogging => (Verb::Put, Kind::Logging),
        Operation::GetBucketAbac => (Verb::Get, Kind::Abac),
        Operation::PutBucketAbac => (Verb::Put, Kind::Abac),
        _ => return None,
    })
}

/// Carries out `operation` if it is about a document; `None` when it is about something else.
pub(crate) async fn handle(s3: &S3, operation: Operation, request: &mut ApiRequest) -> Option<S3Result<ApiResponse>> {
    if operation == Operation::GetBucketPolicyStatus {
        return Some(policy::status(s3, request).await);
    }
    let (verb, kind) = subject_of(operation)?;
    Some(match verb {
        Verb::Get => get(s3, kind, request).await,
        Verb::Put => put(s3, operation, kind, request).await,
        Verb::Delete => delete(s3, kind, request).await,
    })
}

async fn get(s3: &S3, kind: BucketConfigKind, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let found = s3.service.bucket_config(bucket, kind).await;
    let found = found.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    match found.or_else(|| simple::default_document(kind)) {
        Some(document) => Ok(answer(kind, document)),
        None => {
            let (code, message) = absent(kind);
            Err(error_with(code, 404, message, [("BucketName", bucket.to_owned())]))
        }
    }
}

fn answer(kind: BucketConfigKind, document: Bytes) -> ApiResponse {
    let mut response = xml(document);
    if kind == BucketConfigKind::Policy {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}

async fn put(s3: &S3, operation: Operation, kind: BucketConfigKind, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let body = document(request, operation).await?;
    verify_claims(request, &body)?;
    let bucket = bucket_of(request)?;
    s3.bucket_info(bucket).await?;
    if kind == BucketConfigKind::Tagging && tags::is_empty(request, &body)? {
        return delete(s3, kind, request).await;
    }
    let document = match kind {
        BucketConfigKind::Policy => policy::check(s3, request, &body).await?,
        BucketConfigKind::Logging => match access_log::check(s3, request, &body).await? {
            Some(document) => document,
            None => return delete(s3, kind, request).await.map(|_| empty(StatusCode::OK)),
        },
        other => check(other, request, &body)?,
    };
    if kind == BucketConfigKind::OwnershipControls {
        s3.rules(bucket).await?.check_new_ownership(&document)?;
    }
    let kept = s3.service.put_bucket_config(bucket, kind, document).await;
    kept.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    Ok(empty(match kind {
        BucketConfigKind::Policy | BucketConfigKind::Tagging => StatusCode::NO_CONTENT,
        _ => StatusCode::OK,
    }))
}

/// The document to keep, of a kind whose check needs nothing but the document.
pub(crate) fn check(kind: BucketConfigKind, request: &ApiRequest, body: &[u8]) -> S3Result<Bytes> {
    match kind {
        BucketConfigKind::Cors => cors::check(request, body),
        BucketConfigKind::Tagging => tags::check_of_bucket(request, body),
        BucketConfigKind::Website => website::check(request, body),
        BucketConfigKind::Encryption => encryption::check(request, body),
        other => simple::check(other, request, body),
    }
}

async fn delete(s3: &S3, kind: BucketConfigKind, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let deleted = s3.service.delete_bucket_config(bucket, kind).await;
    deleted.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The error of a read of what was never configured.
fn absent(kind: BucketConfigKind) -> (&'static str, &'static str) {
    match kind {
        BucketConfigKind::Policy => ("NoSuchBucketPolicy", "The bucket policy does not exist"),
        BucketConfigKind::Cors => ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
        BucketConfigKind::Tagging => ("NoSuchTagSet", "The TagSet does not exist"),
        BucketConfigKind::Lifecycle => ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
        BucketConfigKind::PublicAccessBlock => {
            ("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found")
        }
        BucketConfigKind::OwnershipControls => {
            ("OwnershipControlsNotFoundError", "The bucket ownership controls were not found")
        }
        BucketConfigKind::Encryption => {
            ("ServerSideEncryptionConfigurationNotFoundError", "The server side encryption configuration was not found")
        }
        _ => ("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration"),
    }
}

/// The document of an answer that the wire layer wrote.
pub(crate) fn kept(written: WireResponse) -> S3Result<Bytes> {
    written.body.map(Bytes::from).ok_or_else(internal)
}
