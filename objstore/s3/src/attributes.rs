//! GetObjectAttributes.

use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::{CallerKeys, GetRequest, ObjectAttributes, PART_NUMBER_MAX, PartInfo};
use karri_objstore_wire::{types, write_get_object_attributes};

use crate::S3;
use crate::checksum::object_text;
use crate::conditions::read_conditions;
use crate::convert::{fill_checksum, integer, long, timestamp, wire_storage_class, wire_type};
use crate::dispatch::object_of;
use crate::encryption;
use crate::error::{S3Result, invalid_argument, invalid_request};
use crate::fault::{Subject, from_service};
use crate::headers::text;
use crate::key_service::keys_of;
use crate::response::wire;
use crate::version::{named_version, with_version};

const ATTRIBUTES: &str = "x-amz-object-attributes";
const MAX_PARTS: &str = "x-amz-max-parts";
const MARKER: &str = "x-amz-part-number-marker";

/// Most parts on a page, and how many without a limit.
const PARTS_PER_PAGE_MAX: u32 = 1000;

/// Which attributes are asked for.
#[derive(Default)]
struct Asked {
    etag: bool,
    checksum: bool,
    parts: bool,
    storage_class: bool,
    size: bool,
}

impl Asked {
    fn read(request: &ApiRequest) -> S3Result<Self> {
        let mut asked = Self::default();
        let mut any = false;
        for value in request.headers.get_all(ATTRIBUTES) {
            let value = value.to_str().unwrap_or_default();
            for name in value.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                any = true;
                match name {
                    "ETag" => asked.etag = true,
                    "Checksum" => asked.checksum = true,
                    "ObjectParts" => asked.parts = true,
                    "StorageClass" => asked.storage_class = true,
                    "ObjectSize" => asked.size = true,
                    other => return Err(invalid_argument(ATTRIBUTES, other, "Invalid attribute name specified.")),
                }
            }
        }
        match any {
            true => Ok(asked),
            false => Err(invalid_request(
                "The x-amz-object-attributes header specifying the attributes to be retrieved is either missing or \
                 empty",
            )),
        }
    }
}

/// GetObjectAttributes.
pub(crate) async fn get_object_attributes(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let (bucket, key) = object_of(request)?;
    let version = named_version(request)?;
    encryption::refuse_on_read(&request.headers)?;
    let asked = Asked::read(request)?;
    let limit = header_number(request, MAX_PARTS)?.unwrap_or(PARTS_PER_PAGE_MAX).min(PARTS_PER_PAGE_MAX);
    let marker = header_number(request, MARKER)?.unwrap_or(0);
    let after = u16::try_from(marker).unwrap_or(PART_NUMBER_MAX);
    let get = GetRequest {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version,
        conditions: read_conditions(&request.headers)?,
        customer_key: encryption::customer_key(s3, request)?,
        keys: if asked.checksum { keys_of(s3, request) } else { CallerKeys::default() },
        ..GetRequest::default()
    };
    let found = s3.service.object_attributes(get, after, limit).await;
    let found = found.map_err(|failure| with_version(from_service(failure, Subject::object(bucket, key)), request))?;
    let info = &found.info;
    let mut checksum = None;
    if asked.checksum && info.checksum.is_some() {
        let mut shape = types::Checksum { checksum_type: info.checksum_type.map(wire_type), ..Default::default() };
        fill_checksum!(shape, &info.checksum, |sum| object_text(sum, info.checksum_type, &info.etag));
        checksum = Some(shape);
    }
    Ok(wire(write_get_object_attributes(&types::GetObjectAttributesOutput {
        last_modified: Some(timestamp(info.last_modified)),
        version_id: info.version.or(version).map(|version| version.to_string()),
        // Without quotes, alone of all operations.
        etag: asked.etag.then(|| info.etag.clone()),
        checksum,
        object_parts: if asked.parts { parts(&found, marker, limit) } else { None },
        storage_class: if asked.storage_class { wire_storage_class(&info.storage_class) } else { None },
        object_size: asked.size.then(|| long(info.size)),
        ..Default::default()
    })))
}

/// Of an object that was uploaded in parts: their count, and the parts themselves when they have checksums.
fn parts(found: &ObjectAttributes, marker: u32, limit: u32) -> Option<types::GetObjectAttributesParts> {
    let total = found.info.parts_count?;
    let mut shape = types::GetObjectAttributesParts { total_parts_count: Some(integer(total)), ..Default::default() };
    if found.parts.iter().any(|part| part.checksum.is_some()) {
        let last = found.parts.last().map(|part| part.part_number);
        shape.part_number_marker = Some(integer(marker));
        shape.next_part_number_marker = found.next.or(last).map(integer);
        shape.max_parts = Some(integer(limit));
        shape.is_truncated = Some(found.next.is_some());
        shape.parts = found.parts.iter().map(part).collect();
    }
    Some(shape)
}

fn part(info: &PartInfo) -> types::ObjectPart {
    let mut part = types::ObjectPart {
        part_number: Some(integer(info.part_number)),
        size: Some(long(info.size)),
        ..Default::default()
    };
    fill_checksum!(part, &info.checksum);
    part
}

fn header_number(request: &ApiRequest, name: &'static str) -> S3Result<Option<u32>> {
    let Some(value) = text(&request.headers, name)?.filter(|value| !value.is_empty()) else { return Ok(None) };
    match value.parse() {
        Ok(number) if i32::try_from(number).is_ok() => Ok(Some(number)),
        _ => {
            let message = format!("Provided {name} not an integer or within integer range");
            Err(invalid_argument(name, value, message))
        }
    }
}
