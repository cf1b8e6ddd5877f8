//! Groups of several hosts on a network in memory, with real log stores.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use karri_ring_rpc::{Lane, Request, Router, RpcError};
use karri_ring_types::{NodeId, RangeId};
use openraft::raft::VoteRequest;

use crate::codec::VoteRecord;
use crate::testing::{Cluster, PATIENCE, RANGE, entry, eventually, undecided};
use crate::types::{TypeConfig, log_id};
use crate::{ProposeError, RaftError, wire};

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn others(of: u64) -> Vec<u64> {
    (1..=3).filter(|node| *node != of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_survives_the_death_of_its_leader() {
    let mut cluster = Cluster::new(3).await;
    let first = cluster.group_of_all().await;
    let applied = cluster.group(first).propose(entry("a", "1")).await.unwrap();
    assert_eq!(cluster.group(first).propose(entry("a", "2")).await.unwrap().reply, "1");
    let term = cluster.group(first).term();

    cluster.kill(first).await;
    let second = cluster.leader().await;
    assert_ne!(second, first);
    assert!(cluster.group(second).term() > term);
    assert_eq!(cluster.kv(second).get("a").as_deref(), Some("2"));
    let last = cluster.put("b", "3").await;
    assert!(last.index > applied.index);

    cluster.start(first).await;
    cluster.wait_applied(first, last.index).await;
    assert_eq!(cluster.kv(first).rows(), cluster.kv(second).rows());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_entries_are_there_after_all_nodes_stopped() {
    let mut cluster = Cluster::new(3).await;
    let leader = cluster.group_of_all().await;
    let mut expected = BTreeMap::new();
    for i in 0..100 {
        cluster.group(leader).propose(entry(&format!("k{i}"), &i.to_string())).await.unwrap();
        expected.insert(format!("k{i}"), i.to_string());
    }
    for node in 1..=3 {
        cluster.kill(node).await;
    }
    assert!(cluster.disk(leader).rows.is_empty(), "nothing was flushed: all comes from the log");
    for node in 1..=3 {
        cluster.start(node).await;
        assert_eq!(cluster.host(node).groups(), vec![RANGE]);
    }
    let leader = cluster.leader().await;
    assert_eq!(cluster.kv(leader).rows(), expected);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_voter_leads_at_once_after_a_restart() {
    let mut cluster = Cluster::tuned(1, |config| config.election_ms = (8000, 9000)).await;
    cluster.group_of_all().await;
    cluster.put("a", "1").await;
    cluster.kill(1).await;
    let start = tokio::time::Instant::now();
    cluster.start(1).await;
    cluster.leader().await;
    assert!(start.elapsed() < Duration::from_secs(4));
    assert_eq!(cluster.kv(1).get("a").as_deref(), Some("1"));
    assert!(matches!(cluster.group(1).initialize(&nodes(&[1])).await, Err(RaftError::AlreadyInitialized)));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_voter_becomes_three_and_moves_away() {
    let cluster = Cluster::new(4).await;
    cluster.open(1, RANGE).await.initialize(&nodes(&[1])).await.unwrap();
    cluster.put("a", "1").await;
    cluster.group(1).set_voters(&nodes(&[1, 2, 3])).await.unwrap();
    assert_eq!(cluster.group(1).voters(), nodes(&[1, 2, 3]));
    cluster.group(1).set_voters(&nodes(&[3, 2, 1])).await.unwrap();
    let last = cluster.put("b", "2").await;
    for node in 1..=3 {
        cluster.wait_applied(node, last.index).await;
    }

    let leader = cluster.leader().await;
    cluster.group(leader).set_voters(&nodes(&[2, 3, 4])).await.unwrap();
    let leader = cluster.leader_among(&[2, 3, 4]).await;
    assert_eq!(cluster.group(leader).voters(), nodes(&[2, 3, 4]));
    let last = cluster.group(leader).propose(entry("c", "3")).await.unwrap();
    cluster.wait_applied(4, last.index).await;
    assert_eq!(cluster.kv(4).rows(), cluster.kv(leader).rows());
    assert_eq!(cluster.group(leader).status().learners, vec![]);

    cluster.host(1).remove_group(RANGE).await.unwrap();
    assert_eq!(cluster.host(1).groups(), vec![]);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn set_voters_is_refused_off_the_leader_and_gives_up_on_a_dead_node() {
    let cluster = Cluster::tuned(3, |config| config.catch_up_timeout_ms = 500).await;
    let leader = cluster.group_of_all().await;
    let follower = others(leader)[0];
    let refused = cluster.group(follower).set_voters(&nodes(&[follower])).await;
    assert!(matches!(refused, Err(RaftError::NotLeader { .. })), "{refused:?}");
    let refused = cluster.group(leader).set_voters(&nodes(&[1, 2, 3, 77])).await;
    assert!(matches!(refused, Err(RaftError::Timeout(_))), "{refused:?}");
    assert_eq!(cluster.group(leader).voters(), nodes(&[1, 2, 3]));
    cluster.group(leader).set_voters(&nodes(&[1, 2, 3])).await.unwrap();
    assert_eq!(cluster.group(leader).status().learners, vec![]);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_member_gets_a_snapshot_of_what_the_log_no_longer_has() {
    let cluster = Cluster::tuned(2, |config| {
        config.snapshot_entries = 50;
        config.kept_entries = 8;
    })
    .await;
    cluster.open(1, RANGE).await.initialize(&nodes(&[1])).await.unwrap();
    cluster.leader().await;
    for i in 0..300 {
        cluster.group(1).propose(entry(&format!("k{}", i % 70), &i.to_string())).await.unwrap();
    }
    eventually("the machine was flushed", || cluster.disk(1).applied.is_some_and(|index| index > 200)).await;
    cluster.group(1).set_voters(&nodes(&[1, 2])).await.unwrap();
    let last = cluster.put("last", "1").await;
    cluster.wait_applied(2, last.index).await;
    assert_eq!(cluster.kv(2).installs.load(Ordering::SeqCst), 1);
    assert_eq!(cluster.kv(2).rows(), cluster.kv(1).rows());
    assert!(cluster.disk(2).applied.is_some(), "an installed snapshot is durable before the log goes on from it");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_purged_that_the_machine_could_lose() {
    let mut cluster = Cluster::tuned(1, |config| {
        config.snapshot_entries = 20;
        config.kept_entries = 4;
    })
    .await;
    cluster.group_of_all().await;
    let mut expected = BTreeMap::new();
    for round in 0..5 {
        for i in 0..57 {
            let (key, value) = (format!("k{i}"), format!("{round}.{i}"));
            cluster.put(&key, &value).await;
            expected.insert(key, value);
        }
        cluster.kill(1).await;
        cluster.start(1).await;
        cluster.leader().await;
        assert_eq!(cluster.kv(1).rows(), expected, "round {round}");
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_large_entries_is_compacted_by_bytes() {
    let cluster = Cluster::tuned(1, |config| config.snapshot_bytes = 4 << 20).await;
    cluster.group_of_all().await;
    for i in 0..6 {
        cluster.put(&format!("k{i}"), &"x".repeat(1 << 20)).await;
    }
    eventually("the machine was flushed", || cluster.disk(1).applied.is_some()).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_cannot_linearize_and_its_proposal_is_unknown() {
    let cluster = Cluster::new(3).await;
    let old = cluster.group_of_all().await;
    cluster.put("a", "1").await;
    cluster.group(old).linearize().await.unwrap();

    cluster.network.isolate(NodeId(old));
    let group = cluster.group(old);
    let proposal = tokio::spawn(async move { group.propose(entry("a", "lost")).await });
    let new = cluster.leader_among(&others(old)).await;
    cluster.group(new).propose(entry("a", "2")).await.unwrap();
    assert!(cluster.group(old).linearize().await.is_err(), "a second leader has written since");
    let late = cluster.group(old).propose(entry("a", "late")).await;
    assert_eq!(late, Err(ProposeError::NotLeader { leader: None }), "its lease is over: not even proposed");
    assert!(!proposal.is_finished());

    cluster.network.heal();
    undecided(tokio::time::timeout(PATIENCE, proposal).await.unwrap().unwrap());
    let last = cluster.put("b", "3").await;
    cluster.wait_applied(old, last.index).await;
    assert_eq!(cluster.kv(old).get("a").as_deref(), Some("2"));
    assert_eq!(cluster.kv(old).rows(), cluster.kv(new).rows());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_without_a_quorum_is_unknown_after_a_while() {
    let cluster = Cluster::tuned(3, |config| config.propose_timeout_ms = 200).await;
    let leader = cluster.group_of_all().await;
    cluster.network.isolate(NodeId(leader));
    undecided(cluster.group(leader).propose(entry("a", "1")).await);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_name_the_leader() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.group_of_all().await;
    for follower in others(leader) {
        let group = cluster.group(follower);
        assert_eq!(group.wait_leader(PATIENCE).await, Some(NodeId(leader)));
        let refused = group.propose(entry("a", "1")).await;
        assert_eq!(refused, Err(ProposeError::NotLeader { leader: Some(NodeId(leader)) }));
        assert_eq!(group.linearize().await.unwrap_err().leader, Some(NodeId(leader)));
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leadership_can_be_handed_over() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.group_of_all().await;
    let next = others(leader)[0];
    cluster.put("a", "1").await;
    cluster.group(leader).transfer_leader(NodeId(next)).await.unwrap();
    assert_eq!(cluster.leader().await, next);
    cluster.group(next).propose(entry("a", "2")).await.unwrap();
    let refused = cluster.group(next).transfer_leader(NodeId(9)).await;
    assert!(matches!(refused, Err(RaftError::Membership(_))));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_at_once() {
    let mut cluster = Cluster::tuned(3, |config| config.election_ms = (10_000, 20_000)).await;
    let leader = cluster.group_of_all().await;
    let last = cluster.put("a", "1").await;
    for node in others(leader) {
        cluster.wait_applied(node, last.index).await;
    }
    cluster.stop(leader).await;
    let start = tokio::time::Instant::now();
    let next = cluster.leader().await;
    assert!(start.elapsed() < Duration::from_secs(5), "an election would take ten seconds at least");
    cluster.group(next).propose(entry("a", "2")).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_in_flight_share_syncs_across_groups() {
    const GROUPS: u64 = 8;
    const EACH: u64 = 100;
    let cluster = Cluster::new(1).await;
    for range in 0..GROUPS {
        let group = cluster.open(1, RangeId(range)).await;
        group.initialize(&nodes(&[1])).await.unwrap();
        assert_eq!(group.wait_leader(PATIENCE).await, Some(NodeId(1)));
        group.linearize().await.unwrap();
    }
    let before = cluster.host(1).log_stats();
    let proposals = (0..GROUPS * EACH).map(|i| {
        let group = cluster.host(1).group(RangeId(i % GROUPS)).unwrap();
        async move { group.propose(entry(&format!("k{i}"), "v")).await }
    });
    for applied in futures::future::join_all(proposals).await {
        applied.unwrap();
    }
    let after = cluster.host(1).log_stats();
    assert_eq!(after.entries - before.entries, GROUPS * EACH);
    let syncs = after.syncs - before.syncs;
    assert!(syncs < GROUPS * EACH / 4, "{syncs} syncs for {} proposals", GROUPS * EACH);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_host_refuses_proposals_as_certainly_not_made() {
    let cluster = Cluster::new(1).await;
    cluster.group_of_all().await;
    let group = cluster.group(1);
    cluster.host(1).shutdown().await;
    assert_eq!(group.propose(entry("a", "1")).await, Err(ProposeError::Shutdown));
    assert!(group.linearize().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_entries_reach_the_followers() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.group_of_all().await;
    let big = "x".repeat(3 << 20);
    let group = cluster.group(leader);
    let puts = (0..6).map(|i| {
        let (group, big) = (group.clone(), big.clone());
        async move { group.propose(entry(&format!("k{i}"), &big)).await.unwrap().index }
    });
    let last = futures::future::join_all(puts).await.into_iter().max().unwrap();
    let too_large = group.propose(bytes::Bytes::from(vec![0; crate::ENTRY_SIZE_BYTES_MAX + 1])).await;
    assert_eq!(too_large, Err(ProposeError::TooLarge));
    for node in 1..=3 {
        cluster.wait_applied(node, last).await;
        assert_eq!(cluster.kv(node).rows().len(), 6);
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_with_a_full_disk_lags_and_catches_up() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.group_of_all().await;
    let last = cluster.put("a", "1").await;
    let [full, healthy] = others(leader)[..] else { panic!("three nodes") };
    cluster.wait_applied(full, last.index).await;
    cluster.pretend_full(full, Some(true));
    let last = cluster.put("a", "2").await;
    cluster.wait_applied(healthy, last.index).await;
    assert!(cluster.group(full).applied_index() < last.index, "it took an entry for which it has no room");
    cluster.pretend_full(full, None);
    cluster.wait_applied(full, last.index).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_a_full_disk_hands_over_to_one_that_has_room() {
    let cluster = Cluster::new(3).await;
    let first = cluster.group_of_all().await;
    cluster.put("a", "1").await;
    cluster.pretend_full(first, Some(true));
    assert!(cluster.group(first).may_be_handed_over());
    eventually("the full node leads no more", || !cluster.group(first).is_leader()).await;
    let second = cluster.leader().await;
    assert_ne!(second, first);
    let last = cluster.put("a", "2").await;
    // Given back by whoever moves leaderships: it does not keep it.
    let given = cluster.group(second).transfer_leader(NodeId(first)).await;
    if given.is_ok() {
        eventually("the full node leads no more", || !cluster.group(first).is_leader()).await;
    }
    assert_ne!(cluster.leader().await, first);
    cluster.pretend_full(first, None);
    cluster.wait_applied(first, last.index).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_leader_stays_for_readers_where_too_few_have_room() {
    let cluster = Cluster::new(3).await;
    let leader = cluster.group_of_all().await;
    cluster.put("a", "1").await;
    let [full, healthy] = others(leader)[..] else { panic!("three nodes") };
    cluster.pretend_full(full, Some(true));
    cluster.pretend_full(leader, Some(true));
    let refused = cluster.group(leader).propose(entry("a", "3")).await;
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    eventually("it knows that it stays", || !cluster.group(leader).may_be_handed_over()).await;
    cluster.group(leader).linearize().await.unwrap();
    assert!(cluster.host(leader).has_room(NodeId(healthy)).await);
    assert!(!cluster.host(leader).has_room(NodeId(full)).await);

    // One that gets room is enough.
    cluster.pretend_full(full, None);
    eventually("the full node leads no more", || !cluster.group(leader).is_leader()).await;
    cluster.pretend_full(leader, None);
    let last = cluster.put("a", "4").await;
    cluster.wait_applied(full, last.index).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_voter_gives_no_vote_while_a_lease_may_run() {
    let mut cluster = Cluster::tuned(3, |config| config.election_ms = (1500, 2000)).await;
    let leader = cluster.group_of_all().await;
    cluster.put("a", "1").await;
    let [restarted, candidate] = others(leader)[..] else { panic!("three nodes") };
    assert!(!cluster.group(restarted).in_vote_quarantine());
    cluster.kill(restarted).await;
    cluster.start(restarted).await;
    let ask = async || {
        let vote = VoteRecord { term: 1000, voted_for: candidate, committed: false };
        let request = VoteRequest::<TypeConfig>::new(vote.into(), Some(log_id(999, 999)));
        let request = Request { group: RANGE.0, head: wire::encode_vote(&request), body: Default::default() };
        let transport = cluster.network.transport(NodeId(candidate), Router::new());
        transport.call(NodeId(restarted), Lane::Control, wire::PRE_VOTE, request, PATIENCE).await
    };
    assert!(matches!(ask().await, Err(RpcError::Remote(_))));
    eventually("the quarantine ends", || !cluster.group(restarted).in_vote_quarantine()).await;
    ask().await.unwrap();
    cluster.shutdown().await;
}
