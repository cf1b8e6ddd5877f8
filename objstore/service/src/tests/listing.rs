use std::collections::BTreeSet;

use bytes::Bytes;
use karri_ring_types::{Clock, SystemRng, VersionId};
use proptest::prelude::*;

use super::support::{BUCKET, World, world};
use crate::records::{CurrentRecord, Etag};
use crate::{ListPage, ListRequest, ListUploadsRequest};

/// Makes objects by their listing rows alone.
async fn listed_world(keys: &BTreeSet<String>) -> World {
    let world = world().await;
    let bucket = world.service.bucket(BUCKET).await.expect("there");
    for key in keys {
        let record = CurrentRecord {
            version: VersionId::generate(&*world.clock, &SystemRng),
            size: 1,
            etag: Etag::Md5([0; 16]),
            modified: world.clock.now(),
            storage_class: None,
            checksum: None,
            null: true,
            owner: None,
        };
        let row = (false, crate::keys::CURRENT.0, bucket.id.route(key));
        world.meta.state.lock().insert(row, crate::records::encode(&record).into());
    }
    world
}

/// What a listing shows, by its definition.
fn model(keys: &BTreeSet<String>, request: &ListRequest) -> (Vec<String>, bool) {
    let mut lines = BTreeSet::new();
    for key in keys.iter().filter(|key| key.starts_with(&request.prefix)) {
        let rolled = request.delimiter.as_ref().and_then(|delimiter| {
            let at = key[request.prefix.len()..].find(delimiter.as_str())?;
            Some(key[..request.prefix.len() + at + delimiter.len()].to_owned())
        });
        let after = request.after.as_deref();
        if after.is_some_and(|after| key.as_str() <= after) || (after.is_some() && rolled.as_deref() == after) {
            continue;
        }
        lines.insert(rolled.unwrap_or_else(|| key.clone()));
    }
    let limit = request.limit as usize;
    let more = limit > 0 && lines.len() > limit;
    (lines.into_iter().take(limit).collect(), more)
}

fn lines(page: &ListPage) -> Vec<String> {
    let keys = page.entries.iter().map(|entry| entry.key.clone());
    let mut lines: Vec<String> = keys.chain(page.common_prefixes.iter().cloned()).collect();
    lines.sort();
    lines
}

fn small_key() -> impl Strategy<Value = String> {
    "[ab/\\x00\u{e9}]{1,5}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn listings_are_as_defined(
        keys in prop::collection::btree_set(small_key(), 0..30),
        prefix in prop_oneof![Just(String::new()), "[ab/]{1,2}"],
        delimiter in prop_oneof![Just(None), Just(Some("/".to_owned())), Just(Some("a/".to_owned())), Just(Some("b".to_owned()))],
        after in prop::option::of(small_key()),
        limit in 0u32..8,
        cuts in prop::collection::btree_set(small_key(), 0..3),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let world = listed_world(&keys).await;
            let id = world.service.bucket(BUCKET).await.expect("there").id;
            *world.meta.cuts.lock() = cuts.iter().map(|key| id.route(key)).collect();
            let mut request = ListRequest { bucket: BUCKET.into(), prefix, delimiter, after, limit };
            // Page after page.
            loop {
                let page = world.service.list_objects(request.clone()).await.expect("listed");
                let (expected, more) = model(&keys, &request);
                assert_eq!(lines(&page), expected, "{request:?}");
                assert_eq!(page.next.is_some(), more, "{request:?}");
                match page.next {
                    Some(next) => request.after = Some(next),
                    None => break,
                }
            }
        });
    }
}

/// What lies behind a common prefix is not looked at.
#[tokio::test]
async fn common_prefixes_are_seeked_past() {
    let keys: BTreeSet<String> = (0..3000).map(|n| format!("{}/{n:05}", n / 1000)).collect();
    let world = listed_world(&keys).await;
    let request = ListRequest { bucket: BUCKET.into(), delimiter: Some("/".into()), limit: 1000, ..Default::default() };
    let page = world.service.list_objects(request).await.expect("listed");
    assert_eq!((page.common_prefixes, page.next), (vec!["0/".into(), "1/".into(), "2/".into()], None));
}

#[tokio::test]
async fn long_keys_fill_pages_of_several_answers() {
    let keys: BTreeSet<String> = (0..1100).map(|n| format!("{n:04}{}", "k".repeat(1020))).collect();
    let world = listed_world(&keys).await;
    let request = ListRequest { bucket: BUCKET.into(), limit: 1000, ..Default::default() };
    let page = world.service.list_objects(request.clone()).await.expect("listed");
    assert_eq!(page.entries.len(), 1000);
    let rest = world.service.list_objects(ListRequest { after: page.next, ..request }).await.expect("listed");
    assert_eq!((rest.entries.len(), rest.next), (100, None));
}

#[tokio::test]
async fn uploads_are_listed_by_key_and_age() {
    let world = world().await;
    let mut made = Vec::new();
    for key in ["a", "b", "b", "c/1", "c/2"] {
        world.clock.advance(std::time::Duration::from_millis(5));
        let create = crate::CreateUploadRequest { bucket: BUCKET.into(), key: key.into(), ..Default::default() };
        made.push((key.to_owned(), world.service.create_upload(create).await.expect("created").upload_id));
    }
    let mut request = ListUploadsRequest {
        list: ListRequest { bucket: BUCKET.into(), limit: 2, ..Default::default() },
        after_upload: None,
    };
    let mut found = Vec::new();
    loop {
        let page = world.service.list_uploads(request.clone()).await.expect("listed");
        found.extend(page.uploads.into_iter().map(|upload| (upload.key, upload.upload_id)));
        let Some((key, upload)) = page.next else { break };
        (request.list.after, request.after_upload) = (Some(key), upload);
    }
    assert_eq!(found, made);
    let list = ListRequest { bucket: BUCKET.into(), delimiter: Some("/".into()), limit: 10, ..Default::default() };
    let page = world.service.list_uploads(ListUploadsRequest { list, after_upload: None }).await.expect("listed");
    assert_eq!((page.uploads.len(), page.common_prefixes), (3, vec!["c/".to_owned()]));
    // Uploads are no objects.
    assert!(world.get("a").await.is_err());
    world.put("a", &Bytes::from_static(b"x")).await;
}
