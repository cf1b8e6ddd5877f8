//! XML in and out: a listing page of 1,000 keys, a completion of 1,000 parts.

#![allow(missing_docs, reason = "criterion makes public functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use karri_objstore_wire::{
    ObjectLine, ObjectLines, Timestamp, WireRequest, parse_complete_multipart_upload, types,
    write_list_objects_v2_lines,
};

const KEYS: usize = 1000;

fn listing(criterion: &mut Criterion) {
    let keys: Vec<String> = (0..KEYS).map(|number| format!("photos/2026/11/23/picture-{number:06}.jpg")).collect();
    let print = |lines: &mut ObjectLines<'_>| {
        for key in &keys {
            lines.push(&ObjectLine {
                key,
                last_modified: Timestamp::from_millis(1_795_000_000_000),
                etag: "9e107d9d372bb6826bd81d3542a419d6",
                checksum_algorithm: Some("CRC64NVME"),
                checksum_type: Some("FULL_OBJECT"),
                size: 4096,
                storage_class: "STANDARD",
                owner: None,
                restored_until: None,
            });
        }
    };
    let page = types::ListObjectsV2Output { name: Some("photos".to_owned()), ..types::ListObjectsV2Output::default() };
    let mut group = criterion.benchmark_group("xml");
    group.throughput(Throughput::Elements(KEYS as u64));
    group.bench_function("out: page of 1,000 keys", |bencher| {
        bencher.iter(|| write_list_objects_v2_lines(black_box(&page), 300 * KEYS, print));
    });

    let parts: String = (1..=KEYS)
        .map(|part| {
            format!("<Part><PartNumber>{part}</PartNumber><ETag>\"9e107d9d372bb6826bd81d3542a419d6\"</ETag></Part>")
        })
        .collect();
    let document = format!(
        "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{parts}</CompleteMultipartUpload>"
    );
    let (headers, query) = (HeaderMap::new(), [("uploadId".to_owned(), "upload".to_owned())]);
    let request = WireRequest {
        method: &Method::POST,
        bucket: Some("photos"),
        key: Some("film.mp4"),
        query: &query,
        headers: &headers,
    };
    group.bench_function("in: completion of 1,000 parts", |bencher| {
        bencher
            .iter(|| parse_complete_multipart_upload(&request, black_box(document.as_bytes())).expect("well-formed"));
    });
    group.finish();
}

criterion_group!(benches, listing);
criterion_main!(benches);
