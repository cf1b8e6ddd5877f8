//! Large runs: files that are written once and taken over as they are.
//!
//! Every file begins and ends with a small marker row, so that RocksDB, which reads the first and the last row of a file
//! that it takes over, does not read two chunks again. The marker at the end names the extent's owner: should a crash
//! lose the rows beside it, the file still says whose it is.

use std::sync::atomic::Ordering;

use karri_ring_disk::DiskPath;
use karri_ring_types::ExtentId;
use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use crate::keys::{EXTENTS, RUNS, TOMBSTONES, begin_marker, chunk_key, end_marker, parse_end_marker};
use crate::open::{INGEST, external_file_options};
use crate::records::{Row, Run};
use crate::store::{ExtentError, ExtentStore};

impl ExtentStore {
    /// Makes a run durable: its file is synced when it is finished, the folder and the manifest when it is taken over.
    pub(crate) fn ingest(&self, run: &Run) -> Result<(), ExtentError> {
        // The number keeps two tries of the same run apart.
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(INGEST).join(format!("{}-{number}.sst", run.extent));
        let outcome = write_file(&path, run).and_then(|()| {
            let mut ingest = IngestExternalFileOptions::default();
            ingest.set_move_files(true);
            Ok(self.db.ingest_external_file_cf_opts(&self.family(RUNS)?, &ingest, vec![path.as_path()])?)
        });
        // Taking a file over leaves our link to it; failing leaves the file.
        let _ = path.remove();
        outcome
    }

    /// Ends deletions that a crash interrupted and gives open extents the row back that a crash has lost. Only the list of
    /// files is read.
    pub(crate) fn recover_owners(&self) -> Result<(), ExtentError> {
        for file in self.db.live_files()? {
            let Some(end) = file.end_key.filter(|_| file.column_family_name == RUNS) else { continue };
            let Some(id) = parse_end_marker(&end) else { continue };
            if self.has_row(TOMBSTONES, id)? {
                // A crash came between the tombstone and the end of the deletion.
                self.drop_files(id)?;
                continue;
            }
            if self.has_row(EXTENTS, id)? {
                continue;
            }
            if let Some(owner) = self.db.get_pinned_cf(&self.family(RUNS)?, &end)? {
                tracing::info!(extent = %id, "owner of an open extent recovered");
                self.db.put_cf(&self.family(EXTENTS)?, id.to_bytes(), &owner)?;
            }
        }
        Ok(())
    }

    fn has_row(&self, family: &str, id: ExtentId) -> Result<bool, ExtentError> {
        Ok(self.db.get_pinned_cf(&self.family(family)?, id.to_bytes())?.is_some())
    }
}

fn write_file(path: &DiskPath, run: &Run) -> Result<(), ExtentError> {
    let options = external_file_options(path)?;
    let mut writer = SstFileWriter::create(&options);
    writer.open(path.as_path())?;
    writer.put(begin_marker(run.extent, run.first_chunk), [])?;
    for (index, chunk) in (run.first_chunk..).zip(&run.chunks) {
        writer.put(chunk_key(run.extent, index), chunk)?;
    }
    let last = run.first_chunk + (run.chunks.len() as u32).saturating_sub(1);
    writer.put(end_marker(run.extent, last), Row::Open(run.owner.clone()).encode()?)?;
    Ok(writer.finish()?)
}
