//! Objects that are encrypted at rest.

use bytes::Bytes;
use md5::{Digest, Md5};

use super::support::{BUCKET, World, collect, content, get_request, named_keys, put_request, world};
use crate::{
    CallerKeys, ChecksumAlgorithm, ChecksumType, CompleteRequest, CompletedPart, CopyRequest, CreateUploadRequest,
    CustomerKey, Encryption, EncryptionMode, GetRequest, KeyFault, NamedKey, PartCopyRequest, PartRequest, PutRequest,
    RangeSpec, ServiceError,
};

const SIZES: [usize; 4] = [10, 30_000, 70_000, 300_000];

fn customer(byte: u8) -> CustomerKey {
    CustomerKey::new([byte; 32])
}

fn named(object: &str) -> NamedKey {
    NamedKey { key_id: "key-1".into(), context: vec![("for".into(), object.into())], bucket_key: false }
}

fn ways() -> [Encryption; 3] {
    [Encryption::S3, Encryption::Kms(named("k")), Encryption::Customer(customer(1))]
}

fn key_of(encryption: &Encryption) -> Option<CustomerKey> {
    match encryption {
        Encryption::Customer(key) => Some(key.clone()),
        _ => None,
    }
}

async fn read(world: &World, request: GetRequest) -> Result<Bytes, ServiceError> {
    collect(world.service.get_object(request).await?).await
}

/// Whether some piece of `plain` is on a disk as it is.
fn is_on_disk(world: &World, plain: &[u8]) -> bool {
    let sought = &plain[plain.len() / 2 - 4..plain.len() / 2 + 4];
    let has = |bytes: &[u8]| bytes.windows(sought.len()).any(|window| window == sought);
    world.meta.state.lock().values().any(|row| has(row))
        || world.extents.stored.lock().values().any(|extent| has(extent))
}

#[tokio::test]
async fn nothing_plain_is_on_disk_and_every_range_is_read() {
    for (size, encryption) in SIZES.iter().flat_map(|size| ways().map(|way| (*size, way))) {
        let world = world().await;
        let plain = content(size);
        let put = PutRequest { encryption: Some(encryption.clone()), ..put_request("k") };
        let put = world.service.put_object(put, &mut Some(plain.clone())).await.expect("put");
        assert!(!is_on_disk(&world, &plain), "{size} {encryption:?}");
        let is_md5 = put.etag == hex::encode(Md5::digest(&plain));
        assert_eq!(is_md5, encryption == Encryption::S3, "{encryption:?}");
        let customer_key = key_of(&encryption);
        let get = || GetRequest { customer_key: customer_key.clone(), ..get_request("k") };
        assert_eq!(read(&world, get()).await.expect("read"), plain);
        let (first, last) = (size as u64 / 3, size as u64 - 2);
        let range = Some(RangeSpec::Between { first, last });
        let part = read(&world, GetRequest { range, ..get() }).await.expect("read");
        assert_eq!(part, plain.slice(size / 3..size - 1));
    }
}

#[tokio::test]
async fn a_clients_key_is_needed_and_must_be_the_same() {
    let world = world().await;
    let put = PutRequest { encryption: Some(Encryption::Customer(customer(1))), ..put_request("k") };
    world.service.put_object(put, &mut Some(content(100))).await.expect("put");
    world.put("plain", &content(100)).await;
    let refused = |customer_key, key| {
        let request = GetRequest { customer_key, ..get_request(key) };
        let service = world.service.clone();
        async move { matches!(service.head_object(request).await, Err(ServiceError::InvalidRequest(_))) }
    };
    assert!(refused(None, "k").await);
    assert!(refused(Some(customer(2)), "k").await);
    assert!(!refused(Some(customer(1)), "k").await);
    assert!(refused(Some(customer(1)), "plain").await);
}

#[tokio::test]
async fn uploads_in_parts_are_encrypted_and_parts_copied_from_any_object() {
    for encryption in ways() {
        let world = world().await;
        let source = PutRequest { encryption: Some(Encryption::S3), ..put_request("source") };
        let tail = content(200_000);
        world.service.put_object(source, &mut Some(tail.clone())).await.expect("put");
        let create = CreateUploadRequest {
            bucket: BUCKET.into(),
            key: "k".into(),
            encryption: Some(encryption.clone()),
            keys: named_keys(),
            ..Default::default()
        };
        let upload_id = world.service.create_upload(create).await.expect("created").upload_id;
        let customer_key = key_of(&encryption);
        let first = content(5 << 20);
        let part = |customer_key| PartRequest {
            bucket: BUCKET.into(),
            key: "k".into(),
            upload_id: upload_id.clone(),
            part_number: 1,
            customer_key,
            keys: named_keys(),
            ..Default::default()
        };
        let wrong = world.service.upload_part(part(Some(customer(9))), &mut Some(first.clone())).await;
        assert!(matches!(wrong, Err(ServiceError::InvalidRequest(_))));
        let one = world.service.upload_part(part(customer_key.clone()), &mut Some(first.clone())).await.expect("part");
        let copy = PartCopyRequest {
            source_bucket: BUCKET.into(),
            source_key: "source".into(),
            range: Some((7, 150_006)),
            bucket: BUCKET.into(),
            key: "k".into(),
            upload_id: upload_id.clone(),
            part_number: 2,
            customer_key: customer_key.clone(),
            keys: named_keys(),
            ..Default::default()
        };
        let two = world.service.upload_part_copy(copy).await.expect("copied").part;
        let listed = |part_number, etag: String| CompletedPart { part_number, etag, checksum: None };
        let complete = CompleteRequest {
            bucket: BUCKET.into(),
            key: "k".into(),
            upload_id: upload_id.clone(),
            parts: vec![listed(1, one.etag), listed(2, two.etag)],
            ..Default::default()
        };
        let complete =
            |customer_key| world.service.complete_upload(CompleteRequest { customer_key, ..complete.clone() });
        if customer_key.is_some() {
            assert!(matches!(complete(Some(customer(9))).await, Err(ServiceError::InvalidRequest(_))));
        }
        // No checksum was chosen, and so the key need not be shown.
        let done = complete(None).await.expect("completed");
        assert!(done.encryption.is_some() && !is_on_disk(&world, &first) && !is_on_disk(&world, &tail));
        let whole = [&first[..], &tail[7..150_007]].concat();
        let get = || GetRequest { customer_key: customer_key.clone(), ..get_request("k") };
        assert_eq!(read(&world, get()).await.expect("read"), whole);
        let (from, to) = (first.len() - 100, first.len() + 70_000);
        let range = Some(RangeSpec::Between { first: from as u64, last: to as u64 });
        assert_eq!(read(&world, GetRequest { range, ..get() }).await.expect("read"), whole[from..=to]);
    }
}

#[tokio::test]
async fn an_upload_with_a_checksum_is_completed_with_its_key() {
    let world = world().await;
    let create = CreateUploadRequest {
        bucket: BUCKET.into(),
        key: "k".into(),
        encryption: Some(Encryption::Customer(customer(1))),
        checksum_algorithm: Some(ChecksumAlgorithm::Crc32),
        checksum_type: Some(ChecksumType::FullObject),
        ..Default::default()
    };
    let upload_id = world.service.create_upload(create).await.expect("created").upload_id;
    let part = PartRequest {
        bucket: BUCKET.into(),
        key: "k".into(),
        upload_id: upload_id.clone(),
        part_number: 1,
        customer_key: Some(customer(1)),
        ..Default::default()
    };
    let etag = world.service.upload_part(part, &mut Some(content(1000))).await.expect("part").etag;
    let complete = |customer_key| {
        world.service.complete_upload(CompleteRequest {
            bucket: BUCKET.into(),
            key: "k".into(),
            upload_id: upload_id.clone(),
            parts: vec![CompletedPart { part_number: 1, etag: etag.clone(), checksum: None }],
            customer_key,
            ..Default::default()
        })
    };
    for key in [None, Some(customer(9))] {
        assert!(matches!(complete(key).await, Err(ServiceError::InvalidRequest(_))));
    }
    complete(Some(customer(1))).await.expect("completed");
}

#[tokio::test]
async fn copies_between_all_ways() {
    let world = world().await;
    let all = || [None].into_iter().chain(ways().map(Some));
    for size in [100, 150_000] {
        let plain = content(size);
        for (from, to) in all().flat_map(|from| all().map(move |to| (from.clone(), to))) {
            // The copy's key is wrapped for the copy, and its client has another.
            let to = to.map(|to| match to {
                Encryption::Kms(_) => Encryption::Kms(named("to")),
                Encryption::Customer(_) => Encryption::Customer(customer(2)),
                Encryption::S3 => to,
            });
            let put = PutRequest { encryption: from.clone(), ..put_request("from") };
            world.service.put_object(put, &mut Some(plain.clone())).await.expect("put");
            let copy = CopyRequest {
                source_bucket: BUCKET.into(),
                source_key: "from".into(),
                bucket: BUCKET.into(),
                key: "to".into(),
                source_customer_key: from.as_ref().and_then(key_of),
                encryption: to.clone(),
                keys: named_keys(),
                ..Default::default()
            };
            world.service.copy_object(copy).await.expect("copied");
            let get = GetRequest { customer_key: to.as_ref().and_then(key_of), ..get_request("to") };
            let told = world.service.head_object(get.clone()).await.expect("there").info.encryption;
            let expected = to.as_ref().map(|to| match to {
                Encryption::S3 => EncryptionMode::S3,
                Encryption::Kms(key) => EncryptionMode::Kms(key.clone()),
                Encryption::Customer(_) => EncryptionMode::Customer,
            });
            assert_eq!(told, expected);
            assert_eq!(read(&world, get.clone()).await.expect("read"), plain, "{from:?} to {to:?}");
            if let Some(Encryption::Kms(_)) = to {
                // Without the right to the key there are no bytes, but what is known of the object is told.
                let get = GetRequest { keys: CallerKeys::default(), ..get };
                let refused = read(&world, get.clone()).await;
                assert!(matches!(refused, Err(ServiceError::Key(KeyFault::AccessDenied(_)))), "{refused:?}");
                world.service.head_object(get).await.expect("told");
            }
        }
    }
}
