//! I9: logs match. An entry of a group has its index and its term, and then only one content and only one entry before it;
//! terms grow along a log, and a log has no holes.
//!
//! The logs are read from the disks of dead nodes, so that it is what they would come back with.

use std::collections::BTreeMap;

use karri_ring_disk::DiskPath;
use karri_ring_types::{Digest, NodeId};
use karri_tests_disk::MemoryDisk;
use rocksdb::{DB, IteratorMode};

/// The column family and the rows of `ring/raft`'s logs: key group and index, record format, kind, term, payload.
const FAMILIES: [&str; 3] = ["default", "log", "state"];
const KEY_BYTES: usize = 16;
const TERM: std::ops::Range<usize> = 2..10;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    record: Digest,
    /// Term of the entry before it, where the log has it.
    before: Option<u64>,
    node: NodeId,
}

/// All entries that were seen, by group, index and term.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    seen: BTreeMap<(u64, u64, u64), Seen>,
    compared: u64,
    violations: Vec<String>,
}

impl Logs {
    /// Reads what a node without power has on its disk.
    pub(crate) fn read(&mut self, node: NodeId, disk: &MemoryDisk) {
        let dir = DiskPath::new(disk.shared(), format!("/karri-in-memory/{node}")).join("raft");
        if !dir.join("CURRENT").exists().unwrap_or(false) {
            return;
        }
        if let Err(why) = self.read_store(node, &dir) {
            self.violations.push(format!("I9: the logs of node {node} cannot be read: {why}"));
        }
    }

    fn read_store(&mut self, node: NodeId, dir: &DiskPath) -> anyhow::Result<()> {
        let options = dir.store_options()?;
        let name = dir.create_store()?;
        if !DB::list_cf(&options, &name)?.iter().any(|family| family == FAMILIES[1]) {
            // It died at its first start.
            return Ok(());
        }
        let db = DB::open_cf_for_read_only(&options, name, FAMILIES, false)?;
        let log = db.cf_handle(FAMILIES[1]).ok_or_else(|| anyhow::anyhow!("no logs"))?;
        let mut last: Option<(u64, u64, u64)> = None;
        for row in db.iterator_cf(&log, IteratorMode::Start) {
            let (key, record) = row?;
            anyhow::ensure!(key.len() == KEY_BYTES && record.len() >= TERM.end, "a row that is no entry");
            let group = u64::from_be_bytes(key[..8].try_into()?);
            let index = u64::from_be_bytes(key[8..].try_into()?);
            let term = u64::from_be_bytes(record[TERM].try_into()?);
            let before = last.filter(|(other, ..)| *other == group);
            if let Some((_, at, earlier)) = before
                && (at + 1 != index || earlier > term)
            {
                let text = format!("entry {at} of term {earlier} is followed by entry {index} of term {term}");
                self.violations.push(format!("I9: in the log of range {group} of node {node} {text}"));
            }
            last = Some((group, index, term));
            let seen = Seen { record: Digest::of(&record), before: before.map(|(_, _, term)| term), node };
            self.compare((group, index, term), seen);
        }
        Ok(())
    }

    fn compare(&mut self, place: (u64, u64, u64), found: Seen) {
        let Some(known) = self.seen.get_mut(&place) else {
            self.seen.insert(place, found);
            return;
        };
        self.compared += u64::from(known.node != found.node);
        let parts = known.before.is_some() && found.before.is_some() && known.before != found.before;
        if known.record != found.record || parts {
            let (group, index, term) = place;
            let what = if parts { "follows entries of other terms" } else { "is another" };
            self.violations.push(format!(
                "I9: entry {index} of term {term} of range {group} {what} on node {} than on node {}",
                found.node, known.node
            ));
        }
        known.before = known.before.or(found.before);
    }

    /// Comparisons of two nodes' entries.
    pub(crate) fn compared(&self) -> u64 {
        self.compared
    }

    /// What was violated.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.clone()
    }
}
