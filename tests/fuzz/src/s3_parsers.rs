//! The parsers of S3's wire layer that read a document, and those that read only the head.

use karri_objstore_wire::{self as wire, WireRequest};

type Parser = fn(&WireRequest<'_>, &[u8]) -> bool;

macro_rules! parser {
    ($name:path) => {
        |request, body| $name(request, body).is_ok()
    };
}

/// Those with a document.
pub(crate) const DOCUMENTS: &[Parser] = &[
    parser!(wire::parse_complete_multipart_upload),
    parser!(wire::parse_create_bucket),
    parser!(wire::parse_delete_objects),
    parser!(wire::parse_put_bucket_abac),
    parser!(wire::parse_put_bucket_accelerate_configuration),
    parser!(wire::parse_put_bucket_acl),
    parser!(wire::parse_put_bucket_cors),
    parser!(wire::parse_put_bucket_encryption),
    parser!(wire::parse_put_bucket_lifecycle_configuration),
    parser!(wire::parse_put_bucket_logging),
    parser!(wire::parse_put_bucket_notification_configuration),
    parser!(wire::parse_put_bucket_ownership_controls),
    parser!(wire::parse_put_bucket_policy),
    parser!(wire::parse_put_bucket_request_payment),
    parser!(wire::parse_put_bucket_tagging),
    parser!(wire::parse_put_bucket_versioning),
    parser!(wire::parse_put_bucket_website),
    parser!(wire::parse_put_object_acl),
    parser!(wire::parse_put_object_legal_hold),
    parser!(wire::parse_put_object_lock_configuration),
    parser!(wire::parse_put_object_retention),
    parser!(wire::parse_put_object_tagging),
    parser!(wire::parse_put_public_access_block),
    parser!(wire::parse_restore_object),
];

/// Those without.
pub(crate) const HEADS: &[Parser] = &[
    parser!(wire::parse_abort_multipart_upload),
    parser!(wire::parse_copy_object),
    parser!(wire::parse_create_multipart_upload),
    parser!(wire::parse_delete_bucket),
    parser!(wire::parse_delete_bucket_cors),
    parser!(wire::parse_delete_bucket_encryption),
    parser!(wire::parse_delete_bucket_lifecycle),
    parser!(wire::parse_delete_bucket_ownership_controls),
    parser!(wire::parse_delete_bucket_policy),
    parser!(wire::parse_delete_bucket_tagging),
    parser!(wire::parse_delete_bucket_website),
    parser!(wire::parse_delete_object),
    parser!(wire::parse_delete_object_tagging),
    parser!(wire::parse_delete_public_access_block),
    parser!(wire::parse_get_bucket_abac),
    parser!(wire::parse_get_bucket_accelerate_configuration),
    parser!(wire::parse_get_bucket_acl),
    parser!(wire::parse_get_bucket_cors),
    parser!(wire::parse_get_bucket_encryption),
    parser!(wire::parse_get_bucket_lifecycle_configuration),
    parser!(wire::parse_get_bucket_location),
    parser!(wire::parse_get_bucket_logging),
    parser!(wire::parse_get_bucket_notification_configuration),
    parser!(wire::parse_get_bucket_ownership_controls),
    parser!(wire::parse_get_bucket_policy),
    parser!(wire::parse_get_bucket_policy_status),
    parser!(wire::parse_get_bucket_replication),
    parser!(wire::parse_get_bucket_request_payment),
    parser!(wire::parse_get_bucket_tagging),
    parser!(wire::parse_get_bucket_versioning),
    parser!(wire::parse_get_bucket_website),
    parser!(wire::parse_get_object),
    parser!(wire::parse_get_object_acl),
    parser!(wire::parse_get_object_attributes),
    parser!(wire::parse_get_object_legal_hold),
    parser!(wire::parse_get_object_lock_configuration),
    parser!(wire::parse_get_object_retention),
    parser!(wire::parse_get_object_tagging),
    parser!(wire::parse_get_public_access_block),
    parser!(wire::parse_head_bucket),
    parser!(wire::parse_head_object),
    parser!(wire::parse_list_buckets),
    parser!(wire::parse_list_multipart_uploads),
    parser!(wire::parse_list_object_versions),
    parser!(wire::parse_list_objects),
    parser!(wire::parse_list_objects_v2),
    parser!(wire::parse_list_parts),
    parser!(wire::parse_put_object),
    parser!(wire::parse_rename_object),
    parser!(wire::parse_upload_part),
    parser!(wire::parse_upload_part_copy),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_parser_is_left_out() {
        assert_eq!(DOCUMENTS.len() + HEADS.len(), wire::Operation::ALL.len());
    }
}
