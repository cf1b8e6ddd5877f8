//! Files of the host that stay open.

#![expect(clippy::disallowed_methods, reason = "with host.rs the one place that uses the file system of the host")]

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use crate::{BLOCK_BYTES, DiskFile};

/// Bytes that are gathered for one write past the page cache.
const GATHER_BYTES: usize = 1 << 20;
/// Memory that is aligned and at least this long is written from where it is.
const UNGATHERED_BYTES_MIN: usize = 256 << 10;
const BLOCK: usize = BLOCK_BYTES as usize;

thread_local! {
    /// Kept, so that it stays in the cache and costs no page faults. Threads that write are few.
    static GATHER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A file that stays open.
#[derive(Debug)]
pub(crate) struct HostFile {
    file: File,
    /// Writes go past the page cache: they cost a fifth of the processor time of writes through it.
    direct: bool,
}

impl HostFile {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::open(path, flags | OFlags::DIRECT, mode) {
            Ok(file) => Ok(Self { file: file.into(), direct: true }),
            // File systems that cannot may have made the file before they say so.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                let _ = std::fs::remove_file(path);
                let file = rustix::fs::open(path, flags, mode)?;
                Ok(Self { file: file.into(), direct: false })
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Self { file, direct: false })
    }

    fn write_gathered(&self, parts: &[IoSlice<'_>], mut at: u64) -> io::Result<()> {
        GATHER.with_borrow_mut(|memory| {
            if memory.is_empty() {
                memory.resize(GATHER_BYTES + BLOCK, 0);
            }
            let skip = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
            let gathered = &mut memory[skip..skip + GATHER_BYTES];
            let mut filled = 0;
            for part in parts {
                let mut rest = &part[..];
                if rest.len() >= UNGATHERED_BYTES_MIN && filled % BLOCK == 0 && rest.as_ptr().align_offset(BLOCK) == 0 {
                    write_all(&self.file, &gathered[..filled], at)?;
                    at += filled as u64;
                    filled = 0;
                    let (whole, end) = rest.split_at(rest.len() / BLOCK * BLOCK);
                    write_all(&self.file, whole, at)?;
                    at += whole.len() as u64;
                    rest = end;
                }
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(GATHER_BYTES - filled));
                    gathered[filled..filled + now.len()].copy_from_slice(now);
                    filled += now.len();
                    rest = later;
                    if filled == GATHER_BYTES {
                        write_all(&self.file, gathered, at)?;
                        at += GATHER_BYTES as u64;
                        filled = 0;
                    }
                }
            }
            write_all(&self.file, &gathered[..filled], at)
        })
    }
}

impl DiskFile for HostFile {
    fn write_blocks(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        assert!(length.is_multiple_of(BLOCK) && offset.is_multiple_of(BLOCK_BYTES), "{length} bytes at {offset}");
        if self.direct {
            return self.write_gathered(parts, offset);
        }
        let mut at = offset;
        for part in parts {
            write_all(&self.file, part, at)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn read_into(&self, bytes: &mut Vec<u8>, length: usize, offset: u64) -> io::Result<()> {
        let (start, end) = (bytes.len(), bytes.len() + length);
        bytes.reserve_exact(length);
        while bytes.len() < end {
            let at = offset + (bytes.len() - start) as u64;
            // It reads into all spare capacity, which may be more than what is wanted.
            match rustix::io::pread(&self.file, rustix::buffer::spare_capacity(bytes), at) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => bytes.truncate(end),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn punch(&self, range: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, range.start, range.end - range.start)?)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn taken_bytes(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        Ok(self.file.metadata()?.blocks() * 512)
    }

    fn data_from(&self, offset: u64) -> io::Result<Option<u64>> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(Some(data)),
            Err(Errno::NXIO) => Ok(None),
            // Not all file systems tell.
            Err(_) => Ok(Some(offset)),
        }
    }
}

fn write_all(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_as_they_were_written_whatever_their_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = HostFile::create(&path).unwrap();
        assert_eq!(HostFile::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let bytes: Vec<u8> = (0..5u32 << 20).map(|n| (n * 7 + (n >> 12)) as u8).collect();
        let aligned = bytes.as_ptr().align_offset(BLOCK);
        // Small ones, one over several gatherings, an aligned one, and a rest.
        let cuts = [0, 100, BLOCK + aligned, (2 << 20) + 17, (3 << 20) + aligned, 5 << 20];
        let parts: Vec<IoSlice<'_>> = cuts.windows(2).map(|cut| IoSlice::new(&bytes[cut[0]..cut[1]])).collect();
        file.write_blocks(&parts, BLOCK_BYTES).unwrap();
        file.sync_data().unwrap();
        let read = HostFile::open(&path).unwrap();
        let mut found = vec![1];
        read.read_into(&mut found, bytes.len(), BLOCK_BYTES).unwrap();
        assert!(found[1..] == bytes[..]);
        assert_eq!(read.length().unwrap(), BLOCK_BYTES + (5 << 20));
        let error = read.read_into(&mut Vec::new(), 2, BLOCK_BYTES + (5 << 20) - 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_punched_out_is_free_and_reads_as_zeros() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = HostFile::create(&path).unwrap();
        file.write_blocks(&[IoSlice::new(&vec![7; 1 << 20])], 0).unwrap();
        file.sync_data().unwrap();
        let read = HostFile::open(&path).unwrap();
        let before = read.taken_bytes().unwrap();
        read.punch(BLOCK_BYTES..1 << 20).unwrap();
        assert!(read.taken_bytes().unwrap() < before);
        assert_eq!(read.length().unwrap(), 1 << 20);
        let mut found = Vec::new();
        read.read_into(&mut found, 2 * BLOCK, 0).unwrap();
        assert!(found[..BLOCK].iter().all(|&byte| byte == 7) && found[BLOCK..].iter().all(|&byte| byte == 0));
    }
}
