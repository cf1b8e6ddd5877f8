//! Uploads by the form of a browser (POST object): what the form says becomes a request like others, with the file as
//! its body.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTObjectPOST.html>

mod auth;
mod multipart;
mod policy;

use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts as RequestParts;

use crate::api::{AuthKind, Caller, Credentials};
use crate::auth::{Authenticator, Scheme};
use crate::body::{RequestBody, Source};
use crate::error::ApiError;
use crate::target::Target;

pub(crate) use self::multipart::FilePart;
#[cfg(any(test, fuzzing))]
pub(crate) use self::policy::FormPolicy;

/// Fields that become the header of the same name. All that begin with `x-amz-` do too, but for the signature's.
const HEADER_FIELDS: [&str; 6] =
    ["cache-control", "content-type", "content-disposition", "content-encoding", "content-language", "expires"];
const SIGNATURE_FIELDS: [&str; 5] =
    ["x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-security-token"];
/// In a key: the name of the file.
const FILE_NAME: &str = "${filename}";

/// What a form says that no header does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostForm {
    fields: Vec<(String, String)>,
}

impl PostForm {
    /// A field, by its name in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// A form that was verified.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) form: PostForm,
    pub(crate) key: String,
    pub(crate) headers: HeaderMap,
    pub(crate) caller: Caller,
    pub(crate) access_key: Option<String>,
    pub(crate) kind: AuthKind,
    pub(crate) body: RequestBody,
}

/// The boundary of a request that is an upload by form.
pub(crate) fn boundary_of(head: &RequestParts, target: &Target, scheme: &Scheme<'_>) -> Option<String> {
    let is_post = head.method == Method::POST && target.bucket.is_some() && target.key.is_none();
    if !is_post || !matches!(scheme, Scheme::Anonymous) || !target.query.is_empty() {
        return None;
    }
    let content_type = head.headers.get(CONTENT_TYPE)?.to_str().ok()?;
    multipart::boundary(content_type).map(str::to_owned)
}

/// Reads the fields and verifies who signed them.
pub(crate) async fn verify(
    authenticator: &Authenticator,
    credentials: &dyn Credentials,
    now: u64,
    sent: Sent<'_>,
    body: RequestBody,
) -> Result<Verified, ApiError> {
    let multipart::Parts { mut fields, file, file_name, file_type } = multipart::read(body, sent.boundary).await?;
    let key = key_of(&mut fields, &file_name)?;
    let signer = auth::signer(authenticator, credentials, &fields).await?;
    let mut range = None;
    if let Some(policy) = &signer.policy {
        // The bucket is a field like others, and it is the one that the request is for.
        fields.retain(|(name, _)| name != "bucket");
        fields.push(("bucket".to_owned(), sent.bucket.to_owned()));
        range = policy.check(&fields, now)?;
    }
    let headers = headers_of(sent.headers, &fields, file_type.as_deref())?;
    Ok(Verified {
        form: PostForm { fields },
        key,
        headers,
        caller: signer.caller,
        access_key: signer.access_key,
        kind: AuthKind::PostForm,
        body: RequestBody::new(Source::Form(Box::new(file.limited(range))), None),
    })
}

/// What the request says beside the form.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) boundary: &'a str,
    pub(crate) bucket: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// The key, with the name of the file in its place, in the fields too.
fn key_of(fields: &mut [(String, String)], file_name: &str) -> Result<String, ApiError> {
    let Some((_, key)) = fields.iter_mut().find(|(name, _)| name == "key") else { return Err(missing_field("key")) };
    if key.contains(FILE_NAME) {
        // Some browsers give the whole path.
        let name = file_name.rsplit(['/', '\\']).next().unwrap_or_default();
        *key = key.replace(FILE_NAME, name);
    }
    match key.is_empty() || key.contains('\0') {
        true => Err(ApiError::invalid_argument("key", key, "User key must have a length greater than 0.")),
        false => Ok(key.clone()),
    }
}

fn missing_field(name: &str) -> ApiError {
    let message = format!(
        "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
    );
    ApiError::invalid_argument(name, "", message)
}

/// The headers that a PUT with the same effect would have.
fn headers_of(sent: &HeaderMap, fields: &[(String, String)], file_type: Option<&str>) -> Result<HeaderMap, ApiError> {
    // What describes the form's own body, or would bypass its policy, is left behind.
    let stays = |name: &HeaderName| {
        !name.as_str().starts_with("x-amz-") && !name.as_str().starts_with("content-") && *name != CONTENT_LENGTH
    };
    let mut headers = HeaderMap::new();
    for (name, value) in sent.iter().filter(|(name, _)| stays(name) && !HEADER_FIELDS.contains(&name.as_str())) {
        headers.append(name, value.clone());
    }
    for (name, value) in fields {
        let is_header = HEADER_FIELDS.contains(&name.as_str())
            || name == "content-md5"
            || name.starts_with("x-amz-") && !SIGNATURE_FIELDS.contains(&name.as_str());
        let name = match name.as_str() {
            "acl" => "x-amz-acl",
            name if is_header => name,
            _ => continue,
        };
        let invalid = || ApiError::invalid_argument(name, value, "The value of this field is not valid.");
        let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| invalid())?;
        headers.insert(HeaderName::try_from(name).map_err(|_| invalid())?, value);
    }
    if let Some(file_type) = file_type.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.entry(CONTENT_TYPE).or_insert(file_type);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_file_gives_its_name_to_the_key() {
        let key = |key: &str, file: &str| key_of(&mut fields(&[("key", key)]), file).map_err(|refused| refused.code);
        assert_eq!(key("a/${filename}", "C:\\x\\cat.jpg").as_deref(), Ok("a/cat.jpg"));
        assert_eq!(key("plain", "cat.jpg").as_deref(), Ok("plain"));
        assert!(key("${filename}", "").is_err());
        assert!(key_of(&mut fields(&[]), "cat.jpg").is_err());
    }

    #[test]
    fn only_fields_become_headers_of_amazon() {
        let mut sent = HeaderMap::new();
        sent.insert("x-amz-acl", HeaderValue::from_static("public-read"));
        sent.insert("content-type", HeaderValue::from_static("multipart/form-data; boundary=x"));
        sent.insert("origin", HeaderValue::from_static("https://a.example"));
        let given = fields(&[("x-amz-meta-a", "1"), ("x-amz-signature", "s"), ("key", "k"), ("acl", "private")]);
        let headers = headers_of(&sent, &given, Some("image/png")).expect("fine");
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(text("x-amz-acl"), Some("private"));
        assert_eq!(text("x-amz-meta-a"), Some("1"));
        assert_eq!(text("content-type"), Some("image/png"));
        assert_eq!(text("origin"), Some("https://a.example"));
        assert_eq!((text("x-amz-signature"), text("key")), (None, None));
        assert!(headers_of(&sent, &fields(&[("x-amz-meta-a", "\n")]), None).is_ok(), "trimmed");
        assert!(headers_of(&sent, &fields(&[("x-amz-meta-a", "a\nb")]), None).is_err());
    }
}
