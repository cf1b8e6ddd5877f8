use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::support::{BUCKET, World, collect, content, get_request, world};
use crate::checksum::checksum_of;
use crate::keys::{COMPLETED, GARBAGE, HOLDERS, PARTS, UPLOADS};
use crate::{
    Checksum, ChecksumAlgorithm, ChecksumType, CompleteRequest, CompletedPart, Conditions, CreateUploadRequest,
    DeleteItem, DeleteRequest, EtagCondition, GetRequest, ListPartsRequest, PartCopyRequest, PartRequest, PutOutcome,
    ServiceError, UploadRef,
};

const PART: usize = 5 << 20;

async fn begin(world: &World, algorithm: Option<ChecksumAlgorithm>, kind: Option<ChecksumType>) -> String {
    let request = CreateUploadRequest {
        bucket: BUCKET.into(),
        key: "k".into(),
        checksum_algorithm: algorithm,
        checksum_type: kind,
        ..Default::default()
    };
    world.service.create_upload(request).await.expect("created").upload_id
}

/// An upload of an object of a class.
pub(super) async fn begin_in(world: &World, class: Option<&str>) -> String {
    let (bucket, key, storage_class) = (BUCKET.into(), "k".into(), class.map(str::to_owned));
    let request = CreateUploadRequest { bucket, key, storage_class, ..Default::default() };
    world.service.create_upload(request).await.expect("created").upload_id
}

fn part(upload: &str, number: u16) -> PartRequest {
    PartRequest {
        bucket: BUCKET.into(),
        key: "k".into(),
        upload_id: upload.into(),
        part_number: number,
        ..Default::default()
    }
}

pub(super) async fn send(world: &World, upload: &str, number: u16, bytes: &Bytes) -> CompletedPart {
    let outcome = world.service.upload_part(part(upload, number), &mut Some(bytes.clone())).await.expect("stored");
    CompletedPart { part_number: number, etag: outcome.etag, checksum: outcome.checksum }
}

fn complete(upload: &str, parts: Vec<CompletedPart>) -> CompleteRequest {
    CompleteRequest { bucket: BUCKET.into(), key: "k".into(), upload_id: upload.into(), parts, ..Default::default() }
}

fn upload_ref(upload: &str) -> UploadRef {
    UploadRef { bucket: BUCKET.into(), key: "k".into(), upload_id: upload.into() }
}

pub(super) async fn finish(world: &World, upload: &str, parts: Vec<CompletedPart>) -> Result<PutOutcome, ServiceError> {
    world.service.complete_upload(complete(upload, parts)).await
}

async fn delete_all(world: &World) {
    let request = DeleteRequest { bucket: BUCKET.into(), item: DeleteItem { key: "k".into(), ..Default::default() } };
    world.service.delete_object(request).await.expect("deleted");
    world.collect_garbage().await;
    assert_eq!(world.extent_count(), 0);
    for table in [PARTS, UPLOADS, COMPLETED, GARBAGE, HOLDERS] {
        assert_eq!(world.meta.count(table), 0, "{table:?}");
    }
}

#[tokio::test]
async fn parts_become_an_object() {
    let world = world().await;
    let upload = begin(&world, None, None).await;
    let bodies = [content(PART), content(PART + 3), content(20)];
    let mut listed = Vec::new();
    for (number, body) in [3, 5, 9].into_iter().zip(&bodies) {
        listed.push(send(&world, &upload, number, body).await);
    }
    // One is replaced, one is not listed.
    send(&world, &upload, 5, &content(PART)).await;
    listed[1] = send(&world, &upload, 5, &bodies[1]).await;
    send(&world, &upload, 7, &content(PART)).await;
    assert!(world.get("k").await.is_err());
    let outcome = finish(&world, &upload, listed.clone()).await.expect("completed");
    let md5s: Vec<u8> = listed.iter().flat_map(|part| hex::decode(&part.etag).expect("hex")).collect();
    assert_eq!(outcome.etag, format!("{}-3", hex::encode(<md5::Md5 as md5::Digest>::digest(&md5s))));
    let whole = Bytes::from(bodies.concat());
    assert_eq!(outcome.checksum, Some(checksum_of(ChecksumAlgorithm::Crc64Nvme, &whole)));
    assert_eq!(outcome.size, whole.len() as u64);
    world.collect_garbage().await;
    assert_eq!(world.meta.count(PARTS), 3);
    assert_eq!(world.get("k").await.expect("read"), whole);
    assert_eq!(finish(&world, &upload, listed).await.expect("again"), outcome);
    let second = GetRequest { part_number: Some(5), ..get_request("k") };
    let second = world.service.get_object(second).await.expect("a part");
    assert_eq!(second.served.part().map(|part| (part.number, part.size)), Some((5, PART as u64 + 3)));
    assert_eq!(collect(second).await.expect("read"), bodies[1]);
    let none = GetRequest { part_number: Some(4), ..get_request("k") };
    assert!(matches!(world.service.head_object(none).await, Err(ServiceError::InvalidPartNumber { parts_count: 3 })));
    let attributes = world.service.object_attributes(get_request("k"), 3, 1).await.expect("told");
    assert_eq!((attributes.parts[0].part_number, attributes.next), (5, Some(5)));
    delete_all(&world).await;
}

#[tokio::test]
async fn checksums_of_uploads() {
    let world = world().await;
    let bodies = [content(PART), content(100)];
    let whole = Bytes::from(bodies.concat());
    for (algorithm, kind) in [
        (ChecksumAlgorithm::Crc32, ChecksumType::FullObject),
        (ChecksumAlgorithm::Crc32c, ChecksumType::Composite),
        (ChecksumAlgorithm::Crc64Nvme, ChecksumType::FullObject),
        (ChecksumAlgorithm::Sha1, ChecksumType::Composite),
        (ChecksumAlgorithm::Sha256, ChecksumType::Composite),
    ] {
        let upload = begin(&world, Some(algorithm), Some(kind)).await;
        let listed = [send(&world, &upload, 1, &bodies[0]).await, send(&world, &upload, 2, &bodies[1]).await];
        assert_eq!(listed[0].checksum, Some(checksum_of(algorithm, &bodies[0])));
        let wrong = Checksum { algorithm, value: vec![1; algorithm.size_bytes()].into() };
        let refused = CompleteRequest { checksum: Some(wrong.clone()), ..complete(&upload, listed.to_vec()) };
        let refused = world.service.complete_upload(refused).await;
        assert!(matches!(refused, Err(ServiceError::ChecksumMismatch { .. })), "{algorithm:?}");
        let mut other = listed.clone();
        other[0].checksum = Some(wrong);
        assert!(matches!(
            finish(&world, &upload, other.to_vec()).await,
            Err(ServiceError::InvalidPart { part_number: 1, .. })
        ));
        let outcome = finish(&world, &upload, listed.to_vec()).await.expect("completed");
        let expected = match kind {
            ChecksumType::FullObject => checksum_of(algorithm, &whole),
            ChecksumType::Composite => {
                let sums = listed.each_ref().map(|part| part.checksum.clone().expect("told").value);
                checksum_of(algorithm, &sums.concat())
            }
        };
        assert_eq!((outcome.checksum, outcome.checksum_type), (Some(expected), Some(kind)));
    }
    let unknown = CreateUploadRequest {
        bucket: BUCKET.into(),
        key: "k".into(),
        checksum_algorithm: Some(ChecksumAlgorithm::Sha256),
        checksum_type: Some(ChecksumType::FullObject),
        ..Default::default()
    };
    assert!(matches!(world.service.create_upload(unknown).await, Err(ServiceError::InvalidRequest(_))));
}

#[tokio::test]
async fn the_last_entry_of_a_part_that_is_listed_twice_holds() {
    let world = world().await;
    let upload = begin(&world, None, None).await;
    let before = send(&world, &upload, 1, &content(9)).await;
    let after = send(&world, &upload, 1, &content(6)).await;
    assert!(matches!(
        finish(&world, &upload, vec![after.clone(), before.clone()]).await,
        Err(ServiceError::InvalidPart { part_number: 1, .. })
    ));
    assert_eq!(finish(&world, &upload, vec![before, after]).await.expect("completed").size, 6);
}

#[tokio::test]
async fn lists_that_are_wrong_are_refused() {
    let world = world().await;
    let upload = begin(&world, None, None).await;
    let small = send(&world, &upload, 1, &content(PART - 1)).await;
    let last = send(&world, &upload, 2, &content(7)).await;
    let refused = |parts: Vec<CompletedPart>| finish(&world, &upload, parts);
    assert!(matches!(refused(vec![last.clone(), small.clone()]).await, Err(ServiceError::InvalidPartOrder)));
    let twice = refused(vec![small.clone(), last.clone(), small.clone()]).await;
    assert!(matches!(twice, Err(ServiceError::InvalidPartOrder)));
    assert!(matches!(refused(vec![]).await, Err(ServiceError::InvalidRequest(_))));
    assert!(matches!(
        refused(vec![small.clone(), last.clone()]).await,
        Err(ServiceError::EntityTooSmall { part_number: 1, .. })
    ));
    for number in [1, 3] {
        let missing = CompletedPart { part_number: number, ..last.clone() };
        assert!(
            matches!(refused(vec![missing]).await, Err(ServiceError::InvalidPart { part_number, .. }) if part_number == number)
        );
    }
    let size = CompleteRequest { size: Some(8), ..complete(&upload, vec![last.clone()]) };
    assert!(matches!(world.service.complete_upload(size).await, Err(ServiceError::InvalidRequest(_))));
    let only_old = Conditions { if_match: Some(EtagCondition::OneOf(vec!["x".into()])), ..Default::default() };
    let conditional = CompleteRequest { conditions: only_old, ..complete(&upload, vec![last.clone()]) };
    assert!(matches!(world.service.complete_upload(conditional).await, Err(ServiceError::NoSuchKey)));
    assert!(refused(vec![last]).await.is_ok());
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing() {
    let world = world().await;
    let upload = begin(&world, None, None).await;
    let listed = send(&world, &upload, 1, &content(300_000)).await;
    world.service.abort_upload(upload_ref(&upload)).await.expect("aborted");
    assert!(matches!(world.service.abort_upload(upload_ref(&upload)).await, Err(ServiceError::NoSuchUpload)));
    assert!(matches!(finish(&world, &upload, vec![listed]).await, Err(ServiceError::NoSuchUpload)));
    let late = world.service.upload_part(part(&upload, 2), &mut Some(content(300_000))).await;
    assert!(matches!(late, Err(ServiceError::NoSuchUpload)));
    delete_all(&world).await;
}

#[tokio::test]
async fn parts_are_listed_in_pages() {
    let world = world().await;
    let upload = begin(&world, Some(ChecksumAlgorithm::Crc32), None).await;
    for number in 1..=5 {
        send(&world, &upload, number, &content(usize::from(number))).await;
    }
    let mut request = ListPartsRequest { upload: upload_ref(&upload), after: 0, limit: 2 };
    let mut numbers = Vec::new();
    loop {
        let page = world.service.list_parts(request.clone()).await.expect("listed");
        assert!(page.parts.iter().all(|part| part.checksum.is_some()));
        numbers.extend(page.parts.iter().map(|part| part.part_number));
        let Some(next) = page.next else { break };
        request.after = next;
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn ten_thousand_parts() {
    let world = world().await;
    let upload = begin(&world, None, None).await;
    let id = upload.parse().expect("an id");
    let route = world.service.bucket(BUCKET).await.expect("there").id.route("k");
    // Small parts could not be completed, so their rows say more than there is.
    let record = crate::records::PartRecord {
        data_id: id,
        size: PART as u64,
        md5: [3; 16],
        modified: karri_ring_types::Timestamp(1),
        checksum: Some(checksum_of(ChecksumAlgorithm::Crc64Nvme, b"x")),
        data: crate::records::Data::Inline,
    };
    for number in 1..=10_000 {
        let row = (false, PARTS.0, crate::keys::part(&route, id, number));
        world.meta.state.lock().insert(row, crate::records::encode(&record).into());
    }
    let listed =
        (1..=10_000).map(|number| CompletedPart { part_number: number, etag: "03".repeat(16), checksum: None });
    let outcome = finish(&world, &upload, listed.collect()).await.expect("completed");
    assert_eq!(outcome.size, 10_000 * PART as u64);
    assert!(outcome.etag.ends_with("-10000"));
    let row = world.service.find(BUCKET, "k", None).await.expect("there");
    assert!(crate::records::encode(&row.record).len() < 400);
    delete_all(&world).await;
}

fn part_copy(upload: &str, number: u16, range: Option<(u64, u64)>) -> PartCopyRequest {
    PartCopyRequest {
        source_bucket: BUCKET.into(),
        source_key: "source".into(),
        range,
        bucket: BUCKET.into(),
        key: "k".into(),
        upload_id: upload.into(),
        part_number: number,
        ..Default::default()
    }
}

#[tokio::test]
async fn parts_are_copied_without_moving_bytes() {
    let world = world().await;
    let bytes = content(PART + 123_456);
    world.put("source", &bytes).await;
    let upload = begin(&world, Some(ChecksumAlgorithm::Crc32), None).await;
    let written = world.extents.written.load(Ordering::SeqCst);
    let mut listed = Vec::new();
    for (number, range) in [(1, Some((5, PART as u64 + 99_999))), (2, None), (3, Some((7, 17)))] {
        let copied = world.service.upload_part_copy(part_copy(&upload, number, range)).await.expect("copied").part;
        let (first, last) = range.map_or((0, bytes.len() - 1), |(first, last)| (first as usize, last as usize));
        let piece = bytes.slice(first..=last);
        assert_eq!(copied.etag, hex::encode(<md5::Md5 as md5::Digest>::digest(&piece)));
        assert_eq!(copied.checksum, Some(checksum_of(ChecksumAlgorithm::Crc32, &piece)));
        listed.push(CompletedPart { part_number: number, etag: copied.etag, checksum: copied.checksum });
    }
    assert_eq!(world.extents.written.load(Ordering::SeqCst), written);
    let outside = world.service.upload_part_copy(part_copy(&upload, 4, Some((0, bytes.len() as u64)))).await;
    assert!(matches!(outside, Err(ServiceError::InvalidRange { .. })));
    finish(&world, &upload, listed).await.expect("completed");
    let request =
        DeleteRequest { bucket: BUCKET.into(), item: DeleteItem { key: "source".into(), ..Default::default() } };
    world.service.delete_object(request).await.expect("deleted");
    world.collect_garbage().await;
    let expected = [&bytes[5..PART + 100_000], &bytes[..], &bytes[7..18]].concat();
    assert_eq!(world.get("k").await.expect("read"), expected);
    delete_all(&world).await;
}

#[tokio::test]
async fn an_object_of_parts_is_copied_and_its_parts_again() {
    let world = world().await;
    let upload = begin(&world, None, None).await;
    let bodies = [content(PART), content(PART + 50)];
    let listed = vec![send(&world, &upload, 1, &bodies[0]).await, send(&world, &upload, 2, &bodies[1]).await];
    finish(&world, &upload, listed).await.expect("completed");
    let copy = crate::CopyRequest {
        source_bucket: BUCKET.into(),
        source_key: "k".into(),
        bucket: BUCKET.into(),
        key: "source".into(),
        ..Default::default()
    };
    let written = world.extents.written.load(Ordering::SeqCst);
    world.service.copy_object(copy).await.expect("copied");
    let again = begin(&world, None, None).await;
    let mut listed = Vec::new();
    let ranges = [(0, PART as u64 - 1), (9, PART as u64 + 30_000)];
    for (number, range) in (1..).zip(ranges) {
        let copied = world.service.upload_part_copy(part_copy(&again, number, Some(range))).await.expect("copied").part;
        listed.push(CompletedPart { part_number: number, etag: copied.etag, checksum: None });
    }
    assert_eq!(world.extents.written.load(Ordering::SeqCst), written);
    finish(&world, &again, listed).await.expect("completed over the first");
    world.collect_garbage().await;
    // Its second part begins in the midst of an extent: a range across both is streamed.
    let third = begin(&world, None, None).await;
    let range = Some((PART as u64 - 40_000, PART as u64 + 40_000));
    let request = PartCopyRequest { source_key: "k".into(), ..part_copy(&third, 1, range) };
    world.service.upload_part_copy(request).await.expect("copied");
    assert_eq!(world.extents.written.load(Ordering::SeqCst) - written, 80_001);
    world.service.abort_upload(upload_ref(&third)).await.expect("aborted");
    world.collect_garbage().await;
    let whole = bodies.concat();
    assert_eq!(world.get("source").await.expect("read"), whole);
    let expected = [&whole[..PART], &whole[9..PART + 30_001]].concat();
    assert_eq!(world.get("k").await.expect("read"), expected);
    let request =
        DeleteRequest { bucket: BUCKET.into(), item: DeleteItem { key: "source".into(), ..Default::default() } };
    world.service.delete_object(request).await.expect("deleted");
    world.collect_garbage().await;
    assert_eq!(world.get("k").await.expect("read"), expected);
    delete_all(&world).await;
}
