//! Uploads by the form of a browser (POST object): a PutObject but for its answer.

use http::header::{ETAG, HeaderValue, LOCATION};
use http::{HeaderName, StatusCode};
use karri_objstore_gateway::{ApiRequest, ApiResponse, PostForm};
use karri_objstore_wire::parse_put_object_tagging;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::S3;
use crate::config::tags;
use crate::dispatch::{object_of, stored_request};
use crate::error::{S3Result, internal, invalid_argument};
use crate::fault::from_wire;
use crate::put::put_object;
use crate::response::{escape_xml, set, xml};

const TAGGING: HeaderName = HeaderName::from_static("x-amz-tagging");
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const PATH: AsciiSet = UNRESERVED.remove(b'/');

/// POST object.
pub(crate) async fn post_object(s3: &S3, request: &mut ApiRequest) -> S3Result<ApiResponse> {
    let form = request.form.take().ok_or_else(internal)?;
    if let Some(document) = form.field("tagging") {
        let header = tagging_header(document)?;
        request.headers.insert(TAGGING, header);
    }
    let written = put_object(s3, request).await?;
    let (bucket, key) = object_of(request)?;
    let etag = written.headers().get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
    let location = location_of(request, bucket, key);
    let mut response = match redirect(&form, bucket, key, &etag) {
        Some(target) => {
            let mut response = crate::response::empty(StatusCode::SEE_OTHER);
            response.headers_mut().insert(LOCATION, target);
            response
        }
        None => match form.field("success_action_status") {
            Some("200") => crate::response::empty(StatusCode::OK),
            Some("201") => created(bucket, key, &etag, &location),
            _ => crate::response::empty(StatusCode::NO_CONTENT),
        },
    };
    for (name, value) in written.headers() {
        response.headers_mut().insert(name, value.clone());
    }
    if !response.headers().contains_key(LOCATION) {
        set(response.headers_mut(), LOCATION, &location);
    }
    Ok(response)
}

/// The field `tagging` is a document; what follows reads a header.
fn tagging_header(document: &str) -> S3Result<HeaderValue> {
    let tagging = stored_request(|request| parse_put_object_tagging(request, document.as_bytes()));
    let tags = tags::of_object(tagging.map_err(from_wire)?.tagging)?;
    let encode = |text: &str| utf8_percent_encode(text, &UNRESERVED).to_string();
    let pairs: Vec<String> = tags.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    HeaderValue::try_from(pairs.join("&")).map_err(|_| invalid_argument("tagging", document, "Invalid tagging"))
}

fn location_of(request: &ApiRequest, bucket: &str, key: &str) -> String {
    let scheme = if request.secure { "https" } else { "http" };
    let key = utf8_percent_encode(key, &PATH);
    // In the path, unless the host has the bucket already.
    match request.raw_path().trim_matches('/').is_empty() {
        true => format!("{scheme}://{}/{key}", request.host),
        false => format!("{scheme}://{}/{bucket}/{key}", request.host),
    }
}

/// Where the browser goes next. What is no URL is as if it were not there.
fn redirect(form: &PostForm, bucket: &str, key: &str, etag: &str) -> Option<HeaderValue> {
    let target = form.field("success_action_redirect").or_else(|| form.field("redirect"))?.trim();
    if !target.starts_with("http://") && !target.starts_with("https://") {
        return None;
    }
    let separator = if target.contains('?') { '&' } else { '?' };
    let encode = |text| utf8_percent_encode(text, &UNRESERVED).to_string();
    let (key, etag) = (encode(key), encode(etag));
    HeaderValue::try_from(format!("{target}{separator}bucket={bucket}&key={key}&etag={etag}")).ok()
}

fn created(bucket: &str, key: &str, etag: &str, location: &str) -> ApiResponse {
    let mut response = xml(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<PostResponse><Location>{}</Location><Bucket>{}</Bucket>\
         <Key>{}</Key><ETag>{}</ETag></PostResponse>",
        escape_xml(location),
        escape_xml(bucket),
        escape_xml(key),
        escape_xml(etag)
    ));
    *response.status_mut() = StatusCode::CREATED;
    response
}
