use std::collections::BTreeMap;

use karri_ring_placement::NodeSpec;
use karri_ring_types::ClusterId;

use super::*;

#[derive(Default)]
struct Map(BTreeMap<(u8, Key), Bytes>);

impl Rows for Map {
    fn get(&mut self, table: Table, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        Ok(self.0.get(&(table.0, key.to_vec())).cloned())
    }

    fn all(&mut self, table: Table) -> Result<Vec<(Key, Bytes)>, MetaError> {
        let rows = self.0.iter().filter(|((number, _), _)| *number == table.0);
        Ok(rows.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn put(&mut self, table: Table, key: Key, value: Bytes) {
        self.0.insert((table.0, key), value);
    }

    fn delete(&mut self, table: Table, key: Key) {
        self.0.remove(&(table.0, key));
    }
}

const CLUSTER_ID: ClusterId = ClusterId(9);
const NOW: Timestamp = Timestamp(1_000);
const SECRET: &[u8] = b"secret";

fn run(rows: &mut Map, command: Command) -> Reply {
    decide(rows, command, NOW).unwrap()
}

fn initialised() -> Map {
    let mut rows = Map::default();
    assert_eq!(run(&mut rows, Command::Initialise { cluster: CLUSTER_ID, replicas: 3 }), Reply::Done);
    rows
}

fn info(id: u64) -> NodeInfo {
    NodeInfo {
        id: NodeId(id),
        zone: "a".to_owned(),
        capacity_bytes: 1 << 40,
        rpc_address: format!("127.0.0.1:{id}"),
        s3_address: String::new(),
        widths: Vec::new(),
        joined: Timestamp(0),
    }
}

fn create(token: u128, expires: u64, uses: Option<u32>) -> Command {
    Command::CreateToken { token, secret_digest: Digest::of(SECRET), expires: Timestamp(expires), uses }
}

fn redeem(token: u128, secret: &[u8], attempt: u128) -> Command {
    Command::Redeem { token, secret_digest: Digest::of(secret), attempt }
}

const REFUSED: Reply = Reply::Refused(Refusal::Token);

#[test]
fn nothing_is_done_before_the_records_are_made_and_they_are_made_once() {
    let mut rows = Map::default();
    assert_eq!(run(&mut rows, Command::Register(info(1))), Reply::Refused(Refusal::NotInitialised));
    assert!(rows.0.is_empty());
    let mut rows = initialised();
    assert_eq!(run(&mut rows, Command::Register(info(1))), Reply::Done);
    let before = rows.0.clone();
    assert_eq!(run(&mut rows, Command::Initialise { cluster: CLUSTER_ID, replicas: 2 }), Reply::Done);
    let other = Command::Initialise { cluster: ClusterId(8), replicas: 2 };
    assert_eq!(run(&mut rows, other), Reply::Refused(Refusal::OtherCluster));
    assert_eq!(rows.0, before);
}

#[test]
fn a_token_gives_each_attempt_one_id_and_no_id_twice() {
    let mut rows = initialised();
    run(&mut rows, create(5, 2_000, None));
    assert_eq!(run(&mut rows, redeem(5, SECRET, 1)), Reply::Node(NodeId(2)));
    assert_eq!(run(&mut rows, redeem(5, SECRET, 2)), Reply::Node(NodeId(3)));
    assert_eq!(run(&mut rows, redeem(5, SECRET, 1)), Reply::Node(NodeId(2)));
    run(&mut rows, create(6, 2_000, None));
    assert_eq!(run(&mut rows, redeem(6, SECRET, 1)), Reply::Node(NodeId(4)));
}

#[test]
fn a_wrong_secret_an_unknown_token_and_an_old_one_are_refused_alike() {
    let mut rows = initialised();
    run(&mut rows, create(5, 2_000, None));
    run(&mut rows, create(6, NOW.0, None));
    let before = rows.0.clone();
    assert_eq!(run(&mut rows, redeem(5, b"wrong", 1)), REFUSED);
    assert_eq!(run(&mut rows, redeem(7, SECRET, 1)), REFUSED);
    assert_eq!(run(&mut rows, redeem(6, SECRET, 1)), REFUSED);
    assert_eq!(rows.0, before);
    // Nor does an attempt that succeeded help another who does not have the secret.
    run(&mut rows, redeem(5, SECRET, 9));
    assert_eq!(run(&mut rows, redeem(5, b"wrong", 9)), REFUSED);
}

#[test]
fn a_token_for_one_node_admits_one() {
    let mut rows = initialised();
    run(&mut rows, create(5, 2_000, Some(1)));
    assert_eq!(run(&mut rows, redeem(5, SECRET, 1)), Reply::Node(NodeId(2)));
    assert_eq!(run(&mut rows, redeem(5, SECRET, 2)), REFUSED);
    // Its answer may have been lost.
    assert_eq!(run(&mut rows, redeem(5, SECRET, 1)), Reply::Node(NodeId(2)));
}

#[test]
fn only_ids_that_were_given_out_may_be_announced() {
    let mut rows = initialised();
    assert_eq!(run(&mut rows, Command::Register(info(2))), Reply::Refused(Refusal::UnknownNode));
    assert_eq!(run(&mut rows, Command::Register(info(0))), Reply::Refused(Refusal::UnknownNode));
    let long = NodeInfo { zone: "z".repeat(NAME_BYTES_MAX + 1), ..info(1) };
    assert_eq!(run(&mut rows, Command::Register(long)), Reply::Refused(Refusal::Invalid));
    assert_eq!(run(&mut rows, Command::Register(info(1))), Reply::Done);
    // A second announcement changes the address and not the time.
    let moved = NodeInfo { rpc_address: "10.0.0.1:1".to_owned(), ..info(1) };
    decide(&mut rows, Command::Register(moved.clone()), Timestamp(5_000)).unwrap();
    let nodes = state(&mut rows, 0).unwrap().unwrap().nodes;
    assert_eq!(nodes, [NodeInfo { joined: NOW, ..moved }]);
}

#[test]
fn of_two_layouts_for_an_epoch_the_first_wins_and_old_ones_are_dropped() {
    let mut rows = initialised();
    let spec = |id| NodeSpec { id: NodeId(id), zone: "a".to_owned(), capacity_bytes: 1 };
    let empty = state(&mut rows, 0).unwrap().unwrap().layouts.remove(0);
    assert_eq!(empty.epoch.0, 0);
    let first = empty.next(vec![spec(1)], 1).unwrap();
    assert_eq!(run(&mut rows, Command::InstallLayout(first.clone())), Reply::Done);
    assert_eq!(run(&mut rows, Command::InstallLayout(first.clone())), Reply::Done);
    let rival = empty.next(vec![spec(1), spec(2)], 1).unwrap();
    let refused = run(&mut rows, Command::InstallLayout(rival));
    assert_eq!(refused, Reply::Refused(Refusal::LayoutMoved(first.epoch)));
    let mut layout = first;
    for id in 2..14 {
        layout = layout.next((1..=id).map(spec).collect(), 3).unwrap();
        assert_eq!(run(&mut rows, Command::InstallLayout(layout.clone())), Reply::Done);
    }
    let kept = state(&mut rows, 0).unwrap().unwrap().layouts;
    assert_eq!(kept[0], layout);
    let epochs: Vec<u64> = kept.iter().map(|layout| layout.epoch.0).collect();
    assert_eq!(epochs, (6..=13).rev().collect::<Vec<_>>());
}

#[test]
fn whoever_knows_the_state_is_told_nothing_until_it_changes() {
    let mut rows = initialised();
    let version = state(&mut rows, 0).unwrap().unwrap().record.version;
    assert!(state(&mut rows, version).unwrap().is_none());
    assert_eq!(run(&mut rows, Command::SetReplicas(0)), Reply::Refused(Refusal::Invalid));
    assert!(state(&mut rows, version).unwrap().is_none());
    assert_eq!(run(&mut rows, Command::SetReplicas(2)), Reply::Done);
    assert_eq!(state(&mut rows, version).unwrap().unwrap().record.replicas, 2);
}
