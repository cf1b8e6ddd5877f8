//! Quotas of all buckets of an account hold exactly, though the buckets are in different ranges.

use futures::future::join_all;
use karri_ring_meta::Table;
use karri_ring_types::DataId;

use super::support::{BUCKET, World, content, new_bucket, put_request, world};
use crate::keys::{BucketId, METERS, MeterId, USAGE};
use crate::messages::{Answer, Command, DeleteCommand, DeleteOnly, ObjectState, Query, Refusal};
use crate::meter_messages::{MeterChange, Reservation, Reserved, Usage};
use crate::records::{MeterRecord, UsageRecord, decode, encode, encode_with_tail};
use crate::{AccountQuota, DeleteItem, DeleteRequest, PutRequest, Quota, ServiceError};

fn is_over<T>(result: &Result<T, ServiceError>) -> bool {
    matches!(result, Err(ServiceError::QuotaExceeded))
}

/// A quota of all buckets of the account "me".
fn total(bytes: u64) -> Quota {
    Quota { account: Some(AccountQuota { id: "me".into(), bytes }), ..Quota::default() }
}

async fn put_in(world: &World, bucket: &str, key: &str, size: usize, quota: &Quota) -> Result<(), ServiceError> {
    let put = PutRequest { bucket: bucket.into(), quota: quota.clone(), ..put_request(key) };
    world.service.put_object(put, &mut Some(content(size))).await.map(drop)
}

/// What the meter of "me" has settled and reserved, and what is in its buckets.
fn meter(world: &World) -> (u64, u64, u64) {
    let state = world.meta.state.lock();
    let rows =
        |table: Table| state.iter().filter(move |((_, of, _), _)| *of == table.0).map(|((_, _, key), row)| (key, row));
    let meter =
        rows(METERS).find(|(key, _)| key[..] == MeterId::of("me").0).map(|(_, row)| decode(row).expect("readable"));
    let MeterRecord { settled, reserved, .. } = meter.unwrap_or_default();
    let there = rows(USAGE).map(|(_, row)| decode::<UsageRecord>(row).expect("readable").bytes).sum();
    (settled, reserved, there)
}

/// A world whose account "me" has this many more buckets, in as many ranges.
async fn world_of_buckets(count: u8) -> (World, Vec<String>) {
    let world = world().await;
    *world.meta.cuts.lock() = (1..8_u8).map(|cut| vec![cut * 32]).collect();
    world.service.create_bucket(new_bucket("mine", "me")).await.expect("made");
    let names: Vec<String> = (1..count).map(|number| format!("mine-{number}")).collect();
    for name in &names {
        world.service.create_bucket(new_bucket(name, "me")).await.expect("made");
    }
    (world, std::iter::once("mine".to_owned()).chain(names).collect())
}

#[tokio::test]
async fn of_32_writers_to_8_buckets_exactly_the_allowed_ones_succeed() {
    let (world, buckets) = world_of_buckets(8).await;
    for bucket in &buckets {
        put_in(&world, bucket, "old", 1_000, &Quota::default()).await.expect("no quota");
    }
    assert_eq!(meter(&world), (0, 0, 0), "nothing is counted before a quota");
    let limit = total(8 * 1_000 + 12 * 100 + 99);
    let keys: Vec<String> = (0..32).map(|number| format!("k{number}")).collect();
    let race = |size| {
        let (world, buckets, limit) = (&world, &buckets, &limit);
        join_all(keys.iter().enumerate().map(move |(at, key)| put_in(world, &buckets[at % 8], key, size, limit)))
    };
    let results = race(100).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 12);
    assert_eq!(results.iter().filter(|result| is_over(result)).count(), 20);
    assert_eq!(meter(&world), (9_200, 0, 9_200));
    // Who has no quota may, and is counted; a deletion in one bucket makes room in another.
    put_in(&world, &buckets[3], "more", 1_000, &Quota::default()).await.expect("no quota");
    assert!(is_over(&put_in(&world, &buckets[4], "k", 1, &limit).await));
    put_in(&world, &buckets[4], "old", 900, &limit).await.expect("less in its place");
    for bucket in [&buckets[3], &buckets[5]] {
        let key = if *bucket == buckets[3] { "more" } else { "old" };
        let item = DeleteItem { key: key.into(), ..Default::default() };
        world.service.delete_object(DeleteRequest { bucket: bucket.clone(), item }).await.expect("deleted");
    }
    let results = race(400).await;
    assert!(results.iter().any(Result::is_ok));
    let (settled, reserved, there) = meter(&world);
    assert_eq!((settled, reserved), (there, 0));
    assert!(there <= 9_299 && there > 9_299 - 400, "{there}");
    // A bucket that is made later counts, and one that is deleted does not.
    world.service.create_bucket(new_bucket("mine-later", "me")).await.expect("made");
    put_in(&world, "mine-later", "k", 5_000, &Quota::default()).await.expect("no quota");
    assert_eq!(meter(&world).0, there + 5_000);
    let item = DeleteItem { key: "k".into(), ..Default::default() };
    world.service.delete_object(DeleteRequest { bucket: "mine-later".into(), item }).await.expect("deleted");
    world.service.delete_bucket("mine-later").await.expect("deleted");
    assert_eq!(meter(&world), (there, 0, there));
}

#[tokio::test]
async fn one_key_written_by_all_counts_once() {
    let (world, buckets) = world_of_buckets(2).await;
    let limit = total(100);
    let results = join_all((0..32).map(|_| put_in(&world, &buckets[1], "k", 100, &limit))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(meter(&world), (100, 0, 100));
}

#[tokio::test]
async fn buckets_of_others_are_not_in_the_sum() {
    let (world, _) = world_of_buckets(1).await;
    world.service.create_bucket(new_bucket("yours", "you")).await.expect("made");
    put_in(&world, "yours", "k", 5_000, &total(10)).await.expect("not about this bucket");
    put_in(&world, "mine", "k", 10, &total(10)).await.expect("within");
    assert!(is_over(&put_in(&world, "mine", "l", 1, &total(10)).await));
    // The quotas of one bucket hold beside it.
    let both = Quota { bucket_bytes: Some(20), ..total(1_000) };
    assert!(is_over(&put_in(&world, "mine", "l", 11, &both).await));
    put_in(&world, BUCKET, "l", 11, &both).await.expect("within");
    assert!(is_over(&put_in(&world, "mine", "l", 10, &total(30)).await));
}

/// Carries out the two steps before a change by hand: the reservation, and its use.
async fn reserve(world: &World, bucket: &str, bytes: u64, id: u128) -> (BucketId, Usage) {
    let id_of = world.service.bucket(bucket).await.expect("there").id;
    let usage: Option<Usage> = world.service.query(&id_of.0, &Query::Usage { id: id_of }).await.expect("answered");
    let Usage { sequence, fence, .. } = usage.expect("metered");
    let id = DataId(id);
    let change = MeterChange::Reserve { bucket: id_of, id, bytes, bytes_max: Some(1_000), sequence, fence };
    let command = Command::Meter { meter: MeterId::of("me"), change };
    let answer: Answer<Reserved> =
        world.service.execute(&MeterId::of("me").0, encode(&command)).await.expect("answered");
    assert_eq!(answer, Ok(Reserved::Done));
    (id_of, usage.expect("metered"))
}

#[tokio::test]
async fn what_a_gateway_left_behind_is_settled_by_who_waits_for_it() {
    let (world, buckets) = world_of_buckets(3).await;
    put_in(&world, &buckets[0], "k", 100, &total(1_000)).await.expect("within");
    put_in(&world, &buckets[1], "k", 300, &total(1_000)).await.expect("within");
    // One reserved and deleted, one only reserved; neither came to settle.
    let (id, Usage { fence, .. }) = reserve(&world, &buckets[1], 0, 1).await;
    let (late, _) = reserve(&world, &buckets[2], 500, 2).await;
    let fenced = delete_within(&world, id, Reservation { bytes: 0, fence: fence + 1 }).await;
    assert!(matches!(fenced, Err(Refusal::NeedsReservation { .. })), "{fenced:?}");
    delete_within(&world, id, Reservation { bytes: 0, fence }).await.expect("deleted");
    assert_eq!(meter(&world), (400, 500, 100));
    world.clock.advance(std::time::Duration::from_secs(2));
    put_in(&world, &buckets[0], "l", 900, &total(1_000)).await.expect("nothing is there but what is reserved in vain");
    assert_eq!(meter(&world), (1_000, 0, 1_000));
    assert!(is_over(&put_in(&world, &buckets[0], "m", 1, &total(1_000)).await));
    // What comes as late as that finds its reservation void.
    put_in(&world, &buckets[2], "k", 1, &Quota::default()).await.expect("no quota");
    let void = delete_within(&world, late, Reservation { bytes: 500, fence: 0 }).await;
    assert!(matches!(void, Err(Refusal::NeedsReservation { .. })), "{void:?}");
}

/// Deletes the object `k` under a reservation, and tells nobody.
async fn delete_within(world: &World, bucket: BucketId, reservation: Reservation) -> Answer<()> {
    let route = bucket.route("k");
    let query = Query::State { route: route.clone(), version: None };
    let state: Answer<ObjectState> = world.service.query(&bucket.0, &query).await.expect("answered");
    let version = state.expect("a bucket").current.expect("an object").version;
    let delete = DeleteCommand { route, version, only: DeleteOnly::Current, exclusive: None, bypass: false };
    let within = Command::Within { quota: Quota::default(), reservation: Some(reservation) };
    let command = encode_with_tail(&within, &encode(&Command::Delete(Box::new(delete))));
    world.service.execute(&bucket.0, command).await.expect("answered")
}
