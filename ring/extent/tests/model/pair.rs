//! The store and a map of what it should hold.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use karri_ring_disk::DiskPath;
use karri_ring_extent::{ExtentConfig, ExtentError, ExtentHeader, ExtentStore, Owner, Run};
use karri_ring_types::{
    CHUNK_SIZE_BYTES, DataId, Digest, ExtentId, PARTITION_COUNT, PartitionId, SeededRng, Timestamp,
};
use karri_tests_disk::{Lie, MemoryDisk};
use karri_tests_model::Outcome;

use crate::steps::{EXTENTS, Step};

const RESERVE_BYTES: u64 = 16 << 20;

/// What is wrong with the system on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    DeletionDropped,
    ReplacementDropped,
    RunDropped,
    SyncForgotten(Lie),
}

/// What the store should hold of an extent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Extent {
    /// Chunks by their place, each right.
    Open(BTreeMap<u8, bool>),
    /// As many chunks, each right or not.
    Sealed(Vec<bool>),
    Deleted,
}

struct Pair {
    disk: MemoryDisk,
    store: Option<Arc<ExtentStore>>,
    model: BTreeMap<u8, Extent>,
    full: bool,
    fault: Fault,
}

/// Runs a sequence on a new store.
pub(crate) fn run(steps: Vec<Step>, fault: &Fault) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let disk = MemoryDisk::new();
        if let Fault::SyncForgotten(lie) = fault {
            disk.set_lies(vec![lie.clone()]);
        }
        let mut pair = Pair { disk, store: None, model: BTreeMap::new(), full: false, fault: fault.clone() };
        pair.open()?;
        for (at, step) in steps.into_iter().enumerate() {
            let told = format!("step {at} {step:?}");
            let reopened = matches!(step, Step::Reopen | Step::PowerCut { .. });
            let taken = pair.take(step).await;
            taken.map_err(|failure| format!("{told}: {failure}"))?;
            if reopened {
                pair.compare().await.map_err(|failure| format!("after {told}: {failure}"))?;
            }
        }
        pair.compare().await.map_err(|failure| format!("at the end: {failure}"))
    })
}

fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Outcome {
    match found == expected {
        true => Ok(()),
        false => Err(format!("{what}: {found:?} instead of {expected:?}")),
    }
}

fn ending<T>(outcome: &Result<T, ExtentError>) -> &'static str {
    match outcome {
        Ok(_) => "done",
        Err(ExtentError::DiskFull) => "full",
        Err(ExtentError::Incomplete(_)) => "incomplete",
        Err(ExtentError::Deleted) => "deleted",
        Err(_) => "failed",
    }
}

fn extent_id(id: u8) -> ExtentId {
    // Far apart, so that they have locks and partitions of their own.
    ExtentId((u128::from(id) + 1) << 20)
}

/// Chunks of an extent: the first ones have three of which two are full, the others a short one.
fn content(id: u8) -> Vec<Bytes> {
    let lengths: &[usize] = match id {
        0 => &[CHUNK_SIZE_BYTES, CHUNK_SIZE_BYTES, 10],
        1 => &[CHUNK_SIZE_BYTES, 5000],
        2 => &[70_000],
        _ => &[100],
    };
    lengths.iter().zip(0..).map(|(length, index)| vec![id * 16 + index; *length].into()).collect()
}

fn wrong(chunk: &Bytes) -> Bytes {
    vec![0xee; chunk.len()].into()
}

fn owner() -> Owner {
    Owner { data: DataId(1), route: b"key".to_vec() }
}

fn header(chunks: &[Bytes]) -> ExtentHeader {
    ExtentHeader {
        owner: owner(),
        length_bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
        chunk_digests: chunks.iter().map(|chunk| Digest::of(chunk)).collect(),
        created: Timestamp(1),
        stripe: None,
    }
}

impl Pair {
    fn open(&mut self) -> Outcome {
        let dir = DiskPath::new(self.disk.shared(), "/extents");
        let opened = ExtentStore::open(ExtentConfig { dir, reserve_bytes: RESERVE_BYTES });
        self.store = Some(opened.map_err(|error| format!("it does not open: {error}"))?);
        Ok(())
    }

    fn close(&mut self) -> Outcome {
        let store = self.store.take();
        let alone = store.is_none_or(|store| Arc::into_inner(store).is_some());
        same("users of a closed store", &alone, &true)
    }

    fn store(&self) -> &Arc<ExtentStore> {
        self.store.as_ref().expect("it is open")
    }

    async fn take(&mut self, step: Step) -> Outcome {
        match step {
            Step::Write { id, first, count, sealed } => self.write(id, first, count, sealed).await,
            Step::Seal { id, chunks } => self.seal(id, chunks).await,
            Step::Delete { ids } => self.delete(&ids).await,
            Step::Replace { id, index, right } => self.replace(id, index, right).await,
            Step::Read { id, first, count } => self.read(id, first, count).await,
            Step::Verify { id, index } => self.verify(id, index).await,
            Step::Fill(full) => {
                self.full = full;
                self.disk.set_free(full.then_some(RESERVE_BYTES / 2));
                Ok(())
            }
            Step::Reopen => {
                self.close()?;
                self.open()
            }
            Step::PowerCut { torn } => {
                self.disk.crash();
                self.close()?;
                match torn {
                    Some(seed) => self.disk.restart_torn(&SeededRng::new(seed)),
                    None => self.disk.restart(),
                }
                self.open()
            }
        }
    }

    /// What a header of the first chunks would be told.
    fn covers(&self, id: u8, chunks: &[Bytes], run: std::ops::Range<usize>) -> bool {
        let here = |index: usize| match self.model.get(&id) {
            _ if run.contains(&index) => true,
            Some(Extent::Open(held)) => held.contains_key(&(index as u8)),
            _ => false,
        };
        (0..chunks.len()).all(here)
    }

    async fn write(&mut self, id: u8, first: u8, count: u8, sealed: Option<u8>) -> Outcome {
        let chunks = content(id);
        let first = usize::from(first).min(chunks.len() - 1);
        let end = (first + usize::from(count)).min(chunks.len());
        // A run that seals is the extent's last.
        let head = sealed.map(|_| &chunks[..end]);
        let run = Run {
            extent: extent_id(id),
            owner: owner(),
            first_chunk: first as u32,
            chunks: chunks[first..end].to_vec(),
        };
        let expected = match (self.model.get(&id), head) {
            _ if self.full => "full",
            (Some(Extent::Deleted), _) => "deleted",
            (Some(Extent::Sealed(held)), Some(head)) if held.len() != head.len() => "incomplete",
            (Some(Extent::Sealed(_)), _) => "done",
            (_, Some(head)) if !self.covers(id, head, first..end) => "incomplete",
            _ => "done",
        };
        let found = match (&self.fault, head) {
            (Fault::RunDropped, None) if expected == "done" => Ok(()),
            (_, None) => self.store().write_run(run).await,
            (_, Some(head)) => self.store().write_run_and_seal(run, header(head)).await,
        };
        same("write", &ending(&found), &expected)?;
        if expected == "done" && !matches!(self.model.get(&id), Some(Extent::Sealed(_))) {
            let extent = self.model.entry(id).or_insert(Extent::Open(BTreeMap::new()));
            if let Extent::Open(held) = extent {
                held.extend((first..end).map(|index| (index as u8, true)));
            }
            if let Some(head) = head {
                *extent = Extent::Sealed(vec![true; head.len()]);
            }
        }
        Ok(())
    }

    async fn seal(&mut self, id: u8, chunks: u8) -> Outcome {
        let all = content(id);
        let head = &all[..usize::from(chunks).min(all.len())];
        let found = self.store().seal(extent_id(id), header(head)).await;
        let expected = match self.model.get(&id) {
            Some(Extent::Sealed(held)) if held.len() == head.len() => "done",
            Some(Extent::Open(_)) if self.covers(id, head, 0..0) => "done",
            _ => "incomplete",
        };
        same("seal", &ending(&found), &expected)?;
        if expected == "done" && !matches!(self.model.get(&id), Some(Extent::Sealed(_))) {
            self.model.insert(id, Extent::Sealed(vec![true; head.len()]));
        }
        Ok(())
    }

    async fn delete(&mut self, ids: &[u8]) -> Outcome {
        if self.fault != Fault::DeletionDropped {
            let ids = ids.iter().map(|id| extent_id(*id)).collect();
            same("delete", &ending(&self.store().delete(ids).await), &"done")?;
        }
        self.model.extend(ids.iter().map(|id| (*id, Extent::Deleted)));
        Ok(())
    }

    async fn replace(&mut self, id: u8, index: u8, right: bool) -> Outcome {
        let chunks = content(id);
        let (place, index) = match self.model.get(&id) {
            Some(Extent::Sealed(held)) => (Some(index % held.len() as u8), index % held.len() as u8),
            _ => (None, index % chunks.len() as u8),
        };
        let chunk = &chunks[usize::from(index)];
        let chunk = if right { chunk.clone() } else { wrong(chunk) };
        if self.fault != Fault::ReplacementDropped {
            let found = self.store().replace_chunk(extent_id(id), index.into(), chunk).await;
            same("replace", &ending(&found), &if place.is_some() { "done" } else { "deleted" })?;
        }
        if let (Some(place), Some(Extent::Sealed(held))) = (place, self.model.get_mut(&id)) {
            held[usize::from(place)] = right;
        }
        Ok(())
    }

    /// The chunk that should be at a place.
    fn chunk(&self, id: u8, index: usize) -> Option<Bytes> {
        let right = match self.model.get(&id)? {
            Extent::Open(held) => *held.get(&(index as u8))?,
            Extent::Sealed(held) => *held.get(index)?,
            Extent::Deleted => return None,
        };
        let chunk = content(id).get(index)?.clone();
        Some(if right { chunk } else { wrong(&chunk) })
    }

    async fn read(&self, id: u8, first: u8, count: u8) -> Outcome {
        let mut expected = Vec::new();
        for index in usize::from(first)..usize::from(first + count) {
            let Some(chunk) = self.chunk(id, index) else { break };
            expected.extend_from_slice(&chunk);
            if chunk.len() < CHUNK_SIZE_BYTES {
                break;
            }
        }
        let found = self.store().read_chunks(extent_id(id), first.into(), count.into()).await;
        let found = found.map_err(|error| format!("read of {id}: {error}"))?;
        let told =
            || format!("extent {id} from {first}: {} bytes instead of {}, or others", found.len(), expected.len());
        (found == expected).then_some(()).ok_or_else(told)
    }

    async fn verify(&self, id: u8, index: u8) -> Outcome {
        let chunks = content(id);
        let Some(right) = chunks.get(usize::from(index)) else { return Ok(()) };
        let found = self.store().verify_chunk(extent_id(id), index.into(), Digest::of(right)).await;
        let expected = self.chunk(id, index.into()).as_ref() == Some(right);
        same("verified", &found.map_err(|error| error.to_string())?, &expected)
    }

    /// Compares everything that can be asked.
    async fn compare(&self) -> Outcome {
        let store = self.store();
        let (mut listed, mut bytes, mut sealed_count) = (Vec::new(), 0, 0);
        for id in 0..EXTENTS {
            for index in 0..3 {
                self.read(id, index, 3).await?;
            }
            let expected = self.model.get(&id);
            let header_found = store.header(extent_id(id)).await.map_err(|error| error.to_string())?;
            let sealed = match expected {
                Some(Extent::Sealed(held)) => Some(header(&content(id)[..held.len()])),
                _ => None,
            };
            same("header", &header_found, &sealed)?;
            let buried = store.is_tombstoned(extent_id(id)).await.map_err(|error| error.to_string())?;
            same("tombstone", &buried, &(expected == Some(&Extent::Deleted)))?;
            match expected {
                Some(Extent::Sealed(_)) => listed.push((extent_id(id), true)),
                Some(Extent::Open(_)) => listed.push((extent_id(id), false)),
                _ => {}
            }
            sealed_count += u64::from(sealed.is_some());
            bytes += sealed.map_or(0, |header| header.length_bytes);
        }
        let found = store.scan(None, 100).await.map_err(|error| error.to_string())?;
        let found: Vec<_> = found.into_iter().map(|(id, state)| (id, state.is_ok())).collect();
        same("list of extents", &found, &listed)?;
        let usage = store.usage();
        same("usage", &(usage.extents, usage.bytes), &(sealed_count, bytes))?;
        let summaries = (0..PARTITION_COUNT).flat_map(|partition| store.summaries(PartitionId(partition)));
        let counted: u64 = summaries.map(|(_, summary)| summary.count).sum();
        same("extents in the summaries", &counted, &sealed_count)
    }
}
