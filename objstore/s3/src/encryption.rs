//! Encryption at rest as requests ask for it and answers tell it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName};
use karri_objstore_gateway::ApiRequest;
use karri_objstore_service::{BucketConfigKind, CustomerKey, Encryption, EncryptionMode};
use karri_objstore_wire::{parse_put_bucket_encryption, types};

use crate::S3;
use crate::dispatch::stored_request;
use crate::error::{S3Result, error, header_not_implemented, invalid_argument, invalid_request};
use crate::fault::{Subject, from_service};
use crate::headers::text;
use crate::response::set;

const METHOD: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KMS_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
const CUSTOMER_ALGORITHM: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-customer-algorithm");
const CUSTOMER_KEY_MD5: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-customer-key-md5");
const KMS_CONTEXT: &str = "x-amz-server-side-encryption-context";

/// Where the client's key for the object is.
const OWN_KEY: &str = "x-amz-server-side-encryption-customer-";
/// Where the client's key for the source of a copy is.
const SOURCE_KEY: &str = "x-amz-copy-source-server-side-encryption-customer-";

/// The named key of those who name none.
const KMS_KEY_DEFAULT: &str = "aws/s3";
/// Most bytes of a key's name.
const KMS_KEY_SIZE_BYTES_MAX: usize = 2048;

/// The client's key for the object of a request.
pub(crate) fn customer_key(s3: &S3, request: &ApiRequest) -> S3Result<Option<CustomerKey>> {
    key_in(s3, request, OWN_KEY)
}

/// The client's key for the source of a copy.
pub(crate) fn source_customer_key(s3: &S3, request: &ApiRequest) -> S3Result<Option<CustomerKey>> {
    key_in(s3, request, SOURCE_KEY)
}

fn key_in(s3: &S3, request: &ApiRequest, prefix: &str) -> S3Result<Option<CustomerKey>> {
    let header = |name: &str| text(&request.headers, &format!("{prefix}{name}"));
    let (algorithm, key, md5) = (header("algorithm")?, header("key")?, header("key-md5")?);
    if (algorithm, key, md5) == (None, None, None) {
        return Ok(None);
    }
    if !request.secure && !s3.customer_keys_over_http {
        return Err(invalid_request(
            "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure \
             connection.",
        ));
    }
    let invalid = |name: &str, detail: &str| {
        let message =
            format!("Requests specifying Server Side Encryption with Customer provided keys must provide {detail}");
        Err(invalid_argument(&format!("{prefix}{name}"), "null", message))
    };
    match algorithm {
        Some("AES256") => {}
        None => return invalid("algorithm", "a valid encryption algorithm."),
        Some(_) => {
            let message = "The Encryption request you specified is not valid. Supported value: AES256.";
            return Err(error("InvalidEncryptionAlgorithmError", 400, message));
        }
    }
    let Some(key) = key else { return invalid("key", "an appropriate secret key.") };
    let Some(md5) = md5 else { return invalid("key-md5", "the client calculated MD5 of the secret key.") };
    let wrong = |message: &str| Err(invalid_argument(&format!("{prefix}key"), "", message));
    let bytes = STANDARD.decode(key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let Some(bytes) = bytes else { return wrong("The secret key was invalid for the specified algorithm.") };
    let key = CustomerKey::new(bytes);
    match STANDARD.decode(md5).is_ok_and(|claimed| claimed == key.md5()) {
        true => Ok(Some(key)),
        false => wrong("The calculated MD5 hash of the key did not match the hash that was provided."),
    }
}

/// How an object is to be encrypted.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) encryption: Option<Encryption>,
    /// Whether the request says so itself.
    pub(crate) by_request: bool,
}

/// What the headers of a write ask for, or else its bucket.
pub(crate) async fn asked(s3: &S3, request: &ApiRequest, bucket: &str) -> S3Result<Asked> {
    if let Some(encryption) = asked_by_headers(s3, request)? {
        return Ok(Asked { encryption: Some(encryption), by_request: true });
    }
    let settings = s3.service.bucket_settings(bucket).await;
    let settings = settings.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    let default = settings.compiled(BucketConfigKind::Encryption, default_of);
    Ok(Asked { encryption: default.and_then(|default| (*default).clone()), by_request: false })
}

/// The default encryption in a bucket's document.
fn default_of(document: &[u8]) -> Option<Encryption> {
    let input = stored_request(|request| parse_put_bucket_encryption(request, document)).ok()?;
    let rule = input.server_side_encryption_configuration.rules.into_iter().next()?;
    let default = rule.apply_server_side_encryption_by_default?;
    Some(match default.sse_algorithm {
        types::ServerSideEncryption::Aes256 => Encryption::S3,
        _ => Encryption::Kms { key_id: default.kms_master_key_id.unwrap_or_else(|| KMS_KEY_DEFAULT.to_owned()) },
    })
}

fn asked_by_headers(s3: &S3, request: &ApiRequest) -> S3Result<Option<Encryption>> {
    let headers = &request.headers;
    let method = text(headers, METHOD.as_str())?;
    let key_id = text(headers, KMS_KEY.as_str())?;
    if let Some(key) = customer_key(s3, request)? {
        return match method {
            None => Ok(Some(Encryption::Customer(key))),
            Some(method) => Err(invalid_argument(
                METHOD.as_str(),
                method,
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            )),
        };
    }
    if headers.contains_key(KMS_CONTEXT) {
        return Err(header_not_implemented(KMS_CONTEXT));
    }
    match (method, key_id) {
        (None, None) => Ok(None),
        (Some("AES256"), None) => Ok(Some(Encryption::S3)),
        (None | Some("AES256"), Some(key_id)) => Err(invalid_argument(
            KMS_KEY.as_str(),
            key_id,
            "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms",
        )),
        (Some("aws:kms"), key_id) => {
            let key_id = key_id.unwrap_or(KMS_KEY_DEFAULT);
            if key_id.is_empty() || key_id.len() > KMS_KEY_SIZE_BYTES_MAX {
                return Err(error("KMS.NotFoundException", 400, "Invalid keyId"));
            }
            Ok(Some(Encryption::Kms { key_id: key_id.to_owned() }))
        }
        (Some("aws:kms:dsse" | "aws:fsx"), _) => Err(header_not_implemented(METHOD.as_str())),
        (Some(other), _) => {
            Err(invalid_argument(METHOD.as_str(), other, "The encryption method specified is not supported"))
        }
    }
}

/// Readers do not say how an object is encrypted.
pub(crate) fn refuse_on_read(headers: &HeaderMap) -> S3Result<()> {
    match [METHOD, KMS_KEY].iter().find(|name| headers.contains_key(*name)) {
        Some(name) => {
            let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
            Err(invalid_argument(name.as_str(), value, format!("{name} header is not supported for this operation.")))
        }
        None => Ok(()),
    }
}

/// Tells how an object is encrypted, and by which of the client's keys.
pub(crate) fn tell(headers: &mut HeaderMap, mode: Option<&EncryptionMode>, key: Option<&CustomerKey>) {
    match mode {
        None => {}
        Some(EncryptionMode::S3) => set(headers, METHOD, "AES256"),
        Some(EncryptionMode::Kms { key_id }) => {
            set(headers, METHOD, "aws:kms");
            set(headers, KMS_KEY, key_id);
        }
        Some(EncryptionMode::Customer) => {
            set(headers, CUSTOMER_ALGORITHM, "AES256");
            if let Some(key) = key {
                set(headers, CUSTOMER_KEY_MD5, &STANDARD.encode(key.md5()));
            }
        }
    }
}
