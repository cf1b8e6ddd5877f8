//! Documents of one or two values: ownership, public access, payment, acceleration, and those that can only say no.

use bytes::Bytes;
use karri_objstore_gateway::ApiRequest;
use karri_objstore_service::BucketConfigKind;
use karri_objstore_wire::{
    parse_put_bucket_abac, parse_put_bucket_accelerate_configuration, parse_put_bucket_notification_configuration,
    parse_put_bucket_ownership_controls, parse_put_bucket_request_payment, parse_put_public_access_block, types,
    write_get_bucket_abac, write_get_bucket_accelerate_configuration, write_get_bucket_ownership_controls,
    write_get_bucket_request_payment, write_get_public_access_block,
};

use super::kept;
use crate::dispatch::{bucket_of, wire_request};
use crate::error::{S3Result, error, malformed_xml};
use crate::fault::from_wire;

macro_rules! document {
    ($name:literal, $body:literal) => {
        concat!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<",
            $name,
            " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">",
            $body,
            "</",
            $name,
            ">"
        )
    };
}

/// What a read answers where nothing was configured, if that is no error.
pub(super) fn default_document(kind: BucketConfigKind) -> Option<Bytes> {
    let document = match kind {
        BucketConfigKind::RequestPayment => {
            document!("RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>")
        }
        BucketConfigKind::Accelerate => document!("AccelerateConfiguration", ""),
        BucketConfigKind::Notification => document!("NotificationConfiguration", ""),
        BucketConfigKind::Logging => document!("BucketLoggingStatus", ""),
        BucketConfigKind::Abac => document!("AbacStatus", "<Status>Disabled</Status>"),
        _ => return None,
    };
    Some(Bytes::from_static(document.as_bytes()))
}

/// The document to keep.
pub(super) fn check(kind: BucketConfigKind, request: &ApiRequest, body: &[u8]) -> S3Result<Bytes> {
    let wire = wire_request(request);
    match kind {
        BucketConfigKind::OwnershipControls => {
            let controls = parse_put_bucket_ownership_controls(&wire, body).map_err(from_wire)?.ownership_controls;
            if controls.rules.len() != 1 {
                return Err(malformed_xml());
            }
            let output = types::GetBucketOwnershipControlsOutput { ownership_controls: Some(controls) };
            kept(write_get_bucket_ownership_controls(&output))
        }
        BucketConfigKind::PublicAccessBlock => {
            let input = parse_put_public_access_block(&wire, body).map_err(from_wire)?;
            let configuration = spelled_out(input.public_access_block_configuration);
            let output = types::GetPublicAccessBlockOutput { public_access_block_configuration: Some(configuration) };
            kept(write_get_public_access_block(&output))
        }
        BucketConfigKind::RequestPayment => {
            let input = parse_put_bucket_request_payment(&wire, body).map_err(from_wire)?;
            let payer = Some(input.request_payment_configuration.payer);
            kept(write_get_bucket_request_payment(&types::GetBucketRequestPaymentOutput { payer }))
        }
        BucketConfigKind::Accelerate => accelerate(request, body),
        BucketConfigKind::Abac => {
            let abac_status = Some(parse_put_bucket_abac(&wire, body).map_err(from_wire)?.abac_status);
            kept(write_get_bucket_abac(&types::GetBucketAbacOutput { abac_status }))
        }
        BucketConfigKind::Notification => {
            let asked = parse_put_bucket_notification_configuration(&wire, body).map_err(from_wire)?;
            let nothing = asked.notification_configuration == types::NotificationConfiguration::default();
            unless_asked_for(nothing, kind)
        }
        _ => Err(not_served()),
    }
}

/// Values that are left out are false.
fn spelled_out(asked: types::PublicAccessBlockConfiguration) -> types::PublicAccessBlockConfiguration {
    types::PublicAccessBlockConfiguration {
        block_public_acls: Some(asked.block_public_acls.unwrap_or(false)),
        ignore_public_acls: Some(asked.ignore_public_acls.unwrap_or(false)),
        block_public_policy: Some(asked.block_public_policy.unwrap_or(false)),
        restrict_public_buckets: Some(asked.restrict_public_buckets.unwrap_or(false)),
    }
}

/// Kept for those who read it; there is nothing here that could be faster.
fn accelerate(request: &ApiRequest, body: &[u8]) -> S3Result<Bytes> {
    let input = parse_put_bucket_accelerate_configuration(&wire_request(request), body).map_err(from_wire)?;
    let Some(status) = input.accelerate_configuration.status else { return Err(malformed_xml()) };
    if bucket_of(request)?.contains('.') {
        let message = "S3 Transfer Acceleration is not supported for buckets with periods (.) in their names";
        return Err(error("InvalidRequest", 400, message));
    }
    let output = types::GetBucketAccelerateConfigurationOutput { status: Some(status), ..Default::default() };
    kept(write_get_bucket_accelerate_configuration(&output))
}

/// What may only say that nothing is wanted.
fn unless_asked_for(nothing: bool, kind: BucketConfigKind) -> S3Result<Bytes> {
    match default_document(kind) {
        Some(document) if nothing => Ok(document),
        _ => Err(not_served()),
    }
}

fn not_served() -> karri_objstore_gateway::ApiError {
    error("NotImplemented", 501, "The configuration that you provided implies functionality that is not implemented")
}
