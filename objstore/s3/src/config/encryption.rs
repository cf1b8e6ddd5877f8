//! The default encryption of a bucket.

use bytes::Bytes;
use karri_objstore_gateway::ApiRequest;
use karri_objstore_wire::{parse_put_bucket_encryption, types, write_get_bucket_encryption};

use super::kept;
use crate::dispatch::wire_request;
use crate::error::{S3Result, error, invalid_argument, malformed_xml};
use crate::fault::from_wire;

/// The document to keep.
pub(super) fn check(request: &ApiRequest, body: &[u8]) -> S3Result<Bytes> {
    let input = parse_put_bucket_encryption(&wire_request(request), body).map_err(from_wire)?;
    let mut configuration = input.server_side_encryption_configuration;
    let [rule] = &mut configuration.rules[..] else { return Err(malformed_xml()) };
    let Some(default) = &rule.apply_server_side_encryption_by_default else { return Err(malformed_xml()) };
    let with_kms = default.sse_algorithm == types::ServerSideEncryption::AwsKms;
    if default.sse_algorithm == types::ServerSideEncryption::AwsKmsDsse {
        return Err(error("NotImplemented", 501, "Dual-layer server-side encryption is not implemented."));
    }
    if matches!(default.sse_algorithm, types::ServerSideEncryption::AwsFsx | types::ServerSideEncryption::AwsBackup) {
        return Err(malformed_xml());
    }
    if let Some(key) = default.kms_master_key_id.as_deref().filter(|_| !with_kms) {
        let message = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse";
        return Err(invalid_argument("KMSMasterKeyID", key, message));
    }
    rule.bucket_key_enabled = Some(rule.bucket_key_enabled.unwrap_or(false));
    let output = types::GetBucketEncryptionOutput { server_side_encryption_configuration: Some(configuration) };
    kept(write_get_bucket_encryption(&output))
}
