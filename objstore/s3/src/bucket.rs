//! Buckets: list, create, head, delete, location.

use http::header::{HeaderName, LOCATION};
use http::{HeaderValue, StatusCode};
use karri_objstore_gateway::{ApiRequest, ApiResponse, Principal};
use karri_objstore_service::{BucketInfo, CreateBucketRequest, ServiceError};
use karri_objstore_wire::{Operation, parse_create_bucket, types, write_get_bucket_location, write_list_buckets};

use crate::S3;
use crate::body::document;
use crate::convert::{owner_of, timestamp, wire_owner};
use crate::dispatch::{bucket_of, filled, number, principal, wire_request};
use crate::encoding::{decode_token, encode_token};
use crate::error::{S3Result, error, error_with, invalid_argument};
use crate::fault::{Subject, from_service, from_wire};
use crate::headers::text;
use crate::new_bucket::NewBucket;
use crate::response::{empty, set, wire};

const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");
const ACCESS_POINT_ALIAS: HeaderName = HeaderName::from_static("x-amz-access-point-alias");

/// The region in which a bucket is created without a constraint and again without an error.
const FIRST_REGION: &str = "us-east-1";

/// Most buckets on a page.
const BUCKETS_PER_PAGE_MAX: u32 = 10_000;

/// CreateBucket.
pub(crate) async fn create_bucket(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let access = NewBucket::asked(s3, request)?;
    let body = document(request, Operation::CreateBucket).await?;
    let input = parse_create_bucket(&wire_request(request), &body).map_err(from_wire)?;
    check_configuration(&input, &s3.region)?;
    let bucket = bucket_of(request)?;
    let tags = input.create_bucket_configuration.map(|configuration| configuration.tags).unwrap_or_default();
    let access = access.with_tags(s3, request, bucket, tags)?;
    let owner = principal(request)?;
    let asked = CreateBucketRequest {
        name: bucket.to_owned(),
        owner: owner_of(owner),
        region: s3.region.clone(),
        object_lock: asks_for_lock(request)?,
        documents: access.documents(),
    };
    match s3.service.create_bucket_within(asked, s3.buckets_max(request, bucket)).await {
        Ok(_) => {}
        // As AWS does it in its first region, where scripts count on it.
        Err(ServiceError::BucketAlreadyOwnedByYou) if s3.region == FIRST_REGION => access.check(s3, bucket).await?,
        Err(failure) => return Err(from_service(failure, Subject::bucket(bucket))),
    }
    let mut response = empty(StatusCode::OK);
    set(response.headers_mut(), LOCATION, &format!("/{bucket}"));
    Ok(response)
}

fn asks_for_lock(request: &ApiRequest) -> S3Result<bool> {
    let asked = text(&request.headers, "x-amz-bucket-object-lock-enabled")?;
    Ok(asked.is_some_and(|value| value.eq_ignore_ascii_case("true")))
}

/// The location that a client asks for must be here. No location is any location: clients that know nothing of a
/// cluster's region leave it out.
fn check_configuration(input: &types::CreateBucketInput, region: &str) -> S3Result<()> {
    let Some(configuration) = &input.create_bucket_configuration else { return Ok(()) };
    if configuration.location.is_some() || configuration.bucket.is_some() {
        return Err(error("NotImplemented", 501, "Directory buckets are not implemented."));
    }
    let asked = configuration.location_constraint.as_deref().unwrap_or_default();
    let asked = if asked == "EU" { "eu-west-1" } else { asked };
    if asked.is_empty() || asked == region {
        return Ok(());
    }
    if !looks_like_region(asked) {
        let extra = [("LocationConstraint", asked.to_owned())];
        return Err(error_with(
            "InvalidLocationConstraint",
            400,
            "The specified location-constraint is not valid",
            extra,
        ));
    }
    let message = format!(
        "The {asked} location constraint is incompatible for the region specific endpoint this request was sent to."
    );
    Err(error("IllegalLocationConstraintException", 400, message))
}

/// `eu-west-1`, `us-gov-east-1`: words of letters and a number.
fn looks_like_region(name: &str) -> bool {
    let words: Vec<&str> = name.split('-').collect();
    let Some((number, words)) = words.split_last() else { return false };
    words.len() >= 2
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// HeadBucket.
pub(crate) async fn head_bucket(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    s3.bucket_info(bucket_of(request)?).await?;
    let mut response = empty(StatusCode::OK);
    set(response.headers_mut(), BUCKET_REGION, &s3.region);
    response.headers_mut().insert(ACCESS_POINT_ALIAS, HeaderValue::from_static("false"));
    Ok(response)
}

/// DeleteBucket.
pub(crate) async fn delete_bucket(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let deleted = s3.service.delete_bucket(bucket).await;
    deleted.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// GetBucketLocation: the first region is spelled as nothing.
pub(crate) async fn get_bucket_location(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    s3.bucket_info(bucket_of(request)?).await?;
    let region = (s3.region != FIRST_REGION).then(|| s3.region.clone());
    Ok(wire(write_get_bucket_location(&types::GetBucketLocationOutput { location_constraint: region })))
}

/// ListBuckets.
pub(crate) async fn list_buckets(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let owner = principal(request)?;
    let limit = match number(request, "max-buckets")? {
        None => None,
        Some(limit @ 1..=BUCKETS_PER_PAGE_MAX) => Some(limit),
        Some(other) => {
            let message = format!("Argument max-buckets must be an integer between 1 and {BUCKETS_PER_PAGE_MAX}");
            return Err(invalid_argument("max-buckets", &other.to_string(), message));
        }
    };
    let prefix = filled(request, "prefix");
    let after = match filled(request, "continuation-token") {
        None => None,
        Some(token) => {
            let wrong =
                || invalid_argument("continuation-token", token, "The continuation token provided is incorrect");
            Some(decode_token(token).and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(wrong)?)
        }
    };
    let elsewhere = filled(request, "bucket-region").is_some_and(|region| region != s3.region);
    let buckets = s3.service.list_buckets(&owner.account_id).await;
    let mut buckets = buckets.map_err(|failure| from_service(failure, Subject::bucket("")))?;
    buckets.sort_by(|a, b| a.name.cmp(&b.name));
    buckets.retain(|bucket| {
        !elsewhere
            && prefix.is_none_or(|prefix| bucket.name.starts_with(prefix))
            && after.as_ref().is_none_or(|after| bucket.name > *after)
    });
    Ok(wire(write_list_buckets(&page(s3, owner, buckets, limit, prefix))))
}

fn page(
    s3: &S3,
    owner: &Principal,
    mut buckets: Vec<BucketInfo>,
    limit: Option<u32>,
    prefix: Option<&str>,
) -> types::ListBucketsOutput {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok());
    let more = limit.is_some_and(|limit| buckets.len() > limit);
    if let Some(limit) = limit {
        buckets.truncate(limit);
    }
    let token = more.then(|| buckets.last().map(|bucket| encode_token(bucket.name.as_bytes()))).flatten();
    let paged = limit.is_some();
    let entry = |bucket: BucketInfo| types::Bucket {
        name: Some(bucket.name),
        creation_date: Some(timestamp(bucket.created)),
        // Only a paged listing names the regions.
        bucket_region: paged.then(|| s3.region.clone()),
        ..Default::default()
    };
    types::ListBucketsOutput {
        buckets: buckets.into_iter().map(entry).collect(),
        owner: Some(wire_owner(&owner_of(owner))),
        continuation_token: token,
        prefix: prefix.map(str::to_owned),
    }
}
