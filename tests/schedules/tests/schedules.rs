//! Every order of threads that a random scheduler comes to.
//!
//! `KARRI_SCHEDULES` sets how many there are of each piece (10,000). A failure prints its schedule;
//! `KARRI_SCHEDULE=<schedule> cargo test -p karri-tests-schedules <test>` goes through it again.

use karri_tests_schedules::{
    Asking, Deriving, Flushing, Following, Holding, Order, flusher_keeps_order_and_tells_all, garbage_against_put,
    keys_are_of_the_secret_at_hand, latches_exclude, outdated_directories_are_replaced_once,
    revoked_policies_do_not_come_back,
};
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner};

const SCHEDULES: usize = 10_000;
/// Schedules within which a planted fault must be found.
const MUTANT_SCHEDULES_MAX: usize = 10_000;
/// Orders change from day to day and are the same all day.
const DAY_SECONDS: u64 = 86_400;

fn explore(piece: fn()) {
    if let Ok(schedule) = std::env::var("KARRI_SCHEDULE") {
        return shuttle::replay(piece, &schedule);
    }
    let text = std::env::var("KARRI_SCHEDULES").ok();
    let count = text.map_or(SCHEDULES, |text| text.parse().expect("KARRI_SCHEDULES is a number"));
    let day = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs() / DAY_SECONDS;
    let done = Runner::new(RandomScheduler::new_from_seed(day, count), Config::new()).run(piece);
    assert_eq!(done, count, "schedules");
    println!("{done} schedules");
}

/// A planted fault must be found.
fn caught(fault: &str, piece: fn()) {
    let tried = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = tried.clone();
    let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let scheduler = RandomScheduler::new_from_seed(1, MUTANT_SCHEDULES_MAX);
        Runner::new(scheduler, Config::new()).run(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            piece();
        })
    }));
    let tried = tried.load(std::sync::atomic::Ordering::Relaxed);
    assert!(found.is_err(), "{fault} was not found in {tried} schedules");
    println!("{fault}: found after {tried} schedules");
}

#[test]
fn latches_hold_and_everybody_gets_there() {
    explore(|| latches_exclude(Holding::AsGranted));
}

#[test]
fn a_deletion_and_a_write_count_what_is_wanted() {
    explore(|| garbage_against_put(Order::BeforeTheTurnEnds));
}

#[test]
fn the_flusher_acknowledges_what_is_durable_and_tells_all() {
    explore(|| flusher_keeps_order_and_tells_all(Flushing::AsStored));
}

#[test]
fn the_flusher_tells_all_when_the_disk_fails() {
    explore(|| flusher_keeps_order_and_tells_all(Flushing::OnAFailingDisk));
}

#[test]
fn policies_that_were_revoked_do_not_come_back() {
    explore(|| revoked_policies_do_not_come_back(Asking::AsTheViewDoes));
}

#[test]
fn signing_keys_are_of_the_secret_at_hand() {
    explore(|| keys_are_of_the_secret_at_hand(Deriving::AsTheGatewayDoes));
}

#[test]
fn a_directory_that_proved_outdated_is_replaced_once() {
    explore(|| outdated_directories_are_replaced_once(Following::AsTheClientDoes));
}

#[test]
fn planted_faults_of_schedules_are_found() {
    caught("latches let go early", || latches_exclude(Holding::LetGoEarly));
    caught("a run counted after its turn", || garbage_against_put(Order::AfterTheTurn));
    caught("acknowledged before the sync", || flusher_keeps_order_and_tells_all(Flushing::AcknowledgedTooSoon));
    caught("queued outside of the log", || flusher_keeps_order_and_tells_all(Flushing::QueuedOutsideOfTheLog));
    caught("the flusher is not woken", || flusher_keeps_order_and_tells_all(Flushing::NotWoken));
    caught("policies of any version", || revoked_policies_do_not_come_back(Asking::ForAnyVersion));
    caught("a version read before", || revoked_policies_do_not_come_back(Asking::ForAVersionReadBefore));
    caught("tombstones forgotten", || garbage_against_put(Order::TombstonesForgotten));
    caught("keys of any secret", || keys_are_of_the_secret_at_hand(Deriving::ForAnySecret));
    caught("keys of the secret of now", || keys_are_of_the_secret_at_hand(Deriving::FromTheSecretOfNow));
    caught("the newest taken for the used", || outdated_directories_are_replaced_once(Following::TheNewestForTheUsed));
    caught("an outdated copy used again", || outdated_directories_are_replaced_once(Following::TheOutdatedAgain));
    caught("judged before the wait", || outdated_directories_are_replaced_once(Following::JudgedBeforeTheWait));
    caught("read before its turn", || outdated_directories_are_replaced_once(Following::ReadBeforeItsTurn));
}
