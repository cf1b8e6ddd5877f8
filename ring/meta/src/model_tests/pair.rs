//! The machine and a map with versions.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use karri_ring_disk::DiskPath;
use karri_ring_raft::{EntryData, StateMachine};
use karri_ring_types::{NodeId, RangeId, SeededRng};
use karri_tests_disk::MemoryDisk;
use karri_tests_model::Outcome;

use super::steps::{Act, Sequence, Step};
use crate::machine::{Machine, RangeMachine};
use crate::row::{Bounds, Own};
use crate::snapshot::recover;
use crate::storage::Storage;
use crate::transaction::{Description, EntryHead, Fence, Transaction, Verdict, decode_transaction, encode_entry};
use crate::{MetaConfig, Table, View};

const RANGE: RangeId = RangeId(3);
const WRITE_BUFFER_BYTES: usize = 64 << 10;

/// What is wrong with the system on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Transactions lose their checks on their way.
    ChecksDropped,
    /// Transactions of a former leadership go under the name of the present one.
    FenceForgotten,
    /// An entry that was not flushed is not in the log any more.
    LogPurgedEarly,
    /// A snapshot has the rows of before the last entry.
    SnapshotOfBefore,
}

type Row = (u8, Vec<u8>);
/// Rows with their versions.
type Rows = BTreeMap<Row, (u64, Bytes)>;

/// A transaction as the model understands it.
#[derive(Clone, Debug, Default)]
struct Planned {
    checks: Vec<(Row, u64)>,
    writes: BTreeMap<Row, Option<Bytes>>,
}

struct Waiting {
    fence: Fence,
    encoded: Bytes,
    planned: Planned,
}

/// A store on a disk of its own.
struct Site {
    disk: MemoryDisk,
    machine: Option<Arc<RangeMachine>>,
}

struct Pair {
    site: Site,
    follower: Site,
    bounds: Bounds,
    rows: Rows,
    fence: Fence,
    waiting: Vec<Waiting>,
    /// Entries from index 1 on, each with its reply.
    log: Vec<(Bytes, Bytes)>,
    /// The rows after each entry, from 0 on.
    history: Vec<Rows>,
    /// Entries up to this are flushed.
    durable: usize,
    fault: Fault,
    /// The chunks of a snapshot of before the last entries, where the fault needs them.
    before: Option<Vec<Bytes>>,
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?} instead of {expected:?}")),
    }
}

/// Runs a sequence on a new range.
pub(super) fn run(sequence: Sequence, fault: Fault) -> Outcome {
    let bounds = Bounds { start: sequence.start, end: sequence.end };
    let mut pair = Pair {
        site: Site { disk: MemoryDisk::new(), machine: None },
        follower: Site { disk: MemoryDisk::new(), machine: None },
        bounds: bounds.clone(),
        rows: Rows::new(),
        fence: Fence(0),
        waiting: Vec::new(),
        log: Vec::new(),
        history: vec![Rows::new()],
        durable: 0,
        fault,
        before: None,
    };
    pair.site.open()?;
    let describe = EntryHead::Describe(Description { bounds, version_base: 0 });
    pair.append(vec![(encode_entry(&describe, &[]), Vec::new())])?;
    pair.fence()?;
    for (at, step) in sequence.steps.into_iter().enumerate() {
        let told = format!("step {at} {step:?}");
        pair.take(step).map_err(|failure| format!("{told}: {failure}"))?;
    }
    pair.compare().map_err(|failure| format!("at the end: {failure}"))
}

impl Site {
    fn open(&mut self) -> Outcome {
        let dir = DiskPath::new(self.disk.shared(), "/metadata");
        let config = MetaConfig { write_buffer_bytes: WRITE_BUFFER_BYTES, ..MetaConfig::new(NodeId(1), dir) };
        let storage = Storage::open(&config).map_err(|error| format!("it does not open: {error}"))?;
        let storage = Arc::new(storage);
        recover(&storage).map_err(|error| format!("it does not recover: {error}"))?;
        let machine = RangeMachine::open(RANGE, storage).map_err(|error| error.to_string())?;
        self.machine = Some(Arc::new(machine));
        Ok(())
    }

    fn close(&mut self) -> Outcome {
        let machine = self.machine.take().and_then(Arc::into_inner);
        let storage = machine.map(|machine| machine.storage().clone());
        let alone = storage.is_some_and(|storage| Arc::into_inner(storage).is_some());
        same("the only user of a closed store", &alone, &true)
    }

    fn cut_power(&mut self, torn: Option<u64>) -> Outcome {
        self.disk.crash();
        self.close()?;
        match torn {
            Some(seed) => self.disk.restart_torn(&SeededRng::new(seed)),
            None => self.disk.restart(),
        }
        self.open()
    }

    fn machine(&self) -> &Arc<RangeMachine> {
        self.machine.as_ref().expect("it is open")
    }

    /// Index of the last entry that is applied.
    fn applied(&self) -> Result<usize, String> {
        let blob = self.machine().storage().get_own(RANGE, Own::Blob).map_err(|error| error.to_string())?;
        let text = String::from_utf8(blob.unwrap_or_default()).map_err(|error| error.to_string())?;
        if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| format!("applied up to {text:?}")) }
    }

    fn apply(&self, first: usize, entries: &[Bytes]) -> Result<Vec<Bytes>, String> {
        let data = entries.iter().zip(first as u64..);
        let data = data.map(|(payload, index)| EntryData { index, payload: Some(payload.clone()) }).collect();
        let blob = (first + entries.len() - 1).to_string().into_bytes();
        self.machine().apply_entries(data, blob).map_err(|error| error.to_string())
    }

    /// All rows, without their versions.
    fn rows(&self) -> Result<Vec<(Row, Bytes)>, String> {
        let state = self.machine().state();
        let Some(description) = &state.description else { return Ok(Vec::new()) };
        let snapshot = self.machine().storage().snapshot();
        let mut view = View::new(&snapshot, self.machine().space(), &description.bounds);
        let mut all = Vec::new();
        for table in [16, 17, 255] {
            for row in view.scan(Table(table), b"", b"").map_err(|error| error.to_string())? {
                let (key, value) = row.map_err(|error| error.to_string())?;
                all.push(((table, key), value));
            }
        }
        Ok(all)
    }

    fn chunks(&self) -> Result<(Vec<u8>, Vec<Bytes>), String> {
        let mut reader = Machine(self.machine().clone()).snapshot().map_err(|error| error.to_string())?;
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.next_chunk().map_err(|error| error.to_string())? {
            chunks.push(chunk);
        }
        Ok((reader.state_blob(), chunks))
    }
}

fn plain(rows: &Rows) -> Vec<(Row, Bytes)> {
    rows.iter().map(|(row, (_, value))| (row.clone(), value.clone())).collect()
}

impl Pair {
    fn take(&mut self, step: Step) -> Outcome {
        match step {
            Step::Evaluate(acts) => self.evaluate(acts),
            Step::Apply { picks, together } => self.apply(&picks, together),
            Step::Fence => self.fence(),
            Step::Flush => {
                Machine(self.site.machine().clone()).flush().map_err(|error| error.to_string())?;
                self.durable = self.log.len();
                Ok(())
            }
            Step::Reopen => {
                self.site.close()?;
                self.site.open()?;
                self.catch_up()
            }
            Step::PowerCut { torn } => {
                self.site.cut_power(torn)?;
                self.catch_up()
            }
            Step::Snapshot { cut } => self.snapshot(cut),
        }
    }

    /// Evaluates a command on the machine's state, beside the model.
    fn evaluate(&mut self, acts: Vec<Act>) -> Outcome {
        let state = self.site.machine().state();
        let bounds = &state.description.as_ref().ok_or("it is not described")?.bounds;
        let snapshot = self.site.machine().storage().snapshot();
        let mut view = View::new(&snapshot, self.site.machine().space(), bounds);
        let (mut planned, mut wrong) = (Planned::default(), false);
        for act in acts {
            self.act(&mut view, act, &mut planned, &mut wrong)?;
        }
        match view.finish() {
            Err(_) if wrong => Ok(()),
            Err(error) => Err(format!("the transaction is refused: {error}")),
            Ok(_) if wrong => Err("a key of another range was written".to_owned()),
            Ok(encoded) => {
                same("whether something is written", &encoded.is_some(), &!planned.writes.is_empty())?;
                let waiting = encoded.map(|encoded| Waiting { fence: self.fence, encoded, planned });
                self.waiting.extend(waiting);
                Ok(())
            }
        }
    }

    fn act(&self, view: &mut View<'_>, act: Act, planned: &mut Planned, wrong: &mut bool) -> Outcome {
        match act {
            Act::Get(table, key) => {
                let found = view.get(Table(table), &key).map_err(drop);
                let row = (table, key);
                let written = planned.writes.contains_key(&row);
                same("get", &found, &self.seen(&row, planned))?;
                if found.is_ok() && !written {
                    let version = self.rows.get(&row).map_or(0, |(version, _)| *version);
                    planned.checks.push((row, version));
                }
            }
            Act::Peek(table, key) => {
                let found = view.peek(Table(table), &key).map_err(drop);
                same("peek", &found, &self.seen(&(table, key), planned))?;
            }
            Act::Put(table, key, value) => {
                view.put(Table(table), key.clone(), value.clone());
                *wrong |= !self.bounds.contains(&key);
                planned.writes.insert((table, key), Some(value.into()));
            }
            Act::Delete(table, key) => {
                view.delete(Table(table), key.clone());
                *wrong |= !self.bounds.contains(&key);
                planned.writes.insert((table, key), None);
            }
            Act::Scan(table, from, to, seek) => {
                let mut scan = view.scan(Table(table), &from, &to).map_err(|error| error.to_string())?;
                let all = self.between(table, &from, &to);
                let mut found: Vec<_> = scan.next().into_iter().collect();
                let mut expected: Vec<_> = all.first().cloned().into_iter().collect();
                let rest = match &seek {
                    Some(seek) => {
                        scan.seek(seek);
                        // The end of a scan is its end: nothing is sought behind it.
                        let ended = found.is_empty();
                        all.into_iter().filter(|(key, _)| key >= seek && !ended).collect()
                    }
                    None => all.into_iter().skip(1).collect::<Vec<_>>(),
                };
                found.extend(scan);
                expected.extend(rest);
                let found: Result<Vec<_>, _> = found.into_iter().collect();
                same("scan", &found.map_err(|error| error.to_string())?, &expected)?;
            }
            Act::LastBefore(table, from, to) => {
                let found = view.last_before(Table(table), &from, &to).map_err(|error| error.to_string())?;
                same("last", &found, &self.between(table, &from, &to).pop())?;
            }
            Act::Discard => {
                view.discard();
                planned.writes.clear();
                *wrong = false;
            }
        }
        Ok(())
    }

    fn seen(&self, row: &Row, planned: &Planned) -> Result<Option<Bytes>, ()> {
        if !self.bounds.contains(&row.1) {
            return Err(());
        }
        match planned.writes.get(row) {
            Some(written) => Ok(written.clone()),
            None => Ok(self.rows.get(row).map(|(_, value)| value.clone())),
        }
    }

    fn between(&self, table: u8, from: &[u8], to: &[u8]) -> Vec<(Vec<u8>, Bytes)> {
        let inside = |key: &[u8]| key >= from && (to.is_empty() || key < to);
        let rows = self.rows.iter().filter(|((of, key), _)| *of == table && inside(key));
        rows.map(|((_, key), (_, value))| (key.clone(), value.clone())).collect()
    }

    fn fence(&mut self) -> Outcome {
        let fence = Fence(self.log.len() as u64 + 100);
        self.append(vec![(encode_entry(&EntryHead::Fence(fence), &[]), Vec::new())])?;
        self.fence = fence;
        Ok(())
    }

    fn apply(&mut self, picks: &[u8], together: bool) -> Outcome {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut groups: Vec<(Fence, Vec<usize>)> = Vec::new();
        for pick in picks {
            let at = usize::from(*pick) % self.waiting.len();
            let fence = self.waiting[at].fence;
            match groups.last_mut() {
                Some((of, group)) if together && *of == fence => group.push(at),
                _ => groups.push((fence, vec![at])),
            }
        }
        let mut entries = Vec::new();
        for (fence, group) in groups {
            let sent: Vec<Bytes> = group.iter().map(|at| self.sent(&self.waiting[*at].encoded)).collect();
            let under = if self.fault == Fault::FenceForgotten { self.fence } else { fence };
            let head = EntryHead::Batch { fence: under, count: sent.len() as u32 };
            let planned = group.iter().map(|at| (fence, self.waiting[*at].planned.clone())).collect();
            entries.push((encode_entry(&head, &sent), planned));
        }
        let result = self.append(entries);
        // What has been applied once may come once more, late.
        if picks.len().is_multiple_of(2) {
            self.waiting.remove(usize::from(picks[0]) % self.waiting.len());
        }
        result
    }

    fn sent(&self, encoded: &Bytes) -> Bytes {
        if self.fault != Fault::ChecksDropped {
            return encoded.clone();
        }
        let (transaction, _) = decode_transaction(encoded).expect("it was encoded");
        Transaction { checks: Vec::new(), writes: transaction.writes }.encode()
    }

    /// Puts entries into the log and applies them in one call.
    fn append(&mut self, entries: Vec<(Bytes, Vec<(Fence, Planned)>)>) -> Outcome {
        if self.fault == Fault::SnapshotOfBefore && self.log.len() > 1 {
            self.before = Some(self.site.chunks()?.1);
        }
        let first = self.log.len() + 1;
        let payloads: Vec<Bytes> = entries.iter().map(|(payload, _)| payload.clone()).collect();
        let replies = self.site.apply(first, &payloads)?;
        for ((index, (payload, planned)), reply) in (first..).zip(entries).zip(replies) {
            if !planned.is_empty() {
                let verdicts: Vec<u8> =
                    planned.into_iter().map(|(fence, planned)| self.decide(index, fence, planned) as u8).collect();
                same("verdicts", &&reply[..], &&verdicts[..])?;
            }
            self.log.push((payload, reply));
            self.history.push(self.rows.clone());
        }
        Ok(())
    }

    /// What the model does with a transaction.
    fn decide(&mut self, index: usize, fence: Fence, planned: Planned) -> Verdict {
        if fence != self.fence {
            return Verdict::Stale;
        }
        let version = |row: &Row| self.rows.get(row).map_or(0, |(version, _)| *version);
        if planned.checks.iter().any(|(row, expected)| version(row) != *expected) {
            return Verdict::Conflict;
        }
        for (row, value) in planned.writes {
            match value {
                Some(value) => drop(self.rows.insert(row, (index as u64, value))),
                None => drop(self.rows.remove(&row)),
            }
        }
        Verdict::Applied
    }

    /// After a start: the rows are those of a prefix of the log, and the rest of it leads to the same rows.
    fn catch_up(&mut self) -> Outcome {
        let applied = self.site.applied()?;
        let range = self.durable..=self.log.len();
        same("entries applied are at least those flushed", &range.contains(&applied), &true)?;
        same("rows of a prefix of the log", &self.site.rows()?, &plain(&self.history[applied]))?;
        self.durable = applied;
        let skipped = usize::from(self.fault == Fault::LogPurgedEarly);
        for (index, (payload, reply)) in self.log.iter().enumerate().skip(applied + skipped) {
            let replies = self.site.apply(index + 1, std::slice::from_ref(payload))?;
            same("replies when the log is read again", &replies, &vec![reply.clone()])?;
        }
        self.compare()
    }

    fn compare(&self) -> Outcome {
        same("rows", &self.site.rows()?, &plain(&self.rows))
    }

    fn snapshot(&mut self, cut: bool) -> Outcome {
        if self.follower.machine.is_none() {
            self.follower.open()?;
        }
        let (blob, chunks) = self.site.chunks()?;
        let chunks = self.before.clone().unwrap_or(chunks);
        let mut writer = Machine(self.follower.machine().clone()).begin_install().map_err(|error| error.to_string())?;
        for chunk in chunks {
            writer.write(chunk).map_err(|error| error.to_string())?;
        }
        writer.finish(blob).map_err(|error| error.to_string())?;
        if cut {
            self.follower.cut_power(None)?;
        }
        same("rows of the follower", &self.follower.rows()?, &plain(&self.rows))?;
        same("entries of the follower", &self.follower.applied()?, &self.log.len())?;
        let fence = self.follower.machine().state().fence;
        same("fence of the follower", &fence, &self.fence)
    }
}
