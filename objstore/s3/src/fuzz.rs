//! What a fuzzer drives of this crate (`tests/fuzz`): each function takes any bytes, and panics where something is
//! wrong. Only tests and fuzzers are compiled with it.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use karri_objstore_gateway::{ApiRequest, AuthKind, Caller, RequestBody, Room};
use karri_objstore_service::{BucketConfigKind, Lifecycle};
use karri_objstore_wire::{
    parse_put_bucket_lifecycle_configuration, parse_put_object_tagging, write_get_bucket_lifecycle_configuration,
};
use karri_ring_types::{RequestId, Timestamp};

use crate::authorize::{Account, OneAccount};
use crate::config::tags;
use crate::{
    acl, checksum, conditions, config, copy_source, encryption, headers, lifecycle_rules, lock, range, website,
};

/// 2013-05-24T00:00:00Z, the time of the examples of AWS, from which the seeds are made.
const NOW: Timestamp = Timestamp(1_369_353_600_000);

/// The kinds of which documents are kept as they are checked.
const KINDS: [BucketConfigKind; 9] = [
    BucketConfigKind::Cors,
    BucketConfigKind::Website,
    BucketConfigKind::Encryption,
    BucketConfigKind::Tagging,
    BucketConfigKind::OwnershipControls,
    BucketConfigKind::PublicAccessBlock,
    BucketConfigKind::RequestPayment,
    BucketConfigKind::Accelerate,
    BucketConfigKind::Abac,
];

fn request(headers: HeaderMap, secure: bool) -> ApiRequest {
    ApiRequest {
        request_id: RequestId(1),
        host_id: "host".into(),
        method: Method::PUT,
        bucket: Some("bucket".to_owned()),
        key: Some("key".to_owned()),
        query: Vec::new(),
        headers,
        caller: Caller::Anonymous,
        auth: AuthKind::Anonymous,
        form: None,
        body: RequestBody::empty(),
        resource: "/bucket/key".to_owned(),
        remote: std::net::IpAddr::from([127, 0, 0, 1]),
        secure,
        tls_version: None,
        uri: Uri::from_static("/bucket/key"),
        host: "localhost".to_owned(),
        website: false,
        signed_at_seconds: None,
        room: Room::alone(),
    }
}

/// Documents of buckets behind their parsers: the first byte chooses the kind. What is kept is taken again, and is then
/// kept as it is; what is decided by it harms nothing.
pub fn s3_settings(data: &[u8]) {
    let [kind, body @ ..] = data else { return };
    let request = request(HeaderMap::new(), true);
    match KINDS.get(usize::from(*kind) % (KINDS.len() + 2)) {
        Some(kind) => {
            let Ok(kept) = config::check(*kind, &request, body) else { return };
            let again = config::check(*kind, &request, &kept).expect("what is kept is a document");
            assert!(again == kept, "what is kept changes when it is put again");
            match kind {
                BucketConfigKind::Cors => config::cors::try_rules(&kept),
                BucketConfigKind::Website => website::try_site(&kept),
                _ => {}
            }
        }
        None if *kind % 2 == 0 => rules(body),
        None => object_tags(body),
    }
}

/// Rules of the life of objects.
fn rules(body: &[u8]) {
    let parse = |body: &[u8]| {
        let stored = crate::dispatch::stored_request(|wire| parse_put_bucket_lifecycle_configuration(wire, body));
        stored.ok().and_then(|input| input.lifecycle_configuration).map(|configuration| configuration.rules)
    };
    let Some(rules) = parse(body) else { return };
    let Ok(compiled) = lifecycle_rules::compile(&rules) else { return };
    let output = karri_objstore_wire::types::GetBucketLifecycleConfigurationOutput { rules, ..Default::default() };
    let told = write_get_bucket_lifecycle_configuration(&output).body.expect("a document");
    let again = lifecycle_rules::compile(&parse(&told).expect("what is told is a document"));
    assert_eq!(again.ok().as_ref(), Some(&compiled), "what is told means something else");
    let lifecycle = Lifecycle { rules: compiled, ..Lifecycle::default() };
    let read = Lifecycle::from_bytes(&lifecycle.to_bytes()).expect("what was written");
    assert!(read == lifecycle, "rules change when they are kept");
    let tags = [("a".to_owned(), "b".to_owned())];
    if let Some((end, _)) = lifecycle.expiry("key", 1 << 20, &tags, NOW) {
        // A date that was may be told; days are counted from the object's time.
        let _ = crate::encoding::http_date(end);
    }
    if let Some((end, _)) = lifecycle.upload_end("key", NOW) {
        assert!(end > NOW, "an upload ends before it began");
    }
}

/// Tags of an object in a document, and the same in a header.
fn object_tags(body: &[u8]) {
    let parsed = crate::dispatch::stored_request(|wire| parse_put_object_tagging(wire, body));
    let Some(tags) = parsed.ok().and_then(|input| tags::of_object(input.tagging).ok()) else { return };
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let pairs: Vec<String> = tags.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    assert_eq!(tags::of_header(&pairs.join("&")).ok(), Some(tags), "tags of a header are others");
}

/// Headers of requests behind the gateway: one a line; the first byte says whether over TLS.
pub fn s3_headers(data: &[u8]) {
    let [flags, rest @ ..] = data else { return };
    let mut map = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    if let Some(source) = map.get("x-amz-copy-source")
        && let Ok(source) = copy_source::parse_copy_source(source.as_bytes())
    {
        assert!(!source.bucket.contains('/') && !source.bucket.is_empty() && !source.key.is_empty());
    }
    for name in ["range", "x-amz-copy-source-range"] {
        let text = map.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let _ = range::parse_range(text);
        if let Some((first, last)) = range::parse_copy_range(text) {
            assert!(first <= last, "a range that ends before it begins");
        }
    }
    if let Ok(metadata) = headers::user_metadata(&map) {
        let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(size <= headers::USER_METADATA_SIZE_BYTES_MAX, "too much metadata");
    }
    if let Ok(Some(encoding)) = headers::content_encoding(&map) {
        assert!(!encoding.split(',').any(|token| token.trim().eq_ignore_ascii_case("aws-chunked")), "{encoding}");
    }
    let account = Account {
        account_id: "123456789012".to_owned(),
        canonical_id: "c".repeat(64),
        display_name: "root".to_owned(),
        email: Some("root@example.com".to_owned()),
    };
    // Any verdict will do, as long as there is one.
    let _ = (acl::asked_by_headers(&map, &OneAccount::new(account)), lock::asked_lock(&map));
    let _ = (headers::tags(&map), headers::storage_class(&map), headers::website_redirect(&map));
    let _ = (checksum::claims(&map), checksum::object_checksum(&map), conditions::delete_conditions(&map));
    let _ = (conditions::read_conditions(&map), conditions::copy_conditions(&map), conditions::write_conditions(&map));
    encryption::try_headers(&request(map, flags & 1 != 0));
}

#[cfg(test)]
mod tests {
    /// Runs `target` over what is kept of it.
    fn replay(name: &str, target: fn(&[u8])) {
        let folder = format!("{}/../../tests/fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut inputs = 0;
        for entry in std::fs::read_dir(&folder).expect("the corpus is in the tree") {
            target(&std::fs::read(entry.expect("an entry").path()).expect("an input"));
            inputs += 1;
        }
        assert!(inputs > 0, "{folder} is empty");
        println!("{name}: {inputs} inputs");
    }

    #[test]
    fn the_corpora_pass() {
        replay("s3_settings", super::s3_settings);
        replay("s3_headers", super::s3_headers);
    }
}
