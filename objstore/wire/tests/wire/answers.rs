//! Answers against golden files: `golden/*.http` holds status, headers in order of name, and body.

use karri_objstore_wire::types::{
    Bucket, ChecksumType, CommonPrefix, CompleteMultipartUploadOutput, CopyObjectOutput, CopyObjectResult,
    DeleteObjectsOutput, DeletedObject, EncodingType, Error, GetBucketAclOutput, GetBucketLocationOutput,
    GetBucketPolicyOutput, GetBucketTaggingOutput, GetObjectOutput, Grant, Grantee, HeadObjectOutput,
    ListBucketsOutput, ListObjectsV2Output, Object, Owner, Permission, Type,
};
use karri_objstore_wire::{
    ErrorDocument, Timestamp, WireResponse, write_complete_multipart_upload, write_copy_object, write_delete_bucket,
    write_delete_objects, write_get_bucket_acl, write_get_bucket_location, write_get_bucket_policy,
    write_get_bucket_tagging, write_get_object, write_head_object, write_list_buckets, write_list_objects_v2,
};

const AT: Timestamp = Timestamp::from_millis(1_255_369_830_123);

/// The answer as text.
fn text(answer: &WireResponse) -> String {
    let mut headers: Vec<String> = Vec::new();
    for (name, value) in &answer.headers {
        headers.push(format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
    }
    headers.sort();
    let body = answer.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    format!("{}\n{}\n{body}\n", answer.status.as_u16(), headers.concat())
}

macro_rules! golden {
    ($answer:expr, $file:literal) => {
        assert_eq!(text(&$answer), include_str!(concat!("golden/", $file)));
    };
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn list_objects_v2() {
    let object = Object {
        key: some("photos/2009/a%2Bb%20c.jpg"),
        last_modified: Some(AT),
        etag: some("\"fba9dede5f27731c9771645a39863328\""),
        size: Some(434_234),
        storage_class: some("STANDARD"),
        owner: Some(Owner { id: some("75aa57f0"), display_name: some("mtd <mtd@example.com>") }),
        ..Default::default()
    };
    let prefix = |text: &str| CommonPrefix { prefix: some(text) };
    let output = ListObjectsV2Output {
        is_truncated: Some(true),
        contents: vec![object.clone(), Object { key: some("z"), owner: None, ..object }],
        name: some("bucket"),
        prefix: some("photos/"),
        delimiter: some("%2F"),
        max_keys: Some(4),
        common_prefixes: vec![prefix("photos/a/"), prefix("photos/%C3%A9/")],
        encoding_type: Some(EncodingType::Url),
        key_count: Some(4),
        continuation_token: some(""),
        next_continuation_token: some("1ueGcxLPRx1Tr/XYExHnhbYLgveDs2J="),
        start_after: None,
        request_charged: some("requester"),
    };
    golden!(write_list_objects_v2(&output), "list_objects_v2.http");
}

#[test]
fn list_buckets() {
    let bucket = Bucket { name: some("b"), creation_date: Some(AT), ..Default::default() };
    let output = ListBucketsOutput { buckets: vec![bucket], owner: Some(Owner::default()), ..Default::default() };
    golden!(write_list_buckets(&output), "list_buckets.http");
    golden!(write_list_buckets(&ListBucketsOutput::default()), "list_buckets_empty.http");
}

#[test]
fn delete_objects() {
    let output = DeleteObjectsOutput {
        deleted: vec![
            DeletedObject { key: some("a&b"), ..Default::default() },
            DeletedObject {
                key: some("c\r\u{1}"),
                delete_marker: Some(true),
                delete_marker_version_id: some("v2"),
                ..Default::default()
            },
        ],
        errors: vec![Error {
            key: some("k"),
            code: some("AccessDenied"),
            message: some("Access Denied"),
            version_id: None,
        }],
        request_charged: None,
    };
    golden!(write_delete_objects(&output), "delete_objects.http");
}

#[test]
fn complete_multipart_upload() {
    let output = CompleteMultipartUploadOutput {
        location: some("http://bucket.example/key"),
        bucket: some("bucket"),
        key: some("key"),
        etag: some("\"3858f62230ac3c915f300c664312c11f-9\""),
        checksum_crc64nvme: some("rosUhgp5nSk="),
        checksum_type: Some(ChecksumType::FullObject),
        version_id: some("v1"),
        ..Default::default()
    };
    golden!(write_complete_multipart_upload(&output), "complete_multipart_upload.http");
}

#[test]
fn copy_object() {
    let result = CopyObjectResult { etag: some("\"9b2cf535\""), last_modified: Some(AT), ..Default::default() };
    let output = CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: some("s1"),
        version_id: some("v1"),
        ..Default::default()
    };
    golden!(write_copy_object(&output), "copy_object.http");
}

#[test]
fn get_and_head_object() {
    let output = GetObjectOutput {
        accept_ranges: some("bytes"),
        content_length: Some(10),
        content_range: some("bytes 0-9/443"),
        content_type: some("text/plain"),
        delete_marker: None,
        etag: some("\"e\""),
        expires: some("never"),
        last_modified: Some(AT),
        metadata: vec![("colour".to_owned(), "grün".to_owned()), ("broken".to_owned(), "a\r\nb".to_owned())],
        ..Default::default()
    };
    golden!(write_get_object(&output), "get_object_range.http");
    golden!(write_get_object(&GetObjectOutput { content_range: None, ..output }), "get_object.http");
    let output = HeadObjectOutput { content_length: Some(0), parts_count: Some(3), ..Default::default() };
    golden!(write_head_object(&output), "head_object.http");
}

#[test]
fn bucket_sub_resources() {
    golden!(write_delete_bucket(&Default::default()), "delete_bucket.http");
    let location = GetBucketLocationOutput { location_constraint: some("eu-west-1") };
    golden!(write_get_bucket_location(&location), "get_bucket_location.http");
    golden!(write_get_bucket_location(&GetBucketLocationOutput::default()), "get_bucket_location_default.http");
    golden!(write_get_bucket_policy(&GetBucketPolicyOutput { policy: some("{}") }), "get_bucket_policy.http");
    golden!(write_get_bucket_tagging(&GetBucketTaggingOutput::default()), "get_bucket_tagging.http");
    let grantee =
        Grantee { id: some("o"), type_: Type::CanonicalUser, display_name: None, email_address: None, uri: None };
    let grant = Grant { grantee: Some(grantee), permission: Some(Permission::FullControl) };
    let owner = Owner { id: some("o"), display_name: None };
    golden!(
        write_get_bucket_acl(&GetBucketAclOutput { owner: Some(owner), grants: vec![grant] }),
        "get_bucket_acl.http"
    );
}

#[test]
fn error_document() {
    let error = ErrorDocument {
        code: "NoSuchKey",
        message: "The specified key does not exist.",
        resource: "/b/<k>",
        request_id: "4442587FB7D0A2F9",
        host_id: "node-1",
        extra: &[("Key", "<k>")],
    };
    assert_eq!(String::from_utf8(error.to_xml()).expect("UTF-8") + "\n", include_str!("golden/error.xml"));
}
