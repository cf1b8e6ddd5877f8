//! ListObjectVersions.

use karri_objstore_gateway::{ApiRequest, ApiResponse};
use karri_objstore_service::{ListVersionsRequest, VersionEntry};
use karri_objstore_wire::{types, write_list_object_versions};

use crate::S3;
use crate::convert::{integer, long, timestamp, wire_algorithm, wire_owner, wire_type};
use crate::dispatch::parameter;
use crate::error::{S3Result, invalid_argument};
use crate::fault::{Subject, from_service};
use crate::list::{Encoding, Query};
use crate::response::{quoted, wire};
use crate::restore::{archived, statuses};
use crate::version::parse_version;

/// ListObjectVersions: versions and delete markers, the newest of each key first.
pub(crate) async fn list_object_versions(s3: &S3, request: &ApiRequest) -> S3Result<ApiResponse> {
    let query = Query::read(request)?;
    let key_marker = parameter(request, "key-marker").unwrap_or_default();
    let version_marker = parameter(request, "version-id-marker");
    let after_version = match version_marker {
        None => None,
        Some("") => {
            let message = "A version-id marker cannot be empty.";
            return Err(invalid_argument("version-id-marker", "", message));
        }
        Some(marker) if key_marker.is_empty() => {
            let message = "A version-id marker cannot be specified without a key marker.";
            return Err(invalid_argument("version-id-marker", marker, message));
        }
        Some(marker) => {
            let invalid = |_| invalid_argument("version-id-marker", marker, "Invalid version id specified");
            Some(parse_version(marker).map_err(invalid)?)
        }
    };
    let list = query.list((!key_marker.is_empty()).then(|| key_marker.to_owned()));
    let page = s3.service.list_versions(ListVersionsRequest { list, after_version }).await;
    let page = page.map_err(|failure| from_service(failure, Subject::bucket(query.bucket)))?;
    let owner = wire_owner(&s3.bucket_info(query.bucket).await?.owner);
    let (markers, versions): (Vec<_>, Vec<_>) = page.versions.iter().partition(|version| version.delete_marker);
    let named =
        versions.iter().map(|version| (&*version.entry.key, &*version.entry.storage_class, Some(version.version)));
    let archived = archived(request, query.bucket, named)?;
    // Without a question about restores there is none.
    let restored = statuses(s3, archived).await.into_iter().chain(std::iter::repeat(None));
    let (next_key, next_version) = page.next.unzip();
    Ok(wire(write_list_object_versions(&types::ListObjectVersionsOutput {
        is_truncated: Some(next_key.is_some()),
        key_marker: query.print(Some(key_marker)),
        version_id_marker: Some(version_marker.unwrap_or_default().to_owned()),
        next_key_marker: query.print(next_key.as_deref()),
        next_version_id_marker: next_version.flatten().map(|version| version.to_string()),
        versions: versions
            .into_iter()
            .zip(restored)
            .map(|(version, restored)| object_version(version, query.encoding, &owner, restored))
            .collect(),
        delete_markers: markers.into_iter().map(|marker| delete_marker(marker, query.encoding, &owner)).collect(),
        name: Some(query.bucket.to_owned()),
        prefix: query.print(Some(query.prefix)),
        delimiter: query.print(query.delimiter),
        max_keys: Some(integer(query.limit)),
        common_prefixes: query.encoding.prefixes(&page.common_prefixes),
        encoding_type: query.encoding.wire(),
        ..Default::default()
    })))
}

fn object_version(
    version: &VersionEntry,
    encoding: Encoding,
    owner: &types::Owner,
    restore_status: Option<types::RestoreStatus>,
) -> types::ObjectVersion {
    let entry = &version.entry;
    types::ObjectVersion {
        etag: Some(quoted(&entry.etag)),
        checksum_algorithm: entry.checksum_algorithm.map(wire_algorithm).into_iter().collect(),
        checksum_type: entry.checksum_type.map(wire_type),
        size: Some(long(entry.size)),
        storage_class: Some(entry.storage_class.clone()),
        key: Some(encoding.print(&entry.key)),
        version_id: Some(version.version.to_string()),
        is_latest: Some(version.latest),
        last_modified: Some(timestamp(entry.last_modified)),
        owner: Some(entry.owner.as_ref().map_or_else(|| owner.clone(), wire_owner)),
        restore_status,
    }
}

fn delete_marker(marker: &VersionEntry, encoding: Encoding, owner: &types::Owner) -> types::DeleteMarkerEntry {
    let entry = &marker.entry;
    types::DeleteMarkerEntry {
        owner: Some(entry.owner.as_ref().map_or_else(|| owner.clone(), wire_owner)),
        key: Some(encoding.print(&entry.key)),
        version_id: Some(marker.version.to_string()),
        is_latest: Some(marker.latest),
        last_modified: Some(timestamp(entry.last_modified)),
    }
}
