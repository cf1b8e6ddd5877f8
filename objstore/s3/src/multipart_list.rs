//! ListParts and ListMultipartUploads.

use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::{
    ListPartsRequest, ListRequest, ListUploadsRequest, PART_NUMBER_MAX, PartInfo, UploadInfo,
};
use karri_objstore_wire::{types, write_list_multipart_uploads, write_list_parts};

use crate::S3;
use crate::convert::{
    fill_checksum, integer, long, timestamp, wire_algorithm, wire_initiator, wire_owner, wire_storage_class, wire_type,
};
use crate::dispatch::{bucket_of, filled, number, object_of, parameter};
use crate::error::S3Result;
use crate::fault::{Subject, from_service};
use crate::lifecycle::tell_abort;
use crate::list::{Encoding, KEYS_PER_PAGE_MAX};
use crate::multipart::upload_ref;
use crate::response::{quoted, wire};

/// Most parts on a page, and how many without `max-parts`.
const PARTS_PER_PAGE_MAX: u32 = 1000;

/// ListParts.
pub(crate) async fn list_parts(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let upload_id = parameter(request, "uploadId").unwrap_or_default();
    let limit = number(request, "max-parts")?.unwrap_or(PARTS_PER_PAGE_MAX).min(PARTS_PER_PAGE_MAX);
    let marker = number(request, "part-number-marker")?.unwrap_or(0);
    let asked = ListPartsRequest {
        upload: upload_ref(bucket, key, upload_id),
        after: u16::try_from(marker).unwrap_or(PART_NUMBER_MAX),
        limit,
    };
    let page = s3.service.list_parts(asked).await;
    let page = page.map_err(|failure| from_service(failure, Subject::upload(bucket, key, upload_id)))?;
    let owner = page.upload.owner.clone().unwrap_or(s3.bucket_info(bucket).await?.owner);
    let last = page.parts.last().map(|part| part.part_number);
    let mut response = wire(write_list_parts(&types::ListPartsOutput {
        bucket: Some(bucket.to_owned()),
        key: Some(key.to_owned()),
        upload_id: Some(upload_id.to_owned()),
        part_number_marker: Some(integer(marker)),
        next_part_number_marker: Some(integer(page.next.or(last).unwrap_or(0))),
        max_parts: Some(integer(limit)),
        is_truncated: Some(page.next.is_some()),
        parts: page.parts.iter().map(part).collect(),
        initiator: Some(wire_initiator(&owner)),
        owner: Some(wire_owner(&owner)),
        storage_class: wire_storage_class(&page.upload.storage_class),
        checksum_algorithm: page.upload.checksum_algorithm.map(wire_algorithm),
        checksum_type: page.upload.checksum_type.map(wire_type),
        ..Default::default()
    }));
    tell_abort(s3, response.headers_mut(), bucket, key, page.upload.initiated).await;
    Ok(response)
}

fn part(info: &PartInfo) -> types::Part {
    let mut part = types::Part {
        part_number: Some(integer(info.part_number)),
        last_modified: Some(timestamp(info.last_modified)),
        etag: Some(quoted(&info.etag)),
        size: Some(long(info.size)),
        ..Default::default()
    };
    fill_checksum!(part, &info.checksum);
    part
}

/// ListMultipartUploads.
pub(crate) async fn list_multipart_uploads(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let bucket = bucket_of(request)?;
    let encoding = Encoding::asked(request)?;
    let limit = number(request, "max-uploads")?.unwrap_or(KEYS_PER_PAGE_MAX).min(KEYS_PER_PAGE_MAX);
    let prefix = parameter(request, "prefix").unwrap_or_default();
    let delimiter = filled(request, "delimiter");
    let key_marker = parameter(request, "key-marker").unwrap_or_default();
    // AWS ignores an upload marker without a key marker.
    let upload_marker = filled(request, "upload-id-marker").filter(|_| !key_marker.is_empty());
    let asked = ListUploadsRequest {
        list: ListRequest {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            delimiter: delimiter.map(str::to_owned),
            after: (!key_marker.is_empty()).then(|| key_marker.to_owned()),
            limit,
        },
        after_upload: upload_marker.map(str::to_owned),
    };
    let page = s3.service.list_uploads(asked).await;
    let page = page.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    let owner = s3.bucket_info(bucket).await?.owner;
    let (next_key, next_upload) = match page.next.clone() {
        Some((key, upload)) => (Some(encoding.print(&key)), Some(upload.unwrap_or_default())),
        None => (None, None),
    };
    let upload = |info: &UploadInfo| types::MultipartUpload {
        upload_id: Some(info.upload_id.clone()),
        key: Some(encoding.print(&info.key)),
        initiated: Some(timestamp(info.initiated)),
        storage_class: wire_storage_class(&info.storage_class),
        owner: Some(wire_owner(info.owner.as_ref().unwrap_or(&owner))),
        initiator: Some(wire_initiator(info.owner.as_ref().unwrap_or(&owner))),
        checksum_algorithm: info.checksum_algorithm.map(wire_algorithm),
        checksum_type: info.checksum_type.map(wire_type),
        ..Default::default()
    };
    Ok(wire(write_list_multipart_uploads(&types::ListMultipartUploadsOutput {
        bucket: Some(bucket.to_owned()),
        key_marker: Some(encoding.print(key_marker)),
        upload_id_marker: Some(upload_marker.unwrap_or_default().to_owned()),
        next_key_marker: next_key,
        next_upload_id_marker: next_upload,
        prefix: Some(encoding.print(prefix)),
        delimiter: delimiter.map(|delimiter| encoding.print(delimiter)),
        max_uploads: Some(integer(limit)),
        is_truncated: Some(page.next.is_some()),
        uploads: page.uploads.iter().map(upload).collect(),
        common_prefixes: encoding.prefixes(&page.common_prefixes),
        encoding_type: encoding.wire(),
        ..Default::default()
    })))
}
