//! Damage that is written into the rows by hand, and how it is named.

use karri_ring_types::{Clock as _, DataId, ExtentId, VersionId};

use super::support::{BUCKET, MemoryRows, World, content, world};
use crate::inspect::{FaultKind, InspectCursor, Inspection, Standing, evaluate, standing};
use crate::keys::{self, CONDEMNED, CURRENT, HOLDERS, HOLDINGS, PARTS, VERSIONS};
use crate::records::{CondemnedRecord, CurrentRecord, Data, VersionRecord, decode, decode_with_tail, encode};
use crate::{CopyRequest, Quota};

/// Reads all pages, each of a few extents, over all ranges.
fn inspect(world: &World) -> Inspection {
    let state = world.meta.state.lock();
    let cuts = world.meta.cuts.lock().clone();
    let mut all = Inspection::default();
    let mut cursor = Some(InspectCursor::default());
    while let Some(at) = cursor.take() {
        let from = at.from().to_vec();
        let place = cuts.partition_point(|cut| *cut <= from);
        let start = place.checked_sub(1).map_or(Vec::new(), |before| cuts[before].clone());
        let mut rows = MemoryRows::new(&state, false, start, cuts.get(place).cloned());
        let page = evaluate(&mut rows, &at, 2).expect("readable");
        all.rows += page.rows;
        all.faults.extend(page.faults);
        all.wanted.extend(page.wanted);
        all.holdings.extend(page.holdings);
        all.loans.extend(page.loans);
        all.returned.extend(page.returned);
        all.sizes.extend(page.sizes);
        all.meters.extend(page.meters);
        cursor = page.next;
    }
    all
}

fn kinds(world: &World) -> Vec<FaultKind> {
    inspect(world).faults.into_iter().map(|fault| fault.kind).collect()
}

/// The only row of a table, or the first.
fn first(world: &World, table: karri_ring_meta::Table) -> (Vec<u8>, bytes::Bytes) {
    let state = world.meta.state.lock();
    let found = state.iter().find(|((system, of, _), _)| !system && *of == table.0).expect("a row");
    (found.0.2.clone(), found.1.clone())
}

fn write(world: &World, table: karri_ring_meta::Table, key: &[u8], value: Option<Vec<u8>>) {
    let mut state = world.meta.state.lock();
    match value {
        Some(value) => state.insert((false, table.0, key.to_vec()), value.into()),
        None => state.remove(&(false, table.0, key.to_vec())),
    };
}

fn copy(to: &str) -> CopyRequest {
    CopyRequest {
        source_bucket: BUCKET.into(),
        source_key: "a".into(),
        bucket: BUCKET.into(),
        key: to.into(),
        ..Default::default()
    }
}

/// An object of three extents and two copies of it, and a small one.
async fn stage() -> World {
    let world = world().await;
    world.put("a", &content(250_000)).await;
    world.put("small", &content(10)).await;
    for to in ["b", "c"] {
        world.service.copy_object(copy(to)).await.expect("copied");
    }
    world
}

#[tokio::test]
async fn what_was_written_in_the_ordinary_way_has_no_fault() {
    let world = stage().await;
    for cut in [None, Some("b")] {
        if let Some(cut) = cut {
            let bucket = keys::BucketId(first(&world, VERSIONS).0[..16].try_into().expect("16 bytes"));
            world.meta.cuts.lock().push(bucket.route(cut));
        }
        let found = inspect(&world);
        assert_eq!(found.faults, [], "cut at {cut:?}");
        // Three objects of three extents; both copies hold the data of the first.
        assert_eq!((found.wanted.len(), found.holdings.len(), found.loans.len()), (9, 2, 2));
        let mut pairs = (found.holdings, found.loans);
        pairs.0.sort_by(|a, b| a.row.cmp(&b.row));
        pairs.1.sort_by(|a, b| a.row.cmp(&b.row));
        // Nobody has looked after them yet.
        assert_eq!(found.returned.len(), 2);
        assert!(pairs.0.iter().zip(&pairs.1).all(|(holding, loan)| holding.row == loan.row));
        let total: u64 = found.sizes.iter().map(|(_, bytes, _)| bytes).sum();
        assert_eq!(total, 750_010);
    }
}

#[tokio::test]
async fn wrong_listings_are_named() {
    let world = stage().await;
    let (key, row) = first(&world, CURRENT);
    let shown: CurrentRecord = decode(&row).expect("a record");
    write(&world, CURRENT, &key, None);
    assert_eq!(kinds(&world), [FaultKind::Listing]);
    write(&world, CURRENT, &key, Some(encode(&CurrentRecord { size: 1, ..shown.clone() })));
    assert_eq!(kinds(&world), [FaultKind::Listing]);
    // Seen from both sides: the version is not listed as it is, and what is listed is not there.
    write(&world, CURRENT, &key, Some(encode(&CurrentRecord { version: VersionId(3), ..shown })));
    assert_eq!(kinds(&world), [FaultKind::Listing, FaultKind::Listing]);
    write(&world, CURRENT, &key, Some(vec![99]));
    // Its version cannot be compared with it, and it cannot be read.
    assert_eq!(kinds(&world), [FaultKind::Unreadable, FaultKind::Unreadable]);
}

#[tokio::test]
async fn wrong_reference_counts_are_named() {
    let world = stage().await;
    let (row, _) = first(&world, HOLDERS);
    // A holding of data that is nowhere.
    let mut stray = row.clone();
    let at = stray.len() - 20;
    stray[at] ^= 1;
    write(&world, HOLDERS, &stray, Some(Vec::new()));
    assert_eq!(kinds(&world), [FaultKind::References]);
    write(&world, HOLDERS, &stray, None);
    // One that is not there, though a copy needs it: the page tells both, and the asker compares.
    write(&world, HOLDERS, &row, None);
    let found = inspect(&world);
    let missing: Vec<_> = found.loans.iter().filter(|loan| loan.row == row).collect();
    assert_eq!((found.holdings.len(), missing.len()), (1, 1));
    assert!(!world.service.is_held(&row).await.expect("asked"));
    assert!(world.service.is_held(&missing[0].row).await.is_ok_and(|held| !held));
    // Its note says that somebody holds what nobody does.
    assert_eq!(kinds(&world), [FaultKind::References]);
}

#[tokio::test]
async fn a_holding_without_use_is_no_fault_while_the_collector_will_see_to_it() {
    let world = stage().await;
    let told = |world: &World| {
        let found = inspect(world);
        (found.faults.len(), found.holdings.len(), found.loans.len(), found.returned.len())
    };
    assert_eq!(told(&world), (0, 2, 2, 2));
    world.look_after_holdings().await;
    assert_eq!(told(&world), (0, 2, 2, 0));
    let found = world.service.find(BUCKET, "b", None).await.expect("there");
    world.service.hold(&found, found.route.clone()).await.expect("answered").expect("held");
    assert_eq!(told(&world), (0, 3, 2, 1));
    let (note, _) = first(&world, HOLDINGS);
    write(&world, HOLDINGS, &note[..note.len() - 1], Some(vec![99]));
    assert_eq!(kinds(&world), [FaultKind::Unreadable]);
}

#[tokio::test]
async fn what_is_in_use_and_condemned_is_named_and_so_are_lost_and_stray_parts() {
    let world = stage().await;
    let (key, row) = first(&world, VERSIONS);
    let (record, _) = decode_with_tail::<VersionRecord>(&row).expect("a record");
    let Data::Extents { data, extents, .. } = record.data.clone() else { panic!("an object of extents") };
    let route = keys::parse(&key).expect("a key").route.to_vec();
    let condemned = CondemnedRecord { since: world.clock.now(), extents: Vec::new(), parts: false, orphan: false };
    for id in [data.0, extents[0].id.0] {
        write(&world, CONDEMNED, &keys::with_id(&route, id), Some(encode(&condemned)));
        assert_eq!(kinds(&world), [FaultKind::Condemned]);
        write(&world, CONDEMNED, &keys::with_id(&route, id), None);
    }
    write(&world, PARTS, &keys::part(&route, DataId(7), 1), Some(vec![1, 2]));
    assert_eq!(kinds(&world), [FaultKind::Unreadable]);
    write(&world, PARTS, &keys::part(&route, DataId(7), 1), None);
    let parts = Data::Parts { data, loan: None, runs: vec![crate::records::PartRun { first: 1, count: 2, size: 5 }] };
    write(&world, VERSIONS, &key, Some(encode(&VersionRecord { data: parts, ..record })));
    assert_eq!(kinds(&world), [FaultKind::Part, FaultKind::Part]);

    let state = world.meta.state.lock();
    let mut rows = MemoryRows::new(&state, false, Vec::new(), None);
    let stands = |rows: &mut MemoryRows<'_>, data, extent| standing(rows, &route, data, extent).expect("asked");
    assert_eq!(stands(&mut rows, DataId(12), ExtentId(5)), Standing::Unknown);
}

#[tokio::test]
async fn counters_of_metered_buckets_are_told() {
    let world = stage().await;
    let quota = Quota { bucket_bytes: Some(1 << 30), ..Quota::default() };
    let request = crate::PutRequest { quota, ..super::support::put_request("metered") };
    world.service.put_object(request, &mut Some(content(100))).await.expect("put");
    let found = inspect(&world);
    let (bytes, versions) = found.sizes.iter().fold((0, 0), |sum, (_, bytes, number)| (sum.0 + bytes, sum.1 + number));
    assert_eq!(
        found.meters.iter().map(|(_, bytes, number)| (*bytes, *number)).collect::<Vec<_>>(),
        [(bytes, versions)]
    );
}
