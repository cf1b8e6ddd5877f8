//! Encryption at rest as requests ask for it and answers tell it.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName};
use karri_objstore_gateway::ApiRequest;
use karri_objstore_service::{BucketConfigKind, CustomerKey, Encryption, EncryptionMode, NamedKey};
use karri_objstore_wire::{parse_put_bucket_encryption, types};

use crate::S3;
use crate::dispatch::stored_request;
use crate::error::{S3Result, error, header_not_implemented, invalid_argument, invalid_request};
use crate::fault::{Subject, from_service};
use crate::headers::text;
use crate::key_service::user_of;
use crate::response::set;

const METHOD: HeaderName = HeaderName::from_static("x-amz-server-side-encryption");
const KMS_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-aws-kms-key-id");
const CUSTOMER_ALGORITHM: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-customer-algorithm");
const CUSTOMER_KEY_MD5: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-customer-key-md5");
const KMS_CONTEXT: &str = "x-amz-server-side-encryption-context";
const BUCKET_KEY: HeaderName = HeaderName::from_static("x-amz-server-side-encryption-bucket-key-enabled");

/// Where the client's key for the object is.
const OWN_KEY: &str = "x-amz-server-side-encryption-customer-";
/// Where the client's key for the source of a copy is.
const SOURCE_KEY: &str = "x-amz-copy-source-server-side-encryption-customer-";

/// Most bytes of a key's name.
const KMS_KEY_SIZE_BYTES_MAX: usize = 2048;
/// Most bytes of names and values in an encryption context.
const CONTEXT_SIZE_BYTES_MAX: usize = 8192;
/// What S3 itself puts into every encryption context: the object, or its bucket where it has a bucket key.
const CONTEXT_ARN: &str = "aws:s3:arn";

/// The client's key for the object of a request.
pub(crate) fn customer_key(s3: &S3, request: &ApiRequest) -> S3Result<Option<CustomerKey>> {
    key_in(request, OWN_KEY, s3.customer_keys_over_http)
}

/// The client's key for the source of a copy.
pub(crate) fn source_customer_key(s3: &S3, request: &ApiRequest) -> S3Result<Option<CustomerKey>> {
    key_in(request, SOURCE_KEY, s3.customer_keys_over_http)
}

fn key_in(request: &ApiRequest, prefix: &str, over_http: bool) -> S3Result<Option<CustomerKey>> {
    let header = |name: &str| text(&request.headers, &format!("{prefix}{name}"));
    let (algorithm, key, md5) = (header("algorithm")?, header("key")?, header("key-md5")?);
    if (algorithm, key, md5) == (None, None, None) {
        return Ok(None);
    }
    if !request.secure && !over_http {
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

/// How an object is to be encrypted, before its key is known by more than a name.
#[derive(Clone, Debug)]
enum Method {
    S3,
    Customer(CustomerKey),
    Kms { key: Option<String>, bucket_key: bool },
}

/// What the headers of a write ask for, or else its bucket.
pub(crate) async fn asked(s3: &S3, request: &ApiRequest, bucket: &str) -> S3Result<Asked> {
    let given = asked_by_headers(request, s3.customer_keys_over_http)?;
    let by_request = given.is_some();
    let method = match given {
        Some(Method::Kms { key, .. }) => {
            // A bucket key that the request does not speak of is its bucket's to want.
            let bucket_key = match bucket_key_of(&request.headers)? {
                Some(wanted) => wanted,
                None => matches!(default(s3, bucket).await?, Some(Method::Kms { bucket_key: true, .. })),
            };
            Some(Method::Kms { key, bucket_key })
        }
        Some(method) => Some(method),
        None => default(s3, bucket).await?,
    };
    let encryption = match method {
        None => None,
        Some(Method::S3) => Some(Encryption::S3),
        Some(Method::Customer(key)) => Some(Encryption::Customer(key)),
        Some(Method::Kms { key, bucket_key }) => {
            let context = context(request, bucket, bucket_key)?;
            let described = s3.keys.describe(&user_of(request), key.as_deref()).await;
            let key_id = described.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
            Some(Encryption::Kms(NamedKey { key_id, context, bucket_key }))
        }
    };
    Ok(Asked { encryption, by_request })
}

/// The default encryption of a bucket.
async fn default(s3: &S3, bucket: &str) -> S3Result<Option<Method>> {
    let settings = s3.service.bucket_settings(bucket).await;
    let settings = settings.map_err(|failure| from_service(failure, Subject::bucket(bucket)))?;
    let default = settings.compiled(BucketConfigKind::Encryption, default_of);
    Ok(default.and_then(|default| (*default).clone()))
}

/// How access logs in a bucket are encrypted: nobody who calls has a named key for them.
pub(crate) async fn of_logs(s3: &S3, bucket: &str) -> S3Result<Option<Encryption>> {
    match default(s3, bucket).await? {
        None => Ok(None),
        Some(Method::S3) => Ok(Some(Encryption::S3)),
        Some(_) => Err(invalid_request("access logs are not written where the key service encrypts by default")),
    }
}

/// The default encryption in a bucket's document.
fn default_of(document: &[u8]) -> Option<Method> {
    let input = stored_request(|request| parse_put_bucket_encryption(request, document)).ok()?;
    let rule = input.server_side_encryption_configuration.rules.into_iter().next()?;
    let default = rule.apply_server_side_encryption_by_default?;
    let bucket_key = rule.bucket_key_enabled == Some(true);
    Some(match default.sse_algorithm {
        types::ServerSideEncryption::Aes256 => Method::S3,
        _ => Method::Kms { key: default.kms_master_key_id, bucket_key },
    })
}

/// Whether a request wants a bucket key, if it says so.
fn bucket_key_of(headers: &HeaderMap) -> S3Result<Option<bool>> {
    match text(headers, BUCKET_KEY.as_str())? {
        None => Ok(None),
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
        Some(value) if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
        Some(other) => Err(invalid_argument(BUCKET_KEY.as_str(), other, "The value must be true or false.")),
    }
}

/// The encryption context of a write: what the client gives, and the object or bucket.
fn context(request: &ApiRequest, bucket: &str, bucket_key: bool) -> S3Result<Vec<(String, String)>> {
    let arn = match request.key.as_deref() {
        Some(key) if !bucket_key => format!("arn:aws:s3:::{bucket}/{key}"),
        _ => format!("arn:aws:s3:::{bucket}"),
    };
    let mut context = vec![(CONTEXT_ARN.to_owned(), arn)];
    let Some(given) = text(&request.headers, KMS_CONTEXT)? else { return Ok(context) };
    let invalid = || {
        let message = "The header x-amz-server-side-encryption-context shall be Base64-encoded UTF-8 string holding \
                       JSON which represents a string-string map";
        invalid_argument(KMS_CONTEXT, given, message)
    };
    let document = STANDARD.decode(given).map_err(|_| invalid())?;
    let pairs: BTreeMap<String, String> = serde_json::from_slice(&document).map_err(|_| invalid())?;
    if document.len() > CONTEXT_SIZE_BYTES_MAX {
        return Err(invalid());
    }
    for (name, value) in pairs {
        if name != CONTEXT_ARN {
            context.push((name, value));
        } else if value != context[0].1 {
            let message = "The value of aws:s3:arn in the encryption context must be the ARN of the resource.";
            return Err(invalid_argument(KMS_CONTEXT, given, message));
        }
    }
    Ok(context)
}

fn asked_by_headers(request: &ApiRequest, over_http: bool) -> S3Result<Option<Method>> {
    let headers = &request.headers;
    let method = text(headers, METHOD.as_str())?;
    let key_id = text(headers, KMS_KEY.as_str())?;
    if let Some(key) = key_in(request, OWN_KEY, over_http)? {
        return match method {
            None => Ok(Some(Method::Customer(key))),
            Some(method) => Err(invalid_argument(
                METHOD.as_str(),
                method,
                "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            )),
        };
    }
    let requires_kms = |name: &str, value: &str, what: &str| {
        let message = format!("{what} requires HTTP header x-amz-server-side-encryption : aws:kms");
        Err(invalid_argument(name, value, message))
    };
    if let Some(context) = text(headers, KMS_CONTEXT)?.filter(|_| method != Some("aws:kms")) {
        return requires_kms(KMS_CONTEXT, context, "An encryption context");
    }
    match (method, key_id) {
        (None, None) => Ok(None),
        (Some("AES256"), None) => Ok(Some(Method::S3)),
        (None | Some("AES256"), Some(key_id)) => {
            requires_kms(KMS_KEY.as_str(), key_id, "Server Side Encryption with AWS KMS managed key")
        }
        (Some("aws:kms"), key_id) => {
            if key_id.is_some_and(|key_id| key_id.is_empty() || key_id.len() > KMS_KEY_SIZE_BYTES_MAX) {
                return Err(error("KMS.NotFoundException", 400, "Invalid keyId"));
            }
            Ok(Some(Method::Kms { key: key_id.map(str::to_owned), bucket_key: false }))
        }
        (Some("aws:kms:dsse" | "aws:fsx" | "aws:backup"), _) => Err(header_not_implemented(METHOD.as_str())),
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
        Some(EncryptionMode::Kms(key)) => {
            set(headers, METHOD, "aws:kms");
            set(headers, KMS_KEY, &key.key_id);
            if key.bucket_key {
                set(headers, BUCKET_KEY, "true");
            }
        }
        Some(EncryptionMode::Customer) => {
            set(headers, CUSTOMER_ALGORITHM, "AES256");
            if let Some(key) = key {
                set(headers, CUSTOMER_KEY_MD5, &STANDARD.encode(key.md5()));
            }
        }
    }
}

/// Reads all that a request says of encryption, for a fuzzer: a key is taken with its own MD5 and over TLS only.
#[cfg(any(test, fuzzing))]
pub(crate) fn try_headers(request: &ApiRequest) {
    for prefix in [OWN_KEY, SOURCE_KEY] {
        if let Ok(Some(key)) = key_in(request, prefix, false) {
            let claimed = request.headers.get(format!("{prefix}key-md5")).map(|md5| md5.as_bytes());
            assert!(claimed == Some(STANDARD.encode(key.md5()).as_bytes()), "a key was taken without its MD5");
            assert!(request.secure, "a key was taken over a connection that others may read");
        }
    }
    let asked = asked_by_headers(request, false);
    let customer =
        ["algorithm", "key", "key-md5"].iter().any(|name| request.headers.contains_key(format!("{OWN_KEY}{name}")));
    if let Ok(method) = asked {
        assert!(customer == matches!(method, Some(Method::Customer(_))), "the client's key was passed over");
    }
    for bucket_key in [false, true] {
        if let Ok(context) = context(request, "bucket", bucket_key) {
            let arns = context.iter().filter(|(name, _)| name == CONTEXT_ARN).count();
            assert!(arns == 1 && context[0].1.starts_with("arn:aws:s3:::bucket"), "a context of another object");
        }
    }
}
