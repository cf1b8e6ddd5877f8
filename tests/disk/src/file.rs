//! Files that stay open.

use std::fmt;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;

use karri_ring_disk::{BLOCK_BYTES, DiskFile};

use crate::disk::Shared;
use crate::tree::Handle;

pub(crate) struct MemoryFile {
    shared: Arc<Shared>,
    handle: Handle,
}

impl MemoryFile {
    pub(crate) fn new(shared: Arc<Shared>, handle: Handle) -> Self {
        Self { shared, handle }
    }
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

impl DiskFile for MemoryFile {
    fn write_blocks(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let all = parts.iter().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>();
        assert!((all.len() as u64).is_multiple_of(BLOCK_BYTES) && offset.is_multiple_of(BLOCK_BYTES), "not in blocks");
        Ok(self.shared.tree.lock().write_at(&self.handle, &all, offset)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(self.shared.tree.lock().sync(&self.handle)?)
    }

    fn read_into(&self, bytes: &mut Vec<u8>, length: usize, offset: u64) -> io::Result<()> {
        let start = bytes.len();
        bytes.resize(start + length, 0);
        match self.shared.tree.lock().read(&self.handle, offset, &mut bytes[start..])? {
            got if got == length => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        Ok(self.shared.tree.lock().punch(&self.handle, range)?)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.handle.content.length())
    }

    fn taken_bytes(&self) -> io::Result<u64> {
        Ok(self.handle.content.taken())
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        Ok(self.handle.content.data_from(offset))
    }
}
