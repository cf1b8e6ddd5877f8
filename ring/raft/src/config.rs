//! Settings of a host.

use std::time::Duration;

use karri_ring_disk::DiskPath;
use karri_ring_types::NodeId;

use crate::RaftError;

/// What a node does when its log, its metadata or its extents could not be written, or its metadata not be read.
/// Nobody knows then what is on the disk; only a restart finds out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailedLog {
    /// Ends the process.
    #[default]
    Abort,
    /// Writes no more and answers nothing that needs a write: for a node that is restarted within its process.
    Halt,
}

/// Settings of a [`crate::RaftHost`]; [`HostConfig::new`] has the ones to use.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// This node.
    pub node: NodeId,
    /// Folder of the RocksDB with the logs and votes of all groups.
    pub dir: DiskPath,
    /// Time between two heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Shortest and longest time without a word from the leader after which a follower stands for election. Of
    /// the longest, the first half is the leader's lease, in which a follower gives its vote to nobody else.
    pub election_ms: (u64, u64),
    /// Entries after which the machine is flushed and the log may be purged.
    pub snapshot_entries: u64,
    /// Bytes of entries after which the machine is flushed and the log may be purged.
    pub snapshot_bytes: u64,
    /// Flushed entries that stay in the log, so that a follower that was away briefly needs no snapshot.
    pub kept_entries: u64,
    /// How long a proposal may stay undecided before it is answered with [`crate::ProposeError::Unknown`].
    pub propose_timeout_ms: u64,
    /// How long a new voter may take to catch up before [`crate::Group::set_voters`] gives up.
    pub catch_up_timeout_ms: u64,
    /// Free space below which new entries are refused; at most a 32nd of the disk. Less than what the store of
    /// extents keeps free, so that deletes still work when new objects are refused.
    pub reserve_bytes: u64,
    /// What to do when this node's storage fails.
    pub on_failed_log: OnFailedLog,
}

impl HostConfig {
    /// The usual settings: heartbeats each 400 ms, elections after 2.4 to 3.2 seconds, so that writes go on within 4
    /// seconds after a leader has died.
    pub fn new(node: NodeId, dir: DiskPath) -> Self {
        Self {
            node,
            dir,
            heartbeat_ms: 400,
            election_ms: (2400, 3200),
            snapshot_entries: 20_000,
            snapshot_bytes: 256 << 20,
            kept_entries: 2000,
            propose_timeout_ms: 10_000,
            catch_up_timeout_ms: 300_000,
            reserve_bytes: 64 << 20,
            on_failed_log: OnFailedLog::Abort,
        }
    }

    /// For so long after it heard from the leader a follower refuses its vote. openraft adds the election timeout
    /// to it, both of which it takes from the same setting.
    fn lease_ms(&self) -> u64 {
        self.election_ms.1 / 2
    }

    /// Age up to which a quorum's acknowledgement lets the leader answer reads alone: half of what the followers
    /// grant, so clocks would have to run apart by a factor of two before a second leader could exist.
    pub(crate) fn read_lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms() / 2)
    }

    /// How long a restarted node gives no vote: it has forgotten whom it promised a lease.
    pub(crate) fn vote_quarantine(&self) -> Duration {
        Duration::from_millis(self.lease_ms())
    }

    /// Longest wait of one append call, whose answer waits for the follower's fsync.
    pub(crate) fn append_timeout(&self) -> Duration {
        Duration::from_millis(self.election_ms.0)
    }

    pub(crate) fn propose_timeout(&self) -> Duration {
        Duration::from_millis(self.propose_timeout_ms)
    }

    pub(crate) fn catch_up_timeout(&self) -> Duration {
        Duration::from_millis(self.catch_up_timeout_ms)
    }

    /// How long a read waits for a quorum or for the machine to catch up.
    pub(crate) fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.election_ms.0)
    }

    pub(crate) fn openraft(&self) -> Result<openraft::Config, RaftError> {
        let config = openraft::Config {
            cluster_name: "karri".to_string(),
            heartbeat_interval: self.heartbeat_ms,
            election_timeout_min: self.election_ms.0.saturating_sub(self.lease_ms()).max(self.lease_ms() / 2),
            election_timeout_max: self.lease_ms(),
            install_snapshot_timeout: crate::snapshots::FINISH_TIMEOUT_MS,
            max_payload_entries: crate::wire::APPEND_ENTRIES_MAX,
            max_append_entries: Some(4096),
            snapshot_policy: openraft::SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.kept_entries,
            purge_batch_size: (self.kept_entries / 4).max(1),
            api_channel_size: Some(8192),
            notification_channel_size: Some(8192),
            state_machine_channel_size: Some(1024),
            enable_pre_vote: Some(true),
            // A restarted leader could otherwise serve an applied state older than the one it served before.
            enable_leader_restore: Some(false),
            ..openraft::Config::default()
        };
        config.validate().map_err(|e| RaftError::Config(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of three nodes under load one was killed, and nothing was acknowledged for 3.8 s: openraft adds the lease to the
    /// election timeout, and so the shortest wait was 3 s and the longest 4 s.
    #[test]
    fn a_dead_leader_is_noticed_well_within_four_seconds() -> Result<(), RaftError> {
        let config = HostConfig::new(NodeId(1), DiskPath::host("unused"));
        let openraft = config.openraft()?;
        // Of openraft: the lease is the longest election timeout.
        let lease = openraft.election_timeout_max;
        assert_eq!(lease + openraft.election_timeout_min, config.election_ms.0);
        assert_eq!(lease + openraft.election_timeout_max, config.election_ms.1);
        assert!(config.election_ms.1 <= 3200, "half a second is left for votes and for clients to try again");
        assert!(openraft.election_timeout_min >= 2 * config.heartbeat_ms, "one heartbeat may come late");
        Ok(())
    }
}
