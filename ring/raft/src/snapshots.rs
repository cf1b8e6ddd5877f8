//! Snapshots on their way: a reader that is streamed out, or a writer that received all chunks.

use std::io;

use bytes::Bytes;
use karri_ring_types::NodeId;

use crate::machine::{SnapshotReader, SnapshotWriter, StateMachine};
use crate::types::{SnapshotMeta, Vote};

/// Longest wait for a follower to begin or to take one chunk.
pub(crate) const CHUNK_TIMEOUT_MS: u64 = 30_000;
/// Longest wait for a follower to put a complete snapshot in place.
pub(crate) const FINISH_TIMEOUT_MS: u64 = 120_000;

pub(crate) enum SnapshotBody {
    Reader(Box<dyn SnapshotReader>),
    Writer(Box<dyn SnapshotWriter>),
}

impl SnapshotBody {
    /// Puts the snapshot in the place of the machine's state; blocking.
    pub(crate) fn install(self, machine: &dyn StateMachine, blob: Vec<u8>) -> io::Result<()> {
        let writer = match self {
            Self::Writer(writer) => writer,
            Self::Reader(mut reader) => {
                let mut writer = machine.begin_install().map_err(io::Error::other)?;
                while let Some(chunk) = reader.next_chunk().map_err(io::Error::other)? {
                    writer.write(chunk).map_err(io::Error::other)?;
                }
                writer
            }
        };
        writer.finish(blob).map_err(io::Error::other)
    }
}

/// A snapshot that is being received.
pub(crate) struct Incoming {
    pub(crate) from: NodeId,
    /// The sender's name for this transfer; a new transfer of the group replaces an older one.
    pub(crate) transfer: u64,
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) next_chunk: u64,
    pub(crate) writer: Box<dyn SnapshotWriter>,
}

impl Incoming {
    /// Takes a chunk; blocking.
    pub(crate) fn write(&mut self, number: u64, chunk: Bytes) -> io::Result<()> {
        if number != self.next_chunk {
            return Err(io::Error::other("snapshot chunk out of order"));
        }
        self.writer.write(chunk).map_err(io::Error::other)?;
        self.next_chunk += 1;
        Ok(())
    }
}
