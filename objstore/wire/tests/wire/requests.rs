//! Inputs as clients send them.

use karri_objstore_wire::types::{
    ChecksumAlgorithm, EncodingType, MetadataDirective, ObjectAttributes, ObjectCannedAcl, StorageClass,
};
use karri_objstore_wire::{
    ErrorCode, Timestamp, parse_abort_multipart_upload, parse_complete_multipart_upload, parse_copy_object,
    parse_create_bucket, parse_delete_object, parse_delete_objects, parse_get_object, parse_get_object_attributes,
    parse_list_objects_v2, parse_put_bucket_acl, parse_put_object, parse_upload_part,
};

use crate::support::Sample;

#[test]
fn put_object_reads_headers() {
    let sample = Sample::new("PUT", "/b/dir/k")
        .header("content-type", "text/plain")
        .header("x-amz-acl", "bucket-owner-full-control")
        .header("x-amz-storage-class", "STANDARD_IA")
        .header("x-amz-sdk-checksum-algorithm", "crc64nvme")
        .header("if-none-match", "*")
        .header("expires", "never")
        .header("x-amz-meta-colour", "grün")
        .header("x-amz-meta-twice", "one")
        .header("x-amz-meta-twice", "two");
    let input = parse_put_object(&sample.wire(), b"not looked at").expect("parse");
    assert_eq!((input.bucket.as_str(), input.key.as_str()), ("b", "dir/k"));
    assert_eq!(input.content_type.as_deref(), Some("text/plain"));
    assert_eq!(input.acl, Some(ObjectCannedAcl::BucketOwnerFullControl));
    assert_eq!(input.storage_class, Some(StorageClass::StandardIa));
    assert_eq!(input.checksum_algorithm, Some(ChecksumAlgorithm::Crc64Nvme));
    assert_eq!(input.if_none_match.as_deref(), Some("*"));
    assert_eq!(input.expires.as_deref(), Some("never"));
    let mut metadata = input.metadata;
    metadata.sort();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(metadata, [pair("colour", "grün"), pair("twice", "one,two")]);
}

#[test]
fn presigned_requests_carry_headers_in_the_query() {
    let target = "/b/k?X-Amz-Algorithm=a&x-amz-acl=private&X-Amz-Meta-Name=v&x-amz-checksum-crc32=AAAAAA==";
    let input = parse_put_object(&Sample::new("PUT", target).wire(), b"").expect("parse");
    assert_eq!(input.acl, Some(ObjectCannedAcl::Private));
    assert_eq!(input.metadata, [("name".to_owned(), "v".to_owned())]);
    assert_eq!(input.checksum_crc32.as_deref(), Some("AAAAAA=="));
    let smuggled = Sample::new("PUT", "/b/k?x-amz-meta-name=a\r\nx: y");
    assert_eq!(parse_put_object(&smuggled.wire(), b"").expect_err("line break").code, ErrorCode::InvalidArgument);
}

#[test]
fn what_is_not_served_is_refused_by_the_parser() {
    let refused = [("x-amz-write-offset-bytes", "0"), ("x-amz-checksum-xxhash64", "AAAA")];
    for (name, value) in refused {
        let sample = Sample::new("PUT", "/b/k").header(name, value);
        let error = parse_put_object(&sample.wire(), b"").expect_err(name);
        assert_eq!((error.code, error.status()), (ErrorCode::NotImplemented, 501), "{name}");
    }
    let wrong = [
        ("x-amz-storage-class", "FLOPPY", ErrorCode::InvalidStorageClass),
        ("x-amz-acl", "everybody", ErrorCode::InvalidArgument),
        ("x-amz-sdk-checksum-algorithm", "SHA512", ErrorCode::InvalidRequest),
        ("x-amz-object-lock-retain-until-date", "soon", ErrorCode::InvalidArgument),
    ];
    for (name, value, code) in wrong {
        let sample = Sample::new("PUT", "/b/k").header(name, value);
        assert_eq!(parse_put_object(&sample.wire(), b"").expect_err(name).code, code, "{name}");
    }
}

#[test]
fn get_object_reads_conditions_and_overrides() {
    let target = "/b/k?versionId=v1&partNumber=3&response-content-disposition=attachment; filename=\"ä\"";
    let sample = Sample::new("GET", target)
        .header("range", "bytes=0-9")
        .header("if-modified-since", "Mon, 12 Oct 2009 17:50:30 GMT")
        .header("if-unmodified-since", "no date at all");
    let input = parse_get_object(&sample.wire(), b"").expect("parse");
    assert_eq!(input.version_id.as_deref(), Some("v1"));
    assert_eq!(input.part_number, Some(3));
    assert_eq!(input.range.as_deref(), Some("bytes=0-9"));
    assert_eq!(input.if_modified_since, Some(Timestamp::from_millis(1_255_369_830_000)));
    assert_eq!(input.if_unmodified_since, None);
    assert_eq!(input.response_content_disposition.as_deref(), Some("attachment; filename=\"ä\""));
    let split = Sample::new("GET", "/b/k?response-content-type=a\r\nset-cookie: b");
    assert_eq!(parse_get_object(&split.wire(), b"").expect_err("header split").code, ErrorCode::InvalidArgument);
}

#[test]
fn listings_tell_empty_from_absent() {
    let target = "/b?list-type=2&prefix=&delimiter=&max-keys=5&encoding-type=url&continuation-token=&fetch-owner=true";
    let input = parse_list_objects_v2(&Sample::new("GET", target).wire(), b"").expect("parse");
    assert_eq!(input.prefix.as_deref(), Some(""));
    assert_eq!(input.delimiter, None);
    assert_eq!(input.max_keys, Some(5));
    assert_eq!(input.encoding_type, Some(EncodingType::Url));
    assert_eq!(input.continuation_token.as_deref(), Some(""));
    assert_eq!(input.fetch_owner, Some(true));
    for bad in ["max-keys=many", "max-keys=2147483648", "max-keys=+1", "encoding-type=xml"] {
        let sample = Sample::new("GET", &format!("/b?list-type=2&{bad}"));
        let error = parse_list_objects_v2(&sample.wire(), b"").expect_err(bad);
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{bad}");
        assert_eq!(error.extra[0], ("ArgumentName", bad.split('=').next().unwrap_or_default().to_owned()));
    }
    // Below nothing is a number still: what is wrong with it is the operation's to say.
    let negative = Sample::new("GET", "/b?list-type=2&max-keys=-1");
    assert_eq!(parse_list_objects_v2(&negative.wire(), b"").expect("parse").max_keys, Some(-1));
    let empty = Sample::new("GET", "/b?list-type=2&max-keys=");
    assert_eq!(parse_list_objects_v2(&empty.wire(), b"").expect("parse").max_keys, None);
}

#[test]
fn a_parameter_given_twice_is_refused() {
    let sample = Sample::new("DELETE", "/b/k?versionId=mine&versionId=yours");
    assert_eq!(parse_delete_object(&sample.wire(), b"").expect_err("twice").code, ErrorCode::InvalidArgument);
    let sample = Sample::new("PUT", "/b/k?uploadId=u&partNumber=1&partNumber=2");
    assert_eq!(parse_upload_part(&sample.wire(), b"").expect_err("twice").code, ErrorCode::InvalidArgument);
}

#[test]
fn copies_read_their_source_and_directives() {
    let sample = Sample::new("PUT", "/b/k")
        .header("x-amz-copy-source", "/src/a%20b?versionId=v")
        .header("x-amz-copy-source-if-unmodified-since", "Mon Oct 12 17:50:30 2009")
        .header("x-amz-metadata-directive", "REPLACE");
    let input = parse_copy_object(&sample.wire(), b"").expect("parse");
    assert_eq!(input.copy_source, "/src/a%20b?versionId=v");
    assert_eq!(input.copy_source_if_unmodified_since, Some(Timestamp::from_millis(1_255_369_830_000)));
    assert_eq!(input.metadata_directive, Some(MetadataDirective::Replace));
    let missing = parse_copy_object(&Sample::new("PUT", "/b/k").wire(), b"").expect_err("no source");
    assert_eq!(missing.code, ErrorCode::InvalidRequest);
}

#[test]
fn attributes_come_in_one_header_or_several() {
    let wanted = [ObjectAttributes::ETag, ObjectAttributes::Checksum, ObjectAttributes::ObjectSize];
    let one = Sample::new("GET", "/b/k?attributes").header("x-amz-object-attributes", "ETag, Checksum,ObjectSize");
    let several = Sample::new("GET", "/b/k?attributes")
        .header("x-amz-object-attributes", "ETag")
        .header("x-amz-object-attributes", "Checksum,ObjectSize");
    for sample in [one, several] {
        assert_eq!(parse_get_object_attributes(&sample.wire(), b"").expect("parse").object_attributes, wanted);
    }
    let none = parse_get_object_attributes(&Sample::new("GET", "/b/k?attributes").wire(), b"").expect_err("none");
    assert_eq!(none.code, ErrorCode::InvalidRequest);
}

#[test]
fn delete_objects_reads_its_document() {
    let body = "\u{feff}<?xml version=\"1.0\"?>\n<!-- by hand -->\n\
        <Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n  <Quiet>true</Quiet>\n\
        <Object><Key> a&amp;b&#x20AC;<![CDATA[<c>]]>&#13;</Key></Object>\n\
        <Object><VersionId>null</VersionId><Key>k2</Key><ETag>&quot;e&quot;</ETag>\
        <LastModifiedTime>Mon, 12 Oct 2009 17:50:30 GMT</LastModifiedTime><Size>7</Size></Object></Delete>\n";
    let sample = Sample::new("POST", "/b?delete");
    let delete = parse_delete_objects(&sample.wire(), body.as_bytes()).expect("parse").delete;
    assert_eq!(delete.quiet, Some(true));
    assert_eq!(delete.objects[0].key, " a&b€<c>\r");
    assert_eq!(delete.objects[1].version_id.as_deref(), Some("null"));
    assert_eq!(delete.objects[1].etag.as_deref(), Some("\"e\""));
    assert_eq!(delete.objects[1].size, Some(7));
    assert_eq!(delete.objects[1].last_modified_time, Some(Timestamp::from_millis(1_255_369_830_000)));
}

#[test]
fn complete_multipart_upload_reads_parts_and_checksums() {
    let body = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag>\
        <ChecksumCRC32C>yZRlqg==</ChecksumCRC32C></Part>\
        <Part><ETag>b</ETag><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>";
    let sample = Sample::new("POST", "/b/k?uploadId=u")
        .header("x-amz-checksum-type", "COMPOSITE")
        .header("x-amz-mp-object-size", "5368709121")
        .header("if-match", "\"e\"");
    let input = parse_complete_multipart_upload(&sample.wire(), body.as_bytes()).expect("parse");
    assert_eq!((input.upload_id.as_str(), input.mpu_object_size), ("u", Some(5_368_709_121)));
    let parts = input.multipart_upload.expect("document").parts;
    assert_eq!((parts[0].part_number, parts[0].etag.as_deref()), (Some(1), Some("\"a\"")));
    assert_eq!(parts[0].checksum_crc32c.as_deref(), Some("yZRlqg=="));
    assert_eq!((parts[1].part_number, parts[1].etag.as_deref()), (Some(2), Some("b")));
    let empty = parse_complete_multipart_upload(&sample.wire(), b"").expect("parse");
    assert_eq!(empty.multipart_upload, None);
}

#[test]
fn small_documents() {
    let sample = Sample::new("PUT", "/b");
    let body =
        b"<CreateBucketConfiguration><LocationConstraint>karri-1</LocationConstraint></CreateBucketConfiguration>";
    let configuration = parse_create_bucket(&sample.wire(), body).expect("parse").create_bucket_configuration;
    assert_eq!(configuration.expect("document").location_constraint.as_deref(), Some("karri-1"));
    assert_eq!(parse_create_bucket(&sample.wire(), b"").expect("parse").create_bucket_configuration, None);

    let body =
        b"<AccessControlPolicy xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><Owner><ID>o</ID></Owner>\
        <AccessControlList><Grant><Grantee xsi:type=\"Group\"><URI>u</URI></Grantee><Permission>READ</Permission>\
        </Grant></AccessControlList></AccessControlPolicy>";
    let policy = parse_put_bucket_acl(&Sample::new("PUT", "/b?acl").wire(), body).expect("parse").access_control_policy;
    let grants = policy.expect("document").grants;
    assert_eq!(grants[0].grantee.as_ref().map(|grantee| grantee.type_.as_str()), Some("Group"));
}

#[test]
fn dates_of_a_condition_must_be_dates() {
    let sample = Sample::new("DELETE", "/b/k?uploadId=u").header("x-amz-if-match-initiated-time", "tomorrow");
    let error = parse_abort_multipart_upload(&sample.wire(), b"").expect_err("no date");
    assert_eq!(error.code, ErrorCode::InvalidArgument);
}
